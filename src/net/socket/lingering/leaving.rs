//! A connection that is ending, and what one check of it does.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::socket::lingering::Place;
use crate::sync::deadline::Deadline;
use crate::sys;

/// The most input that is discarded while a connection lingers.
const LINGERING_BYTES: usize = 1024 * 1024;

/// The most input that one check discards, so that one peer does not delay the others.
const BYTES_A_LOOK: usize = 256 * 1024;

/// The pauses between checks of one connection. Each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Once the server is closed, how long to wait for a peer that has sent nothing since our FIN.
pub(super) const SILENCE: Duration = Duration::from_millis(100);

/// If reads were interrupted, a peer that has ended its direction and a silent peer look the same. The peer counts as
/// paused after this number of silent checks in a row. Checks are counted instead of time, because a busy machine may
/// keep both sides from running.
const QUIET_LOOKS: u32 = 8;

/// What is done before our FIN is sent.
pub(crate) enum Last {
    Nothing,
    /// Write this message.
    Message(Arc<[u8]>),
    /// Wait until the peer has paused: it was silent for this number of checks in a row. Used if reads were interrupted
    /// with shutdown(2). After that, reads on Linux never block, and the system answers everything that arrives after
    /// our FIN with RST.
    Quiet(u32),
}

impl Last {
    /// For an interrupted connection. If nothing was sent that could be lost, one silent check is enough.
    pub(crate) fn quiet(was_told: bool) -> Last {
        Last::Quiet(if was_told { QUIET_LOOKS } else { 1 })
    }
}

/// A connection that is ending. Dropping it closes the descriptor, and then drops its presence.
pub(super) struct Leaving {
    stream: Arc<TcpStream>,
    last: Last,
    /// How much of the message was written.
    written: usize,
    we_ended: bool,
    /// The peer's FIN was read.
    peer_ended: bool,
    /// How often in a row the peer was silent.
    quiet: u32,
    /// How much more input is discarded.
    left: usize,
    began: Instant,
    pub(super) until: Deadline,
    /// When it is checked again.
    pub(super) next: Instant,
    pub(super) pause: Duration,
    pub(super) place: Place,
    _presence: Box<dyn Send>,
}

impl Leaving {
    pub(super) fn new(
        stream: Arc<TcpStream>,
        last: Last,
        until: Deadline,
        place: Place,
        presence: Box<dyn Send>,
    ) -> Leaving {
        let now = Instant::now();
        Leaving {
            stream,
            last,
            written: 0,
            we_ended: false,
            peer_ended: false,
            quiet: 0,
            left: LINGERING_BYTES,
            began: now,
            until,
            next: now,
            pause: FIRST_PAUSE / 2,
            place,
            _presence: presence,
        }
    }

    /// Whether a check is due, or nearly so, so that one round checks several.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next <= now + self.pause / 4 || self.wakes_at() <= now
    }

    /// When the thread checks it again. Once its time is over, that is the last check.
    pub(super) fn wakes_at(&self) -> Instant {
        self.until.instant().map_or(self.next, |until| until.min(self.next))
    }

    /// The listener is closed, so silence is waited for no longer than [`SILENCE`].
    pub(super) fn hurry(&mut self) {
        self.next = self.next.min(Instant::now() + SILENCE);
    }

    /// Whether the connection still has time to linger.
    pub(super) fn has_time(&self, is_closed: bool) -> bool {
        let is_silent = self.left == LINGERING_BYTES && self.began.elapsed() > SILENCE;
        !(self.until.is_over() || is_closed && is_silent)
    }

    /// Does what is possible without waiting. Returns whether there is more to do.
    pub(super) fn look(&mut self) -> bool {
        match self.write_last() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let before = self.left;
        let goes_on = loop {
            match self.discard() {
                Ok(0) => break self.was_silent(),
                Ok(n) if n > self.left => return false,
                Ok(n) => {
                    (self.left, self.quiet) = (self.left - n, 0);
                    if let Last::Quiet(looks) = &mut self.last {
                        *looks = QUIET_LOOKS;
                    }
                    if before - self.left >= BYTES_A_LOOK {
                        break true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.pause = if self.left < before { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        self.next = Instant::now() + self.pause;
        goes_on
    }

    /// Writes the rest of the message, then ends our direction.
    fn write_last(&mut self) -> io::Result<()> {
        match &self.last {
            _ if self.we_ended => return Ok(()),
            Last::Nothing => {}
            Last::Quiet(_) => return Ok(()),
            Last::Message(message) => {
                while self.written < message.len() {
                    match sys::write_now(&self.stream, &message[self.written..]) {
                        Ok(n) => self.written += n,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.we_ended = true;
        self.stream.shutdown(Shutdown::Write)
    }

    /// Called when a read returned 0: the peer has sent FIN, or reads were interrupted. Returns whether there is more
    /// to do.
    fn was_silent(&mut self) -> bool {
        let Last::Quiet(looks) = self.last else {
            self.peer_ended = true;
            // While the message is not written, the peer's FIN is no reason to close, because the peer may still read.
            return !self.we_ended;
        };
        self.quiet += 1;
        // A write of nothing fails if the connection is gone, which reading does not show.
        let is_gone = sys::write_now(&self.stream, &[]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        if !is_gone && self.quiet >= looks {
            self.we_ended = true;
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        !is_gone && self.quiet < looks
    }

    /// Whether the connection can be closed early, and is not about to be closed anyway.
    pub(super) fn may_be_let_go(&mut self) -> bool {
        !self.until.is_over() && self.is_silent()
    }

    /// Whether closing the connection now sends no RST.
    pub(super) fn is_silent(&mut self) -> bool {
        if self.left < LINGERING_BYTES || !self.we_ended {
            return false;
        }
        if let Ok(n) = self.discard() {
            self.left = self.left.saturating_sub(n);
        }
        self.left == LINGERING_BYTES
    }

    fn discard(&self) -> io::Result<usize> {
        sys::discard_now(&self.stream, &mut [const { MaybeUninit::uninit() }; 16 * 1024])
    }
}

impl Drop for Leaving {
    /// close(2) alone is enough only if both directions have ended. Otherwise a thread may be in a read or write, or a
    /// different process may have a copy of the descriptor. Such a copy would keep our FIN back, or keep a peer that
    /// sends more waiting forever.
    fn drop(&mut self) {
        let are_others = Arc::strong_count(&self.stream) > 1;
        if self.we_ended && self.peer_ended && !are_others {
            return;
        }
        let is_unread = self.we_ended
            && !self.peer_ended
            && sys::peek_now(&self.stream, &mut [MaybeUninit::uninit()]).is_ok_and(|length| length > 0);
        // With unread input, this sends RST, as close(2) would.
        if !(is_unread && sys::is_reset_now(&self.stream)) {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}
