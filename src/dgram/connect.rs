use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::SockRef;

use crate::address::canonical;
use crate::dgram::multicast::rejoin;
use crate::dgram::options::RECV_BUFFER;
use crate::dgram::receive::MAX_DATAGRAM;
use crate::dgram::send::{is_connected, not_connected};
use crate::dgram::shared::{CarriedOver, Open, Origin, Setup, not_running};
use crate::dgram::socket::Socket;
use crate::dgram::udp::lost;
use crate::dgram::wake::Draining;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::sync::poison::{lock, write};
use crate::sys;

impl Socket {
    /// Gives the socket a peer, connect(2). [`send`](Socket::send) sends to it. The system drops what comes from other
    /// addresses.
    ///
    /// In two cases the system is not asked, and landline drops what other addresses send. That takes up the receive
    /// buffer until it is received, and there is no `ECONNREFUSED`. One case is an
    /// [adopted](super::SocketOptions::adopt) socket, whose other owners would get the peer too. The other is a process
    /// that may not bind the address again, since it has given up the right to a reserved port, and could not
    /// [`disconnect`](Socket::disconnect).
    ///
    /// It sends nothing, so it does not fail if no program listens there. After a send to such a peer, the next receive
    /// or send returns `ECONNREFUSED`, once, and the socket stays usable. A name is looked up, which blocks as long as
    /// the resolver does. Of a list, one address is used, as in [`send_to`](Socket::send_to).
    /// [`address`](Socket::address) does not change, and a wildcard stays a wildcard.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_IS_CONNECTED` if it has a peer. [`disconnect`](Socket::disconnect) first.
    /// `ERR_SOCKET_BAD_PORT` for port 0, `EINVAL` for an address of the other family, `ENOTFOUND` for an unknown name,
    /// `ENETUNREACH` without a route, `ERR_IP_BLOCKED` for an address on the
    /// [list](super::SocketOptions::send_block_list), `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
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
    /// There is no safe call for it. So another socket replaces this one within some microseconds, on the same address,
    /// with the same settings and groups. Datagrams that had arrived are kept and received first, in order, unless
    /// there is another peer by then. They are kept up to the size of the receive buffer. Beyond it, after connecting
    /// and disconnecting several times without receiving, they are [`lost`](Socket::lost).
    ///
    /// These datagrams may be lost without being counted:
    /// - multicast that arrives during the replacement
    /// - a [`send`](Socket::send) in another thread at that moment, although it returned `Ok`
    /// - what arrives during the call, on systems where two sockets cannot have one address for a moment
    ///
    /// The port stays the same even if the system had chosen it. A plain connect(2) with `AF_UNSPEC` would give it up.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_CONNECTED` if there is no peer. `ENOTSUP` for an [adopted](super::SocketOptions::adopt)
    /// socket that came with its peer, since its other owners would stay connected and get what is sent to this one.
    /// `ENOTSUP` too for an [owned](super::SocketOptions::own) one, since the settings that it came with are not known.
    /// `EACCES` if the right to bind a reserved port was given up since [`connect`](Socket::connect). The socket keeps
    /// its peer then. Give the right up before, or bind a new socket. `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed. A
    /// code of `bind` is a shortage, usually of descriptors, and nothing has changed. On systems where the old socket
    /// must be closed first, another program can take the port in between. Then the socket is closed.
    pub fn disconnect(&self) -> io::Result<()> {
        let mut not_rejoined = Vec::new();
        let is_replaced = {
            let open = self.open()?;
            open.peer.is_connected() && !open.given
        };
        let (options, local) = {
            let setup = self.setup();
            (setup.options.clone(), setup.local)
        };
        // It calls code of the program's, so it comes before any lock.
        let prepared = if is_replaced { options.prepare(local) } else { Err(not_connected()) };
        let done = self.replace(prepared, &mut not_rejoined);
        // The hook is called now that no lock is held.
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

    /// The peer of a connected socket.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_CONNECTED` if there is none, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "peer_addr", alias = "remoteAddress")]
    pub fn remote_address(&self) -> io::Result<SocketAddr> {
        Ok(self.open()?.peer.get().map(canonical).ok_or_else(not_connected)?)
    }

    /// `prepared` is the new socket, which is not bound yet.
    fn replace(&self, prepared: Result<UdpSocket>, not_rejoined: &mut Vec<Error>) -> std::result::Result<(), Failed> {
        let inner = &*self.0;
        let setup = lock(&inner.setup);
        // Held to the end. Sends and receives that begin now wait for the new socket.
        let mut slot = write(&inner.slot);
        let old = slot.open.clone().ok_or_else(|| Failed::AsBefore(not_running()))?;
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
        // From here on the peer's datagrams go to the new socket, and those of the old one can be counted. Without a
        // waker the old one is connected to itself, and a send in progress may come back.
        if old.waker().is_err() {
            let _ = old.socket.local_addr().and_then(|own| old.socket.connect(own));
        }
        let thrown_away = drain(&old.socket, &inner.carried_over);
        let inode = sys::inode(&old.socket);
        lock(&inner.losses).before +=
            thrown_away + inode.and_then(|inode| lost(inode, setup.v6, usize::MAX)).unwrap_or(0);
        slot.open = None;
        let draining = Draining::new(&old);
        drop(old);
        draining.wait();

        if beside.is_err() {
            setup.options.bind_prepared(&socket, setup.local).map_err(Failed::Closed)?;
        }
        *not_rejoined = rejoin(&socket, &setup);
        slot.open = Some(Arc::new(Open::new(socket, setup.local, Origin::Made)));
        Ok(())
    }
}

/// Whether this process may bind its address again, as `disconnect` has to after connect(2). It may not if it has given
/// up the right to bind a reserved port. This binds no socket, since the address is in use.
fn may_bind_again(local: SocketAddr) -> bool {
    !UdpSocket::bind(local).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The state after a failure.
enum Failed {
    AsBefore(Error),
    Closed(Error),
}

/// Binds a second socket to the address of the first, with the current settings of the first.
fn bind_beside(old: &UdpSocket, new: &UdpSocket, setup: &Setup) -> Result<()> {
    let share = |socket: &UdpSocket, share| {
        // If this fails, so will bind.
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

/// Takes out the datagrams that have arrived. Returns how many did not fit.
fn drain(socket: &UdpSocket, carried_over: &CarriedOver) -> u64 {
    let mut thrown_away = 0;
    let mut buffer = vec![0; MAX_DATAGRAM];
    if socket.set_nonblocking(true).is_err() {
        return thrown_away;
    }
    let limit = SockRef::from(socket).recv_buffer_size().unwrap_or(RECV_BUFFER);
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((size, from)) => thrown_away += u64::from(!carried_over.push(&buffer[..size], from, limit)),
            // The peer has closed its socket. Datagrams may stand behind this error.
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ => return thrown_away,
            },
        }
    }
}
