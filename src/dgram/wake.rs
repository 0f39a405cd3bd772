//! How `close` makes receivers release their socket. This machine sends the socket an empty datagram, and repeats it
//! while a thread still holds the socket. A busy receiver either sees that its socket is closed before it waits again,
//! or finds the datagram in the queue.
//!
//! - A socket made by landline is first connected to the waker. It no longer needs a peer, and no other socket on the
//!   same port gets the datagram. If no datagram can arrive, because loopback is down or no descriptor is left, the
//!   receivers check once a second. Nothing is sent if `close` is called in a different network namespace than the
//!   socket's, because the datagram would reach a socket there.
//! - An adopted socket is never connected, because other owners use it. It gets the datagram only if the datagram is
//!   expected to reach no other socket. For that the socket must have no peer, share its port with no other socket, be
//!   bound to no device, and belong to this network namespace. Its waker is made when the socket is taken over, because
//!   `close` may have no descriptor for it. If the datagram is not expected to arrive, the receivers check twice a
//!   second. They do so with a timeout of the socket, which other owners see.
//! - Nothing is sent to a socket that is bound to a group, because the datagram might leave the machine and would reach
//!   other members. Nothing reaches a socket that is bound to a device. The receivers check every 10 ms, those of an
//!   adopted socket twice a second.
//! - Nothing is sent either to a socket that is bound to the broadcast address of one network, such as 10.9.0.255. The
//!   system refuses to send there from a socket without `SO_BROADCAST`. The receivers check once a second, because
//!   recognising such an address would cost every socket a look-up when it is made.
//! - After fork(2), only the process that made the socket sends the datagram. From the other process, it would wake the
//!   first process's receivers, or leave the first process's socket connected to the waker.
//!
//! shutdown(2) of the receiving side would wake all receivers on Linux, but is not used. After it, a receive returns
//! without a sender, and std's `recv_from` reads the address from memory that was never written. std panics if that
//! memory looks like part of an address.
//!
//! A send blocks while the send buffer is full. On Linux, `close` ends such a send by shutdown(2) of the sending side,
//! which receivers do not notice. It does so only if a call has not returned after a millisecond, and only for a socket
//! of this process alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::process;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::cancel::Cancel;
use crate::dgram::shared::{Open, Receiving};
use crate::dgram::udp::{is_dual_stack, is_listed, source_for};
use crate::endpoint::reachable;
use crate::sys;

/// How long a receiver waits at most if no datagram can wake it, on a socket made by landline. Only this process has
/// the timeout, so it can be short.
const SLICE: Duration = Duration::from_millis(10);

/// How long a receiver waits at most if a datagram should wake it, in case the datagram does not arrive.
const BACKSTOP: Duration = Duration::from_secs(1);

/// How long a receiver of an adopted socket waits at most if no datagram is expected to wake it. Other owners see the
/// timeout, so it is as long as `close` may take.
const LOOK: Duration = Duration::from_millis(500);

/// How long `close` tries to wake the receivers of a socket made by landline.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long `close` tries to wake the receivers of an adopted socket.
const PATIENCE_ADOPTED: Duration = Duration::from_millis(1250);

/// How often the receivers of a socket check for `close`. `expected` says whether a datagram is expected to reach an
/// adopted socket.
pub(crate) fn receive_timeout(
    socket: &UdpSocket,
    local: SocketAddr,
    adopted: bool,
    expected: bool,
) -> Option<Duration> {
    match (adopted, expected) {
        (true, true) => None,
        (true, false) => Some(LOOK),
        (false, _) if is_group(local) || sys::is_bound_to_device(&SockRef::from(socket)) => Some(SLICE),
        (false, _) => Some(BACKSTOP),
    }
}

