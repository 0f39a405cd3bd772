//! Waiting until a server is idle.

use std::io;
use std::time::Duration;

use crate::callback::own;
use crate::net::server::Server;
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Phase, View};

impl Server {
    /// Blocks until no client has been connected for `time`, and returns `true`. Returns `false` once the server is
    /// closing. Use it in a program that a service manager starts when a client connects, and that should exit when no
    /// client is left.
    ///
    /// The time begins with the call, and again when a connection ends. Each client restarts the time, even a refused
    /// client. Connections that [linger](crate::net::ServerOptions::lingering_close) and open connections from
    /// [`accept`](Server::accept) count as connected.
    ///
    /// A client may connect after `wait_idle` has returned. So [`close`](Server::close) the server and then
    /// [`wait`](Server::wait): a client that was accepted before is still served.
    ///
    /// `wait_idle` may be called in handlers and callbacks. The connection that the calling thread serves does not
    /// count.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?; // or adopt the listener of the service manager
    /// let serving = server.spawn(|socket| socket.write_end("hello\n"))?;
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "hello\n");
    ///
    /// assert!(server.wait_idle(Duration::from_millis(50))?); // a service waits about 30 s
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`wait`](Server::wait).
    #[doc(alias = "idle_timeout")]
    pub fn wait_idle(&self, time: Duration) -> io::Result<bool> {
        let registry = &self.inner.registry;
        let own = own(registry.identity())?.len();
        let is_closing = |view: View| view.phase() != Phase::Listening;
        let is_idle = |view: View| view.present() <= own;
        loop {
            // Read before checking for clients. A client that comes after the check counts as new, even if it is gone
            // before this thread wakes.
            let came = registry.arrivals();
            registry.gate.wait(Deadline::NEVER, &[], &|view| is_closing(view) || is_idle(view));
            let until = Deadline::after(time);
            let view = registry.gate.wait(until, &[], &|view| is_closing(view) || registry.arrivals() != came);
            if is_closing(view) {
                return Ok(false);
            }
            if is_idle(view) && registry.arrivals() == came {
                return Ok(true);
            }
        }
    }
}
