//! Connections through a load balancer: which senders are trusted, and how long a header may take.

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

/// The default time for a header, which is sent with the connection. A lost packet is sent again after one second, and
/// once more after three.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses that may and must send a header.
#[derive(Debug, Clone)]
pub(crate) struct Trusted(pub(crate) BlockList);

impl Trusted {
    /// Whether a connection from this address is trusted. On a Unix socket, the permissions of its file have decided
    /// that. A TCP client that is gone already may have no address, and is not trusted.
    pub(crate) fn check(&self, from: &Address, server: &Address) -> bool {
        from.ip().map_or(server.path().is_some(), |ip| self.0.check(ip))
    }
}

/// A header that is being received, from the moment its connection was accepted.
pub(crate) struct Receiving {
    /// How long the header may take, and until when.
    time: Option<Duration>,
    end: Deadline,
    /// The part of the header that was read, for callers that may have to stop in the middle.
    taken: Vec<u8>,
    /// Whether a caller has stopped before. If so, the header may have arrived in time while no caller waited for it.
    is_resumed: bool,
}

impl Receiving {
    /// Begins to receive a header, which may take at most `time`, or forever with `None`.
    pub(crate) fn new(time: Option<Duration>) -> Receiving {
        let time = time.filter(|time| !time.is_zero());
        let end = time.map_or(Deadline::NEVER, Deadline::after);
        Receiving { time, end, taken: Vec::new(), is_resumed: false }
    }

    /// Reads the header of a connection from the address `from`, and not a byte more. Leaves the stream without a
    /// timeout. Blocks until the header is complete, its time has expired, or `until` has passed. In the last case it
    /// returns `None`, and the next call continues.
    ///
    /// # Errors
    /// `TimedOut`, `InvalidData` if the header is wrong, and the errors of the stream, including its end. Each names
    /// `from`.
    pub(crate) fn receive(&mut self, stream: &TcpStream, from: &Address, until: Deadline) -> Result<Option<Header>> {
        let is_timed = self.time.is_some() || sys::SLICE.is_some() || until != Deadline::NEVER;
        let header = match receive(&mut Timed { stream, until, replayed: 0, receiving: self }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            header => header.map(Some),
        };
        let header = header.and_then(|header| {
            if is_timed {
                stream.set_read_timeout(None)?;
            }
            self.is_resumed = header.is_none();
            Ok(header)
        });
        header.map_err(|error| Error::call("read", &error).of_peer(from))
    }
}

struct Timed<'a> {
    stream: &'a TcpStream,
    /// When the caller stops.
    until: Deadline,
    /// How many bytes of `taken` were read again.
    replayed: usize,
    receiving: &'a mut Receiving,
}

/// The shortest timeout, because zero would mean no timeout.
const SHORTEST: Duration = Duration::from_millis(1);

impl Timed<'_> {
    /// Returns bytes that were read in an earlier call and must be read again.
    fn replay(&mut self, buf: &mut [u8]) -> Option<usize> {
        let left = &self.receiving.taken[self.replayed..];
        let length = left.len().min(buf.len());
        buf[..length].copy_from_slice(&left[..length]);
        (length > 0).then_some(length)
    }

    /// Checks once, without waiting.
    fn look(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let seen = self.stream.peek(buf);
        self.stream.set_nonblocking(false)?;
        seen
    }
}

impl Source for Timed<'_> {
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(length) = self.replay(buf) {
            return Ok(length);
        }
        loop {
            if self.receiving.end.is_over() {
                if std::mem::take(&mut self.receiving.is_resumed) {
                    match self.look(buf) {
                        // On Windows a timeout is a different error.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock || sys::is_passing(&error) => {}
                        result => return result,
                    }
                }
                let text = format!("No PROXY header within {:?}", self.receiving.time.unwrap_or_default());
                return Err(Error::fixed(io::ErrorKind::TimedOut, "ERR_PROXY_TIMEOUT", text).into());
            }
            if self.until.is_over() {
                return self.look(buf);
            }
            let end = self.receiving.end.min(self.until);
            if let Some(time) = sys::SLICE.map_or(end, |slice| end.or_after(slice)).left() {
                self.stream.set_read_timeout(Some(time.max(SHORTEST)))?;
            }
            match self.stream.peek(buf) {
                Err(error) if sys::is_passing(&error) => {}
                result => return result,
            }
        }
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(length) = self.replay(buf) {
            self.replayed += length;
            return Ok(length);
        }
        loop {
            // The data is there, so this does not block.
            match (&mut self.stream).read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) if self.until != Deadline::NEVER => {
                    self.receiving.taken.extend(&buf[..length]);
                    self.replayed += length;
                    return Ok(length);
                }
                result => return result,
            }
        }
    }
}
