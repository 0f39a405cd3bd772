use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::address::canonical;
use crate::dgram::multicast::rejoin;
use crate::dgram::options::RECV_BUFFER;
use crate::dgram::receive::MAX_DATAGRAM;
use crate::dgram::send::{is_connected, not_connected};
use crate::dgram::shared::{CarriedOver, Open, Origin, Receiving, Setup, not_running};
use crate::dgram::socket::Socket;
use crate::dgram::udp::lost;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::sync::poison::{lock, write};
use crate::sys;

impl Socket {
    /// Gives the socket a peer, connect(2). [`send`](Socket::send) sends to the peer. The system drops datagrams from
    /// all other addresses.
    ///
    /// In two cases connect(2) is not called, and landline itself drops the datagrams from other addresses:
    ///
    /// - for an [adopted](super::SocketOptions::adopt) socket, because its other owners would get the peer too
    /// - for a process that may not bind the address again, because it has given up the right to a reserved port. After
    ///   connect(2) such a process could not [`disconnect`](Socket::disconnect).
    ///
    /// In these cases the datagrams from other addresses take up room in the receive buffer until they are dropped, and
    /// there is no `ECONNREFUSED`.
    ///
    /// `connect` sends nothing, so it succeeds even if no program listens at the address. If no program listens there,
    /// a later `send` succeeds, and the receive or send after it returns `ECONNREFUSED`, once. The socket stays usable.
    ///
    /// A name is looked up, which blocks as long as the resolver does. One address of a list is used, chosen as in
    /// [`send_to`](Socket::send_to). [`address`](Socket::address) does not change: if the socket is bound to a
    /// wildcard, it still returns the wildcard.
    ///
    /// # Errors
    /// - `ERR_SOCKET_DGRAM_IS_CONNECTED` if the socket has a peer. Call [`disconnect`](Socket::disconnect) first.
    /// - `ERR_SOCKET_BAD_PORT` for port 0
    /// - `EINVAL` for an address of the other family
    /// - `ENOTFOUND` for an unknown name
    /// - `ENETUNREACH` if there is no route
    /// - `EACCES` for a broadcast address, unless [`broadcast`](super::SocketOptions::broadcast) is set
    /// - `ERR_IP_BLOCKED` for an address on the [block list](super::SocketOptions::send_block_list)
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed
    #[doc(alias = "connectSync")]
    pub fn connect(&self, to: impl Into<Endpoint>) -> io::Result<()> {
        let to = self.destination("connect", &to.into().0)?;
        let setup = self.setup();
        let open = self.open()?;
        if open.peer.exists() {
            return Err(is_connected().into());
        }
        if open.adopted || !open.given && !may_bind_again(setup.local) {
            open.peer.choose(Some(to));
            return Ok(());
        }
        open.socket.connect(to).map_err(|error| Error::call("connect", &error).at(to))?;
        open.peer.set_connected(to);
        Ok(())
    }

