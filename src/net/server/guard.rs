//! A server that ends with the block it is made in.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::net::server::Server;

/// Shuts a server down when it is dropped, on whatever path: see [`Server::shutdown_on_drop`]. Otherwise it is the
/// server.
#[must_use = "dropping it shuts the server down"]
pub struct ShutdownOnDrop {
    server: Server,
    grace: Duration,
}

impl Server {
    /// A handle that [shuts the server down](Server::shutdown) when it is dropped: its connections have `grace` to end.
    /// For a test's server, which is to end with the test, also when an assertion fails; and for a server that is
    /// served in a [`std::thread::scope`], which otherwise waits for it for ever when its closure returns early or
    /// panics.
    ///
    /// Declare it before the clients, which are then dropped first. Dropping it blocks as `shutdown` does, and harms
    /// nothing if the server has been shut down before: so the program calls `shutdown` where it wants the report. Of a
    /// server whose [`events`](Server::events) the same thread receives, drop the `Events` instead. The times of
    /// several add up, one drop after the other, unless [`begin_shutdown`](Server::begin_shutdown) was called on each
    /// before.
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
