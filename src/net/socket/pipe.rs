//! Carrying one socket's bytes to another, and to what else reads and writes.

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

/// What is read at most at a time. Nobody sees the pieces, and larger ones take fewer system calls for each megabyte;
/// much larger ones leave the processor's cache before they are written.
const LARGEST: usize = 256 * 1024;

impl Socket {
    /// Writes to `to` whatever arrives here, until the peer's end, and passes the end on: `to` is ended too. `to` may
    /// be the socket itself: that is an echo. How much it was, [`bytes_read`](Self::bytes_read) tells.
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
    /// The end that it passes on is the peer's to see at once, while the handler goes on: a client can see it before
    /// its slot is free. Where that matters, as when a server is full, read and return, or use [`each`](Self::each).
    ///
    /// Blocks until then. It reads at most 256 KiB at a time, where so much comes at once, and writes each piece before
    /// it reads the next, so a slow reader slows the writer. A connection that was once sent so much at a time keeps
    /// the buffer until the call ends. While it reads, destroying this socket ends it at once, and while it writes,
    /// destroying `to` does; destroying the other one ends it when that read or write is over.
    ///
    /// # Errors
    /// Those of [`read`](Self::read) here and of [`write_all`](Self::write_all) there. Nothing is closed then, and what
    /// was read and not written is put back: after a tick another `pipe` goes on where this one stopped.
    pub fn pipe(&self, to: &Socket) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let carrying = Carrying::begin(&self.connection, &to.connection);
        let mut chunks = Chunks::new(&self.connection, &stream, LARGEST);
        loop {
            let chunk = chunks.next()?;
            if chunk.is_empty() {
                return to.end();
            }
            let (n, written) = carrying.writing(|| to.connection.turn().write(Data::One(chunk)));
            if written.is_err() {
                self.connection.unread(&chunk[n..]);
            }
            written?;
        }
    }
}

/// Carries bytes both ways between two sockets until both have ended, each end passed on as it comes, as a proxy does.
/// How many they were, [`bytes_read`](Socket::bytes_read) and [`bytes_written`](Socket::bytes_written) of either tell.
///
/// Blocks until then. One direction runs on the calling thread, the other on a thread of its own. When a server that
/// has accepted one of the connections [shuts down](crate::net::Server::shutdown), it goes on while bytes pass, for the
/// shutdown's time at most.
///
/// # Errors
/// The first error of either direction. Both connections are reset then, by RST, so that neither peer takes half a
/// conversation for a whole one, and the error is [reported](crate::Report::Failed) of each. Over a Unix socket, which
/// has no RST, the peer sees an end. A shutdown resets them too, and is no failure. A timeout is an end here and no
/// tick: its error is of kind `ConnectionAborted`, as a shutdown's is. Take read timeouts that were set for a head off
/// before. An error if the thread cannot be started; then nothing is touched.
pub fn relay(a: &Socket, b: &Socket) -> io::Result<()> {
    both_ways(b, || carry(a, b), || carry(b, a))
}

fn carry(from: &Socket, to: &Socket) -> io::Result<()> {
    or_reset(&[from, to], || from.pipe(to))
}

impl Socket {
    /// As [`relay`], with anything that reads and writes in place of the other socket: a serial port, the two halves of
    /// a TLS stream, a program's output and input. The peer's bytes go to `writer`, what `reader` gives goes to the
    /// peer, and each end is passed on as it comes: at the peer's end `writer` is flushed and dropped, at that of
    /// `reader` our direction is [ended](Self::end).
    ///
    /// Blocks until both have ended. `writer` is used on the calling thread, `reader` on a thread of its own. `writer`
    /// is flushed after each piece.
    ///
    /// Timeouts of `reader` and `writer` are ticks: errors of kind `TimedOut` or `WouldBlock`, but not the `ETIMEDOUT`
    /// by which a Unix system gives a peer up. The relay looks whether the connection is open, and goes on. So give
    /// them one, of 100 ms perhaps, where they have no other end: nothing here can wake a read of theirs that blocks,
    /// and an error or a [`destroy`](Self::destroy) of the connection ends the relay at the next tick, piece or end. A
    /// pipe of a program has no timeout: a `UnixStream::pair` in its place has, as docs/recipes.md shows. A serial port
    /// never ends: once the peer has, a whole tick without a byte is taken for its end.
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
    /// The first error of either direction, those of `reader` and `writer` included. The connection is reset then, and
    /// the error [reported](crate::Report::Failed), as in [`relay`]. So a shutdown of its server resets it, and
    /// timeouts of the connection are an error here.
    #[doc(alias = "copy_bidirectional")]
    pub fn relay(&self, reader: impl Read + Send, writer: impl Write) -> io::Result<()> {
        let is_written = AtomicBool::new(false);
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
            let mut left = chunks.next()?;
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

    /// Until the end of `reader`, for which its silence is taken once the peer's bytes are `written`.
    fn pipe_from(&self, mut reader: impl Read, written: &AtomicBool) -> io::Result<()> {
        let feeding = Feeding::begin(&self.connection);
        let mut buffer = vec![0; CHUNK];
        loop {
            // Before the read: the tick is whole then.
            let is_written = written.load(SeqCst);
            match self.unless_tick(|| reader.read(&mut buffer))? {
                Some(0) => return self.end(),
                Some(n) => feeding.writing(|| self.write_all(&buffer[..n]))?,
                None if is_written => return self.end(),
                None => {}
            }
        }
    }

    /// `None` for a tick of what is relayed, if the connection is open still.
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
        // It may not have waited.
        thread::sleep(Duration::from_millis(1));
        Ok(None)
    }
}

/// Runs one direction here and the other on a thread of its own, which `to` names.
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
            // The direction that was cut by the other one's error says only that.
            (Err(there), Err(back)) => Err(if says_less(&there) < says_less(&back) { there } else { back }),
        }
    })
}

/// Carries one direction; resets the sockets if it fails, and tells why.
fn or_reset(sockets: &[&Socket], carry: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let unless_done = Resets(sockets);
    let Err(error) = carry() else {
        std::mem::forget(unless_done);
        return Ok(());
    };
    let error = match Error::is_tick(&error) {
        // The time is over for good, since the connections are.
        true => Error::from(error).without_cause(io::ErrorKind::ConnectionAborted),
        false => Error::from(error),
    };
    if !error.has(Cause::Destroyed) && !error.has(Cause::ShuttingDown) {
        sockets.iter().for_each(|socket| socket.connection.fail_by_reset(&error));
    }
    Err(error.into())
}

/// Resets them when it is dropped, also by a panic of what the program reads and writes with.
struct Resets<'a>(&'a [&'a Socket]);

impl Drop for Resets<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|socket| reset(socket));
    }
}

/// How little an error says of what went wrong.
fn says_less(error: &io::Error) -> u8 {
    match () {
        () if Cause::Destroyed.is_of(error) => 2,
        () if Cause::ShuttingDown.is_of(error) => 1,
        () => 0,
    }
}

fn reset(socket: &Socket) {
    // One that is closed already is not to be reset.
    if socket.reset_and_destroy().is_err() {
        socket.destroy();
    }
}
