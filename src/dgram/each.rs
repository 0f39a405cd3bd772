use std::io;

use crate::dgram::receive::{MAX_DATAGRAM, RemoteInfo};
use crate::dgram::socket::Socket;
use crate::error::Error;
use crate::thread::{Running, ThreadOptions};

/// An event of a [`Socket`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// A datagram has arrived. It is whole and may be empty.
    Message(D, RemoteInfo),
    /// Receiving has failed, and continues. A connected socket gets `recvmsg ECONNREFUSED` if no program was listening
    /// for a datagram that it sent.
    Error(Error),
    /// The socket is closed. It is the last event of every loop.
    Close,
}

impl SocketEvent<&[u8]> {
    /// The same event with its own copy of the bytes.
    pub fn into_owned(self) -> SocketEvent {
        match self {
            SocketEvent::Message(bytes, from) => SocketEvent::Message(bytes.to_vec(), from),
            SocketEvent::Error(error) => SocketEvent::Error(error),
            SocketEvent::Close => SocketEvent::Close,
        }
    }
}

impl Socket {
    /// Receives on this thread until the socket is closed, and hands each event to the closure.
    ///
    /// A loop has a buffer of 65,535 bytes, so no datagram is truncated. Several loops may run at once. Each datagram
    /// goes to one of them, and [`SocketEvent::Close`] to all. The closure may do anything. It may send, change
    /// options, or close the socket, which ends this loop after the closure has returned. While it runs, datagrams wait
    /// in the [receive buffer](Socket::recv_buffer_size), and are [lost](Socket::lost) when that is full.
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
    /// The first error that the closure returns. It ends the loop and closes the socket. Other loops of the socket end
    /// with `Ok`. The closure still gets its [`SocketEvent::Close`]. A closure that panics closes the socket too. An
    /// error of receiving does not end the loop. The closure gets each as an event. If they follow each other
    /// closely, a growing pause comes before each.
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
}

/// Closes the socket when the loop ends, also by a panic, since nothing would receive any more.
struct CloseAtEnd<'a>(&'a Socket);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Socket {
    /// Starts a thread that receives.
    pub(crate) fn start(&self, receive: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Running> {
        let setup = self.setup();
        let ThreadOptions { thread_name, stack_size } = &setup.options.threads;
        let socket = self.clone();
        let name = format!("{thread_name} recv {}", self.address());
        Running::start(name, *stack_size, 0, move || socket.close(), receive)
    }
}
