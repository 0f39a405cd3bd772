//! Connections that pipes and relays use, so that a shutdown leaves them open while bytes pass.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::net::socket::connection::{Connection, INTERRUPTED};
use crate::sync::poison::lock;

/// The pipes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pipes: Mutex<Pipes>,
    /// How many pipes are writing now: pipes that read from this connection, and pipes that write to it what they read
    /// elsewhere. A shutdown gives such a write its time.
    writers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Pipes {
    /// How many pipes read from this connection.
    readers: usize,
    /// The connections whose bytes are written to this connection.
    from: Vec<Weak<Connection>>,
    /// How many pipes write to this connection from a source that is not a connection.
    foreign: usize,
    /// The byte count at the last check that saw it grow, and the time of that check.
    seen: Option<(u64, Instant)>,
}

impl Carried {
    pub(crate) fn has_reader(&self) -> bool {
        lock(&self.pipes).readers > 0
    }

    /// Whether a pipe writes to this connection.
    pub(crate) fn is_fed(&self) -> bool {
        let pipes = lock(&self.pipes);
        pipes.foreign > 0 || pipes.from.iter().any(|from| from.strong_count() > 0)
    }

    fn from(&self) -> Vec<Arc<Connection>> {
        let mut from = Vec::new();
        for other in &lock(&self.pipes).from {
            if let Some(other) = other.upgrade() {
                from.push(other);
            }
        }
        from
    }

    fn is_writing(&self) -> bool {
        self.writers.load(SeqCst) > 0
    }

    /// Calls `write`, and counts it as a write in progress.
    fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.writers.fetch_add(1, SeqCst);
        let done = write();
        self.writers.fetch_sub(1, SeqCst);
        done
    }

    /// Whether the count stayed at `passed` for `time`, as far as the checks have seen.
    fn is_idle(&self, passed: u64, time: Duration) -> bool {
        let mut pipes = lock(&self.pipes);
        match pipes.seen {
            Some((seen, at)) if seen == passed => at.elapsed() >= time,
            _ => {
                pipes.seen = Some((passed, Instant::now()));
                false
            }
        }
    }
}

impl Connection {
    /// For a shutdown: interrupts reads that wait for the peer, unless bytes still pass through a pipe in either
    /// direction. Returns whether the connection stays open.
    pub(crate) fn interrupt_unless_carried(&self) -> bool {
        let from = self.carried.from();
        if !self.carried.has_reader() {
            if !self.has(INTERRUPTED) {
                self.interrupt_reads();
            }
            if !self.carried.is_fed() {
                return false;
            }
        }
        let is_written = self.carried.is_writing() || from.iter().any(|from| from.carried.is_writing());
        let is_idle = !is_written && self.carried.is_idle(self.passed(), IDLE);
        if is_idle {
            self.interrupt_carried(&from);
        }
        !is_idle
    }

    fn interrupt_carried(&self, from: &[Arc<Connection>]) {
        self.interrupt_reads();
        from.iter().for_each(|from| from.interrupt_reads());
    }

    /// Interrupts the pipes that write to this connection, because it has ended.
    pub(crate) fn interrupt_sources(&self) {
        self.carried.from().iter().for_each(|from| from.interrupt_reads());
    }
}

/// How long without a byte counts as idle.
const IDLE: Duration = Duration::from_millis(45);

pub(crate) struct Carrying<'a> {
    from: &'a Arc<Connection>,
    /// Another connection.
    to: Option<&'a Connection>,
}

impl<'a> Carrying<'a> {
    pub(crate) fn begin(from: &'a Arc<Connection>, to: &'a Arc<Connection>) -> Carrying<'a> {
        lock(&from.carried.pipes).readers += 1;
        let to = (!Arc::ptr_eq(from, to)).then_some(&**to);
        if let Some(to) = to {
            lock(&to.carried.pipes).from.push(Arc::downgrade(from));
        }
        Carrying { from, to }
    }

    /// Calls `write`, and counts it as a write in progress.
    pub(crate) fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.from.carried.writing(write)
    }
}

/// Counts a pipe that writes to a connection from a source that is not a connection, until this is dropped.
pub(crate) struct Feeding<'a>(&'a Carried);

impl<'a> Feeding<'a> {
    pub(crate) fn begin(to: &'a Connection) -> Feeding<'a> {
        lock(&to.carried.pipes).foreign += 1;
        Feeding(&to.carried)
    }

    /// Calls `write`, which writes to the connection, and counts it as a write in progress.
    pub(crate) fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.writing(write)
    }
}

impl Drop for Feeding<'_> {
    fn drop(&mut self) {
        lock(&self.0.pipes).foreign -= 1;
    }
}

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        lock(&self.from.carried.pipes).readers -= 1;
        if let Some(to) = self.to {
            let its = Arc::downgrade(self.from);
            let from = &mut lock(&to.carried.pipes).from;
            if let Some(at) = from.iter().position(|other| other.ptr_eq(&its)) {
                from.swap_remove(at);
            }
        }
    }
}
