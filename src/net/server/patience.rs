//! How long a caller of `accept` waits, and the settings for that.
//!
//! The time for accept(2) is a setting of the listener, SO_RCVTIMEO, which Linux reads when the call begins. So from
//! the first call with a time on, callers take turns. One at a time makes the setting and calls accept(2), and the
//! others wait for the turn, each for its own time. Callers without a time that were in accept(2) before stay there,
//! since they have read the setting already. A caller that checks once makes the listener non-blocking. Where the
//! system has no time for accept(2), a caller that waits does so too, and polls every 2 to 16 ms.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::error::{Cause, Error};
use crate::net::server::listener::Listener;
use crate::net::server::options::WhenFull;
use crate::net::server::served_already;
use crate::net::server::told::Told;
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;

/// An accepting thread, as the other accepting threads see it.
pub(crate) trait Crew {
    /// Calls the program's code while another thread waits for clients.
    fn away(&self, call: &mut dyn FnMut());

    /// Whether the thread may end instead of pausing, since another waits for clients. It is then not counted any more.
    fn may_end(&self) -> bool;

    /// How long the thread waits for a client.
    fn until(&self) -> Deadline;

    /// The error when that time has expired.
    fn time_is_over(&self) -> io::Error;

    /// Whether it takes kept clients before it accepts, and waits for what they lack.
    fn takes_kept(&self) -> bool {
        true
    }

    /// Whether it waits for its turn before it accepts.
    fn takes_turns(&self, server: &Listener) -> bool;

    /// Whether the thread may take clients.
    ///
    /// # Errors
    /// Other threads serve the server.
    fn may_accept(&self, server: &Listener) -> io::Result<()>;
}

/// How long a caller waits at most before it checks whether a kept client can be admitted.
const LOOK: Duration = Duration::from_millis(16);

/// A caller of `accept`, `try_accept` or `accept_timeout`, or a thread that accepts for a channel.
pub(crate) struct Caller {
    patience: Patience,
    until: Deadline,
    /// The server is claimed for this caller.
    serves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Endless,
    Limited,
    /// It checks once, and returns the error that it would block.
    None,
}

impl Caller {
    pub(crate) fn patient() -> Caller {
        Caller { patience: Patience::Endless, until: Deadline::NEVER, serves: false }
    }

    pub(crate) fn for_channel() -> Caller {
        Caller { serves: true, ..Caller::patient() }
    }

    pub(crate) fn with_time(time: Duration) -> Caller {
        Caller { patience: Patience::Limited, until: Deadline::after(time), serves: false }
    }

    pub(crate) fn impatient() -> Caller {
        Caller { patience: Patience::None, ..Caller::with_time(Duration::ZERO) }
    }

    /// The same caller, but only until the next check of the kept clients, if there are any.
    pub(crate) fn until_next_look(&self, server: &Listener) -> Caller {
        if self.serves || server.count_kept() == 0 {
            return Caller { ..*self };
        }
        let until = self.until.or_after(LOOK);
        let patience = if self.patience == Patience::Endless { Patience::Limited } else { self.patience };
        Caller { until, patience, serves: false }
    }

    /// A time needs a listener of our own, since the settings of an adopted one are also its owner's.
    pub(crate) fn check(&self, server: &Listener) -> io::Result<()> {
        if self.patience != Patience::Endless && server.adopted {
            let text = "An adopted listener cannot accept with a time, since other programs share its settings";
            return Err(Error::fixed(io::ErrorKind::Unsupported, "ERR_NOT_SUPPORTED", text).into());
        }
        Ok(())
    }
}

impl Crew for Caller {
    fn away(&self, call: &mut dyn FnMut()) {
        call();
    }

    fn may_end(&self) -> bool {
        false
    }

    fn until(&self) -> Deadline {
        self.until
    }

    fn time_is_over(&self) -> io::Error {
        match self.patience {
            Patience::None => Error::call("accept", &io::ErrorKind::WouldBlock.into()).into(),
            _ => Error::of_cause(Cause::Waited, "No client came in time").into(),
        }
    }

    fn takes_turns(&self, server: &Listener) -> bool {
        self.patience != Patience::Endless || server.is_timed() || server.options.when_full == WhenFull::Wait
    }

    fn takes_kept(&self) -> bool {
        self.serves
    }

    fn may_accept(&self, server: &Listener) -> io::Result<()> {
        let is_served = !self.serves && server.registry.gate.is_claimed() && !server.is_closing();
        if is_served { Err(served_already()) } else { Ok(()) }
    }
}

impl Listener {
    /// Whether a caller had a time for accepting. Accepted sockets may have inherited it since, and callers take turns.
    pub(crate) fn is_timed(&self) -> bool {
        self.timed.load(SeqCst)
    }

    /// Sets how long the next accept(2) waits. The calling thread has the turn. `false` if the server is closing, or,
    /// for a caller with a time, if it is being served: workers wait without a time.
    pub(crate) fn set_wait(&self, listener: &socket2::Socket, until: Deadline) -> io::Result<bool> {
        if until == Deadline::NEVER && !self.is_timed() {
            return Ok(true);
        }
        let mut told = lock(&self.told);
        // The closing thread owns the mode from then on.
        if self.is_closing() || until != Deadline::NEVER && self.registry.gate.is_claimed() {
            return Ok(false);
        }
        self.timed.store(true, SeqCst);
        let next = told.next(until);
        told.change(next, listener)?;
        Ok(true)
    }

    /// Makes accept(2) wait without a limit, for workers. The server is claimed, so no caller changes that afterwards.
    pub(crate) fn wait_for_ever(&self) {
        if let Some(listener) = self.listener().filter(|_| self.is_timed()) {
            let mut told = lock(&self.told);
            if !self.is_closing() {
                // Fails only on a listener that no longer works. Accepting fails then too.
                let _ = told.change(Told::default(), &listener);
            }
        }
    }
}
