//! Carrying one socket's bytes to another.

use std::{io, thread};

use crate::callback::{Frame, acts_for};
use crate::error::{Cause, Error};
use crate::net::socket::Socket;
use crate::net::socket::carried::Carrying;
use crate::net::socket::read::Chunks;
use crate::net::socket::write::Data;
use crate::thread::Builder;

/// What is read at most at a time. Nobody sees the pieces, and larger ones take fewer system calls for each megabyte;
/// much larger ones leave the processor's cache before they are written.
const LARGEST: usize = 256 * 1024;

impl Socket {
    /// Writes to `to` whatever arrives here, until the peer's end, and passes the end on: `to` is ended too. `to` may be
    /// the socket itself: that is an echo. How much it was, [`bytes_read`](Self::bytes_read) tells.
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
    /// Those of [`read`](Self::read) here and of [`write_all`](Self::write_all) there. Nothing is closed then, and what was
    /// read and not written is put back: after a tick another `pipe` goes on where this one stopped.
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
/// Blocks until then. One direction runs on the calling thread, the other on a thread of its own. When a server that has
/// accepted one of the connections [shuts down](crate::net::Server::shutdown), it goes on while bytes pass, for the
/// shutdown's time at most.
///
/// # Errors
/// The first error of either direction. Both connections are reset then, by RST, so that neither peer takes half a
/// conversation for a whole one; so they are by a shutdown. A timeout is an end here and no tick: its error is of kind
/// `ConnectionAborted`, as a shutdown's is: take read timeouts that were set for a head off before. Over a Unix socket, which has no RST, the peer sees an end. An error if the
/// thread cannot be started; then nothing is touched.
pub fn relay(a: &Socket, b: &Socket) -> io::Result<()> {
    let carry = |from: &Socket, to: &Socket| {
        let result = from.pipe(to);
        if result.is_err() {
            [from, to].into_iter().for_each(reset);
        }
        // The time is over for good, since the connections are.
        result.map_err(|error| match Error::is_tick(&error) {
            true => Error::from(error).without_cause(io::ErrorKind::ConnectionAborted).into(),
            false => error,
        })
    };
    let acts_for = acts_for()?;
    let builder = Builder::new(format!("landline relay {}", b.remote_address()), None)?;
    thread::scope(|scope| {
        let back = builder.spawn_scoped(scope, move || {
            let _frame = Frame::of(acts_for);
            carry(b, a)
        })?;
        let there = carry(a, b);
        let back = back.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (there, back) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            // The direction that was cut by the other one's error says only that.
            (Err(there), Err(back)) => Err(if says_less(&there) < says_less(&back) { there } else { back }),
        }
    })
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
