//! The second way to use a server or a socket: one closure for every event, or one closure per event in Node's words. Both
//! run on the thread that reads.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::{fmt, io};

use crate::encoding::{Decoder, Encoding};
use crate::error::Error;
use crate::net::socket::Socket;
use crate::net::socket::connection::{Core, Manner, is_destroyed, is_shutting_down};
use crate::net::socket::linger::LINGER;
use crate::net::socket::read::Chunks;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::{Told, is_idle};
use crate::report::How;
use crate::thread::{Running, panic_message};

/// What happens on a [`Socket`], in this order: any number of `Data` and `Timeout`; `End`; `Error`; `Close`. Each of the
/// last three comes once at most, `Error` directly before `Close`, and `Close` always.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// Bytes arrived, at most 64 KiB of them. In [`Socket::each`] they are a `&[u8]` into its buffer.
    Data(D),
    /// The peer has ended, and every byte before was given. Not told after `destroy()`, nor after an error.
    End,
    /// The idle time is over. Nothing is closed by that.
    Timeout,
    /// The connection failed, or the closure returned an error.
    Error(Error),
    /// It is over: the slot is free and the socket closed.
    #[non_exhaustive]
    Close {
        /// Whether an `Error` came before.
        had_error: bool,
    },
}

impl SocketEvent<&[u8]> {
    /// The same event with bytes of its own.
    pub fn into_owned(self) -> SocketEvent {
        match self {
            SocketEvent::Data(bytes) => SocketEvent::Data(bytes.to_vec()),
            SocketEvent::End => SocketEvent::End,
            SocketEvent::Timeout => SocketEvent::Timeout,
            SocketEvent::Error(error) => SocketEvent::Error(error),
            SocketEvent::Close { had_error } => SocketEvent::Close { had_error },
        }
    }
}

impl Socket {
    /// Reads, and calls `f` with each event, one at a time, until the connection is closed. Blocks until then.
    ///
    /// - When `f` has returned from `End`, our direction is ended too, and the connection closed; what was written in the
    ///   meantime is sent. With `allow_half_open` that waits until [`end`](Socket::end) or [`destroy`](Socket::destroy) is
    ///   called, on whatever thread.
    /// - An error that `f` returns destroys the connection: `Error` with it and `Close` follow, and `each` returns it.
    /// - `destroy()` from anywhere is followed by `Close` alone.
    /// - When the server [shuts down](crate::net::Server::shutdown), the connection is ended in order, and `Close` follows.
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
    /// assert_eq!(socket.read_to_string()?, "5 bytes, bye\n");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What ended the connection: an error of reading, or what `f` returned. What `f` returns from `Error` is passed over,
    /// since there is one already; what it returns from `Close` is returned if there is none.
    /// `NotConnected`, without any event, if the socket is closed already.
    pub fn each(&self, f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>) -> io::Result<()> {
        self.each_until(self.core.allow_half_open, f)
    }

    /// As `each`; `half_open` says whether it waits for our end, or ends our direction after the peer's.
    pub(crate) fn each_until(
        &self,
        half_open: bool,
        mut f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>,
    ) -> io::Result<()> {
        let stream = self.core.stream("read")?;
        let mut result = self.read_events(stream, half_open, &mut f);
        let shut_down = result.as_ref().is_err_and(is_shutting_down);
        if shut_down {
            // In order: what is queued goes out first.
            result = self.core.turn().flush();
        }
        if self.core.is_closed() && result.as_ref().is_err_and(is_destroyed) {
            // Ours, so it is no error of the connection's.
            result = Ok(());
        }
        match &result {
            Ok(()) => {
                let manner = if shut_down { Manner::InOrder(LINGER) } else { Manner::Plain };
                self.core.close(How::Finished, manner);
            }
            Err(error) => {
                let error = Error::told_by(error);
                let _ = f(self, SocketEvent::Error(error.clone()));
                self.core.fail(&error);
            }
        }
        let closed = f(self, SocketEvent::Close { had_error: result.is_err() });
        result.and(closed)
    }

