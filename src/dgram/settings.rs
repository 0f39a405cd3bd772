//! Settings that can be changed on an open socket. The functions of `udp` change them. The methods here also record
//! each setting, so that `disconnect` can apply it to the new socket.

use std::io;
use std::sync::Arc;

use socket2::SockRef;

use crate::dgram::shared::{Open, Setup};
use crate::dgram::socket::Socket;
use crate::dgram::udp;
use crate::error::{Error, Result};
use crate::sync::poison::Guard;

impl Socket {
    /// Allows or forbids sending to broadcast addresses, `SO_BROADCAST`. Without this setting, sending to such an
    /// address fails with `EACCES`. Default: no.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setBroadcast")]
    pub fn set_broadcast(&self, allow: bool) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::broadcast(&open.socket, allow)?;
        setup.options.broadcast = Some(allow);
        Ok(())
    }

    /// Sets how many routers a datagram may pass, 1 to 255. The socket option is `IP_TTL` or `IPV6_UNICAST_HOPS`.
    /// Default: the system's, mostly 64.
    ///
    /// # Errors
    /// `EINVAL` outside of 1 to 255, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setTTL", alias = "set_ttl_v4", alias = "set_unicast_hops_v6")]
    pub fn set_ttl(&self, hops: u32) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::ttl(&open.socket, setup.v6, hops)?;
        setup.options.ttl = Some(hops);
        Ok(())
    }

    /// Sets how many routers a multicast datagram may pass, 0 to 255. The socket option is `IP_MULTICAST_TTL` or
    /// `IPV6_MULTICAST_HOPS`. Default: 1. With 1, datagrams stay in the local network. With 0 they should stay on this
    /// machine. On Linux they do so only if this machine is a member of the group on the sending interface.
    ///
    /// # Errors
    /// `EINVAL` for more than 255, `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setMulticastTTL", alias = "set_multicast_ttl_v4", alias = "set_multicast_hops_v6")]
    pub fn set_multicast_ttl(&self, hops: u32) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::multicast_ttl(&open.socket, setup.v6, hops)?;
        setup.options.multicast_ttl = Some(hops);
        Ok(())
    }

    /// Sets whether this socket's multicast datagrams also go to group members on this machine. The socket option is
    /// `IP_MULTICAST_LOOP` or `IPV6_MULTICAST_LOOP`. Default: yes. The setting makes no difference on the loopback
    /// interface. On Windows the setting of the receiving socket decides.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setMulticastLoopback", alias = "set_multicast_loop_v4", alias = "set_multicast_loop_v6")]
    pub fn set_multicast_loop(&self, on: bool) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::multicast_loop(&open.socket, setup.v6, on)?;
        setup.options.multicast_loop = Some(on);
        Ok(())
    }

    /// Returns how many received bytes the system may hold for the program, as the system reports it, `SO_RCVBUF`.
    /// Linux reports twice what it granted, because it adds room for its own bookkeeping.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "getRecvBufferSize")]
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        let size = SockRef::from(&self.open()?.socket).recv_buffer_size();
        Ok(size.map_err(|error| Error::buffer_size(udp::RECV, &Error::call(udp::RECV, &error)))?)
    }

    /// Asks for a receive buffer of this size, `SO_RCVBUF`. The system may grant less without an error.
    /// [`recv_buffer_size`](Self::recv_buffer_size) returns what it granted. Default: 4 MiB, or as much of it as the
    /// system grants.
    ///
    /// # Errors
    /// `ERR_SOCKET_BAD_BUFFER_SIZE` for 0, `ERR_SOCKET_BUFFER_SIZE` if the system refuses,
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setRecvBufferSize")]
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::recv_buffer_size(&open.socket, bytes)?;
        setup.options.recv_buffer_size = Some(bytes);
        Ok(())
    }

    /// Returns how many bytes the system may hold until they are sent, as the system reports it, `SO_SNDBUF`. Linux
    /// reports twice what it granted.
    ///
    /// # Errors
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "getSendBufferSize")]
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        let size = SockRef::from(&self.open()?.socket).send_buffer_size();
        Ok(size.map_err(|error| Error::buffer_size(udp::SEND, &Error::call(udp::SEND, &error)))?)
    }

    /// Asks for a send buffer of this size, `SO_SNDBUF`. [`send_buffer_size`](Self::send_buffer_size) returns what the
    /// system granted. Default: the system's, but at least 65,535.
    ///
    /// # Errors
    /// `ERR_SOCKET_BAD_BUFFER_SIZE` for 0, `ERR_SOCKET_BUFFER_SIZE` if the system refuses,
    /// `ERR_SOCKET_DGRAM_NOT_RUNNING` once closed.
    #[doc(alias = "setSendBufferSize")]
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        let (mut setup, open) = self.change()?;
        udp::send_buffer_size(&open.socket, bytes)?;
        setup.options.send_buffer_size = Some(bytes);
        Ok(())
    }

    /// Locks the socket and its recorded settings for one change. No other change can come in between.
    pub(crate) fn change(&self) -> Result<(Guard<'_, Setup>, Arc<Open>)> {
        let setup = self.setup();
        Ok((setup, self.open()?))
    }
}
