//! Node's `net` and `dgram` for Rust programs that block: one thread, one line.

mod address;
mod encoding;
mod error;
mod report;
mod running;
mod sys;

pub mod dgram;
pub mod net;

#[doc(no_inline)]
pub use crossbeam_channel as channel;

pub use address::{Address, Endpoint, Family};
pub use encoding::{Decoder, Encoding};
pub use error::{Error, Result};
pub use report::{Connection, ConnectionId, How, RefusedBy, Report};
pub use running::Running;
