//! Copying bytes from one socket to another, and between a socket and any reader and writer.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use crate::callback::{Frame, acts_for};
use crate::error::{Cause, Error};
use crate::net::socket::Socket;
use crate::net::socket::carried::{Carrying, Feeding};
use crate::net::socket::read::Chunks;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::Direction;
use crate::net::socket::write::Data;
use crate::sys;
use crate::thread::{ThreadOptions, spawn_scoped};

/// The largest read. Larger reads take fewer system calls for each megabyte. But the data of much larger reads leaves
/// the processor's cache before it is written.
const LARGEST: usize = 256 * 1024;

impl Socket {
    /// Copies everything that arrives on this socket to the socket `to`. At the end of the stream, it ends our
    /// direction of `to` and returns. Blocks until then. `to` may be the socket itself, which makes an echo.
    /// [`bytes_read`](Self::bytes_read) says how many bytes were copied.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let echo = server.spawn(|socket| socket.pipe(socket))?;
    ///
    /// let socket = Socket::connect(server.address())?;
    /// socket.write_end("hello")?;
    /// assert_eq!(std::io::read_to_string(&socket)?, "hello");
    /// # server.close();
    /// # echo.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// In a handler, the FIN is sent before the handler returns. So a client can read the end of the stream while its
    /// connection still counts towards the server's limit. If that matters, as on a full server, read and write in a
    /// loop and then return, or use [`each`](Self::each).
    ///
    /// Each read takes at most 256 KiB, and is written before the next read, so a slow receiver slows the sender down.
    /// The buffer grows to at most that size, and is freed when the call returns. If the call is blocked on one of the
    /// two sockets, destroying that socket ends the call at once. Destroying the other socket ends the call when the
    /// blocked read or write returns.
    ///
    /// # Errors
    /// Those of [`read`](Self::read) here and of [`write_all`](Self::write_all) on `to`. Nothing is closed. Bytes that
    /// were read but not written are put back, and the next read begins with them. After a timeout
    /// ([`Error::is_tick`](crate::Error::is_tick)), call `pipe` again to continue.
    pub fn pipe(&self, to: &Socket) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let carrying = Carrying::begin(&self.connection, &to.connection);
        let mut chunks = Chunks::new(&self.connection, &stream, LARGEST);
        loop {
            let chunk = chunks.next(&mut None)?;
            if chunk.is_empty() {
                return to.end();
            }
            let (n, written) = carrying.writing(|| to.connection.write(Data::One(chunk)));
            if written.is_err() {
                self.connection.unread(&chunk[n..]);
            }
            written?;
        }
    }
}

/// Copies bytes both ways between two sockets until both peers have ended their directions, as a proxy does. When one
/// peer ends its direction, the relay ends the direction to the other peer at once. [`bytes_read`](Socket::bytes_read)
/// and [`bytes_written`](Socket::bytes_written) count the bytes.
///
/// Blocks until both peers have ended. One direction runs on the calling thread, the other on a new thread. When a
/// server that accepted one of the connections [shuts down](crate::net::Server::shutdown), the relay continues while
/// bytes pass, at most until the shutdown's `grace` has passed.
///
/// # Errors
/// - The first error of either direction. Both connections are closed with RST, so that neither peer mistakes truncated
///   data for the whole. The error is [reported](crate::Report::Failed) for each connection. A Unix socket has no RST,
///   so its peer reads the end of the stream.
/// - An error of kind `ConnectionAborted` after a timeout of a connection, or after a shutdown of a server. Both
///   connections are closed with RST here too. A timeout is reported, and a shutdown is not. A relay cannot be
///   continued after a timeout, so first remove any read timeout, such as one that was set to read a header.
/// - The system's error if the thread cannot be started. In that case nothing was changed.
pub fn relay(a: &Socket, b: &Socket) -> io::Result<()> {
    // Both directions count from here on. One may pass bytes before the other has begun. A shutdown in between would
    // take the reads of the other for those of a handler, and end them.
    let _there = Carrying::begin(&a.connection, &b.connection);
    let _back = Carrying::begin(&b.connection, &a.connection);
    both_ways(b, || carry(a, b), || carry(b, a))
}

fn carry(from: &Socket, to: &Socket) -> io::Result<()> {
    or_reset(&[from, to], || from.pipe(to))
}

