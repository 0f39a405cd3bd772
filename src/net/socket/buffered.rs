//! Buffered reading and writing: many small pieces, lines, and messages of a known length.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::{fmt, str, thread};

use crate::error::Error;
use crate::net::socket::Socket;
use crate::net::socket::connection::BUFFERED;
use crate::net::socket::write::{Data, length};

/// A connection with a buffer for each direction, like std's `BufReader` and `BufWriter` in one. Made by
/// [`Socket::buffered`].
///
/// Written data is kept in a buffer of 8 KiB. The data is sent in each of these cases:
/// - The buffer is full.
/// - [`flush`](Write::flush) is called.
/// - The read buffer is empty, and a read must wait for more.
/// - The `Buffered` is dropped.
///
/// So a program that answers requests needs no flush: its answers are sent, with one system call, before it waits for
/// the next request.
///
/// A timeout ([`Error::is_tick`]) in [`read_exact`](Read::read_exact), [`read_until`](BufRead::read_until) or the
/// reading of a line loses nothing: the next call begins with what had arrived. The same is true if the stream ends in
/// the middle of a message.
///
/// ```
/// use std::io::Write;
/// use landline::net::{Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let serving = server.spawn(|socket| {
///     let mut client = socket.buffered()?;
///     while let Some(line) = client.next_line()? {
///         writeln!(client, "{}", line.len())?;
///     }
///     Ok(())
/// })?;
///
/// let socket = Socket::connect(server.address())?;
/// socket.write_end("one\r\nthree\n")?;
/// let lengths: Result<Vec<_>, _> = socket.buffered()?.lines().collect();
/// assert_eq!(lengths?, ["3", "5"]);
/// server.close();
/// serving.join()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Other handles
///
/// A connection has at most one `Buffered` at a time. Other handles may write to the connection, end and destroy it.
/// What they write is sent before the data that is still in the write buffer. What they read does not reach the
/// `Buffered`, so let only one thread read.
///
/// Dropping the `Buffered` returns its unread data to the connection. The next read, [`pipe`](Socket::pipe) or
/// `Buffered` begins with that data. Dropping also flushes, and blocks as [`flush`](Write::flush) does, unless the
/// thread is panicking. If the flush fails, the error is [reported](crate::Report::Failed).
/// [`into_inner`](Buffered::into_inner) does the same, but returns the error.
///
/// # Errors
///
/// Those of [`Socket::read`] and [`Socket::write_all`]. If a read flushes the write buffer first, the flush may fail
/// too:
/// - If the flush times out, the read returns that error, and the data that was not written is kept.
/// - After any other error, the data in the write buffer is discarded and reading continues. The error is returned by
///   the next write or flush, or by the read that reaches the end of the stream. So if a client sends two requests and
///   disconnects, the second request is still read.
pub struct Buffered {
    socket: Socket,
    /// Data that was received but not read is from `start` to `end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    /// Why a flush before a read has failed.
    failed: Option<Error>,
    line_limit: usize,
}

/// The size of the buffers, as in std. The read buffer grows for a longer line.
const SIZE: usize = 8 * 1024;

/// A larger read buffer is freed once it is empty.
const LARGEST_KEPT: usize = 64 * 1024;

/// The limit of a line, in bytes.
pub(crate) const LINE_LIMIT: usize = 64 * 1024;

impl Socket {
    /// Returns a [`Buffered`]: the connection with a buffer for each direction.
    ///
    /// # Errors
    /// - `ERR_SOCKET_BUFFERED`, of kind `ResourceBusy`, while the connection already has a `Buffered`, because two of
    ///   them would each get only a part of the data. Drop the first, or call its [`into_inner`](Buffered::into_inner).
    /// - `NotConnected` once the socket is closed.
    #[doc(alias = "cork")]
    #[doc(alias = "uncork")]
    #[doc(alias = "writev")]
    pub fn buffered(&self) -> io::Result<Buffered> {
        self.connection.stream("buffered")?;
        if self.connection.flags.fetch_or(BUFFERED, SeqCst) & BUFFERED != 0 {
            let text = "The connection has a Buffered already. Drop it first, or call its into_inner()";
            return Err(Error::fixed(io::ErrorKind::ResourceBusy, "ERR_SOCKET_BUFFERED", text).into());
        }
        Ok(Buffered {
            socket: self.clone(),
            input: vec![0; SIZE],
            start: 0,
            end: 0,
            output: Vec::new(),
            failed: None,
            line_limit: LINE_LIMIT,
        })
    }
}

