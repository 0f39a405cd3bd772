use std::io;

use crate::dgram::receive::{MAX_DATAGRAM, RemoteInfo};
use crate::dgram::socket::Socket;
use crate::error::Error;
use crate::thread::{Running, ThreadOptions};

/// An event of a [`Socket`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent<D = Vec<u8>> {
    /// A datagram has arrived. It is complete and may be empty.
    Message(D, RemoteInfo),
    /// A receive failed. The loop continues. A connected socket gets `recvmsg ECONNREFUSED` if no program was listening
    /// for a datagram that it sent.
    Error(Error),
    /// The socket is closed. This is the last event of every loop.
    Close,
}

impl SocketEvent<&[u8]> {
    /// Returns the same event with its own copy of the bytes.
    pub fn into_owned(self) -> SocketEvent {
        match self {
            SocketEvent::Message(bytes, from) => SocketEvent::Message(bytes.to_vec(), from),
            SocketEvent::Error(error) => SocketEvent::Error(error),
            SocketEvent::Close => SocketEvent::Close,
        }
    }
}

impl Socket {
    /// Receives on this thread until the socket is closed, and passes each event to the closure.
    ///
    /// The loop has a buffer of 65,535 bytes, so no datagram is truncated. Several loops may run at once. Each datagram
    /// goes to one of them, and [`SocketEvent::Close`] goes to all. The closure may send, change options, or do
    /// anything else. It may also close the socket, which ends this loop after the closure has returned. While the
    /// closure runs, datagrams wait in the [receive buffer](Socket::recv_buffer_size). When the buffer is full, further
    /// datagrams are [lost](Socket::lost).
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
    /// - The first error that the closure returns. It ends the loop and closes the socket. The closure still gets its
    ///   [`SocketEvent::Close`]. The other loops of the socket return `Ok`.
    /// - A failed receive does not end the loop. The closure gets the error as an event. If errors follow each other
    ///   closely, the loop pauses before each one, for longer each time.
    ///
    /// # Panics
    /// If the closure panics, the socket is closed too.
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

/// Closes the socket when the loop ends, even if a panic ends it, because nothing would receive any more.
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
