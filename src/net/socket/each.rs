//! The second way to use a socket: one closure for all its events, on the thread that reads.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::error::{Cause, Error};
use crate::net::socket::Socket;
use crate::net::socket::connection::{CloseMode, Connection, READ_ENDED};
use crate::net::socket::read::Chunks;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::IdleMark;
use crate::report::Outcome;

/// What happens on a [`Socket`], in this order: any number of `Data`; `End` or `ShuttingDown`; `Error`; `Close`. Each
/// of the last four comes once at most, `Error` directly before `Close`, and `Close` always. `Timeout` comes at any
/// time before these two.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// Bytes arrived, at most 64 KiB of them. In [`Socket::each`] they are a `&[u8]` into its buffer.
    Data(D),
    /// The peer has ended, and every byte before was given. Not told after `destroy()`, nor after an error.
    End,
    /// The server shuts down, and nothing more is read. Told in a [channel](Socket::events) alone, whose receiver now
    /// answers what has come and calls [`outbox().end()`](crate::net::Outbox::end); a connection that is not ended so
    /// is destroyed when the shutdown's time is up. [`Socket::each`] ends it at once.
    ShuttingDown,
    /// A tick: the [idle timeout](Socket::set_timeout) is over, told once until bytes have moved again, or the
    /// [read timeout](Socket::set_read_timeout), told each time. Nothing is closed by that. To give up, call
    /// [`destroy`](Socket::destroy) or return an error, since [`end`](Socket::end) alone goes on waiting for the peer's
    /// end.
    Timeout,
    /// The connection failed, or the closure returned an error.
    Error(Error),
    /// It is over: the slot is free and the socket closed.
    Close {
        /// Whether an `Error` came before.
        had_error: bool,
    },
}

/// What a loop calls with each event.
type OnEvent<'a> = &'a mut dyn FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>;

/// When a connection whose peer has ended does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At once.
    WithPeer,
    /// When our direction was ended, or the server shuts down.
    ByUs,
    /// When our direction was ended, by the thread that receives the events. It hears of a shutdown of the server
    /// too, so that what had arrived is answered.
    ByReceiver,
}

impl SocketEvent<&[u8]> {
    /// The same event with bytes of its own.
    pub fn into_owned(self) -> SocketEvent {
        match self {
            SocketEvent::Data(bytes) => SocketEvent::Data(bytes.to_vec()),
            SocketEvent::End => SocketEvent::End,
            SocketEvent::ShuttingDown => SocketEvent::ShuttingDown,
            SocketEvent::Timeout => SocketEvent::Timeout,
            SocketEvent::Error(error) => SocketEvent::Error(error),
            SocketEvent::Close { had_error } => SocketEvent::Close { had_error },
        }
    }
}

impl Socket {
    /// Reads, and calls `f` with each event, one at a time, until the connection is closed. Blocks until then.
    ///
    /// - When `f` has returned from `End`, our direction is ended too, and the connection closed; what was written in
    ///   the meantime is sent. With `allow_half_open` that waits until [`end`](Socket::end) or
    ///   [`destroy`](Socket::destroy) is called, on whatever thread.
    /// - An error that `f` returns destroys the connection: `Error` with it and `Close` follow, and `each` returns it.
    /// - `destroy()` from anywhere is followed by `Close` alone. A [`Cancel`](crate::Cancel) that is fired is an error.
    /// - When the server [shuts down](crate::net::Server::shutdown), the connection is ended in order, and `Close`
    ///   follows.
    /// - While `f` runs nothing is read, so a peer that sends too fast is slowed down.
    ///
    /// ```
    /// use landline::net::{Server, Socket, SocketEvent};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     let mut total = 0;
    ///     socket.each(|socket, event| match event {
    ///         SocketEvent::Data(bytes) => { total += bytes.len(); Ok(()) }
    ///         SocketEvent::End => socket.write_end(format!("{total} bytes, bye\n")),
    ///         _ => Ok(()),
    ///     })
    /// })?;
    ///
    /// let socket = Socket::connect(server.address())?;
    /// socket.write_end("hello")?;
    /// assert_eq!(std::io::read_to_string(&socket)?, "5 bytes, bye\n");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What ended the connection: an error of reading, or what `f` returned. What `f` returns from `Error` is passed
    /// over, since there is one already; what it returns from `Close` is returned if there is none. `NotConnected`,
    /// without any event, if the socket is closed already.
    pub fn each(&self, mut f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>) -> io::Result<()> {
        let ends = if self.connection.allow_half_open { Ends::ByUs } else { Ends::WithPeer };
        self.each_until(ends, &mut f)
    }