    /// Removes the peer. The socket receives from all addresses again, at the same address and port. Blocked receivers
    /// stay blocked.
    ///
    /// Safe Rust has no call that removes a peer. So landline replaces the socket with a new one, within some
    /// microseconds, or within 1 s if receives are in progress that have yet to take a datagram. Then `disconnect`
    /// waits until no other thread holds the old socket, at most 2 s. Other calls use the new socket by then. On
    /// systems where two sockets cannot briefly have the same address, other calls wait for `disconnect`. The new
    /// socket has the same address, settings and groups. If a group cannot be joined again, or its interface for
    /// sending multicast cannot be set, for example because the interface is gone, this is
    /// [reported](crate::Report::Failed) once, and the socket no longer has it. Datagrams that had already arrived are
    /// kept and are received first, in order, also by a thread that is in a receive during the call. If the socket has
    /// a new peer when they would be received, those from other addresses are dropped. The kept datagrams have as much
    /// room as the receive buffer. If the socket connects and disconnects several times without receiving, that room
    /// may not be enough. The datagrams that do not fit are dropped and counted as [`lost`](Socket::lost).
    ///
    /// These datagrams may be lost without being counted:
    /// - multicast that arrives during the replacement
    /// - a datagram that another thread sends during the replacement, although [`send`](Socket::send) returns `Ok`
    /// - any datagram that arrives during the call, on systems where two sockets cannot briefly have the same address
    ///
    /// The port stays the same, even if the system chose it. A plain connect(2) with `AF_UNSPEC` would give up that
    /// port.
    ///
    /// # Errors
    /// - `ERR_SOCKET_DGRAM_NOT_CONNECTED` if the socket has no peer
    /// - `ENOTSUP` for an [adopted](super::SocketOptions::adopt) socket that already had a peer. Its other owners would
    ///   stay connected and would get what is sent to this socket.
    /// - `ENOTSUP` for an [owned](super::SocketOptions::own) socket, because its original settings are not known
    /// - `ENOTSUP` on Linux if the calling thread is in a different network namespace than the socket. The socket keeps
    ///   its peer. Call it on a thread of the socket's namespace.
    /// - `EACCES` if the right to bind a reserved port was given up after [`connect`](Socket::connect). The socket
    ///   keeps its peer. Give up the right before `connect`, or bind a new socket.
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed
    /// - An error whose text begins with `bind` if there is a shortage, usually of descriptors. The socket keeps its
    ///   peer, with one exception: on systems where the old socket must be closed first, a different program can take
    ///   the port. In that case the socket is closed.
    pub fn disconnect(&self) -> io::Result<()> {
        let mut not_rejoined = Vec::new();
        let (is_replaced, options, local) = {
            let (setup, open) = self.change()?;
            let is_replaced = open.peer.is_connected() && !open.given;
            if is_replaced && open.is_of_another_network() {
                return Err(in_another_network().into());
            }
            (is_replaced, setup.options.clone(), setup.local)
        };
        // It calls the program's hook, so it comes before any lock.
        let prepared = if is_replaced { options.prepare(local) } else { Err(not_connected()) };
        let done = self.replace(prepared, &mut not_rejoined);
        // The hook is called here, where no lock is held.
        for error in not_rejoined {
            self.0.reporter.tell(|| Report::Failed { connection: None, error, udp: true });
        }
        match done {
            Ok(()) => Ok(()),
            Err(Failed::AsBefore(error)) => Err(error.into()),
            Err(Failed::Closed(error)) => {
                self.close();
                Err(error.into())
            }
        }
    }

    /// Returns the peer of a connected socket.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_CONNECTED` if there is no peer, `ERR_SOCKET_DGRAM_NOT_RUNNING` once the socket is closed.
    #[doc(alias = "peer_addr", alias = "remoteAddress")]
    pub fn remote_address(&self) -> io::Result<SocketAddr> {
        Ok(self.open()?.peer.get().map(canonical).ok_or_else(not_connected)?)
    }

    /// Replaces the socket with `prepared`, a new socket that is not bound yet.
    fn replace(&self, prepared: Result<UdpSocket>, not_rejoined: &mut Vec<Error>) -> std::result::Result<(), Failed> {
        let inner = &*self.0;
        let mut setup = lock(&inner.setup);
        // Sends and receives that begin now wait for the new socket.
        let mut slot = write(&inner.slot);
        let receiving = slot.open.clone().ok_or_else(|| Failed::AsBefore(not_running()))?;
        let old = &receiving.open;
        if !old.peer.exists() {
            return Err(Failed::AsBefore(not_connected()));
        }
        if !old.peer.is_connected() {
            old.peer.choose(None);
            return Ok(());
        }
        if old.given {
            return Err(Failed::AsBefore(Error::coded("disconnect", io::ErrorKind::Unsupported, "ENOTSUP")));
        }
        let socket = prepared.map_err(Failed::AsBefore)?;
        let beside = bind_beside(&old.socket, &socket, &setup);
        if let Err(error) = &beside {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(Failed::AsBefore(error.clone()));
            }
        }
        // From here on the peer's datagrams go to the new socket, so those of the old socket can be counted. Without a
        // waker, the old socket is connected to itself, and a send in progress may come back to it.
        if old.waker().is_err() {
            let _ = old.socket.local_addr().and_then(|own| old.socket.connect(own));
        }
        await_receives(&receiving);
        let thrown_away = drain(&old.socket, &inner.carried_over);
        let inode = sys::inode(&old.socket);
        lock(&inner.losses).before +=
            thrown_away + inode.and_then(|inode| lost(inode, setup.v6, usize::MAX)).unwrap_or(0);
        slot.open = None;
        let draining = slot.drain(&receiving);
        drop(receiving);
        if beside.is_err() {
            // The address is free once the old socket is closed.
            draining.wait(Instant::now(), false);
            setup.options.bind_prepared(&socket, setup.local).map_err(Failed::Closed)?;
        }
        *not_rejoined = rejoin(&socket, &mut setup);
        slot.open = Some(Receiving::new(Open::new(socket, setup.local, Origin::Made)));
        // A thread may hold the old socket as long as it likes, in `with_raw`. Others use the new one.
        drop((slot, setup));
        draining.wait(Instant::now(), false);
        Ok(())
    }
}

