//! How threads that wait for a datagram are made to let go of their socket: by an empty datagram that it is sent from
//! this machine, again and again while somebody holds on. A receiver that the datagram finds busy sees that its socket
//! is closed before it waits again, or else finds the datagram in the queue.
//!
//! - A connected socket hears its peer alone, so it is connected to the waker first, since nobody needs the peer any
//!   more.
//! - Not so an adopted one, which would lose its peer for its giver too. Its receivers look around every 10 ms, as do
//!   those of a socket that is bound to a group: what is sent to a group might leave the machine.
//! - Nothing arrives where loopback is down. So the receivers of a socket of our own look around once a second in any
//!   case. An adopted one's do not: the timeout is a setting of the socket, and not ours alone.
//!
//! Not by shutdown(2), though on Linux it wakes them all: what they receive then has no sender, and std's `recv_from`
//! takes for it what happens to be in its memory, and panics if that looks like a part of an address.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::address::Address;
use crate::dgram::shared::Open;
use crate::endpoint::reachable;

/// How long a receiver waits at most where no datagram can wake it.
const SLICE: Duration = Duration::from_millis(10);

/// How long a receiver waits at most where one should.
const BACKSTOP: Duration = Duration::from_secs(1);

/// How long to try to wake the receivers. Only an adopted socket that cannot be reached from its own machine takes so
/// long.
const PATIENCE: Duration = Duration::from_secs(2);

/// After which time the receivers of a socket look around by themselves.
pub(crate) fn receive_timeout(local: SocketAddr, adopted: bool, connected: bool) -> Option<Duration> {
    match (is_group(local), adopted, connected) {
        (true, _, _) | (_, true, true) => Some(SLICE),
        (false, true, false) => None,
        (false, false, _) => Some(BACKSTOP),
    }
}

/// Who sends the datagrams, from which address, as the receivers see it, and where to.
pub(crate) struct Waker {
    socket: UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Open {
    /// Whether a datagram is none, but was sent to wake who received it.
    pub(crate) fn is_wake_up(&self, (size, from): (usize, SocketAddr)) -> bool {
        size == 0 && self.waker.get().is_some_and(|waker| waker.from.port() == from.port())
    }

    fn waker(&self) -> io::Result<&Waker> {
        let waker = match self.waker.get() {
            Some(waker) => waker,
            None => self.new_waker()?,
        };
        if !self.adopted && self.peer.get().is_some() {
            // Each time: a connect() that had begun before may have been the last.
            self.socket.connect(waker.from)?;
        }
        Ok(waker)
    }

    fn new_waker(&self) -> io::Result<&Waker> {
        let local = self.socket.local_addr()?;
        let at = reachable(local);
        let to = Address::from(at).socket_addr().unwrap_or(at);
        // The same address, so that the sender of what arrives is known.
        let mut from = to;
        from.set_port(0);
        let socket = UdpSocket::bind(from)?;
        from.set_port(socket.local_addr()?.port());
        let from = match from {
            SocketAddr::V4(from) if local.is_ipv6() => (from.ip().to_ipv6_mapped(), from.port()).into(),
            from => from,
        };
        Ok(self.waker.get_or_init(|| Waker { socket, from, to }))
    }
}

/// A socket that is out of use, with the receivers that have still to let go of it.
#[derive(Clone)]
pub(crate) struct Draining {
    open: Weak<Open>,
    gone: Receiver<Infallible>,
}

impl Draining {
    pub(crate) fn new(open: Arc<Open>) -> Draining {
        Draining { gone: open.gone.clone(), open: Arc::downgrade(&open) }
    }

    /// Wakes the receivers and waits until the descriptor is closed, or has not been for too long.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            // What goes wrong is tried again.
            let _ = self.send_datagrams();
            match self.gone.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => pause = (pause * 2).min(SLICE),
                Err(_) => return,
                Ok(never) => match never {},
            }
        }
    }

    /// One for each that may be waiting.
    fn send_datagrams(&self) -> io::Result<()> {
        let Some(open) = self.open.upgrade() else { return Ok(()) };
        let holders = Arc::strong_count(&open) - 1;
        if holders == 0 || is_group(open.local) {
            return Ok(());
        }
        let waker = open.waker()?;
        for _ in 0..holders {
            waker.socket.send_to(&[], waker.to)?;
        }
        Ok(())
    }
}

/// Whether what is sent to the address goes to others too.
fn is_group(at: SocketAddr) -> bool {
    at.ip().is_multicast() || at.ip() == IpAddr::V4(Ipv4Addr::BROADCAST)
}
