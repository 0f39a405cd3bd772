use std::io::{self, BufRead, Read};

use crate::net::socket::Socket;

/// The lines a peer sends: an iterator of `io::Result<String>`, without the line end, LF or CRLF. Made by
/// [`Socket::lines`].
///
/// Each step blocks until a whole line has arrived, or the peer's end; what stands before the end without a line end is
/// the last line. A line that is longer than the limit, not counting its end, is an error of kind `InvalidData`, and
/// the last step: where the next line starts is not known then. One that is not UTF-8 is an error of the same kind, and
/// the next line follows. After a step that timed out, nothing is lost: the next one goes on where it stopped. Any
/// other error is the last step.
///
/// What was received beyond the line is kept here and not in the socket, so read on from here: it is a [`BufRead`].
///
/// ```
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let socket = Socket::connect(server.address())?;
/// let client = server.accept()?.expect("the server is open");
///
/// socket.write_end("one\r\ntwo\nthree")?;
/// let lines: Result<Vec<_>, _> = client.lines().collect();
/// assert_eq!(lines?, ["one", "two", "three"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Lines {
    socket: Socket,
    max: usize,
    /// Received and not given out yet: the part from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// No line end stands before this.
    searched: usize,
    over: bool,
}

impl Socket {
    /// The lines that arrive, each at most 64 KiB; see [`Lines`].
    pub fn lines(&self) -> Lines {
        Lines::new(self.clone(), Lines::MAX)
    }

    /// The lines that arrive, each at most `max` bytes; see [`Lines`].
    pub fn lines_max(&self, max: usize) -> Lines {
        Lines::new(self.clone(), max)
    }
}

impl Lines {
    /// The limit of [`Socket::lines`], in bytes.
    pub(crate) const MAX: usize = 64 * 1024;

    pub(crate) fn new(socket: Socket, max: usize) -> Lines {
        Lines { socket, max, buffer: Vec::new(), start: 0, searched: 0, over: false }
    }

    /// Takes the next line out of the buffer, reading on until there is one; `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
            let length = end.unwrap_or(self.buffer.len()) - self.start;
            let carriage_return = usize::from(length > 0 && self.buffer[self.start + length - 1] == b'\r');
            if length - carriage_return > self.max {
                return Err(self.too_long());
            }
            if let Some(end) = end {
                let line = self.buffer[self.start..end - carriage_return].to_vec();
                self.take(length + 1);
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.fill_more()? == 0 {
                self.over = true;
                let line = self.buffer[self.start..].to_vec();
                // Its CR, if it has one, was no part of a line end after all.
                if line.len() > self.max {
                    return Err(self.too_long());
                }
                self.take(line.len());
                return Ok(if line.is_empty() { None } else { Some(line) });
            }
        }
    }

    fn too_long(&mut self) -> io::Error {
        self.over = true;
        io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {} bytes", self.max))
    }

    /// Reads once, behind what is there.
    fn fill_more(&mut self) -> io::Result<usize> {
        const STEP: usize = 8 * 1024;
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + STEP, 0);
        let result = self.socket.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + result.as_ref().unwrap_or(&0));
        result
    }

    fn take(&mut self, n: usize) {
        self.start += n;
        self.searched = self.start;
    }
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        if self.over {
            return None;
        }
        match self.next_line() {
            Ok(line) => line
                .map(|line| String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))),
            Err(error) => {
                self.over |= error.kind() != io::ErrorKind::TimedOut;
                Some(Err(error))
            }
        }
    }
}

/// Reads first what was received beyond the last line.
impl Read for Lines {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = (&self.buffer[self.start..]).read(buf)?;
        if n > 0 || buf.is_empty() {
            self.take(n);
            return Ok(n);
        }
        self.socket.read(buf)
    }
}

impl BufRead for Lines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.fill_more()?;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, n: usize) {
        // As std's do: never more than there is.
        self.take(n.min(self.buffer.len() - self.start));
    }
}
