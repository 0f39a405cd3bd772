use crate::net::server::Server;
use crate::sys;

impl Server {
    /// How many clients the kernel has connected and nobody has accepted yet, those in the
    /// [backlog](crate::net::ServerOptions::backlog). On Linux, from /proc/net/tcp and tcp6; `None` elsewhere, where /proc is not to be
    /// read, of a Unix socket, and once closed.
    ///
    /// It takes reading a table of all sockets, so once a second is often enough. A number that stays up says that accepting does not
    /// keep up, or waits: for a slot ([`WhenFull::Wait`](crate::net::WhenFull::Wait)), or for a descriptor.
    pub fn queued(&self) -> Option<usize> {
        let listener = self.inner.listener()?;
        // A listener on an IPv4 address may be a socket of IPv6.
        let row = ["tcp", "tcp6"].into_iter().find_map(|table| sys::table_row(&*listener, table))?;
        // The column is tx_queue:rx_queue, in hexadecimal; of a listener the second is the length of its queue.
        let (_, queued) = row.split_whitespace().nth(4)?.split_once(':')?;
        usize::from_str_radix(queued, 16).ok()
    }
}
