//! The program's hook on a socket before bind(2) or connect(2).

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use crate::error::{Error, Result};
use crate::sys;

/// The user's hook, if there is one.
#[derive(Clone, Default)]
pub(crate) struct BeforeBind(Option<Arc<Hook>>);

type Hook = dyn Fn(sys::BorrowedHandle<'_>) -> io::Result<()> + Send + Sync;

// What the closure's own values look like after a panic is the program's concern.
impl UnwindSafe for BeforeBind {}
impl RefUnwindSafe for BeforeBind {}

impl BeforeBind {
    pub(crate) fn new(hook: impl Fn(sys::BorrowedHandle<'_>) -> io::Result<()> + Send + Sync + 'static) -> BeforeBind {
        BeforeBind(Some(Arc::new(hook)))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Runs the hook on a new socket. No lock is held.
    pub(crate) fn run(&self, socket: &socket2::Socket) -> Result<()> {
        let Some(hook) = &self.0 else { return Ok(()) };
        hook(sys::borrow(socket)).map_err(|error| match error.get_ref() {
            Some(_) => Error::from(error),
            None => Error::call("before_bind", &error),
        })
    }
}

impl fmt::Debug for BeforeBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}
