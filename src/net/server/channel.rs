//! The events of a server, through a channel.

use std::io;

use crate::error::Error;
use crate::events::{Events, channel};
use crate::net::server::Server;
use crate::net::server::refuse::Refused;
use crate::net::socket::Socket;
use crate::net::socket::channel::feed_from;
use crate::net::socket::each::SocketEvent;
use crate::report::Outcome;

/// What happens on a [`Server`] whose events go [through a channel](Server::events).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A client was admitted.
    Connection(Socket),
    /// Something happened on a connection.
    Socket(Socket, SocketEvent),
    /// A client was turned away; it is closed by now, or being told goodbye.
    Refused(Refused),
    /// Accepting fails for the time being.
    Error(Error),
    /// The server is closed and its last connection has ended: the last event.
    Close,
}

impl Server {
    /// Serves on threads of its own, and sends everything that happens into one channel that holds `n` events at most;
    /// 0 hands each one over. See [`Events`] for what the receiver must know.
    ///
    /// A connection ends when both sides have: at `End`, and at `ShuttingDown`, answer what is left to answer and call
    /// [`outbox().end()`](crate::net::Outbox::end), or [`destroy`](Socket::destroy).
    ///
    /// ```
    /// use landline::net::{Server, ServerEvent, Socket, SocketEvent};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let events = server.events(16)?;
    ///
    /// let client = Socket::connect(server.address())?;
    /// client.write_end("hello")?;
    /// for event in &events {
    ///     match event {
    ///         ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => socket.outbox().try_send(bytes)?,
    ///         ServerEvent::Socket(socket, SocketEvent::End | SocketEvent::ShuttingDown) => socket.outbox().end()?,
    ///         ServerEvent::Socket(_, SocketEvent::Close { .. }) => server.close(),
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(std::io::read_to_string(&client)?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served already. `ERR_OUT_OF_RANGE` if `n` is above 1,048,576:
    /// the room is allocated at once. The thread cannot be started.
    #[doc(alias = "asyncIterator")]
    pub fn events(&self, n: usize) -> io::Result<Events<ServerEvent>> {
        let (feed, events) = channel(n)?;
        self.claim()?;
        let server = self.clone();
        let running = self.start(move || {
            let result = server
                .on()
                .connection(|socket| {
                    if feed.send(ServerEvent::Connection(socket.clone())).is_err() {
                        socket.destroy();
                        return Ok(());
                    }
                    feed_from(socket, &feed, |event| ServerEvent::Socket(socket.clone(), event))
                })
                // Nobody is there to be told if sending fails.
                .refused(|client| drop(feed.send(ServerEvent::Refused(client.clone()))))
                .error(|error, connection| {
                    if connection.is_none() {
                        drop(feed.send(ServerEvent::Error(error.clone())));
                    }
                })
                .run_claimed();
            if let Err(error) = &result {
                drop(feed.send(ServerEvent::Error(Error::told_by(error))));
            }
            drop(feed.send(ServerEvent::Close));
            result
        })?;
        let server = self.clone();
        Ok(events.fed_by(running, move || {
            server.close();
            // Nobody would be told of a client whose header came later.
            server.inner.registry.interrupt_newcomers();
            server.inner.registry.cut(Outcome::Destroyed, &[]);
        }))
    }
}
