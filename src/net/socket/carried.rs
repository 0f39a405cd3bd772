//! Through which connections bytes are carried on, so that a shutdown lets them run while any pass.

use std::sync::{Arc, Mutex, Weak};

use crate::net::socket::connection::Connection;
use crate::sync::poison::lock;

/// The pipes of one connection, which a shutdown of its server lets run while bytes pass.
#[derive(Debug, Default)]
pub(crate) struct Carried(Mutex<Pipes>);

#[derive(Debug, Default)]
struct Pipes {
    /// How many read from it.
    readers: usize,
    /// From where the last that began writes to it.
    from: Weak<Connection>,
}

impl Carried {
    pub(crate) fn has_reader(&self) -> bool {
        lock(&self.0).readers > 0
    }

    pub(crate) fn from(&self) -> Option<Arc<Connection>> {
        lock(&self.0).from.upgrade()
    }
}

/// One pipe.
pub(crate) struct Carrying<'a> {
    from: &'a Connection,
    /// Another connection.
    to: Option<&'a Connection>,
}

impl<'a> Carrying<'a> {
    pub(crate) fn begin(from: &'a Arc<Connection>, to: &'a Arc<Connection>) -> Carrying<'a> {
        lock(&from.carried.0).readers += 1;
        let to = (!Arc::ptr_eq(from, to)).then_some(to);
        if let Some(to) = to {
            lock(&to.carried.0).from = Arc::downgrade(from);
        }
        Carrying { from, to: to.map(|to| &**to) }
    }
}

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        lock(&self.from.carried.0).readers -= 1;
        if let Some(to) = self.to {
            lock(&to.carried.0).from = Weak::new();
        }
    }
}