/// Lines.
impl Buffered {
    /// Returns the next line, without its LF or CRLF. Returns `None` at the end of the stream. If the stream ends
    /// without a line end, the text before the end is the last line. Blocks until a whole line has arrived.
    ///
    /// # Errors
    /// - `InvalidData` if the line, without its line end, is longer than the [limit](Self::set_line_limit). The line
    ///   stays in the buffer, so each further call fails too.
    /// - `InvalidData` if the line is not UTF-8. The next call returns the next line.
    /// - Those of [`Buffered`]. After a timeout ([`Error::is_tick`]), the next call continues with what had arrived.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        let line = self.next_line_bytes()?;
        line.map(|line| str::from_utf8(line).map(String::from).map_err(not_utf8)).transpose()
    }

    /// Returns the next line like [`next_line`](Self::next_line), but as bytes in any encoding. Borrows the line from
    /// the buffer, without copying or allocating. For text, [`read_line`](BufRead::read_line) into a reused `String`
    /// does not allocate either.
    ///
    /// # Errors
    /// Those of `next_line`, except the error for a line that is not UTF-8.
    pub fn next_line_bytes(&mut self) -> io::Result<Option<&[u8]>> {
        let (line, end) = match self.whole_line()? {
            0 => return Ok(None),
            length => self.take(length),
        };
        let line = &self.input[line..end];
        let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        Ok(Some(line))
    }

    /// Returns an iterator over the following lines, as `io::Result<String>`. Each step calls
    /// [`next_line`](Self::next_line). After a timeout ([`Error::is_tick`]), and after a line that is not UTF-8, the
    /// iterator continues. Any other error is the last item.
    pub fn lines(mut self) -> impl Iterator<Item = io::Result<String>> {
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let line = self.next_line_bytes();
            is_over = match &line {
                Ok(line) => line.is_none(),
                Err(error) => !Error::is_tick(error),
            };
            line.transpose().map(|line| Ok(str::from_utf8(line?).map_err(not_utf8)?.to_owned()))
        })
    }

    /// Sets how long a line may be, in bytes without its line end. Without this call the limit is 64 KiB.
    pub fn set_line_limit(&mut self, bytes: usize) {
        self.line_limit = bytes;
    }

    /// Reads until the next line is in the buffer. Returns its length with the line end, or 0 at the end of the stream.
    fn whole_line(&mut self) -> io::Result<usize> {
        let mut searched = 0;
        loop {
            let held = self.buffer();
            let length = find(b'\n', &held[searched..]).map(|at| searched + at);
            // A CR at the end may belong to the line end.
            let text = length.unwrap_or(held.len());
            let text = text - usize::from(held[..text].ends_with(b"\r"));
            if text > self.line_limit {
                return Err(self.too_long());
            }
            if let Some(at) = length {
                return Ok(at + 1);
            }
            searched = held.len();
            if self.fill(self.line_limit.saturating_add(2))? == 0 {
                // The CR did not belong to the line end.
                return if searched > self.line_limit { Err(self.too_long()) } else { Ok(searched) };
            }
        }
    }

    fn too_long(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {} bytes", self.line_limit))
    }
}

