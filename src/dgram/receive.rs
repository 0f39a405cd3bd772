use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::canonical;
use crate::dgram::shared::{Open, Receiving, Shared};
use crate::dgram::socket::Socket;
use crate::dgram::wake::is_same;
use crate::endpoint::Endpoint;
use crate::error::{Cause, Error};
use crate::report::Report;
use crate::sync::poison::lock;
use crate::sys;

/// The largest datagram. It fits into a buffer of this size.
pub(crate) const MAX_DATAGRAM: usize = 65_535;

/// How long a receive continues past its time limit while it drops datagrams that are not for the program. This is long
/// enough to drop hundreds, so that a datagram behind them is found.
const SKIPPING: Duration = Duration::from_millis(1);

/// How long a receive waits between polls, if another owner has made the socket non-blocking.
const LEAST_PAUSE: Duration = Duration::from_millis(2);
const MOST_PAUSE: Duration = Duration::from_millis(16);

/// The sender and the size of a datagram.
///
/// A `RemoteInfo` converts into an [`Endpoint`], so `socket.send_to(reply, &from)` answers the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "rinfo")]
pub struct RemoteInfo {
    address: SocketAddr,
    size: usize,
    is_truncated: bool,
}

impl RemoteInfo {
    /// Returns the sender's address. An IPv4 sender has its plain IPv4 address, even on a dual-stack socket. A
    /// link-local sender has a zone.
    #[doc(alias = "port")]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the datagram's size in bytes, even if the buffer was smaller.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether the buffer was smaller than the datagram. In this case the rest of the datagram is lost. This
    /// never happens with [`each`](Socket::each) and [`events`](Socket::events), whose buffers are large enough.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}

impl From<RemoteInfo> for Endpoint {
    fn from(info: RemoteInfo) -> Endpoint {
        Endpoint::from(&info)
    }
}

impl From<&RemoteInfo> for Endpoint {
    fn from(info: &RemoteInfo) -> Endpoint {
        info.address().into()
    }
}

impl Socket {
    /// Waits for a datagram and returns its bytes and its sender, recvfrom(2). Returns `None` once the socket is
    /// closed.
    ///
    /// An empty datagram has a sender and no bytes. A datagram larger than `buffer` is truncated, see
    /// [`RemoteInfo::is_truncated`]. A `buffer` of 65,535 bytes is always large enough, and the system writes into it
    /// directly. For a smaller one, the thread keeps a buffer of 65,535 bytes of its own, from which the datagram is
    /// copied. Any number of threads may wait at once, and each datagram goes to one of them. A signal does not end the
    /// wait.
    ///
    /// # Errors
    /// The socket stays open after every error, so call again.
    /// - `recvmsg ECONNREFUSED`: no program was listening when this connected socket sent something to its peer. This
    ///   error is returned once. An unconnected socket never gets this error.
    /// - Other errors are shortages, usually of memory. If they follow each other closely, the call pauses before it
    ///   returns, from 5 ms up to 1 s. So a loop that simply calls again does no harm. `close` ends the pause.
    #[doc(alias = "recv_from")]
    pub fn recv<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<(&'b [u8], RemoteInfo)>> {
        self.receive(buffer, Until::Forever)
    }

    /// Waits for a datagram like [`recv`](Socket::recv), but at most `timeout`.
    ///
    /// Different threads may use different timeouts at once. A timeout that differs from the last one costs one system
    /// call. On an [adopted](super::SocketOptions::adopt) socket every call costs two, even with the same timeout as
    /// before. Whether the timeout runs while the machine is suspended depends on the system.
    ///
    /// # Errors
    /// - `TimedOut` if nothing arrived in time. Nothing is lost. While the call drops datagrams from senders on the
    ///   [block list](super::SocketOptions::receive_block_list), or from addresses other than the peer's, the error may
    ///   be late by up to a millisecond.
    /// - The errors of [`recv`](Socket::recv).
    #[doc(alias = "set_read_timeout")]
    pub fn recv_timeout<'b>(
        &self,
        buffer: &'b mut [u8],
        timeout: Duration,
    ) -> io::Result<Option<(&'b [u8], RemoteInfo)>> {
        let now = Instant::now();
        let until = now.checked_add(timeout).map_or(Until::Forever, |at| Until::At { at, now });
        self.receive(buffer, until)
    }

