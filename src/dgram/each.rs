use std::{fmt, io};

use crate::dgram::options::SocketOptions;
use crate::dgram::receive::{MAX_DATAGRAM, RemoteInfo};
use crate::dgram::socket::Socket;
use crate::error::Error;
use crate::thread::Running;

/// What happens to a [`Socket`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// A datagram has arrived; it may be empty. It is whole.
    Message(D, RemoteInfo),
    /// Receiving has failed, and goes on. A connected socket is told `recvmsg ECONNREFUSED` when a datagram found
    /// nobody listening.
    Error(Error),
    /// The socket is closed. The last event of every loop, once.
    Close,
}

impl Socket {
    /// Receives until the socket is closed, and hands each event to the closure, on this thread.
    ///
    /// One loop has one buffer of 65,535 bytes, so no datagram is cut. Several loops may run at once; each datagram
    /// goes to one of them, and [`SocketEvent::Close`] to each. The closure may do anything: send, change options,
    /// close the socket, which ends this loop after the closure has returned. While it runs, what arrives waits in the
    /// [receive buffer](Socket::recv_buffer_size), and is [lost](Socket::lost) when that is full.
    ///
    /// ```
    /// use landline::dgram::{Socket, SocketEvent};
    ///
    /// let socket = Socket::bind("127.0.0.1:0")?;
    /// let sender = Socket::bind("127.0.0.1:0")?;
    /// for text in ["one", "two", "bye"] {
    ///     sender.send_to(text.as_bytes(), socket.address())?;
    /// }
    ///
    /// let mut total = 0;
    /// socket.each(|socket, event| {
    ///     match event {
    ///         SocketEvent::Message(b"bye", _) => socket.close(),
    ///         SocketEvent::Message(bytes, _) => total += bytes.len(),
    ///         SocketEvent::Error(error) => eprintln!("{error}"),
    ///         _ => {}
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(total, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first that the closure returns: it ends the loop and closes the socket, and with it other loops, which
    /// return `Ok`. The closure gets its [`SocketEvent::Close`] even so. A closure that panics closes the socket too.
    /// No error of receiving ends the loop; the closure is told of each, which is followed by a growing pause where
    /// there are many.
    pub fn each<F>(&self, mut f: F) -> io::Result<()>
    where
        F: FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>,
    {
        let closing = CloseAtEnd(self);
        let mut buffer = vec![0; MAX_DATAGRAM];
        let ended = loop {
            let handled = match self.recv(&mut buffer) {
                Ok(Some((bytes, from))) => f(self, SocketEvent::Message(bytes, from)),
                Ok(None) => break Ok(()),
                Err(error) => f(self, SocketEvent::Error(error.into())),
            };
            if handled.is_err() {
                break handled;
            }
        };
        drop(closing);
        ended.and(f(self, SocketEvent::Close))
    }

    /// The same as [`each`](Socket::each), sorted: a closure for each event, in Node's words. Those not given do
    /// nothing.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use landline::dgram::Socket;
    ///
    /// let socket = Socket::bind("127.0.0.1:0")?;
    /// Socket::bind("127.0.0.1:0")?.send_to(b"hello", socket.address())?;
    ///
    /// let closed = Cell::new(false);
    /// socket
    ///     .on()
    ///     .message(|socket, bytes, from| {
    ///         println!("{} bytes from {}", bytes.len(), from.address());
    ///         socket.close();
    ///         Ok(())
    ///     })
    ///     .close(|_| closed.set(true))
    ///     .run()?;
    /// assert!(closed.get());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on(&self) -> SocketCallbacks {
        SocketCallbacks { socket: self.clone(), message: |_, _, _| Ok(()), error: |_, _| {}, close: |_| {} }
    }
}

/// Closes the socket when the loop ends, however it does: nobody would receive any more.
struct CloseAtEnd<'a>(&'a Socket);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What [`Socket::on`] has in the place of a closure that was not given.
type OnMessage = fn(&Socket, &[u8], &RemoteInfo) -> io::Result<()>;
type OnError = fn(&Socket, &Error);
type OnClose = fn(&Socket);

/// The closures for a socket's events, and then [`run`](SocketCallbacks::run) or [`spawn`](SocketCallbacks::spawn). Made
/// by [`Socket::on`].
#[must_use = "nothing is received until run() or spawn()"]
pub struct SocketCallbacks<M = OnMessage, E = OnError, C = OnClose> {
    socket: Socket,
    message: M,
    error: E,
    close: C,
}

impl<M, E, C> SocketCallbacks<M, E, C> {
    /// Called for each datagram, with its sender. An error it returns closes the socket and is what `run` returns.
    pub fn message<F>(self, f: F) -> SocketCallbacks<F, E, C>
    where
        F: FnMut(&Socket, &[u8], &RemoteInfo) -> io::Result<()>,
    {
        let SocketCallbacks { socket, message: _, error, close } = self;
        SocketCallbacks { socket, message: f, error, close }
    }

    /// Called when receiving fails. The socket goes on.
    pub fn error<F>(self, f: F) -> SocketCallbacks<M, F, C>
    where
        F: FnMut(&Socket, &Error),
    {
        let SocketCallbacks { socket, message, error: _, close } = self;
        SocketCallbacks { socket, message, error: f, close }
    }

    /// Called once, last, when the socket is closed.
    pub fn close<F>(self, f: F) -> SocketCallbacks<M, E, F>
    where
        F: FnMut(&Socket),
    {
        let SocketCallbacks { socket, message, error, close: _ } = self;
        SocketCallbacks { socket, message, error, close: f }
    }
}

impl<M, E, C> SocketCallbacks<M, E, C>
where
    M: FnMut(&Socket, &[u8], &RemoteInfo) -> io::Result<()>,
    E: FnMut(&Socket, &Error),
    C: FnMut(&Socket),
{
    /// Receives on this thread until the socket is closed, and blocks until then. The closures never run at once and may
    /// borrow.
    ///
    /// # Errors
    /// What the `message` closure returned. As of [`Socket::each`].
    pub fn run(mut self) -> io::Result<()> {
        self.socket.each(|socket, event| match event {
            SocketEvent::Message(bytes, from) => (self.message)(socket, bytes, &from),
            SocketEvent::Error(error) => {
                (self.error)(socket, &error);
                Ok(())
            }
            SocketEvent::Close => {
                (self.close)(socket);
                Ok(())
            }
        })
    }

    /// Receives on a thread of its own until the socket is closed.
    ///
    /// # Errors
    /// `WouldBlock` if no thread can be started; the socket stays open.
    pub fn spawn(self) -> io::Result<Running>
    where
        M: Send + 'static,
        E: Send + 'static,
        C: Send + 'static,
    {
        let socket = self.socket.clone();
        socket.start(move || self.run())
    }
}

impl Socket {
    /// Starts a thread that receives.
    pub(crate) fn start(&self, receive: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Running> {
        let setup = self.setup();
        let SocketOptions { thread_name, stack_size, .. } = &setup.options;
        Running::start(format!("{thread_name} recv {}", self.address()), *stack_size, receive)
    }
}

impl<M, E, C> fmt::Debug for SocketCallbacks<M, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketCallbacks").field("socket", &self.socket).finish_non_exhaustive()
    }
}
