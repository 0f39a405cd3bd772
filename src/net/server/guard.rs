//! A guard that shuts a server down at the end of a block.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::net::server::Server;

/// Shuts a server down when it is dropped. Dereferences to the server. See [`Server::shutdown_on_drop`].
#[must_use = "dropping it shuts the server down"]
pub struct ShutdownOnDrop {
    server: Server,
    grace: Duration,
}

impl Server {
    /// Returns a handle that [shuts the server down](Server::shutdown) when it is dropped, with `grace` for its
    /// connections. Use it for the server of a test, which then ends even if an assertion fails. Use it also for a
    /// server in a [`std::thread::scope`]: otherwise the scope waits for the server forever if its closure returns
    /// early or panics.
    ///
    /// Declare it before the clients, so that they are dropped first. Dropping it blocks as `shutdown` does. That is
    /// harmless after an earlier `shutdown`, so call `shutdown` where you need the report. Several guards wait one
    /// after another, unless [`begin_shutdown`](Server::begin_shutdown) was called on each server before. If the same
    /// thread receives the server's [`events`](Server::events), drop the `Events` instead.
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
    ///     io::read_to_string(Socket::connect(server_ends.address())?) // may fail, and the scope still ends
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
