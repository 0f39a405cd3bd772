//! One closure for each event of a server, in Node's words.

use std::{fmt, io};

use crate::error::Error;
use crate::net::server::Server;
use crate::net::server::refuse::{ErrorHook, Hooks, Refused, RefusedHook};
use crate::net::socket::Socket;
use crate::report::ConnectionInfo;
use crate::thread::Running;

impl Server {
    /// Takes one closure for each event, in Node's words. Then call [`run`](ServerCallbacks::run) or
    /// [`spawn`](ServerCallbacks::spawn).
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
/// - `connection` runs on the thread of each connection, so several run at once.
/// - `refused` runs on the thread that accepted the client, while another thread accepts.
/// - `error` runs on the thread of the handler, or, without a connection, on the thread that failed to accept.
/// - `close` runs on the thread of `run`.
///
/// At most sixteen threads beyond the limit of connections run callbacks about clients without a slot. When all are
/// busy, slow callbacks delay accepting. [`Report::AcceptHeldUp`](crate::Report::AcceptHeldUp) reports that, and
/// [`Stats::in_hooks`](super::Stats::in_hooks) counts them. Callbacks are called without a lock, and may call anything
/// of the server, including [`wait`](Server::wait) and [`shutdown`](Server::shutdown).
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
    /// The handler of [`Server::serve`], called with each admitted client. Without it, every connection is ended at
    /// once.
    pub fn connection(mut self, f: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'a) -> Self {
        self.connection = Box::new(f);
        self
    }

    /// Called when a client was refused. The client is closed, or is receiving the goodbye of
    /// [`WhenFull::RefuseWith`](crate::net::WhenFull::RefuseWith). Node's `drop`.
    #[doc(alias = "drop")]
    pub fn refused(mut self, f: impl Fn(&Refused) + Send + Sync + 'a) -> Self {
        self.refused = Some(Box::new(f));
        self
    }

    /// Called in two cases, neither of which ends the server:
    /// - A handler returned an error. The call gets its connection, which is closed, with its slot free. So a handler
    ///   that wants to send an error to its client writes it and returns `Ok`. The connection then ends in order. After
    ///   an error, unread input could destroy what was written. Panics are reported to `report` only.
    /// - Accepting fails at present. The call gets no connection, and comes once until accepting works again.
    pub fn error(mut self, f: impl Fn(&Error, Option<&ConnectionInfo>) + Send + Sync + 'a) -> Self {
        self.error = Some(Box::new(f));
        self
    }

    /// Called when the server is closed and its last connection has ended.
    pub fn close(mut self, f: impl FnOnce() + Send + 'a) -> Self {
        self.close = Some(Box::new(f));
        self
    }

    /// Serves. Blocks until the server is closed and its last connection has ended.
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
    /// Like [`run`](Self::run), on a new thread. [`Running::join`] returns the result of `run`.
    ///
    /// # Errors
    /// - `ERR_SERVER_ALREADY_LISTEN` if the server is being served already.
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
