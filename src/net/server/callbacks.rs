//! One closure for each event of a server, in Node's words.

use std::{fmt, io};

use crate::error::{Cause, Error};
use crate::net::server::Server;
use crate::net::server::refuse::{ErrorHook, Hooks, Refused, RefusedHook};
use crate::net::socket::Socket;
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
    /// assert_eq!(Socket::connect(server.address())?.read_to_string()?, "hello");
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

/// One closure per event of a [`Server`], made by [`Server::on`]. `connection` runs on the thread of each connection,
/// so several run at once; `refused`, and `error` where it is about no connection, run on the thread that accepts,
/// which waits for them (of a client whose [PROXY header](crate::net::ServerOptions::proxy_protocol) was awaited,
/// `refused` runs on the thread that would have served it); `close` runs on the thread of `run`.
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

    /// A client was turned away; when this has returned it is closed, or with
    /// [`WhenFull::RefuseWith`](crate::net::WhenFull::RefuseWith) handed to the thread that says goodbye. Node's
    /// `drop`.
    #[doc(alias = "drop")]
    pub fn refused(mut self, f: impl Fn(&Refused) + Send + Sync + 'a) -> Self {
        self.refused = Some(Box::new(f));
        self
    }

    /// A handler returned an error, told with its socket, and before its connection is closed, unless the handler did
    /// that itself, as [`each`](Socket::each) does; or accepting fails for the time being, told once until it works
    /// again, without a socket. Neither ends the server.
    pub fn error(mut self, f: impl Fn(&Error, Option<&Socket>) + Send + Sync + 'a) -> Self {
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
        let hooks = Hooks { refused: self.refused.as_deref(), error: self.error.as_deref() };
        let result = self.server.serve_with(&self.connection, &hooks);
        if !result.as_ref().is_err_and(|error| Cause::AlreadyListen.is_of(error)) {
            // For connections too that `accept` has given out.
            self.server.inner.registry.wait();
            if let Some(close) = self.close {
                close();
            }
        }
        result
    }
}

impl ServerCallbacks<'static> {
    /// As [`run`](Self::run), on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started. What `run` returns, [`Running::join`] gives.
    pub fn spawn(self) -> io::Result<Running> {
        let server = self.server.clone();
        server.start(move || self.run())
    }
}

impl fmt::Debug for ServerCallbacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCallbacks").field("server", &self.server).finish_non_exhaustive()
    }
}
