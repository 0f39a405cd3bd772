//! The program's own decision about a client, before the client counts.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::address::Address;
use crate::callback::guarded;

/// The program's hook, if any.
#[derive(Clone, Default)]
pub(crate) struct Filter(Option<Arc<Hook>>);

type Hook = dyn Fn(&Address) -> bool + Send + Sync;

// The caller of the hook catches its panics.
impl UnwindSafe for Filter {}
impl RefUnwindSafe for Filter {}

impl Filter {
    pub(crate) fn new(hook: impl Fn(&Address) -> bool + Send + Sync + 'static) -> Filter {
        Filter(Some(Arc::new(hook)))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the hook admits a client. A hook that panics refuses it.
    pub(crate) fn lets_in(&self, remote: &Address) -> bool {
        let Some(hook) = &self.0 else { return true };
        let mut lets_in = false;
        guarded(|| lets_in = hook(remote));
        lets_in
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Some(..)" } else { "None" })
    }
}
