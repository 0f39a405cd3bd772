//! Waiting until a server has nothing to do.

use std::io;
use std::time::Duration;

use crate::callback::own;
use crate::net::server::Server;
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Phase, View};

impl Server {
    /// Blocks until no client has been connected for `time`, and gives `true`; `false` once the server is being closed.
    /// For a program that a service manager starts when a client comes, and that is to end when it has nothing to do.
    ///
    /// The time runs from the last end of a connection, or from the call. Each client begins it anew, also one that is
    /// refused; a connection that [lingers](crate::net::ServerOptions::lingering_close), and one that
    /// [`accept`](Server::accept) gave and that is open, counts as connected. A client may come when this has returned,
    /// so [`close`](Server::close) and [`wait`](Server::wait) then: it is still served.
    ///
    /// Callable from handlers and callbacks too: what the calling thread acts for is left out.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?; // or adopt what the service manager gave
    /// let serving = server.spawn(|socket| socket.write_end("hello\n"))?;
    /// assert_eq!(std::io::read_to_string(Socket::connect(server.address())?)?, "hello\n");
    ///
    /// assert!(server.wait_idle(Duration::from_millis(50))?); // a service waits some 30 s
    /// server.close();
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`wait`](Server::wait).
    #[doc(alias = "idle_timeout")]
    pub fn wait_idle(&self, time: Duration) -> io::Result<bool> {
        let registry = &self.inner.registry;
        let own = own(registry.identity())?.len();
        let is_closing = |view: View| view.phase() != Phase::Listening;
        let is_idle = |view: View| view.present() <= own;
        loop {
            // Before the look whether a client is there: one that comes after the look is a new one, also if it has gone again
            // before this thread is awake.
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
