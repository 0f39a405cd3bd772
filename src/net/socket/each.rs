//! Events: one closure for everything that happens on a socket, called on the thread that reads.

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

/// What happens on a [`Socket`], in this order: any number of `Data`, then `End` or `ShuttingDown`, `Error`, and
/// `Close`. Each of the last four comes at most once. `Close` always comes, and `Error` directly before it. `Timeout`
/// may come at any time before these two.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// At most 64 KiB of bytes arrived. In [`Socket::each`] they are a `&[u8]` into its buffer.
    Data(D),
    /// The peer has ended, and all its bytes were delivered. Does not come after `destroy()` or an error.
    End,
    /// The server is shutting down, and nothing more is read. Comes only in a [channel](Socket::events). The receiver
    /// answers what has arrived and calls [`outbox().end()`](crate::net::Outbox::end). A connection that is not ended
    /// is destroyed when the shutdown's time expires. [`Socket::each`] ends it at once.
    ShuttingDown,
    /// A tick. The [idle timeout](Socket::set_timeout) is delivered once until bytes have moved again, the [read
    /// timeout](Socket::set_read_timeout) each time. Nothing is closed. To end the connection, call
    /// [`destroy`](Socket::destroy) or return an error. [`end`](Socket::end) alone still waits for the peer's end.
    Timeout,
    /// The connection failed, or the closure returned an error.
    Error(Error),
    /// The connection is closed and its slot is free.
    Close {
        /// Whether an `Error` came before.
        had_error: bool,
    },
}

/// Called with each event.
type OnEvent<'a> = &'a mut dyn FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>;

/// When a connection ends after the peer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At once.
    WithPeer,
    /// When our direction has ended, or the server shuts down.
    ByUs,
    /// When the thread that receives the events has ended our direction. It is also notified of a shutdown, so that it
    /// can answer what had arrived.
    ByReceiver,
}

impl SocketEvent<&[u8]> {
    /// The same event with its own copy of the bytes.
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
    /// Reads, and calls `f` with one event at a time, until the connection is closed. Blocks until then.
    ///
    /// - After `f` has returned from `End`, everything written is sent, our direction is ended, and the connection is
    ///   closed. With `allow_half_open` this waits until any thread calls [`end`](Socket::end) or
    ///   [`destroy`](Socket::destroy).
    /// - An error that `f` returns destroys the connection. `Error` with it and `Close` follow, and `each` returns it.
    /// - After `destroy()` on any thread, only `Close` follows. A [`Cancel`](crate::Cancel) is an error.
    /// - When the server [shuts down](crate::net::Server::shutdown), the connection ends in order, and `Close` follows.
    /// - Nothing is read while `f` runs, which slows down a peer that sends too fast.
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
    /// - What ended the connection: an error of reading, or one that `f` returned. An error that `f` returns from
    ///   `Error` is ignored. One that it returns from `Close` is returned if there is no other.
    /// - `NotConnected` if the socket is closed already. No event comes then.
    pub fn each(&self, mut f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>) -> io::Result<()> {
        let ends = if self.connection.allow_half_open { Ends::ByUs } else { Ends::WithPeer };
        self.each_until(ends, &mut f)
    }

    pub(crate) fn each_until(&self, ends: Ends, f: OnEvent<'_>) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let mut result = self.read_events(stream, ends, f);
        let shut_down = result.as_ref().is_err_and(|error| Cause::ShuttingDown.is_of(error));
        if shut_down {
            // In order: what is queued is sent first.
            result = self.connection.turn().flush();
        }
        if self.connection.is_closed() && result.as_ref().is_err_and(|error| Cause::Destroyed.is_of(error)) {
            // The program destroyed it, so this is not an error of the connection.
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

    /// Delivers everything before `Close`.
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
                // It was read when the pause began. The next read gets it, on this thread or another.
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
            // Closing an accepted connection waits until the peer has paused, so that the reply is not lost.
            Ends::WithPeer if self.connection.has(READ_ENDED) => self.connection.turn().flush(),
            Ends::WithPeer if self.connection.is_accepted => self.connection.turn().end_by_closing(),
            // There may be other descriptors of a client's stream, which a close alone would not end.
            Ends::WithPeer => self.end(),
        }
    }

    /// Waits by `wait`, and delivers `Timeout` while it waits.
    fn hold(&self, f: OnEvent<'_>, wait: fn(&Connection, &mut Option<IdleMark>) -> io::Result<()>) -> io::Result<()> {
        let mut told = None;
        loop {
            match wait(&self.connection, &mut told) {
                Err(error) if Cause::Idle.is_of(&error) => f(self, SocketEvent::Timeout)?,
                result => return result,
            }
        }
    }

    /// Holds events back from [`each`](Socket::each) and channels, from the next event until
    /// [`resume`](Socket::resume). They read nothing until then. The peer's data fills the buffers, then its writes
    /// block. Blocking reads still work, and get every byte in order.
    ///
    /// If another thread pauses a loop that is reading, the loop puts back the piece it reads, for the next read on any
    /// thread.
    ///
    /// A [shutdown](crate::net::Server::shutdown) of the server does not lose events that are held back. They come
    /// after `resume`, if that is within the shutdown's time.
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