/// Whether this process may bind its address again, which `disconnect` must do after connect(2). It may not if it has
/// given up the right to bind a reserved port. The address is in use, so this check binds no socket.
fn may_bind_again(local: SocketAddr) -> bool {
    !UdpSocket::bind(local).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The new socket would be made in the calling thread's network namespace, where nothing would reach it.
fn in_another_network() -> Error {
    let text = "disconnect ENOTSUP: the socket belongs to a different network namespace than this thread";
    Error::fixed(io::ErrorKind::Unsupported, "ENOTSUP", text)
}

/// The state of the socket after a failure.
enum Failed {
    AsBefore(Error),
    Closed(Error),
}

/// Binds a second socket to the address of the first, with the first socket's current settings.
fn bind_beside(old: &UdpSocket, new: &UdpSocket, setup: &Setup) -> Result<()> {
    let share = |socket: &UdpSocket, share| {
        // If this fails, bind fails too.
        let _ = sys::share_address(&SockRef::from(socket), share);
    };
    if setup.options.reuse_address {
        return setup.options.bind_prepared(new, setup.local);
    }
    share(old, true);
    share(new, true);
    let bound = setup.options.bind_prepared(new, setup.local);
    share(new, false);
    if bound.is_err() {
        share(old, false);
    }
    bound
}

/// How long `disconnect` waits at most for receives that have a datagram to take.
const TAKING: Duration = Duration::from_secs(1);

/// Waits until no receive in progress can take a datagram between two that `drain` takes, which would put it before
/// earlier ones. Each receive takes one and then waits for the new socket. If nothing has arrived, receives stay
/// blocked, and are not waited for.
fn await_receives(receiving: &Arc<Receiving>) {
    let until = Instant::now() + TAKING;
    // One is held by the slot, and one by the caller.
    while Arc::strong_count(receiving) > 2 && has_arrived(&receiving.open.socket) && Instant::now() < until {
        thread::sleep(Duration::from_micros(50));
    }
}

/// Whether a datagram has arrived. There may be datagrams behind a pending error.
fn has_arrived(socket: &UdpSocket) -> bool {
    sys::is_readable(socket, false).unwrap_or(true)
}

/// Takes out the datagrams that have arrived. Returns how many did not fit.
fn drain(socket: &UdpSocket, carried_over: &CarriedOver) -> u64 {
    let mut thrown_away = 0;
    let mut buffer = vec![0; MAX_DATAGRAM];
    let limit = SockRef::from(socket).recv_buffer_size().unwrap_or(RECV_BUFFER);
    loop {
        match sys::receive_now(socket, &mut buffer) {
            Ok((size, from)) => thrown_away += u64::from(!carried_over.push(&buffer[..size], from, limit)),
            // The peer has closed its socket. There may be datagrams in the queue after this error.
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ => return thrown_away,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc;

    use super::*;

    /// Ensures that datagrams are taken out of a socket without blocking while other threads receive from it. On
    /// Windows those make it non-blocking and blocking again.
    #[test]
    fn draining_does_not_block_beside_receives() {
        const ENOUGH: usize = 50_000;
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
        let (done, is_done) = mpsc::channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let looking = [(); 2].map(|()| {
            let (socket, has_ended) = (Arc::clone(&socket), Arc::clone(&has_ended));
            thread::spawn(move || {
                while !has_ended.load(SeqCst) {
                    assert!(!sys::is_readable(&socket, false).expect("it is open"), "nothing was sent");
                }
            })
        });
        thread::spawn(move || {
            let begin = Instant::now();
            for _ in 0..ENOUGH {
                assert_eq!(drain(&socket, &CarriedOver::default()), 0, "nothing was sent");
                // Fewer on a slow machine. A call that waits for a datagram never comes here.
                if begin.elapsed() > Duration::from_secs(5) {
                    break;
                }
            }
            done.send(())
        });
        let result = is_done.recv_timeout(Duration::from_secs(60));
        has_ended.store(true, SeqCst);
        result.expect("no call waits for a datagram");
        for looking in looking {
            looking.join().expect("it does not panic");
        }
    }
}
