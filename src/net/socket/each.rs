//! Events: one closure for everything that happens on a socket, called on the thread that reads.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use crate::error::{Cause, Error};
use crate::net::socket::Socket;
use crate::net::socket::connection::{CloseMode, Connection, READ_ENDED};
use crate::net::socket::read::Chunks;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::IdleMark;
use crate::report::Outcome;

/// What happens on a [`Socket`]. The events come in this order:
///
/// 1. Any number of `Data`.
/// 2. At most one `End` or `ShuttingDown`.
/// 3. At most one `Error`, directly before `Close`.
/// 4. Always one `Close`, the last event.
///
/// `Timeout` may come at any time before `Error` and `Close`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// Bytes arrived, at most 64 KiB. In [`Socket::each`] they are a `&[u8]` that borrows from its buffer.
    Data(D),
    /// The end of the stream: the peer has ended its direction, and all its bytes were delivered. Does not come after
    /// `destroy()` or an error.
    End,
    /// The server is shutting down, and nothing more is read. Comes only in a [channel](Socket::events): there, answer
    /// what has arrived, then call [`outbox().end()`](crate::net::Outbox::end). If you do not, the connection is
    /// destroyed when the `grace` of the [shutdown](crate::net::Server::shutdown) has passed. [`Socket::each`] ends the
    /// connection itself, without this event.
    ShuttingDown,
    /// A timeout expired, and the connection stays usable. A [read timeout](Socket::set_read_timeout) is delivered each
    /// time it expires. After an [idle timeout](Socket::set_timeout), the next one is delivered only after bytes have
    /// moved again. To close the connection, call [`destroy`](Socket::destroy) or return an error. [`end`](Socket::end)
    /// alone still waits for the peer to end its direction.
    Timeout,
    /// The connection failed, or the closure returned an error.
    Error(Error),
    /// The connection is closed, and no longer counts towards the server's limit.
    Close {
        /// Whether an `Error` came before.
        had_error: bool,
    },
}

/// Called with each event.
type OnEvent<'a> = &'a mut dyn FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>;

/// When a connection closes after the peer has ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At once.
    WithPeer,
    /// When our direction has ended, or the server shuts down.
    ByUs,
    /// When the thread that receives the events has ended our direction. The thread is also notified of a shutdown, so
    /// that it can answer what had arrived.
    ByReceiver,
}

impl SocketEvent<&[u8]> {
    /// Returns the same event with its own copy of the bytes.
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
    /// Reads the connection, and calls `f` with each event, one after another. Blocks until the connection is closed.
    ///
    /// - After `f` was called with `End` and has returned, `each` sends what is queued in the [outbox](Socket::outbox),
    ///   ends our direction and closes the connection. With
    ///   [`allow_half_open`](crate::net::SocketOptions::allow_half_open), `each` first waits until any thread calls
    ///   [`end`](Socket::end) or [`destroy`](Socket::destroy).
    /// - If `f` returns an error, the connection is destroyed. The events `Error`, with that error, and `Close` follow,
    ///   and `each` returns the error.
    /// - After `destroy()` on any thread, only `Close` follows. A [`Cancel`](crate::Cancel) is delivered as an `Error`,
    ///   and so is an error of the outbox, which writes on a thread of its own.
    /// - When the server [shuts down](crate::net::Server::shutdown), our direction is ended, the connection is closed,
    ///   and `Close` follows.
    /// - While `f` runs, nothing is read. This slows down a peer that sends too fast.
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
    /// - The error that ended the connection: an error from reading, or an error that `f` returned. If `f` returns an
    ///   error when called with `Error`, it is ignored. If `f` returns an error when called with `Close`, `each`
    ///   returns it, unless an earlier error ended the connection.
    /// - `NotConnected` if the socket is closed already. In that case no event comes.
    pub fn each(&self, mut f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>) -> io::Result<()> {
        let ends = if self.connection.allow_half_open { Ends::ByUs } else { Ends::WithPeer };
        self.each_until(ends, &mut f)
    }