/// The connection inside.
impl Buffered {
    /// Returns the data that was received but not read. Never blocks, and reads nothing.
    pub fn buffer(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Returns the connection. A read from it does not return what is in the [buffer](Self::buffer).
    pub fn get_ref(&self) -> &Socket {
        &self.socket
    }

    /// Flushes, and returns the connection. Unread data stays with the connection: the next read,
    /// [`pipe`](Socket::pipe) or [`relay`](crate::net::relay) begins with that data. Use it after a CONNECT, a STARTTLS
    /// or an upgrade. Blocks as [`flush`](Write::flush) does.
    ///
    /// # Errors
    /// Those of `flush`. Data that could not be written is lost. Received data is not.
    pub fn into_inner(mut self) -> io::Result<Socket> {
        self.flush().inspect_err(|_| self.output.clear())?;
        Ok(self.socket.clone())
    }

    /// Flushes, then ends writing with [`Socket::end`]: the peer reads the end of the stream. Reading is not affected.
    ///
    /// # Errors
    /// Those of `flush` and `end`.
    pub fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.socket.end()
    }

    /// Returns how much can be read without blocking: the length of the [buffer](Self::buffer), or if that is empty,
    /// what [`Socket::available`] returns. Flushes nothing, and never blocks.
    ///
    /// # Errors
    /// Those of `Socket::available`.
    pub fn available(&self) -> io::Result<Option<usize>> {
        match self.end - self.start {
            0 => self.socket.available(),
            held => Ok(Some(held)),
        }
    }

    /// Reads more data behind the unread data, up to about `most` bytes in all. May move the unread data. Returns 0 at
    /// the end of the stream.
    fn fill(&mut self, most: usize) -> io::Result<usize> {
        self.flush_before_read()?;
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            self.input.resize((self.end * 2).min(most.max(self.end + 1)), 0);
        } else if self.end == 0 && self.input.len() > LARGEST_KEPT {
            self.input = vec![0; SIZE];
        }
        let n = self.socket.connection.read(&mut self.input[self.end..])?;
        self.end += n;
        self.check_end(n)
    }

    fn flush_before_read(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        match self.write_out() {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => {
                self.failed = Some(error.into());
                Ok(())
            }
            result => result,
        }
    }

    /// Called after a read of `n` bytes. At the end of the stream, returns the error of a failed flush.
    fn check_end(&mut self, n: usize) -> io::Result<usize> {
        match self.failed.take_if(|_| n == 0) {
            Some(error) => Err(error.into()),
            None => Ok(n),
        }
    }

    /// Consumes `length` bytes of unread data. Returns where they are.
    fn take(&mut self, length: usize) -> (usize, usize) {
        let start = self.start;
        self.start += length;
        (start, self.start)
    }

    /// Writes the kept data. After a timeout the rest is kept. After any other error it is discarded.
    fn write_out(&mut self) -> io::Result<()> {
        let (n, result) = self.socket.connection.write(Data::One(&self.output));
        self.written(n, result).map(drop)
    }

    /// Writes the kept data and `more` with one call. Returns how many bytes of `more` were written.
    fn write_out_with(&mut self, more: &[IoSlice<'_>]) -> io::Result<usize> {
        let (mut few, mut many) = ([IoSlice::new(&[]); 64], Vec::new());
        let buffers = if more.len() < few.len() {
            &mut few[..]
        } else {
            many.resize(more.len() + 1, IoSlice::new(&[]));
            &mut many[..]
        };
        buffers[0] = IoSlice::new(&self.output);
        let mut count = 1;
        for buffer in more {
            if !buffer.is_empty() {
                buffers[count] = *buffer;
                count += 1;
            }
        }
        let (n, result) = self.socket.connection.write(Data::Many(&buffers[..count], 0));
        self.written(n, result)
    }

    /// Returns how many bytes of `more` were written, if `n` bytes of the kept data and `more` together were.
    fn written(&mut self, n: usize, result: io::Result<()>) -> io::Result<usize> {
        let kept = self.output.len();
        self.output.copy_within(n.min(kept).., 0);
        self.output.truncate(kept.saturating_sub(n));
        match result {
            Err(error) if n <= kept => {
                if error.kind() != io::ErrorKind::TimedOut {
                    self.output.clear();
                }
                Err(error)
            }
            _ => Ok(n - kept),
        }
    }

    /// Keeps `data` if there is room. Otherwise writes it after the kept data.
    fn keep_or_write(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        self.socket.connection.check_writable()?;
        let length = length(data);
        if self.output.len() + length > SIZE {
            return self.write_out_with(data);
        }
        if self.output.capacity() == 0 {
            self.output.reserve_exact(SIZE);
        }
        data.iter().for_each(|data| self.output.extend_from_slice(data));
        Ok(length)
    }
}

