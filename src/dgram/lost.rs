use std::net::UdpSocket;

use super::socket::Socket;
use crate::sys;

impl Socket {
    /// How many datagrams the system has thrown away that had reached this socket, mostly because its receive buffer
    /// was full. On Linux, from the last column of /proc/net/udp and udp6; `None` elsewhere, where /proc is not to be
    /// read, and once closed.
    ///
    /// What was lost on the way here is not in it. It takes reading a table of all sockets, so once a second is often
    /// enough.
    pub fn lost(&self) -> Option<u64> {
        let setup = self.setup();
        let open = self.open().ok()?;
        Some(setup.lost_before + lost(&open.socket, setup.v6)?)
    }
}

/// What this one socket has lost.
pub(super) fn lost(socket: &UdpSocket, v6: bool) -> Option<u64> {
    let row = sys::table_row(socket, if v6 { "udp6" } else { "udp" })?;
    row.split_whitespace().last()?.parse().ok()
}
