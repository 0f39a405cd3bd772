//! How long a caller of `accept` waits, and the settings for that.
//!
//! The time for accept(2) is a setting of the listener, SO_RCVTIMEO. Linux reads the setting when accept(2) begins. So
//! from the first call with a time on, callers take turns: the caller that has the turn changes the setting and calls
//! accept(2), and the others wait for the turn, each for its own time. Callers without a time that were already in
//! accept(2) stay there, because the kernel has read the setting for them before. A caller that only checks once makes
//! the listener non-blocking. On systems without a timeout for accept(2), a caller that waits also makes the listener
//! non-blocking, and polls every 2 to 16 ms.

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

    /// Whether the thread may end instead of pausing, because another thread waits for clients. If so, the thread is no
    /// longer counted.
    fn may_end(&self) -> bool;

    /// How long the thread waits for a client.
    fn until(&self) -> Deadline;

    /// The same time, but only until the next check of the kept clients, if there are any or may soon be any. Asked
    /// again once the thread has its turn, because a client may have been accepted in between.
    fn until_next_look(&self, _: &Listener, until: Deadline) -> Deadline {
        until
    }

    /// The error when that time has expired.
    fn time_is_over(&self) -> io::Error;

    /// Whether the thread takes kept clients before it accepts, and waits for the header or the slot that they lack.
    fn takes_kept(&self) -> bool {
        true
    }

    /// Whether the thread waits for its turn before it accepts.
    fn takes_turns(&self, server: &Listener) -> bool;

    /// Whether the error that ends accepting is reported, because no caller gets it.
    fn reports_the_end(&self) -> bool {
        false
    }

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
    /// The caller checks once, and returns `WouldBlock` if no client is waiting.
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

    /// Rejects a time on an adopted listener, because the program that passed the listener shares its settings.
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

    fn until_next_look(&self, server: &Listener, until: Deadline) -> Deadline {
        if self.serves || !server.has_kept() { until } else { until.or_after(LOOK) }
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

    fn reports_the_end(&self) -> bool {
        self.serves
    }

    fn may_accept(&self, server: &Listener) -> io::Result<()> {
        let is_served = !self.serves && server.registry.gate.is_claimed() && !server.is_closing();
        if is_served { Err(served_already()) } else { Ok(()) }
    }
}

impl Listener {
    /// Whether any caller has used a time for accepting. From then on callers take turns, and accepted sockets may
    /// inherit the time.
    pub(crate) fn is_timed(&self) -> bool {
        self.timed.load(SeqCst)
    }

    /// Sets how long the next accept(2) waits. A caller with a time must have the turn. `false` if the server is closing.
    /// Also `false` for a caller with a time while the server is being served, because workers wait without a time.
    pub(crate) fn set_wait(&self, listener: &socket2::Socket, until: Deadline, has_turn: bool) -> io::Result<bool> {
        if until == Deadline::NEVER && !self.is_timed() {
            return Ok(true);
        }
        let mut told = lock(&self.told);
        // The closing thread owns the mode from then on.
        if self.is_closing() || until != Deadline::NEVER && self.registry.gate.is_claimed() {
            return Ok(false);
        }
        // A caller that has the turn may be about to call accept(2), in the mode that it has set. Until then this call
        // may end early, and is made again.
        if until == Deadline::NEVER && !has_turn && !self.turn.is_empty() {
            return Ok(true);
        }
        self.timed.store(true, SeqCst);
        let next = told.next(until);
        told.change(next, listener)?;
        Ok(true)
    }

    /// Makes accept(2) wait without a limit, for workers. The server is claimed, so no caller changes that afterwards. If
    /// a caller has the turn, the workers do it later.
    pub(crate) fn wait_for_ever(&self) {
        if let Some(listener) = self.listener().filter(|_| self.is_timed()) {
            let mut told = lock(&self.told);
            if !self.is_closing() && self.turn.is_empty() {
                // Fails only on a listener that no longer works. Accepting fails then too.
                let _ = told.change(Told::default(), &listener);
            }
        }
    }
}
