//! Connections that come through a load balancer: who may say whose they are, and how long they have to do so.

pub(crate) mod header;

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

use crate::address::Address;
use crate::block_list::BlockList;
use crate::error::{Error, Result};
use crate::net::proxy::header::{Header, Source, receive};
use crate::sync::deadline::Deadline;
use crate::sys;

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
    let mut timed = Timed { stream, time, end: time.map_or(Deadline::NEVER, Deadline::after) };
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
    end: Deadline,
}

impl Source for Timed<'_> {
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.end.is_over() {
                let text = format!("No PROXY header within {:?}", self.time.unwrap_or_default());
                return Err(Error::fixed(io::ErrorKind::TimedOut, "ERR_PROXY_TIMEOUT", text).into());
            }
            let time = self.end.left().into_iter().chain(sys::SLICE).min();
            if time.is_some() {
                self.stream.set_read_timeout(time)?;
            }
            match self.stream.peek(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted || sys::is_timeout(&error) => {}
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
