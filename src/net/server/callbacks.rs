//! One closure for each event of a server, with Node's names.

use std::{fmt, io};

use crate::error::Error;
use crate::net::server::Server;
use crate::net::server::refuse::{ErrorHook, Hooks, Refused, RefusedHook};
use crate::net::socket::Socket;
use crate::report::ConnectionInfo;
use crate::thread::Running;

impl Server {
    /// Returns a builder that takes one closure for each event, with Node's names. Set the closures, then call
    /// [`run`](ServerCallbacks::run) or [`spawn`](ServerCallbacks::spawn).
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.on()
    ///     .connection(|socket| socket.write_end("hello"))
    ///     .refused(|client| println!("{} refused: {}", client.remote, client.by))
    ///     .error(|error, _| println!("{error}"))
    ///     .close(|| println!("closed"))
    ///     .spawn()?;
    ///
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "hello");
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on<'a>(&self) -> ServerCallbacks<'a> {
        ServerCallbacks {
            server: self.clone(),
            connection: Box::new(|_| Ok(())),
            refused: None,
            error: None,
            close: None,
        }
    }
}

/// One closure for each event of a [`Server`], made by [`Server::on`].
///
/// | closure | runs on |
/// |---|---|
/// | `connection` | the thread of each connection, so several run at once |
/// | `refused` | the thread that accepted the client, while a different thread accepts |
/// | `error` | the thread of the handler that failed, or the thread that failed to accept |
/// | `close` | the thread that called `run` |
///
/// To accept and serve clients, the server has at most one thread for each connection that the limit allows, and
/// sixteen more. Callbacks for clients that were not admitted run on these threads too. When all are busy, slow
/// callbacks delay accepting. [`Report::AcceptHeldUp`](crate::Report::AcceptHeldUp) reports the delay, and
/// [`Stats::in_hooks`](super::Stats::in_hooks) counts these threads. No lock is held while a callback runs, so it may
/// call any method of the server, including [`wait`](Server::wait) and [`shutdown`](Server::shutdown).
#[must_use = "no client is accepted until run() or spawn()"]
pub struct ServerCallbacks<'a> {
    server: Server,
    connection: Box<Handler<'a>>,
    refused: Option<Box<RefusedHook<'a>>>,
    error: Option<Box<ErrorHook<'a>>>,
    close: Option<Box<dyn FnOnce() + Send + 'a>>,
}

type Handler<'a> = dyn Fn(&Socket) -> io::Result<()> + Send + Sync + 'a;

impl<'a> ServerCallbacks<'a> {
    /// Sets the handler, which is called with each admitted client, as in [`Server::serve`]. Without a handler, every
    /// connection is closed at once.
    pub fn connection(mut self, f: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'a) -> Self {
        self.connection = Box::new(f);
        self
    }

    /// Sets the closure that is called when a client was refused, like Node's `drop`. By then the client is closed, or
    /// is receiving the goodbye of [`WhenFull::RefuseWith`](crate::net::WhenFull::RefuseWith).
    #[doc(alias = "drop")]
    pub fn refused(mut self, f: impl Fn(&Refused) + Send + Sync + 'a) -> Self {
        self.refused = Some(Box::new(f));
        self
    }

    /// Sets the closure that is called in two cases. Neither of them stops the server:
    /// - A handler returned an error. The closure gets a [`ConnectionInfo`] of the connection, which is already closed.
    ///   To send an error message to the client, a handler should write it and return `Ok`. If it returns an error,
    ///   unread input can make the close destroy what was written. A panic of a handler is reported only to the
    ///   [`report`](crate::net::ServerOptions::report) hook.
    /// - Accepting fails at present. The closure gets no connection. The closure is called once, and again only if
    ///   accepting has worked in between.
    pub fn error(mut self, f: impl Fn(&Error, Option<&ConnectionInfo>) + Send + Sync + 'a) -> Self {
        self.error = Some(Box::new(f));
        self
    }

    /// Sets the closure that is called when the server is closed and its last connection is closed.
    pub fn close(mut self, f: impl FnOnce() + Send + 'a) -> Self {
        self.close = Some(Box::new(f));
        self
    }

    /// Serves clients with these closures. Blocks until the server has stopped, like [`Server::serve`].
    ///
    /// # Errors
    /// Those of [`Server::serve`].
    pub fn run(self) -> io::Result<()> {
        self.server.claim()?;
        self.run_claimed()
    }

    pub(crate) fn run_claimed(self) -> io::Result<()> {
        let hooks = Hooks { refused: self.refused.as_deref(), error: self.error.as_deref() };
        let result = self.server.serve_claimed(&self.connection, &hooks);
        if let Some(close) = self.close {
            close();
        }
        result
    }
}

impl ServerCallbacks<'static> {
    /// Calls [`run`](Self::run) on a new thread. [`Running::join`] returns its result.
    ///
    /// # Errors
    /// - `ERR_SERVER_ALREADY_LISTEN` if `serve` or a similar call already takes the server's clients.
    /// - The system's error if the thread cannot be started.
    pub fn spawn(self) -> io::Result<Running> {
        let server = self.server.clone();
        server.claim()?;
        server.start(move || self.run_claimed())
    }
}

impl fmt::Debug for ServerCallbacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCallbacks").field("server", &self.server).finish_non_exhaustive()
    }
}