    /// Receives a datagram like [`recv`](Socket::recv), but does not block.
    ///
    /// There is one exception: if another thread takes the datagram that this call has just seen, this call may wait 1
    /// to 10 ms.
    ///
    /// # Errors
    /// - `recvmsg EAGAIN`, of kind `WouldBlock`, if no datagram has arrived. The call returns this error too if, for a
    ///   millisecond, all arriving datagrams come from senders on the [block
    ///   list](super::SocketOptions::receive_block_list) or from addresses other than the peer's.
    /// - The errors of [`recv`](Socket::recv). This call does not pause before it returns them.
    #[doc(alias = "set_nonblocking")]
    pub fn try_recv<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<(&'b [u8], RemoteInfo)>> {
        self.receive(buffer, Until::Now)
    }

    fn receive<'b>(&self, buffer: &'b mut [u8], mut until: Until) -> io::Result<Option<(&'b [u8], RemoteInfo)>> {
        // Safe code cannot see that a datagram was truncated. So the datagram is received into a buffer that is large
        // enough.
        let mut whole = if buffer.len() < MAX_DATAGRAM { Some(take_spare()) } else { None };
        let received = self.0.receive(whole.as_deref_mut().unwrap_or(buffer), &mut until);
        if let Some(whole) = whole {
            if let Ok(Some((size, _))) = received {
                let fits = size.min(buffer.len());
                buffer[..fits].copy_from_slice(&whole[..fits]);
            }
            // A thread that ends has no use for it.
            let _ = SPARE.try_with(|spare| spare.set(Some(whole)));
        }
        let Some((size, from)) = received? else { return Ok(None) };
        let bytes = &buffer[..size.min(buffer.len())];
        let is_truncated = bytes.len() < size;
        Ok(Some((bytes, RemoteInfo { address: canonical(from), size, is_truncated })))
    }
}

