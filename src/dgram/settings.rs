//! What can be changed on a live socket. The functions at the end do it; the methods also remember it, for the socket
//! that `disconnect` puts in the place of this one.

use std::io;
use std::net::UdpSocket;

use socket2::SockRef;

use super::options::is_dual_stack;
use super::socket::{Setup, Socket};
use crate::error::{Error, Result};

impl Socket {
    /// Allows or forbids sending to broadcast addresses, `SO_BROADCAST`. Without it such a send is `EACCES`. Default:
    /// no.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setBroadcast")]
    pub fn set_broadcast(&self, allow: bool) -> Result<()> {
        self.set(|socket, setup| {
            broadcast(socket, allow)?;
            setup.options.broadcast = Some(allow);
            Ok(())
        })
    }

    /// Sets how many routers a datagram may pass, 1 to 255: `IP_TTL`, `IPV6_UNICAST_HOPS`. Default: the system's,
    /// mostly 64.
    ///
    /// # Errors
    /// `EINVAL` outside of 1 to 255, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setTTL", alias = "set_ttl_v4", alias = "set_unicast_hops_v6")]
    pub fn set_ttl(&self, hops: u32) -> Result<()> {
        self.set(|socket, setup| {
            ttl(socket, setup.v6, hops)?;
            setup.options.ttl = Some(hops);
            Ok(())
        })
    }

    /// Sets how many routers a multicast datagram may pass, 0 to 255: `IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`.
    /// Default: 1, so that none leaves the local network. With 0 none is to leave this machine; do not rely on it on
    /// Linux, which looks at it only where this machine is itself a member of the group, on the interface that is sent
    /// by.
    ///
    /// # Errors
    /// `EINVAL` for more than 255, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setMulticastTTL", alias = "set_multicast_ttl_v4", alias = "set_multicast_hops_v6")]
    pub fn set_multicast_ttl(&self, hops: u32) -> Result<()> {
        self.set(|socket, setup| {
            multicast_ttl(socket, setup.v6, hops)?;
            setup.options.multicast_ttl = Some(hops);
            Ok(())
        })
    }

    /// Sets whether members on this machine get this socket's multicast datagrams too: `IP_MULTICAST_LOOP`,
    /// `IPV6_MULTICAST_LOOP`. Default: yes. It makes no difference on the loopback interface, and Windows looks at the
    /// receiving socket's setting instead.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setMulticastLoopback", alias = "set_multicast_loop_v4", alias = "set_multicast_loop_v6")]
    pub fn set_multicast_loop(&self, on: bool) -> Result<()> {
        self.set(|socket, setup| {
            multicast_loop(socket, setup.v6, on)?;
            setup.options.multicast_loop = Some(on);
            Ok(())
        })
    }

    /// How many bytes the system keeps until they are received, as it reports it: `SO_RCVBUF`. Linux reports double of
    /// what it granted, for its own needs.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "getRecvBufferSize")]
    pub fn recv_buffer_size(&self) -> Result<usize> {
        let size = SockRef::from(&self.open()?.socket).recv_buffer_size();
        size.map_err(|error| Error::buffer_size(RECV, &Error::call(RECV, &error)))
    }

    /// Asks for another receive buffer, `SO_RCVBUF`. [`recv_buffer_size`](Self::recv_buffer_size) says what was
    /// granted, which may be less without an error. Default: 4 MiB, or as much of it as the system grants.
    ///
    /// # Errors
    /// `ERR_SOCKET_BAD_BUFFER_SIZE` for 0, `ERR_SOCKET_BUFFER_SIZE` if the system refuses,
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setRecvBufferSize")]
    pub fn set_recv_buffer_size(&self, bytes: usize) -> Result<()> {
        self.set(|socket, setup| {
            recv_buffer_size(socket, bytes)?;
            setup.options.recv_buffer_size = Some(bytes);
            Ok(())
        })
    }

    /// How many bytes the system keeps until they are sent, as it reports it: `SO_SNDBUF`. Linux reports double of what
    /// it granted.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "getSendBufferSize")]
    pub fn send_buffer_size(&self) -> Result<usize> {
        let size = SockRef::from(&self.open()?.socket).send_buffer_size();
        size.map_err(|error| Error::buffer_size(SEND, &Error::call(SEND, &error)))
    }