impl Socket {
    /// Copies bytes both ways between this socket and any reader and writer, such as a serial port, the two halves of a
    /// TLS stream, or the output and input of a program.
    ///
    /// - The peer's bytes go to `writer`. When the peer ends its direction, `writer` is flushed and dropped.
    /// - The bytes of `reader` go to the peer. At the end of `reader`, our direction is [ended](Self::end).
    ///
    /// Blocks until the peer's direction and `reader` have ended. `writer` is used on the calling thread, and flushed
    /// after each piece. `reader` is used on a new thread.
    ///
    /// The relay cannot wake `reader` or `writer` while they block. So give them a timeout of, say, 100 ms, unless they
    /// end by themselves. An error of kind `TimedOut` or `WouldBlock` counts as such a timeout. The error `ETIMEDOUT`,
    /// which a Unix system returns when it has given up on a peer, does not count as one. After each timeout the relay
    /// checks whether the connection is still open. So when the connection fails or is [destroyed](Self::destroy), the
    /// relay ends as soon as the blocked call returns, at the latest after the timeout.
    ///
    /// A pipe to a program has no timeout, but a `UnixStream::pair` has one, as docs/recipes.md shows. A serial port
    /// never ends. So after the peer has ended its direction, a whole timeout without a byte counts as the end of
    /// `reader`.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use landline::net::{Server, Socket};
    /// use std::process::{Command, Stdio};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     let (output, input) = (sort.stdout.take().expect("it is piped"), sort.stdin.take().expect("it is piped"));
    ///     let relayed = socket.relay(output, input);
    ///     sort.wait()?;
    ///     relayed
    /// })?;
    ///
    /// let client = Socket::connect(server.address())?;
    /// client.write_end("two\none\n")?;
    /// assert_eq!(std::io::read_to_string(&client)?, "one\ntwo\n");
    /// # server.close();
    /// # serving.join()?;
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first error of either direction, including the errors of `reader` and `writer`. The connection is closed
    /// with RST, and the error is [reported](crate::Report::Failed). A timeout of the connection is such an error. A
    /// shutdown of the server also closes the connection with RST, and is not reported.
    #[doc(alias = "copy_bidirectional")]
    pub fn relay(&self, reader: impl Read + Send, writer: impl Write) -> io::Result<()> {
        let is_written = AtomicBool::new(false);
        // As in the function `relay`.
        let _there = Carrying::begin(&self.connection, &self.connection);
        let there = || {
            let result = or_reset(&[self], || self.pipe_into(writer));
            is_written.store(true, SeqCst);
            result
        };
        let back = || or_reset(&[self], || self.pipe_from(reader, &is_written));
        both_ways(self, there, back)
    }

    fn pipe_into(&self, mut writer: impl Write) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let carrying = Carrying::begin(&self.connection, &self.connection);
        let mut chunks = Chunks::new(&self.connection, &stream, LARGEST);
        loop {
            let mut left = chunks.next(&mut None)?;
            let is_end = left.is_empty();
            carrying.writing(|| -> io::Result<()> {
                while !left.is_empty() {
                    match self.unless_tick(|| writer.write(left))? {
                        Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                        n => left = &left[n.unwrap_or(0)..],
                    }
                }
                while self.unless_tick(|| writer.flush())?.is_none() {}
                Ok(())
            })?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// Copies until the end of `reader`. Once all the peer's bytes are `written`, a timeout without a byte counts as
    /// the end.
    fn pipe_from(&self, mut reader: impl Read, written: &AtomicBool) -> io::Result<()> {
        let feeding = Feeding::begin(&self.connection);
        let mut buffer = vec![0; CHUNK];
        loop {
            // Read before the call, so that a timeout covers the whole wait.
            let is_written = written.load(SeqCst);
            match self.unless_tick(|| reader.read(&mut buffer))? {
                Some(0) => return self.end(),
                Some(n) => feeding.writing(|| self.write_all(&buffer[..n]))?,
                None if is_written => return self.end(),
                None => {}
            }
        }
    }

    /// `None` after a timeout of `reader` or `writer`, if the connection is still open.
    fn unless_tick<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
        let error = loop {
            match call() {
                Ok(done) => return Ok(Some(done)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        let is_tick = match Error::of(&error) {
            Some(error) => error.is_waited(),
            None => match error.kind() {
                io::ErrorKind::WouldBlock => true,
                io::ErrorKind::TimedOut => error.raw_os_error().is_none() || sys::is_timeout(&error),
                _ => false,
            },
        };
        if !is_tick {
            return Err(error);
        }
        self.connection.check_open("read")?;
        self.connection.timers.check_deadline(Direction::Read)?;
        // A timeout may come without any wait.
        thread::sleep(Duration::from_millis(1));
        Ok(None)
    }
}

/// Runs one direction here and the other on a new thread, which is named after `to`.
fn both_ways(
    to: &Socket,
    there: impl FnOnce() -> io::Result<()>,
    back: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<()> {
    let acts_for = acts_for()?;
    let ThreadOptions { thread_name, stack_size } = to.connection.threads();
    let name = format!("{thread_name} relay {}", to.remote_address());
    thread::scope(|scope| {
        let back = spawn_scoped(scope, name, *stack_size, move || {
            let _frame = Frame::of(&acts_for);
            back()
        })?;
        let there = there();
        let back = back.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (there, back) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            // If one direction's error has ended the other direction, the other's error says no more than that.
            (Err(there), Err(back)) => Err(if says_less(&there) < says_less(&back) { there } else { back }),
        }
    })
}

/// Copies one direction. If it fails, resets and reports the sockets.
fn or_reset(sockets: &[&Socket], carry: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let unless_done = Resets(sockets);
    let Err(error) = carry() else {
        std::mem::forget(unless_done);
        return Ok(());
    };
    let error = match Error::is_tick(&error) {
        // No longer recognized by `is_tick`, because the connections are closed.
        true => Error::from(error).without_cause(io::ErrorKind::ConnectionAborted),
        false => Error::from(error),
    };
    if !error.has(Cause::Destroyed) && !error.has(Cause::ShuttingDown) {
        sockets.iter().for_each(|socket| socket.connection.fail_by_reset(&error));
    }
    Err(error.into())
}

/// Resets the sockets when it is dropped, even if the program's reader or writer panics.
struct Resets<'a>(&'a [&'a Socket]);

impl Drop for Resets<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|socket| reset(socket));
    }
}

/// Ranks an error by how little it says about the cause: 0 says most.
fn says_less(error: &io::Error) -> u8 {
    match () {
        () if Cause::Destroyed.is_of(error) => 2,
        () if Cause::ShuttingDown.is_of(error) => 1,
        () => 0,
    }
}

fn reset(socket: &Socket) {
    // A closed socket cannot be reset.
    if socket.reset_and_destroy().is_err() {
        socket.destroy();
    }
}