    /// Everything before the close.
    fn read_events(
        &self,
        stream: Arc<TcpStream>,
        half_open: bool,
        f: &mut impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut chunks = Chunks::new(&self.core, &stream, CHUNK);
        loop {
            match chunks.next() {
                Ok(chunk) => {
                    if chunk.is_empty() {
                        break;
                    }
                }
                Err(error) if is_idle(&error) => {
                    chunks.idle_was_told();
                    f(self, SocketEvent::Timeout)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if self.core.is_paused() {
                self.hold(f, Core::wait_while_paused)?;
            }
            if !self.core.is_closed() {
                f(self, SocketEvent::Data(chunks.last()))?;
            }
            if self.core.is_closed() {
                return Ok(());
            }
        }
        drop(chunks);
        drop(stream);
        if self.core.is_paused() {
            self.hold(f, Core::wait_while_paused)?;
        }
        if self.core.is_closed() {
            return Ok(());
        }
        f(self, SocketEvent::End)?;
        if half_open {
            self.hold(f, Core::wait_for_our_end)
        } else if self.core.is_accepted {
            self.core.turn().end_by_closing()
        } else {
            // Of a client's stream there may be other descriptors, which a close alone would not end.
            self.end()
        }
    }

    /// Waits by `wait`; telling of idle times meanwhile.
    fn hold(
        &self,
        f: &mut impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>,
        wait: fn(&Core, Option<Told>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut told = None;
        loop {
            match wait(&self.core, told) {
                Err(error) if is_idle(&error) => {
                    told = Some(self.core.timers.told());
                    f(self, SocketEvent::Timeout)?;
                }
                result => return result,
            }
        }
    }

    /// Holds events back from [`each`](Socket::each), [`on`](Socket::on) and channels, from the next one on, until
    /// [`resume`](Socket::resume). What the peer sends fills the buffers between, and then the peer waits. Reading by
    /// blocking calls goes on.
    ///
    /// An event that is held back is not lost to a [shutdown](crate::net::Server::shutdown) of the server: it comes with `resume`,
    /// if that is within the shutdown's time.
    pub fn pause(&self) {
        self.core.pause();
    }

    /// Ends a [`pause`](Socket::pause).
    pub fn resume(&self) {
        self.core.resume();
    }

    /// Whether events are held back.
    #[doc(alias = "isPaused")]
    pub fn is_paused(&self) -> bool {
        self.core.is_paused()
    }

    /// One closure per event, in Node's words; then [`run`](SocketCallbacks::run) or [`spawn`](SocketCallbacks::spawn).
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::cell::Cell;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| {
    ///     let total = Cell::new(0); // the closures never run at once, so a Cell will do
    ///     socket.on()
    ///         .data(|_, bytes| { total.set(total.get() + bytes.len()); Ok(()) })
    ///         .end(|socket| socket.write_end(format!("{} bytes", total.get())))
    ///         .run()
    /// })?;
    ///
    /// let socket = Socket::connect(server.address())?;
    /// socket.write_end("hello")?;
    /// assert_eq!(socket.read_to_string()?, "5 bytes");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on(&self) -> SocketCallbacks {
        SocketCallbacks {
            socket: self.clone(),
            text: false,
            data: |_, _| Ok(()),
            end: |_| Ok(()),
            timeout: |_| Ok(()),
            error: |_, _| {},
            close: |_, _| {},
        }
    }
}

type OnData = fn(&Socket, &[u8]) -> io::Result<()>;
type OnSocket = fn(&Socket) -> io::Result<()>;
type OnError = fn(&Socket, &Error);
type OnClose = fn(&Socket, bool);

/// One closure per event of a [`Socket`], made by [`Socket::on`]. They are called in the order that [`SocketEvent`]
/// tells, never two at once. An `Err` from `data`, `end` or `timeout` destroys the connection.
#[must_use = "nothing is read until run() or spawn()"]
pub struct SocketCallbacks<D = OnData, E = OnSocket, T = OnSocket, R = OnError, C = OnClose> {
    socket: Socket,
    /// `data` wants to be called with nothing, once, when all was given.
    text: bool,
    data: D,
    end: E,
    timeout: T,
    error: R,
    close: C,
}

impl<D, E, T, R, C> SocketCallbacks<D, E, T, R, C> {
    /// Bytes arrived. Without it they are read and thrown away.
    pub fn data<F: FnMut(&Socket, &[u8]) -> io::Result<()>>(self, f: F) -> SocketCallbacks<F, E, T, R, C> {
        let SocketCallbacks { socket, text: _, data: _, end, timeout, error, close } = self;
        SocketCallbacks { socket, text: false, data: f, end, timeout, error, close }
    }

    /// As `data`, but decoded: a character whose bytes come in two pieces is given whole, with the second. What is not valid
    /// becomes U+FFFD, as in Node. It takes the place of `data`.
    ///
    /// ```
    /// # use landline::{Encoding, net::{Server, Socket}};
    /// # use std::cell::RefCell;
    /// # let server = Server::listen("127.0.0.1:0")?;
    /// # let socket = Socket::connect(server.address())?;
    /// # let client = server.accept()?.expect("the server is open");
    /// # socket.write_end("hé")?;
    /// let all = RefCell::new(String::new());
    /// client.on().text(Encoding::Utf8, |_, text| { all.borrow_mut().push_str(text); Ok(()) }).run()?;
    /// assert_eq!(all.into_inner(), "hé");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "setEncoding")]
    #[expect(clippy::type_complexity, reason = "a closure has no shorter name")]
    pub fn text<F: FnMut(&Socket, &str) -> io::Result<()>>(
        self,
        encoding: Encoding,
        mut f: F,
    ) -> SocketCallbacks<impl FnMut(&Socket, &[u8]) -> io::Result<()>, E, T, R, C> {
        let mut decoder = Decoder::new(encoding);
        let decode = move |socket: &Socket, bytes: &[u8]| {
            let text = if bytes.is_empty() { decoder.finish().into() } else { decoder.push(bytes) };
            if text.is_empty() { Ok(()) } else { f(socket, &text) }
        };
        SocketCallbacks { text: true, ..self.data(decode) }
    }

    /// The peer has ended. Without `allow_half_open`, our direction is ended when this has returned.
    pub fn end<F: FnMut(&Socket) -> io::Result<()>>(self, f: F) -> SocketCallbacks<D, F, T, R, C> {
        let SocketCallbacks { socket, text, data, end: _, timeout, error, close } = self;
        SocketCallbacks { socket, text, data, end: f, timeout, error, close }
    }

    /// The idle time is over.
    pub fn timeout<F: FnMut(&Socket) -> io::Result<()>>(self, f: F) -> SocketCallbacks<D, E, F, R, C> {
        let SocketCallbacks { socket, text, data, end, timeout: _, error, close } = self;
        SocketCallbacks { socket, text, data, end, timeout: f, error, close }
    }

    /// The connection failed, or a closure returned an error. `close(true)` follows at once.
    pub fn error<F: FnMut(&Socket, &Error)>(self, f: F) -> SocketCallbacks<D, E, T, F, C> {
        let SocketCallbacks { socket, text, data, end, timeout, error: _, close } = self;
        SocketCallbacks { socket, text, data, end, timeout, error: f, close }
    }

    /// The connection is over; the flag says whether an error ended it. The server's count is down already.
    pub fn close<F: FnMut(&Socket, bool)>(self, f: F) -> SocketCallbacks<D, E, T, R, F> {
        let SocketCallbacks { socket, text, data, end, timeout, error, close: _ } = self;
        SocketCallbacks { socket, text, data, end, timeout, error, close: f }
    }

    /// Reads and calls the closures until the connection is closed. Blocks until then.
    ///
    /// # Errors
    /// Those of [`Socket::each`].
    pub fn run(self) -> io::Result<()>
    where
        D: FnMut(&Socket, &[u8]) -> io::Result<()>,
        E: FnMut(&Socket) -> io::Result<()>,
        T: FnMut(&Socket) -> io::Result<()>,
        R: FnMut(&Socket, &Error),
        C: FnMut(&Socket, bool),
    {
        let SocketCallbacks { socket, text, mut data, mut end, mut timeout, mut error, mut close } = self;
        socket.each(|socket, event| {
            match event {
                SocketEvent::Data(bytes) => return data(socket, bytes),
                SocketEvent::End => {
                    if text {
                        data(socket, &[])?;
                    }
                    return end(socket);
                }
                SocketEvent::Timeout => return timeout(socket),
                SocketEvent::Error(cause) => error(socket, &cause),
                SocketEvent::Close { had_error } => close(socket, had_error),
            }
            Ok(())
        })
    }

    /// As [`run`](Self::run), on a thread of its own. If a closure panics there, the connection is destroyed.
    ///
    /// # Errors
    /// The thread cannot be started; the connection is left as it was. What `run` returns, [`Running::join`] gives.
    pub fn spawn(self) -> io::Result<Running>
    where
        D: FnMut(&Socket, &[u8]) -> io::Result<()> + Send + 'static,
        E: FnMut(&Socket) -> io::Result<()> + Send + 'static,
        T: FnMut(&Socket) -> io::Result<()> + Send + 'static,
        R: FnMut(&Socket, &Error) + Send + 'static,
        C: FnMut(&Socket, bool) + Send + 'static,
    {
        let socket = self.socket.clone();
        Running::start(format!("landline socket {}", socket.remote_address()), None, move || {
            catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|panic| {
                socket.core.panicked(panic_message(&*panic));
                resume_unwind(panic)
            })
        })
    }
}

impl<D, E, T, R, C> fmt::Debug for SocketCallbacks<D, E, T, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketCallbacks").field("socket", &self.socket).finish_non_exhaustive()
    }
}
