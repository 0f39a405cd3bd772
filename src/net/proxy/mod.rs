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

/// A header that is being received, from the moment its connection was accepted.
pub(crate) struct Receiving {
    /// How long it may take, and until when.
    time: Option<Duration>,
    end: Deadline,
    /// What was read of it, for callers that may have to stop in the middle.
    taken: Vec<u8>,
    /// A caller has stopped before, so the header may have come in time, while none waited for it.
    is_resumed: bool,
}

impl Receiving {
    /// For at most `time`; without one, for as long as the sender likes.
    pub(crate) fn new(time: Option<Duration>) -> Receiving {
        let time = time.filter(|time| !time.is_zero());
        let end = time.map_or(Deadline::NEVER, Deadline::after);
        Receiving { time, end, taken: Vec::new(), is_resumed: false }
    }

    /// Reads the header of a connection from `from`, not a byte more, and leaves the stream without a timeout. Blocks
    /// until it is there, its time is up, or `until`: then it gives `None`, and goes on when it is called again.
    ///
    /// # Errors
    /// `TimedOut`; `InvalidData` if it is wrong; the stream's own, its end among them. Each names `from`.
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
    /// How much was read again of what had been taken before.
    replayed: usize,
    receiving: &'a mut Receiving,
}

/// No timeout is shorter: zero would be none.
const SHORTEST: Duration = Duration::from_millis(1);

impl Timed<'_> {
    /// What was taken before, and is to be read again.
    fn replay(&mut self, buf: &mut [u8]) -> Option<usize> {
        let left = &self.receiving.taken[self.replayed..];
        let length = left.len().min(buf.len());
        buf[..length].copy_from_slice(&left[..length]);
        (length > 0).then_some(length)
    }

    /// Looks once, without waiting.
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
                        // On Windows a timeout is another error.
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
            // It is there, so this blocks for no time.
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
