//! One closure for each event of a server, in Node's words.

use std::{fmt, io};

use crate::error::Error;
use crate::net::server::Server;
use crate::net::server::refuse::{ErrorHook, Hooks, Refused, RefusedHook};
use crate::net::socket::Socket;
use crate::report::ConnectionInfo;
use crate::thread::Running;

impl Server {
    /// One closure per event, in Node's words; then [`run`](ServerCallbacks::run) or [`spawn`](ServerCallbacks::spawn).
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

/// One closure per event of a [`Server`], made by [`Server::on`].
///
/// `connection` runs on the thread of each connection, so several run at once. `refused`, and `error` where it is about
/// no connection, run on the thread that has accepted the client, or failed to; before it calls them, another thread
/// accepts. At most sixteen threads beyond the limit of connections sit in such callbacks; a slow one holds up
/// accepting from then on, which [`Report::AcceptHeldUp`](crate::Report::AcceptHeldUp) tells and
/// [`Stats::in_hooks`](super::Stats::in_hooks) counts. `close` runs on the thread of `run`.
///
/// Each is called without a lock held, and may call anything of the server, [`wait`](Server::wait) and
/// [`shutdown`](Server::shutdown) included.
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
    /// A client was admitted: the handler of [`Server::serve`]. Without it every connection is ended at once.
    pub fn connection(mut self, f: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'a) -> Self {
        self.connection = Box::new(f);
        self
    }

    /// A client was turned away. It is closed by now, or with
    /// [`WhenFull::RefuseWith`](crate::net::WhenFull::RefuseWith) being told goodbye. Node's `drop`.
    #[doc(alias = "drop")]
    pub fn refused(mut self, f: impl Fn(&Refused) + Send + Sync + 'a) -> Self {
        self.refused = Some(Box::new(f));
        self
    }

    /// A handler returned an error, told with its connection, which is closed and whose slot is free by now: what a
    /// client is to hear of an error, the handler writes. It then returns `Ok`, so that the connection ends in order;
    /// after an error, unread input may cost the client what was written. A panic is told to `report` alone. Or
    /// accepting fails for the time being, told once until it works again, without a connection. Neither ends the
    /// server.
    pub fn error(mut self, f: impl Fn(&Error, Option<&ConnectionInfo>) + Send + Sync + 'a) -> Self {
        self.error = Some(Box::new(f));
        self
    }

    /// The server was closed and its last connection has ended.
    pub fn close(mut self, f: impl FnOnce() + Send + 'a) -> Self {
        self.close = Some(Box::new(f));
        self
    }

    /// Serves until the server is closed and the last connection has ended. Blocks until then.
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
    /// As [`run`](Self::run), on a thread of its own.
    ///
    /// # Errors
    /// `ERR_SERVER_ALREADY_LISTEN` if the server is being served already. The thread cannot be started. What `run`
    /// returns, [`Running::join`] gives.
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
