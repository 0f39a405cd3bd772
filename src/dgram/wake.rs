//! How threads that wait for a datagram are made to let go of their socket: by an empty datagram that it is sent from
//! this machine, again and again while a thread holds on. A receiver that the datagram finds busy sees that its socket
//! is closed before it waits again, or else finds the datagram in the queue.
//!
//! - A socket of our own is connected to the waker first. It needs no peer any more, and no other socket on the same
//!   port gets the datagram then. Where none arrives, since loopback is down or no descriptor is left, its receivers
//!   look around once a second.
//! - An adopted socket belongs to others too, so it is never connected. It is sent the datagram only if that is
//!   expected to reach it and no other: it has no peer, shares its port with no other socket, is bound to no device,
//!   and is of the network that we are in. The waker is made when the socket is taken over, since without it a close
//!   later could not wake a receiver. Where the datagram is not expected to arrive, the receivers look around twice a
//!   second. That is a timeout of the socket, which the others see too.
//! - Nothing is sent to a socket that is bound to a group, since that might leave the machine and would reach other
//!   members. Its receivers look around every 10 ms; of an adopted one twice a second.
//! - Nothing is sent after fork(2) by the process that has not made the socket: the other one would be woken, or left
//!   connected to our waker.
//!
//! Not by shutdown(2), though on Linux it wakes them all: what they receive then has no sender, and std's `recv_from`
//! takes for it what happens to be in its memory, and panics if that looks like a part of an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::cancel::Cancel;
use crate::dgram::shared::Open;
use crate::dgram::udp::{is_dual_stack, source_for};
use crate::endpoint::reachable;
use crate::sys;

/// How long a receiver of a socket of our own waits at most where no datagram can wake it. Only this process has the
/// timeout, so it is short enough for `close` not to be noticed.
const SLICE: Duration = Duration::from_millis(10);

/// How long one waits at most where a datagram should wake it, but may fail to.
const BACKSTOP: Duration = Duration::from_secs(1);

/// How long a receiver of an adopted socket waits at most where no datagram is expected to wake it. Others that have
/// the socket see the timeout, so it is as long as `close` may take.
const LOOK: Duration = Duration::from_millis(500);

/// How long to try to wake the receivers of a socket of our own.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to try to wake those of an adopted one.
const PATIENCE_ADOPTED: Duration = Duration::from_millis(1250);

/// After which time the receivers of a socket look around by themselves. `expected` says whether a datagram is expected
/// to reach an adopted one.
pub(crate) fn receive_timeout(local: SocketAddr, adopted: bool, expected: bool) -> Option<Duration> {
    match (adopted, expected) {
        (true, true) => None,
        (true, false) => Some(LOOK),
        (false, _) if is_group(local) => Some(SLICE),
        (false, _) => Some(BACKSTOP),
    }
}

/// The socket that sends the datagrams, its address as the receivers see it, and where to.
pub(crate) struct Waker {
    socket: UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Waker {
    fn new(woken: &UdpSocket, local: SocketAddr) -> io::Result<Waker> {
        let to: SocketAddr = (local.ip().to_canonical(), local.port()).into();
        match Waker::by(reachable(if to.is_ipv4() { to } else { local }), local) {
            // A system may have IPv6 and no address of it.
            Err(_) if local.ip().is_unspecified() && local.is_ipv6() && is_dual_stack(woken) => {
                Waker::by((Ipv4Addr::LOCALHOST, local.port()).into(), local)
            }
            waker => waker,
        }
    }

    /// By an address of this machine.
    fn by(to: SocketAddr, local: SocketAddr) -> io::Result<Waker> {
        if !to.ip().is_loopback() && source_for(to)? != to.ip() {
            // It is bound all the same, which some systems allow: what is sent there would leave the machine.
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        // The same address, so that the sender of what arrives is known.
        let mut from = to;
        from.set_port(0);
        let socket = UdpSocket::bind(from)?;
        from.set_port(socket.local_addr()?.port());
        let from = match from {
            SocketAddr::V4(from) if local.is_ipv6() => (from.ip().to_ipv6_mapped(), from.port()).into(),
            from => from,
        };
        Ok(Waker { socket, from, to })
    }

    /// For an adopted socket without a peer, if what it sends is expected to reach that socket and no other.
    pub(crate) fn of_adopted(woken: &UdpSocket, local: SocketAddr) -> Option<Waker> {
        let options = SockRef::from(woken);
        let unexpected = is_group(local)
            || sys::may_share_address(&options)
            || sys::is_bound_to_device(&options)
            || !sys::is_of_this_network(sys::inode(woken), if local.is_ipv6() { "udp6" } else { "udp" });
        let waker = if unexpected { None } else { Waker::new(woken, local).ok() };
        // There is no way to it where no interface is up.
        waker.filter(|waker| source_for(waker.to).is_ok())
    }
}

impl Open {
    /// Whether a datagram is none, but was sent to wake the thread that received it.
    pub(crate) fn is_wake_up(&self, size: usize, from: SocketAddr) -> bool {
        size == 0 && self.waker.get().is_some_and(|waker| is_same(waker.from, from))
    }

    /// What wakes the receivers, once it may.
    pub(crate) fn waker(&self) -> io::Result<&Waker> {
        let unavailable = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        if self.adopted {
            return self.waker.get().ok_or_else(unavailable);
        }
        if is_group(self.local) || self.made_by != process::id() {
            return Err(unavailable());
        }
        let waker = match self.waker.get() {
            Some(waker) => waker,
            None => {
                let made = Waker::new(&self.socket, self.socket.local_addr()?)?;
                self.waker.get_or_init(|| made)
            }
        };
        // Each time: a connect() that had begun before may have been the last.
        self.socket.connect(waker.from)?;
        Ok(waker)
    }
}

/// Whether two addresses are one, in whichever of its forms. Where one has no zone, it is not asked for.
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let zones = match (one, other) {
        (SocketAddr::V6(one), SocketAddr::V6(other)) => (one.scope_id(), other.scope_id()),
        _ => (0, 0),
    };
    one.port() == other.port()
        && one.ip().to_canonical() == other.ip().to_canonical()
        && (zones.0 == zones.1 || zones.0 == 0 || zones.1 == 0)
}

/// A socket that is out of use, with the receivers that have still to let go of it.
#[derive(Clone)]
pub(crate) struct Draining {
    open: Weak<Open>,
    gone: Cancel,
    patience: Duration,
}

impl Draining {
    pub(crate) fn new(open: &Arc<Open>) -> Draining {
        let patience = if open.adopted { PATIENCE_ADOPTED } else { PATIENCE };
        Draining { gone: open.gone.0.clone(), open: Arc::downgrade(open), patience }
    }

    /// Wakes the receivers and waits until the descriptor is closed; `false` if it has not been for too long.
    pub(crate) fn wait(&self) -> bool {
        let until = Instant::now() + self.patience;
        let mut pause = Duration::from_millis(1);
        loop {
            // What goes wrong is tried again.
            let _ = self.send_datagrams();
            if self.gone.wait_timeout(pause) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            pause = (pause * 2).min(SLICE);
        }
    }

    /// One for each that may be waiting.
    fn send_datagrams(&self) -> io::Result<()> {
        let Some(open) = self.open.upgrade() else { return Ok(()) };
        let holders = Arc::strong_count(&open) - 1;
        if holders == 0 {
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
    let ip = at.ip().to_canonical();
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}