    pub(crate) fn each_until(&self, ends: Ends, f: OnEvent<'_>) -> io::Result<()> {
        let stream = self.connection.stream("read")?;
        let mut result = self.read_events(stream, ends, f);
        let is_interrupted = result.as_ref().is_err_and(|error| Cause::ShuttingDown.is_of(error));
        if is_interrupted && self.connection.is_shutting_down() {
            // The connection ends in order: what is queued is sent first.
            result = self.connection.turn().flush_last();
        }
        if self.connection.is_closed() && result.as_ref().is_err_and(|error| Cause::Destroyed.is_of(error)) {
            // The program destroyed it, so this is not an error of the connection.
            result = Ok(());
        }
        if result.is_ok() {
            self.connection.close(Outcome::Finished, CloseMode::InOrder);
            // Another thread may have closed it before, because of an error.
            result = self.connection.failure().map_or(Ok(()), |error| Err(error.into()));
        }
        let result = result.map_err(|error| {
            let error = Error::from(error);
            let _ = f(self, SocketEvent::Error(error.clone()));
            self.connection.fail(&error);
            io::Error::from(error)
        });
        let closed = f(self, SocketEvent::Close { had_error: result.is_err() });
        result.and(closed)
    }

    /// Delivers everything before `Close`.
    fn read_events(&self, stream: Arc<TcpStream>, ends: Ends, f: OnEvent<'_>) -> io::Result<()> {
        let mut chunks = Chunks::new(&self.connection, &stream, CHUNK).that_pause();
        let mut told = None;
        loop {
            if self.connection.is_paused() {
                self.hold(f, &mut told, Connection::wait_while_paused)?;
                if self.connection.is_closed() {
                    return Ok(());
                }
            }
            match chunks.next(&mut told) {
                Ok(chunk) if !chunk.is_empty() => {}
                Ok(_) if self.connection.may_read_more() => continue,
                Ok(_) => break,
                Err(error) if Error::is_tick(&error) => {
                    f(self, SocketEvent::Timeout)?;
                    continue;
                }
                Err(error) if Cause::ShuttingDown.is_of(&error) && self.connection.may_read_more() => continue,
                Err(error) if ends == Ends::ByReceiver && Cause::ShuttingDown.is_of(&error) => {
                    f(self, SocketEvent::ShuttingDown)?;
                    return self.hold(f, &mut told, Connection::wait_for_our_end);
                }
                Err(error) => return Err(error),
            }
            if chunks.was_put_back() {
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
        if self.connection.is_closed() {
            return Ok(());
        }
        f(self, SocketEvent::End)?;
        match ends {
            Ends::ByUs => self.hold(f, &mut told, Connection::wait_for_our_end_or_shutdown),
            Ends::ByReceiver => self.hold(f, &mut told, Connection::wait_for_our_end),
            // Closing an accepted connection waits until the peer has paused, so that the reply is not lost.
            Ends::WithPeer if self.connection.has(READ_ENDED) => self.connection.turn().flush_last(),
            Ends::WithPeer if self.connection.is_accepted => self.connection.turn().end_by_closing(),
            // A client's stream may have other descriptors. A close alone would not end the connection for them.
            Ends::WithPeer => self.connection.turn().end(),
        }
    }

    /// Waits by calling `wait`, and delivers `Timeout` while it waits.
    fn hold(
        &self,
        f: OnEvent<'_>,
        told: &mut Option<IdleMark>,
        wait: fn(&Connection, &mut Option<IdleMark>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match wait(&self.connection, told) {
                Err(error) if Cause::Idle.is_of(&error) => f(self, SocketEvent::Timeout)?,
                result => return result,
            }
        }
    }

    /// Stops the events of [`each`](Socket::each) and of channels until [`resume`](Socket::resume) is called. During
    /// the pause `each` and channels read nothing: the peer's data fills the buffers, and after that the peer's writes
    /// block. Blocking reads on this socket still work, and get every byte in order.
    ///
    /// If `each` or a channel is blocked in a read when another thread calls `pause`, the data of that read is put
    /// back, and the next read on any thread returns it. Bytes that another thread puts back before `resume`, as a
    /// failed [`read_exact`](Socket::read_exact) does, are delivered before `End`. An error in the blocked read is
    /// delivered at once, as is the passing of its timer.
    ///
    /// If the server [shuts down](crate::net::Server::shutdown) during the pause, no event is lost. The events come
    /// after `resume`, if `resume` is called before the shutdown's `grace` has passed.
    pub fn pause(&self) {
        self.connection.pause();
    }

    /// Ends a [`pause`](Socket::pause): events come again.
    pub fn resume(&self) {
        self.connection.resume();
    }

    /// Whether the socket is [paused](Socket::pause).
    #[doc(alias = "isPaused")]
    pub fn is_paused(&self) -> bool {
        self.connection.is_paused()
    }
}
