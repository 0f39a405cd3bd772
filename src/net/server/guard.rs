//! A guard that shuts a server down at the end of a block.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::net::server::Server;

/// Shuts its server down when this guard is dropped. Dereferences to the server. See [`Server::shutdown_on_drop`].
#[must_use = "dropping it shuts the server down"]
pub struct ShutdownOnDrop {
    server: Server,
    grace: Duration,
}

impl Server {
    /// Returns a guard. Dropping the guard calls [`shutdown(grace)`](Server::shutdown) on this server.
    ///
    /// - Use it in a test, so that the server is shut down even if an assertion fails.
    /// - Use it for a server in a [`std::thread::scope`]. Without it, the scope waits for the server forever if its
    ///   closure returns early or panics.
    ///
    /// Declare the guard before the clients, so that the clients are dropped first. Dropping the guard blocks as
    /// `shutdown` does. If you need the report, call `shutdown` earlier: dropping the guard after that is harmless.
    ///
    /// Several guards are dropped one after another, each with its own `grace`. To shut several servers down at the
    /// same time, call [`begin_shutdown`](Server::begin_shutdown) on each server before the guards are dropped. On the
    /// thread that receives the server's [`events`](Server::events), do not use a guard: drop the `Events` instead.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    /// use std::{io, thread};
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let hello = thread::scope(|scope| {
    ///     let server_ends = server.shutdown_on_drop(Duration::from_secs(5));
    ///     scope.spawn(|| server.serve(|socket| socket.write_end("hello\n")));
    ///     io::read_to_string(Socket::connect(server_ends.address())?) // if this fails, the scope still ends
    /// })?;
    /// assert_eq!(hello, "hello\n");
    /// assert!(!server.is_listening());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "close_on_drop")]
    #[doc(alias = "guard")]
    pub fn shutdown_on_drop(&self, grace: Duration) -> ShutdownOnDrop {
        ShutdownOnDrop { server: self.clone(), grace }
    }
}

impl Deref for ShutdownOnDrop {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        let _ = self.server.shutdown(self.grace);
    }
}

impl fmt::Debug for ShutdownOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShutdownOnDrop").field(&self.server).finish()
    }
}