    pub(crate) fn each_until(&self, ends: Ends, f: OnEvent<'_>) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let mut result = self.read_events(stream, ends, f);
        let shut_down = result.as_ref().is_err_and(|error| Cause::ShuttingDown.is_of(error));
        if shut_down {
            // In order: what is queued goes out first.
            result = self.connection.turn().flush();
        }
        if self.connection.is_closed() && result.as_ref().is_err_and(|error| Cause::Destroyed.is_of(error)) {
            // Ours, so it is no error of the connection's.
            result = Ok(());
        }
        if self.connection.is_aborted() && result.is_ok() {
            result = Err(Cancel::error().into());
        }
        let result = match result {
            Ok(()) => {
                self.connection.close(Outcome::Finished, CloseMode::InOrder);
                Ok(())
            }
            Err(error) => {
                let error = Error::from(error);
                let _ = f(self, SocketEvent::Error(error.clone()));
                self.connection.fail(&error);
                Err(error.into())
            }
        };
        let closed = f(self, SocketEvent::Close { had_error: result.is_err() });
        result.and(closed)
    }

    /// Everything before the close.
    fn read_events(&self, stream: Arc<TcpStream>, ends: Ends, f: OnEvent<'_>) -> io::Result<()> {
        let mut chunks = Chunks::new(&self.connection, &stream, CHUNK).that_pause();
        loop {
            if self.connection.is_paused() {
                self.hold(f, Connection::wait_while_paused)?;
                if self.connection.is_closed() {
                    return Ok(());
                }
            }
            match chunks.next() {
                Ok(chunk) => {
                    if chunk.is_empty() {
                        break;
                    }
                }
                Err(error) if Error::is_tick(&error) => {
                    f(self, SocketEvent::Timeout)?;
                    continue;
                }
                Err(error) if ends == Ends::ByReceiver && Cause::ShuttingDown.is_of(&error) => {
                    if self.connection.is_paused() {
                        self.hold(f, Connection::wait_while_paused)?;
                    }
                    f(self, SocketEvent::ShuttingDown)?;
                    return self.hold(f, Connection::wait_for_our_end);
                }
                Err(error) => return Err(error),
            }
            if chunks.was_put_back() {
                continue;
            }
            if self.connection.is_paused() {
                // It was read when the pause began: the next read gets it, here or elsewhere.
                chunks.put_back();
                continue;
            }
            if !self.connection.is_closed() {
                f(self, SocketEvent::Data(chunks.last()))?;
            }
            if self.connection.is_closed() {
                return Ok(());
            }
        }
        drop(chunks);
        drop(stream);
        if self.connection.is_paused() {
            self.hold(f, Connection::wait_while_paused)?;
        }
        if self.connection.is_closed() {
            return Ok(());
        }
        f(self, SocketEvent::End)?;
        match ends {
            Ends::ByUs => self.hold(f, Connection::wait_for_our_end_or_shutdown),
            Ends::ByReceiver => self.hold(f, Connection::wait_for_our_end),
            // The close of an accepted connection waits until the peer has paused, so that the reply is not lost.
            Ends::WithPeer if self.connection.has(READ_ENDED) => self.connection.turn().flush(),
            Ends::WithPeer if self.connection.is_accepted => self.connection.turn().end_by_closing(),
            // Of a client's stream there may be other descriptors, which a close alone would not end.
            Ends::WithPeer => self.end(),
        }
    }

    /// Waits by `wait`; telling of idle times meanwhile.
    fn hold(&self, f: OnEvent<'_>, wait: fn(&Connection, &mut Option<IdleMark>) -> io::Result<()>) -> io::Result<()> {
        let mut told = None;
        loop {
            match wait(&self.connection, &mut told) {
                Err(error) if Cause::Idle.is_of(&error) => f(self, SocketEvent::Timeout)?,
                result => return result,
            }
        }
    }

    /// Holds events back from [`each`](Socket::each) and channels, from the next one on, until
    /// [`resume`](Socket::resume): they read nothing. What the peer sends fills the buffers between, and then the peer
    /// waits. Blocking reads go on, and get every byte in order.
    ///
    /// A loop that is in a read just then, since another thread calls this, may take one piece more, and puts it back
    /// for the other reads.
    ///
    /// An event that is held back is not lost to a [shutdown](crate::net::Server::shutdown) of the server: it comes
    /// with `resume`, if that is within the shutdown's time.
    pub fn pause(&self) {
        self.connection.pause();
    }

    /// Ends a [`pause`](Socket::pause).
    pub fn resume(&self) {
        self.connection.resume();
    }

    /// Whether events are held back.
    #[doc(alias = "isPaused")]
    pub fn is_paused(&self) -> bool {
        self.connection.is_paused()
    }
}