    /// Asks for another send buffer, `SO_SNDBUF`. [`send_buffer_size`](Self::send_buffer_size) says what was granted.
    /// Default: the system's, or 65,535 where that is less.
    ///
    /// # Errors
    /// `ERR_SOCKET_BAD_BUFFER_SIZE` for 0, `ERR_SOCKET_BUFFER_SIZE` if the system refuses,
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setSendBufferSize")]
    pub fn set_send_buffer_size(&self, bytes: usize) -> Result<()> {
        self.set(|socket, setup| {
            send_buffer_size(socket, bytes)?;
            setup.options.send_buffer_size = Some(bytes);
            Ok(())
        })
    }

    /// Changes the socket and what is remembered of it, with no other change in between.
    pub(super) fn set<T>(&self, change: impl FnOnce(&UdpSocket, &mut Setup) -> Result<T>) -> Result<T> {
        let mut setup = self.setup();
        let open = self.open()?;
        change(&open.socket, &mut setup)
    }
}

/// The system calls' names in the errors of the buffer sizes, where Node shows libuv's.
const RECV: &str = "uv_recv_buffer_size";
const SEND: &str = "uv_send_buffer_size";

pub(super) fn recv_buffer_size(socket: &UdpSocket, bytes: usize) -> Result<()> {
    buffer_size(RECV, bytes, || SockRef::from(socket).set_recv_buffer_size(bytes))
}

pub(super) fn send_buffer_size(socket: &UdpSocket, bytes: usize) -> Result<()> {
    buffer_size(SEND, bytes, || SockRef::from(socket).set_send_buffer_size(bytes))
}

pub(super) fn check_buffer_size(bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Err(Error::invalid("ERR_SOCKET_BAD_BUFFER_SIZE", "Buffer size must be a positive integer"));
    }
    Ok(())
}

fn buffer_size(call: &'static str, bytes: usize, set: impl FnOnce() -> io::Result<()>) -> Result<()> {
    check_buffer_size(bytes)?;
    // The system takes a C int; a larger number would arrive as a negative one.
    let set = match i32::try_from(bytes) {
        Ok(_) => set().map_err(|error| Error::call(call, &error)),
        Err(_) => Err(invalid(call)),
    };
    set.map_err(|error| Error::buffer_size(call, &error))
}

pub(super) fn broadcast(socket: &UdpSocket, allow: bool) -> Result<()> {
    socket.set_broadcast(allow).map_err(|error| Error::call("setBroadcast", &error))
}

pub(super) fn ttl(socket: &UdpSocket, v6: bool, hops: u32) -> Result<()> {
    const CALL: &str = "setTTL";
    if !(1..=255).contains(&hops) {
        return Err(invalid(CALL));
    }
    let set_v4 = || SockRef::from(socket).set_ttl_v4(hops);
    let set_v6 = || SockRef::from(socket).set_unicast_hops_v6(hops);
    both(socket, v6, CALL, set_v4, set_v6)
}

pub(super) fn multicast_ttl(socket: &UdpSocket, v6: bool, hops: u32) -> Result<()> {
    const CALL: &str = "setMulticastTTL";
    if hops > 255 {
        return Err(invalid(CALL));
    }
    let set_v4 = || SockRef::from(socket).set_multicast_ttl_v4(hops);
    let set_v6 = || SockRef::from(socket).set_multicast_hops_v6(hops);
    both(socket, v6, CALL, set_v4, set_v6)
}

pub(super) fn multicast_loop(socket: &UdpSocket, v6: bool, on: bool) -> Result<()> {
    let set_v4 = || SockRef::from(socket).set_multicast_loop_v4(on);
    let set_v6 = || SockRef::from(socket).set_multicast_loop_v6(on);
    both(socket, v6, "setMulticastLoopback", set_v4, set_v6)
}

/// Sets an option of the socket's family; on a dual-stack socket IPv4's too, as far as the system lets one.
fn both(
    socket: &UdpSocket,
    v6: bool,
    call: &'static str,
    set_v4: impl Fn() -> io::Result<()>,
    set_v6: impl Fn() -> io::Result<()>,
) -> Result<()> {
    let set = if v6 { set_v6() } else { set_v4() };
    if v6 && is_dual_stack(socket) {
        // Linux and Windows have IPv4's options on an IPv6 socket, others not; there is nothing else to be done there.
        let _ = set_v4();
    }
    set.map_err(|error| Error::call(call, &error))
}

/// What the system would say.
fn invalid(call: &'static str) -> Error {
    Error::coded(call, io::ErrorKind::InvalidInput, "EINVAL")
}