thread_local! {
    /// A buffer for receives whose own may be too small, once the thread has made one.
    static SPARE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

fn take_spare() -> Box<[u8]> {
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_else(|| vec![0; MAX_DATAGRAM].into())
}

/// How long a receive waits.
#[derive(Clone, Copy)]
enum Until {
    Forever,
    At {
        at: Instant,
        /// When the receive began, or last failed.
        now: Instant,
    },
    Now,
}

/// A receive in progress.
struct Waiting {
    /// When it first dropped a datagram.
    skipping: Option<Instant>,
    /// How often it has paused, counted up to three.
    pauses: u32,
}

impl Waiting {
    /// Called after a datagram was dropped. Returns an error once the time limit has passed and a millisecond more. In
    /// that millisecond a datagram behind the dropped ones is found.
    #[cold]
    fn goes_on(&mut self, until: &Until) -> io::Result<()> {
        let instant = match until {
            Until::Forever => return Ok(()),
            Until::At { at, .. } => Some(*at),
            Until::Now => None,
        };
        let now = Instant::now();
        let end = *self.skipping.get_or_insert(now) + SKIPPING;
        match instant {
            _ if now < instant.map_or(end, |instant| instant.max(end)) => Ok(()),
            Some(_) => Err(timed_out()),
            None => Err(nothing_there()),
        }
    }
}

impl Shared {
    /// Receives one datagram into a buffer that is large enough for any. Returns its size and sender, or `None` once
    /// the socket is closed.
    #[inline]
    fn receive(&self, buffer: &mut [u8], until: &mut Until) -> io::Result<Option<(usize, SocketAddr)>> {
        let mut waiting = Waiting { skipping: None, pauses: 0 };
        loop {
            // Take the socket before the datagrams kept from the replaced socket. A thread that gets the new socket
            // then finds all of them.
            let Some(receiving) = self.receiving() else { return Ok(None) };
            let open = &*receiving.open;
            if let Some((bytes, from)) = self.carried_over.pop() {
                // The peer may have changed since then.
                if self.is_for_program(open, bytes.len(), from) {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(Some((bytes.len(), from)));
                }
                continue;
            }
            let received = open.receive(buffer, until);
            if self.is_closed() {
                return Ok(None);
            }
            match received {
                Ok((size, from)) => {
                    // For nearly every datagram nothing else needs checking.
                    let is_plain = size != 0 && !open.peer.exists() && self.receive_block_list.is_none();
                    if is_plain || self.is_for_program(open, size, from) {
                        return Ok(Some((size, from)));
                    }
                    waiting.goes_on(until)?;
                }
                Err(error) => {
                    if let Some(error) = self.after_error(receiving, error, until, &mut waiting)? {
                        return self.failed(&error, until);
                    }
                }
            }
            if let Until::At { now, .. } = until {
                *now = Instant::now();
            }
        }
    }

    #[cold]
    fn is_for_program(&self, open: &Open, size: usize, from: SocketAddr) -> bool {
        let is_blocked = || self.receive_block_list.as_ref().is_some_and(|list| list.check(from.ip()));
        open.hears(from) && !open.is_wake_up(size, from) && !is_blocked()
    }

    /// Returns the error if it is one for the caller. After any other error the receive is tried again.
    #[cold]
    fn after_error(
        &self,
        receiving: Arc<Receiving>,
        error: io::Error,
        until: &Until,
        waiting: &mut Waiting,
    ) -> io::Result<Option<io::Error>> {
        let open = &*receiving.open;
        let error = match until {
            // The timeout belonged to another thread's receive, which may have returned already.
            Until::Forever if is_timeout(&error) => lock(&open.timeouts).lift(&open.socket).err().unwrap_or(error),
            _ => error,
        };
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => match until {
                Until::Now => return Err(nothing_there()),
                Until::At { at, .. } if *at <= Instant::now() => return Err(timed_out()),
                // Another owner has made the socket non-blocking. Only that owner should change the mode.
                _ if sys::did_not_wait(&open.socket, &error) => {
                    drop(receiving);
                    self.pause(MOST_PAUSE.min(LEAST_PAUSE * (1 << waiting.pauses)), until);
                    waiting.pauses = (waiting.pauses + 1).min(3);
                }
                // The timeout was for checking for `close`, or belonged to another thread.
                _ => {}
            },
            // Some systems report a failed send of an unconnected socket, without the address that it went to.
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused if !open.peer.exists() => {
                waiting.goes_on(until)?;
            }
            _ => return Ok(Some(error)),
        }
        Ok(None)
    }

    /// Reports an error, and pauses if there are many. The socket is not held here, because the hook may close it.
    fn failed<T>(&self, error: &io::Error, until: &Until) -> io::Result<Option<T>> {
        let error = Error::call("recvmsg", error);
        self.reporter.tell(|| Report::Failed { connection: None, error: error.clone(), udp: true });
        // Other receivers fail too while this one pauses, so the lock is released first.
        let time = lock(&self.backoff).after_error(Instant::now());
        self.pause(time, until);
        if self.is_closed() { Ok(None) } else { Err(error.into()) }
    }

    /// Pauses, but not beyond the time limit of the receive.
    fn pause(&self, mut time: Duration, until: &Until) {
        match until {
            Until::Forever => {}
            Until::At { at, .. } => time = time.min(at.saturating_duration_since(Instant::now())),
            Until::Now => return,
        }
        if !time.is_zero() {
            // The pause ends early when the socket is closed.
            let _ = self.closing.wait_timeout(time);
        }
    }
}

impl Open {
    /// Makes one receive call. It waits until the given time, or for the socket's timeout, which gives `WouldBlock`.
    #[inline]
    fn receive(&self, buffer: &mut [u8], until: &Until) -> io::Result<(usize, SocketAddr)> {
        match until {
            Until::Forever => sys::receive(&self.socket, self.adopted, buffer),
            Until::At { at, now } => self.receive_until(buffer, *at, *now),
            Until::Now => {
                let now = Instant::now();
                self.receive_until(buffer, now, now)
            }
        }
    }

    #[inline(never)]
    fn receive_until(&self, buffer: &mut [u8], until: Instant, now: Instant) -> io::Result<(usize, SocketAddr)> {
        if until <= now && !sys::is_readable(&self.socket, self.adopted)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        lock(&self.timeouts).enter(&self.socket, until, now)?;
        let received = sys::receive(&self.socket, self.adopted, buffer);
        lock(&self.timeouts).leave(&self.socket, until);
        received
    }

    /// Whether a datagram is from the peer, or the socket has no peer. After connect(2) the system drops datagrams from
    /// other addresses, except those that had already arrived.
    fn hears(&self, from: SocketAddr) -> bool {
        !self.peer.exists() || self.peer.get().is_none_or(|peer| is_same(peer, from))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn nothing_there() -> io::Error {
    Error::call("recvmsg", &io::ErrorKind::WouldBlock.into()).into()
}

fn timed_out() -> io::Error {
    Error::of_cause(Cause::Waited, "recv timed out: nothing arrived in time").into()
}