/// The socket that sends the datagrams, its address as seen by the receivers, and the destination.
pub(crate) struct Waker {
    socket: UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Waker {
    fn new(woken: &UdpSocket, local: SocketAddr) -> io::Result<Waker> {
        let to: SocketAddr = (local.ip().to_canonical(), local.port()).into();
        match Waker::by(reachable(if to.is_ipv4() { to } else { local }), local) {
            // A system may support IPv6 and have no IPv6 address.
            Err(_) if local.ip().is_unspecified() && local.is_ipv6() && is_dual_stack(woken) => {
                Waker::by((Ipv4Addr::LOCALHOST, local.port()).into(), local)
            }
            waker => waker,
        }
    }

    /// Makes a waker that sends to an address of this machine.
    fn by(to: SocketAddr, local: SocketAddr) -> io::Result<Waker> {
        if !to.ip().is_loopback() && source_for(to)? != to.ip() {
            // Some systems bind to such an address all the same. A datagram to it would leave the machine.
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        // The waker is bound to the same IP address, so the receivers can recognise the sender.
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

    /// Makes a waker for an adopted socket without a peer, if the datagram is expected to reach that socket and no
    /// other.
    pub(crate) fn of_adopted(woken: &UdpSocket, local: SocketAddr) -> Option<Waker> {
        let options = SockRef::from(woken);
        let unexpected = is_group(local)
            || sys::may_share_address(&options)
            || sys::is_bound_to_device(&options)
            || !is_listed(woken, local);
        let waker = if unexpected { None } else { Waker::new(woken, local).ok() };
        // Without an interface that is up, there is no route to the address.
        waker.filter(|waker| source_for(waker.to).is_ok())
    }
}

impl Open {
    /// Whether a datagram is the waker's empty datagram.
    pub(crate) fn is_wake_up(&self, size: usize, from: SocketAddr) -> bool {
        size == 0 && self.waker.get().is_some_and(|waker| is_same(waker.from, from))
    }

    /// Whether the calling thread is in a different network namespace. Without /proc it counts as being in the same.
    pub(crate) fn is_of_another_network(&self) -> bool {
        let here = sys::network();
        self.network.is_some() && here.is_some() && self.network != here
    }

    /// The waker, made if there is none yet.
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
                // From a different network namespace, the datagrams would reach a socket there.
                if self.is_of_another_network() {
                    return Err(unavailable());
                }
                let made = Waker::new(&self.socket, self.socket.local_addr()?)?;
                self.waker.get_or_init(|| made)
            }
        };
        // Repeated each time, because a connect() that had begun before may have overwritten it.
        self.socket.connect(waker.from)?;
        Ok(waker)
    }
}

/// Whether two addresses are the same, in any form. A zone is compared only if both have one.
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let zones = match (one, other) {
        (SocketAddr::V6(one), SocketAddr::V6(other)) => (one.scope_id(), other.scope_id()),
        _ => (0, 0),
    };
    one.port() == other.port()
        && one.ip().to_canonical() == other.ip().to_canonical()
        && (zones.0 == zones.1 || zones.0 == 0 || zones.1 == 0)
}

/// A removed socket. Calls may still hold it.
#[derive(Clone)]
pub(crate) struct Draining {
    receiving: Weak<Receiving>,
    open: Weak<Open>,
    gone: Cancel,
    patience: Duration,
}

impl Draining {
    pub(crate) fn new(receiving: &Arc<Receiving>) -> Draining {
        let open = &receiving.open;
        let patience = if open.adopted { PATIENCE_ADOPTED } else { PATIENCE };
        Draining {
            receiving: Arc::downgrade(receiving),
            gone: open.gone.0.clone(),
            open: Arc::downgrade(open),
            patience,
        }
    }

    /// Whether the descriptor is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Wakes the receivers and waits until the descriptor is closed. Returns `false` if this is not done in time.
    /// `ends_sends` says whether blocked sends should fail.
    pub(crate) fn wait(&self, begun: Instant, ends_sends: bool) -> bool {
        let until = begun + self.patience;
        let mut pause = Duration::from_millis(1);
        loop {
            // If it fails, the loop tries again.
            let _ = self.send_datagrams();
            if self.gone.wait_timeout(pause) {
                return true;
            }
            if ends_sends {
                self.end_sends();
            }
            if Instant::now() >= until {
                return false;
            }
            pause = (pause * 2).min(SLICE);
        }
    }

    /// Sends one datagram for each thread that may wait.
    fn send_datagrams(&self) -> io::Result<()> {
        let Some(open) = self.open.upgrade() else { return Ok(()) };
        let holders = Arc::strong_count(&open) - 1;
        if holders == 0 {
            return Ok(());
        }
        // All receives together hold the socket once.
        let holders = holders + self.receiving.strong_count().saturating_sub(1);
        let waker = open.waker()?;
        for _ in 0..holders {
            waker.socket.send_to(&[], waker.to)?;
        }
        Ok(())
    }

    /// Ends the sends that wait for room in the send buffer, on systems that can.
    fn end_sends(&self) {
        let Some(open) = self.open.upgrade() else { return };
        if sys::SHUTDOWN_ENDS_SENDS && !open.adopted && open.made_by == process::id() {
            // Without a peer it returns ENOTCONN, although it takes effect.
            let _ = SockRef::from(&open.socket).shutdown(Shutdown::Write);
        }
    }
}

/// Whether datagrams to the address also reach other sockets.
fn is_group(at: SocketAddr) -> bool {
    let ip = at.ip().to_canonical();
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}
