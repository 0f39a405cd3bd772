//! Reading from a connection: the one place where a received byte is counted, and where the kernel's answers get their
//! meaning.

use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::error::Error;
use crate::net::socket::connection::{Connection, INTERRUPTED, PEER_ENDED, destroyed, shutting_down};
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::{Direction, IdleMark};
use crate::sync::poison::lock;
use crate::sys;

impl Connection {
    /// Reads by `call`, which reads into a buffer that is not empty; 0 means that the peer has ended. An idle time that
    /// was told of already is passed over.
    pub(crate) fn receive(
        &self,
        stream: &TcpStream,
        told: Option<IdleMark>,
        call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let n = self.look(stream, told, call)?;
        if n == 0 {
            self.flags.fetch_or(PEER_ENDED, SeqCst);
        } else {
            self.bytes_read.fetch_add(n as u64, Relaxed);
            self.timers.moved();
        }
        Ok(n)
    }

    pub(crate) fn peek(&self, stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        self.look(stream, None, || stream.peek(buf))
    }

    /// What reading and peeking have in common: the call, and what its failures mean.
    fn look(
        &self,
        stream: &TcpStream,
        told: Option<IdleMark>,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let began = self.timers.arm(stream, Direction::Read)?;
        loop {
            // Before the call too: a loop that was busy elsewhere when it was closed would empty the receive buffer.
            // What is left there makes the close send RST; with nothing left, a peer whose window is shut hears of it
            // minutes later.
            if self.is_closed() {
                return Err(destroyed("read").into());
            }
            match call() {
                Ok(_) if self.is_closed() => return Err(destroyed("read").into()),
                Ok(0) => {
                    if let Some(error) = &*lock(&self.broken) {
                        return Err(error.clone().into());
                    }
                    // The peer's end would look the same, but what is taken for the end must be one.
                    if self.has(INTERRUPTED) && !self.peer_ended() {
                        return Err(shutting_down().into());
                    }
                    return Ok(0);
                }
                Ok(n) => return Ok(n),
                Err(_) if self.is_closed() => return Err(destroyed("read").into()),
                Err(error) if is_passing(&error) => self.timers.again(stream, Direction::Read, began, told)?,
                Err(error) => return Err(self.broke("read", &error).into()),
            }
        }
    }

    /// Keeps the first error of the connection for the reads to come. EPIPE is none: it comes after another, or it is
    /// what writing to a peer that has ended in order leads to.
    pub(crate) fn broke(&self, call: &'static str, error: &io::Error) -> Error {
        if error.kind() != io::ErrorKind::BrokenPipe {
            lock(&self.broken).get_or_insert_with(|| Error::call("read", error));
        }
        Error::call(call, error)
    }
}

/// What a connection is read with until one read fills it. Connections that only wait, or whose messages are short,
/// share pages with each other then; with the large buffer between them each would have pages of its own.
const SMALL: usize = 2 * 1024;

/// The received bytes, piece by piece, in a buffer that is reused.
pub(crate) struct Chunks<'a> {
    connection: &'a Connection,
    reader: BufReader<&'a TcpStream>,
    /// How large the buffer may become.
    most: usize,
    given: usize,
    told: Option<IdleMark>,
}

impl<'a> Chunks<'a> {
    /// In pieces of at most `most` bytes, [`CHUNK`] or more.
    pub(crate) fn new(connection: &'a Connection, stream: &'a TcpStream, most: usize) -> Chunks<'a> {
        Chunks { connection, reader: BufReader::with_capacity(SMALL, stream), most, given: 0, told: None }
    }

    /// The next piece; empty at the peer's end.
    pub(crate) fn next(&mut self) -> io::Result<&[u8]> {
        let capacity = self.reader.capacity();
        if self.given == capacity && capacity < self.most {
            // There may be much more where this came from.
            let larger = if capacity < CHUNK { CHUNK } else { self.most };
            self.reader = BufReader::with_capacity(larger, *self.reader.get_ref());
        }
        self.reader.consume(self.given);
        self.given = 0;
        let (stream, reader) = (*self.reader.get_ref(), &mut self.reader);
        self.given = self.connection.receive(stream, self.told, || reader.fill_buf().map(<[u8]>::len))?;
        Ok(self.reader.buffer())
    }

    /// The piece that `next` gave last.
    pub(crate) fn last(&self) -> &[u8] {
        self.reader.buffer()
    }

    /// An idle timeout was told of: the next one only after new activity.
    pub(crate) fn idle_was_told(&mut self) {
        self.told = Some(self.connection.timers.told());
    }
}

/// Whether a call was ended by its time or by a signal: neither says anything of the connection.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || sys::is_timeout(error)
}
