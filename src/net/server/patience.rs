//! How long a caller of `accept` waits, and what the kernel is told.
//!
//! The time that accept(2) waits is a setting of the listener, SO_RCVTIMEO, which Linux reads when the call begins. So
//! from the first call with a time on, callers take turns: one at a time makes the setting and is in accept(2), and the
//! others wait for the turn, each for its own time. Callers without a time that were in accept(2) before stay there:
//! they have read the setting already. A caller that only looks makes the listener non-blocking; so does one that waits
//! where the system knows no time for accept(2), and then looks every 2 to 16 ms.

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

/// What a thread that accepts is to the others that do.
pub(crate) trait Crew {
    /// Calls code of the program's, while another thread waits for clients.
    fn away(&self, call: &mut dyn FnMut());

    /// Whether the thread may end instead of pausing, since another waits for clients. Then it counts no more.
    fn may_end(&self) -> bool;

    /// How long the thread waits for a client.
    fn until(&self) -> Deadline;

    /// What the thread says when that is over.
    fn time_is_over(&self) -> io::Error;

    /// Whether it takes clients that were kept before it accepts, and waits for what they lack.
    fn takes_kept(&self) -> bool {
        true
    }

    /// Whether it waits for its turn before it accepts.
    fn takes_turns(&self, server: &Listener) -> bool;

    /// Whether the clients are its own.
    ///
    /// # Errors
    /// The server is being served by other threads.
    fn may_accept(&self, server: &Listener) -> io::Result<()>;
}

/// How long a caller waits for a client at most while others are kept, before it looks whether one of them can be let
/// in.
const LOOK: Duration = Duration::from_millis(16);

/// A caller of `accept`, `try_accept` or `accept_timeout`, or a thread that accepts for a channel.
pub(crate) struct Caller {
    patience: Patience,
    until: Deadline,
    /// The server is claimed for it.
    serves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Endless,
    Limited,
    /// It looks once, and its error says that it would have to wait.
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

    /// The same with the time until it looks again at the clients that are kept, if there are any.
    pub(crate) fn until_next_look(&self, server: &Listener) -> Caller {
        if self.serves || server.count_kept() == 0 {
            return Caller { ..*self };
        }
        let until = self.until.or_after(LOOK);
        let patience = if self.patience == Patience::Endless { Patience::Limited } else { self.patience };
        Caller { until, patience, serves: false }
    }

    /// A call with a time needs a listener of our own: its settings are the giver's too.
    pub(crate) fn check(&self, server: &Listener) -> io::Result<()> {
        if self.patience != Patience::Endless && server.adopted {
            let text = "A listener that was adopted takes no time for accepting: its settings belong to its giver too";
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
    /// Whether a caller has had a time for accepting: accepted sockets may have inherited it since, and callers take
    /// turns.
    pub(crate) fn is_timed(&self) -> bool {
        self.timed.load(SeqCst)
    }

    /// Makes the next accept(2) of the calling thread, whose turn it is, wait until then; `false` if the server is
    /// being closed or, for one with a time, is being served: workers wait without a time.
    pub(crate) fn set_wait(&self, listener: &socket2::Socket, until: Deadline) -> io::Result<bool> {
        if until == Deadline::NEVER && !self.is_timed() {
            return Ok(true);
        }
        let mut told = lock(&self.told);
        // The mode is left to the thread that closes, from then on.
        if self.is_closing() || until != Deadline::NEVER && self.registry.gate.is_claimed() {
            return Ok(false);
        }
        self.timed.store(true, SeqCst);
        let next = told.next(until);
        told.change(next, listener)?;
        Ok(true)
    }

    /// Makes accept(2) wait for as long as it takes, for workers. The server is claimed, so no caller makes it
    /// otherwise after that.
    pub(crate) fn wait_for_ever(&self) {
        if let Some(listener) = self.listener().filter(|_| self.is_timed()) {
            let mut told = lock(&self.told);
            if !self.is_closing() {
                // It fails only on a listener that is useless, and then so does accepting.
                let _ = told.change(Told::default(), &listener);
            }
        }
    }
}
