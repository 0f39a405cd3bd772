//! Connections that come through a load balancer: who may say whose they are, and how long they have to do so.

pub(crate) mod header;

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::block_list::BlockList;
use crate::error::{Error, Result};
use crate::net::proxy::header::{Header, Source, receive};
use crate::net::server::listen::ServerOptions;
use crate::net::socket::read::is_passing;
use crate::sys;

/// Behind load balancers.
impl ServerOptions {
    /// The server stands behind load balancers, whose addresses are on this list: a match means trusted here, not
    /// blocked. Each connection has to begin with a header of the PROXY protocol, version 1 or 2 (HAProxy's
    /// `send-proxy` and `send-proxy-v2`, nginx's `proxy_protocol on`), which says whose it is. The rules may be changed
    /// while the server runs. Default: none; no header is expected then.
    ///
    /// [`remote_address`](crate::net::Socket::remote_address) is then the client's address, and
    /// [`local_address`](crate::net::Socket::local_address) the one it connected to, as the header has them; so are those in
    /// reports. [`proxy_address`](crate::net::Socket::proxy_address) is the load balancer's. The
    /// [`block_list`](Self::block_list) and [`max_connections_per_address`](Self::max_connections_per_address) are for
    /// clients, and never for load balancers. Where the header names nobody (`LOCAL`, which a load balancer's own
    /// checks say, `UNKNOWN`, an unspecified family), the addresses are those of the connection, and both lists are
    /// passed over.
    ///
    /// A connection from any other address is closed as soon as it is accepted, before anything of it is read: whoever
    /// can write a header could take any address. An empty list so refuses everybody. A Unix socket has no addresses;
    /// there everybody is trusted whom the rights of its file let in, and has to send a header too.
    ///
    /// The header is read on the thread that will serve the connection, or that has called
    /// [`accept`](crate::net::Server::accept), which blocks for it. It is bounded by [`proxy_timeout`](Self::proxy_timeout),
    /// by 107 bytes (version 1) and by 4096 (version 2). Meanwhile the connection takes a slot of
    /// [`max_connections`](Self::max_connections) and holds up nobody else; it does not count as
    /// [accepted](crate::net::Stats::accepted) yet. When the header is wrong or late, it is closed and never seen by a
    /// handler: it counts as [refused](crate::net::RefusedStats), by cause; `refused` is told, and what was wrong is
    /// [reported](crate::Report::Failed). [`close`](crate::net::Server::close) leaves it its time;
    /// [`shutdown`](crate::net::Server::shutdown), and dropping the server's [`events`](crate::net::Server::events), leave it the
    /// header that has arrived, and no more. The first byte that is read of the connection is the one behind the header,
    /// and [`bytes_read`](crate::net::Socket::bytes_read), like the connection's [`timeout`](Self::timeout) and
    /// [`deadline`](Self::deadline), begins there.
    ///
    /// What a header of version 2 says besides is passed over, but for a checksum (CRC32C), which has to be right.
    ///
    /// ```
    /// use landline::BlockList;
    /// use landline::net::{ServerOptions, Socket};
    ///
    /// let balancers = BlockList::new();
    /// balancers.add_cidr("127.0.0.0/8")?;
    /// let server = ServerOptions::new().proxy_protocol(&balancers).listen("127.0.0.1:0")?;
    ///
    /// let balancer = Socket::connect(server.address())?;
    /// balancer.write_all("PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\nhello")?;
    ///
    /// let socket = server.accept()?.expect("the server is open");
    /// assert_eq!(socket.remote_address().to_string(), "192.0.2.7:56324");
    /// assert_eq!(socket.local_address().to_string(), "192.0.2.1:443");
    /// assert_eq!(socket.proxy_address(), Some(balancer.local_address()));
    /// let mut first = [0; 5];
    /// socket.read_exact(&mut first)?;
    /// assert_eq!(&first, b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "send-proxy")]
    pub fn proxy_protocol(mut self, trusted: &BlockList) -> ServerOptions {
        self.trusted = Some(Trusted(trusted.clone()));
        self
    }

    /// How long after a connection was accepted its PROXY header may take, however few bytes of it come at a time.
    /// `None` or zero: as long as the load balancer likes. Default: 5 s; less than three is too little for a packet
    /// that was lost.
    pub fn proxy_timeout(mut self, time: impl Into<Option<Duration>>) -> ServerOptions {
        self.proxy_timeout = time.into();
        self
    }
}

/// How long a header may take, if nobody has said otherwise. It comes with the connection; a lost packet is sent again
/// after one second, and again after three.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Who may send a header. It has to.
#[derive(Debug, Clone)]
pub(crate) struct Trusted(pub(crate) BlockList);

impl Trusted {
    /// Whether a connection from there may say whose it is. Who connects to a Unix socket was let in by the rights of
    /// its file. (A TCP client that is gone already may have no address; it is nobody's.)
    pub(crate) fn check(&self, from: &Address, server: &Address) -> bool {
        from.ip().map_or(server.path().is_some(), |ip| self.0.check(ip))
    }
}

/// Reads the header of a connection from `from`, not a byte more, and leaves the stream without a timeout. Blocks until
/// it is there, at most for `time`; without one, for as long as the sender likes.
///
/// # Errors
/// `TimedOut`; `InvalidData` if it is wrong; the stream's own, its end among them. Each names `from`.
pub(crate) fn header(stream: &TcpStream, from: &Address, time: Option<Duration>) -> Result<Header> {
    let time = time.filter(|time| !time.is_zero());
    let mut timed = Timed { stream, time, end: time.and_then(|time| Instant::now().checked_add(time)) };
    let header = receive(&mut timed).and_then(|header| {
        if time.is_some() || sys::SLICE.is_some() {
            stream.set_read_timeout(None)?;
        }
        Ok(header)
    });
    header.map_err(|error| Error::call("read", &error).of_peer(from))
}

struct Timed<'a> {
    stream: &'a TcpStream,
    time: Option<Duration>,
    end: Option<Instant>,
}

impl Source for Timed<'_> {
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let text = format!("No PROXY header within {:?}", self.time.unwrap_or_default());
                return Err(Error::fixed(io::ErrorKind::TimedOut, "ERR_PROXY_TIMEOUT", text).into());
            }
            let time = left.into_iter().chain(sys::SLICE).min();
            if time.is_some() {
                self.stream.set_read_timeout(time)?;
            }
            match self.stream.peek(buf) {
                Err(error) if is_passing(&error) => {}
                result => return result,
            }
        }
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            // It is there, so this blocks for no time.
            match (&mut self.stream).read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}
