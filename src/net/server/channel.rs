//! The events of a server, through a channel.

use std::{io, thread};

use crate::error::Error;
use crate::events::{BeginShutdown, Events, Feed, Source, channel};
use crate::net::server::Server;
use crate::net::server::accept::accept;
use crate::net::server::patience::Caller;
use crate::net::server::refuse::Refused;
use crate::net::socket::Socket;
use crate::net::socket::channel::feed_from;
use crate::net::socket::each::SocketEvent;
use crate::report::{Outcome, Report};
use crate::thread::{ThreadOptions, spawn_scoped};

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
    #[inline]
    pub fn events(&self, n: usize) -> io::Result<Events<ServerEvent>> {
        channel(n, |feed| self.feed_events(feed))
    }

    fn feed_events(&self, feed: Feed<ServerEvent>) -> io::Result<Source> {
        self.claim()?;
        let server = self.clone();
        let running = self.start(move || {
            let send = |event| feed.send(event, None);
            let told = |error| {
                let error = Error::from(error);
                drop(send(ServerEvent::Error(error.clone())));
                error.into()
            };
            let result = server
                .on()
                .connection(|socket| {
                    if send(ServerEvent::Connection(socket.clone())).is_err() {
                        socket.destroy();
                        return Ok(());
                    }
                    feed_from(socket, &|event, over| feed.send(ServerEvent::Socket(socket.clone(), event), over))
                })
                // Nobody is there to be told if sending fails.
                .refused(|client| drop(send(ServerEvent::Refused(client.clone()))))
                .error(|error, connection| {
                    if connection.is_none() {
                        drop(send(ServerEvent::Error(error.clone())));
                    }
                })
                .run_claimed()
                .map_err(told);
            drop(send(ServerEvent::Close));
            result
        })?;
        let server = self.clone();
        let close = move || {
            server.close();
            // Nobody would be told of a client whose header came later.
            server.inner.registry.interrupt_newcomers();
            server.inner.registry.cut(Outcome::Destroyed, &[]);
        };
        Ok(Source { running, close: Box::new(close), begin_shutdown: self.beginner() })
    }

    /// Accepts on threads of its own, and sends each connection into a channel that holds `n` at most; 0 hands each one
    /// over. Nothing is read of them: the receiver serves them as those of [`accept`](Server::accept), and each is open
    /// until it is destroyed or its last handle dropped. For a program that waits in a `select!` for clients and other
    /// things.
    ///
    /// While the channel is full, no client is accepted but the one whose connection is sent next: the others wait in
    /// the [backlog](crate::net::ServerOptions::backlog). Where a [PROXY
    /// header](crate::net::ServerOptions::proxy_protocol) is asked for, sixteen threads accept, so that one that is
    /// late holds up no other client; each has a connection in hand. Clients are refused as in `accept`, and told to
    /// the [report](crate::net::ServerOptions::report) hook alone.
    ///
    /// The channel is disconnected once the server is [closed](Server::close) and the last connection was taken; the
    /// connections live on. [`shutdown`](Server::shutdown) interrupts and ends those in the channel too. The receiving
    /// thread calls [`begin_shutdown`](Server::begin_shutdown) and goes on receiving; [`wait`](Server::wait) from a
    /// thread that holds none of the connections returns when all have ended, and [`report`](Server::report) says how
    /// it went.
    ///
    /// Dropping the [`Events`] closes the server and destroys the connections that were not received.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let incoming = server.incoming(16)?;
    ///
    /// let client = Socket::connect(server.address())?;
    /// for socket in &incoming {
    ///     socket.write_end("hello")?;
    ///     server.close();
    /// }
    /// assert_eq!(std::io::read_to_string(&client)?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served already. `ERR_OUT_OF_RANGE` if `n` is above 1,048,576:
    /// the room is allocated at once. The thread cannot be started.
    #[inline]
    pub fn incoming(&self, n: usize) -> io::Result<Events<Socket>> {
        Ok(channel(n, |feed| self.feed_incoming(feed))?.discarded_by(|socket| socket.destroy()))
    }

    fn feed_incoming(&self, feed: Feed<Socket>) -> io::Result<Source> {
        self.claim()?;
        let server = self.clone();
        let running = self.start(move || {
            server.accept_for(&feed).map_err(|error| {
                let error = Error::from(error);
                server.inner.registry.reporter.tell(|| Report::Failed {
                    connection: None,
                    error: error.clone(),
                    udp: false,
                });
                error.into()
            })
        })?;
        let server = self.clone();
        let close = move || {
            server.close();
            // No thread would receive a client whose header came later.
            server.inner.registry.interrupt_newcomers();
        };
        Ok(Source { running, close: Box::new(close), begin_shutdown: self.beginner() })
    }

    /// Begins a shutdown, whose thread the server waits for.
    fn beginner(&self) -> Box<BeginShutdown> {
        let server = self.clone();
        Box::new(move |grace| server.begin_shutdown(grace).map(|()| None))
    }

    /// Accepts until the server is closed.
    fn accept_for(&self, feed: &Feed<Socket>) -> io::Result<()> {
        let work = || {
            while let Some(socket) = accept(&self.inner, &Caller::for_channel())? {
                if feed.send(socket.clone(), None).is_err() {
                    socket.destroy();
                }
            }
            Ok(())
        };
        let others = if self.inner.options.trusted.is_some() { HEADERS_AT_ONCE - 1 } else { 0 };
        thread::scope(|scope| {
            for _ in 0..others {
                let ThreadOptions { thread_name, stack_size } = &self.inner.options.threads;
                let name = format!("{thread_name} accept {}", self.address());
                // Where none can be started, fewer accept.
                if spawn_scoped(scope, name, *stack_size, work).is_err() {
                    break;
                }
            }
            work()
        })
    }
}

/// How many threads accept for a channel of connections, where each may have to wait for a PROXY header.
const HEADERS_AT_ONCE: usize = 16;