impl Read for Buffered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && buf.len() >= self.input.len() {
            self.flush_before_read()?;
            let n = self.socket.read(buf)?;
            return self.check_end(n);
        }
        if buf.is_empty() {
            return self.socket.read(buf);
        }
        let n = self.fill_buf()?.read(buf)?;
        self.start += n;
        Ok(n)
    }

    /// Bytes read before an error are not lost. The next read begins with them.
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.socket.connection.check_open("read")?;
        while self.end - self.start < buf.len() && buf.len() <= self.input.len() {
            if self.fill(usize::MAX)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut filled = self.buffer().len().min(buf.len());
        buf[..filled].copy_from_slice(&self.buffer()[..filled]);
        self.take(filled);
        while filled < buf.len() {
            let read = self.flush_before_read().and_then(|()| self.socket.read(&mut buf[filled..]));
            match read.and_then(|n| self.check_end(n)) {
                Ok(n) if n > 0 => filled += n,
                result => {
                    self.input.resize(filled.max(SIZE), 0);
                    self.input[..filled].copy_from_slice(&buf[..filled]);
                    (self.start, self.end) = (0, filled);
                    return Err(result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(())
    }
}

impl BufRead for Buffered {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill(usize::MAX)?;
        }
        Ok(self.buffer())
    }

    fn consume(&mut self, n: usize) {
        // At most what is there, as in std.
        self.take(n.min(self.end - self.start));
    }

    /// Takes nothing until the byte or the end of the stream has arrived.
    fn read_until(&mut self, byte: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut searched = 0;
        let length = loop {
            let held = self.buffer();
            if let Some(at) = find(byte, &held[searched..]) {
                break searched + at + 1;
            }
            searched = held.len();
            if self.fill(usize::MAX)? == 0 {
                break searched;
            }
        };
        let (start, end) = self.take(length);
        buf.extend_from_slice(&self.input[start..end]);
        Ok(length)
    }

    /// Takes nothing until the whole line or the end of the stream has arrived. A line longer than the
    /// [limit](Buffered::set_line_limit) is an error, as in [`next_line`](Buffered::next_line).
    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        let length = self.whole_line()?;
        let (start, end) = self.take(length);
        buf.push_str(str::from_utf8(&self.input[start..end]).map_err(not_utf8)?);
        Ok(length)
    }
}

impl Write for Buffered {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.keep_or_write(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.keep_or_write(data)
    }

    /// Writes the kept data: send(2). Blocks as [`Socket::write_all`] does.
    fn flush(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None if self.output.is_empty() => self.socket.connection.check_open("write"),
            None => self.write_out(),
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        let is_kept = self.failed.is_some() || !self.output.is_empty();
        let flushed = if is_kept && !thread::panicking() { self.flush() } else { Ok(()) };
        let connection = &self.socket.connection;
        connection.unread(&self.input[self.start..self.end]);
        connection.flags.fetch_and(!BUFFERED, SeqCst);
        let owner = connection.owner();
        // For a closed connection, the close was reported already, and the server may have stopped.
        if let (Err(error), false) = (flushed, connection.is_closed()) {
            let _frame = owner.as_ref().map(|owner| owner.frame());
            connection.tell_failed(&error.into());
        }
    }
}

impl fmt::Debug for Buffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (received, kept) = (self.end - self.start, self.output.len());
        write!(f, "Buffered({:?}, {received} bytes received, {kept} bytes kept)", self.socket)
    }
}

/// The position of the first `byte`. Uses std's slice reader, which examines several bytes at once.
fn find(byte: u8, mut bytes: &[u8]) -> Option<usize> {
    let all = bytes;
    let length = bytes.skip_until(byte).unwrap_or(0);
    (length > 0 && all[length - 1] == byte).then(|| length - 1)
}

fn not_utf8(error: str::Utf8Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
