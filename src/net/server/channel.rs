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
use crate::report::Outcome;
use crate::thread::{ThreadOptions, spawn_scoped};

/// An event of a [`Server`] that sends its events [through a channel](Server::events).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A client was admitted.
    Connection(Socket),
    /// An event of a connection.
    Socket(Socket, SocketEvent),
    /// A client was refused. By now it is closed, or is receiving the [goodbye](crate::net::WhenFull::RefuseWith).
    Refused(Refused),
    /// Accepting fails at present. The server keeps trying.
    Error(Error),
    /// The server is closed, and its last connection is closed. This is the last event.
    Close,
}

impl Server {
    /// Serves on new threads, and sends every event of the server and its connections into one channel. The channel
    /// holds at most `n` events. If `n` is 0, each sending thread waits until its event is received. See [`Events`] for
    /// what the receiver must do.
    ///
    /// A connection closes when both directions have ended. So at `End` and at `ShuttingDown`, send the remaining
    /// answers, then call [`outbox().end()`](crate::net::Outbox::end) or [`destroy`](Socket::destroy).
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
    /// - `ERR_SERVER_ALREADY_LISTEN` if `serve` or a similar call already takes the server's clients.
    /// - `ERR_OUT_OF_RANGE` if `n` is above 1,048,576, because the channel's memory is allocated at once.
    /// - The system's error if the thread cannot be started.
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
                // If sending fails, the receiver is gone.
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
            // The receiver is gone, so clients whose header has not arrived are disconnected.
            server.inner.registry.interrupt_newcomers();
            server.inner.registry.cut(Outcome::Destroyed, &[]);
        };
        Ok(Source { running, close: Box::new(close), begin_shutdown: self.beginner() })
    }

    /// Accepts on new threads, and sends each connection into a channel. The channel holds at most `n` connections. If
    /// `n` is 0, the accepting thread waits until its connection is received. Use it in a program that waits in a
    /// `select!` for clients and for other things. Nothing is read from the connections: the receiver uses them like
    /// those from [`accept`](Server::accept). Each is open until it is destroyed or its last handle is dropped.
    ///
    /// While the channel is full, one more client is accepted and waits for room in the channel. Further clients wait
    /// in the [backlog](crate::net::ServerOptions::backlog). If a [PROXY
    /// header](crate::net::ServerOptions::proxy_protocol) is expected, sixteen threads accept, so that a late header
    /// does not delay other clients. Each of them holds at most one client that is not in the channel yet. Clients are
    /// refused as in `accept`, and reported only to the [report](crate::net::ServerOptions::report) hook.
    ///
    /// After the server is [closed](Server::close), the channel is disconnected as soon as the last connection was
    /// received. The connections stay open. The same happens if the listening socket no longer works, as in
    /// [`serve`](Server::serve). The error is then [reported](crate::Report::Failed) once.
    ///
    /// To shut down, the receiving thread calls [`begin_shutdown`](Server::begin_shutdown) and keeps receiving. The
    /// shutdown also ends the connections that are still in the channel. [`wait`](Server::wait), on a thread that holds
    /// none of the connections, returns when all are closed. After that, [`report`](Server::report) returns the result.
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
    /// - `ERR_SERVER_ALREADY_LISTEN` if `serve` or a similar call already takes the server's clients.
    /// - `ERR_OUT_OF_RANGE` if `n` is above 1,048,576, because the channel's memory is allocated at once.
    /// - The system's error if the thread cannot be started.
    #[inline]
    pub fn incoming(&self, n: usize) -> io::Result<Events<Socket>> {
        Ok(channel(n, |feed| self.feed_incoming(feed))?.discarded_by(|socket| socket.destroy()))
    }

    fn feed_incoming(&self, feed: Feed<Socket>) -> io::Result<Source> {
        self.claim()?;
        let server = self.clone();
        let running = self.start(move || server.accept_for(&feed))?;
        let server = self.clone();
        let close = move || {
            server.close();
            // The receiver is gone, so clients whose header has not arrived are disconnected.
            server.inner.registry.interrupt_newcomers();
        };
        Ok(Source { running, close: Box::new(close), begin_shutdown: self.beginner() })
    }

    /// Starts a shutdown on a thread that the server waits for.
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
                // If no more threads can be started, fewer accept.
                if spawn_scoped(scope, name, *stack_size, work).is_err() {
                    break;
                }
            }
            work()
        })
    }
}

/// How many threads accept for a channel of connections if a PROXY header is expected. Each may have to wait for a
/// header.
const HEADERS_AT_ONCE: usize = 16;
