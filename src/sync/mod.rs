//! What threads wait with. It uses only std, so that loom can run every order of threads.

pub(crate) mod atomic_u64;
pub(crate) mod backoff;
pub(crate) mod callbacks;
pub(crate) mod deadline;
pub(crate) mod gate;
pub(crate) mod poison;
pub(crate) mod turn;
pub(crate) mod wait_queue;
