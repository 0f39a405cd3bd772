use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;
use std::{fmt, io};

use crate::error::Error;
use crate::numbered::Numbered;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};

/// Calls things off from another thread: connects in progress, servers, sockets.
///
/// Give a clone to as many options as you like, [`net::SocketOptions::cancel`](crate::net::SocketOptions::cancel),
/// [`net::ServerOptions::cancel`](crate::net::ServerOptions::cancel) or
/// [`dgram::SocketOptions::cancel`](crate::dgram::SocketOptions::cancel), and keep one. [`cancel`](Cancel::cancel) ends
/// them all, once and for good: what is set up with it afterwards is ended at once.
///
/// It holds nothing open and nothing in memory: a server or socket that is closed, or whose last handle was dropped, is
/// forgotten by it. Dropping every clone of it cancels nothing.
///
/// ```
/// use landline::Cancel;
/// use landline::net::{ServerOptions, SocketOptions};
///
/// let cancel = Cancel::new();
/// let server = ServerOptions::new().cancel(&cancel).listen("127.0.0.1:0")?;
/// cancel.cancel();
///
/// assert!(!server.is_listening());
/// let error = SocketOptions::new().cancel(&cancel).connect(server.address()).unwrap_err();
/// assert_eq!(landline::Error::of(&error).map(landline::Error::code), Some("ABORT_ERR"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
#[doc(alias = "AbortController")]
#[doc(alias = "AbortSignal")]
#[doc(alias = "signal")]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    fired: Condvar,
}

#[derive(Default)]
struct State {
    fired: bool,
    last: u64,
    /// What ends each attached object, oldest first. Called without the lock.
    calls: Numbered<Call>,
}

type Call = Box<dyn FnOnce() + Send>;

impl Cancel {
    /// A handle that has not been fired.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends all that this was given to:
    ///
    /// - A connect in progress fails with `ABORT_ERR`, `The operation was aborted`.
    /// - A connected socket is destroyed. Its reads and writes, blocked ones and later ones, fail with the same error;
    ///   [`each`](crate::net::Socket::each) and channels tell `Error` with it, then `Close { had_error: true }`.
    /// - A server is closed as by [`Server::close`](crate::net::Server::close), and a datagram socket as by
    ///   [`Socket::close`](crate::dgram::Socket::close): no error. Connections that the server has accepted go on.
    /// - Threads in [`wait_timeout`](Cancel::wait_timeout) wake.
    ///
    /// Ends one after the other, and blocks until each has noticed. For a connect and a connection that is well below a
    /// millisecond on Linux, and where the system cannot wake a connect(2), the call that made it returns all the same.
    /// For a server and a datagram socket it is as long as their `close` blocks: mostly well below a millisecond on
    /// Linux too, up to 2 s where nothing wakes them, as with some that were adopted, and as long as the `report` hook
    /// takes. Callable from any thread, from callbacks too, but not from a signal handler; calling it twice is
    /// harmless.
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        let calls = {
            let mut state = lock(&self.0.state);
            state.fired = true;
            self.0.fired.notify_all();
            std::mem::take(&mut state.calls)
        };
        for call in calls.into_values() {
            call();
        }
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    #[doc(alias = "aborted")]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.0.state).fired
    }

    /// Sleeps for `time`, or until [`cancel`](Cancel::cancel) is called; gives whether it was. For a handler that sends
    /// something now and then, and that is to end with its server. Several threads may wait. A time that is too long
    /// for the clock is none.
    ///
    /// ```
    /// use landline::Cancel;
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let (server, cancel) = (Server::listen("127.0.0.1:0")?, Cancel::new());
    /// let ends = cancel.clone();
    /// let serving = server.spawn(move |socket| {
    ///     socket.write_all("up\n")?;
    ///     while !ends.wait_timeout(Duration::from_secs(60)) {
    ///         socket.write_all("up\n")?;
    ///     }
    ///     socket.write_end("bye\n")
    /// })?;
    ///
    /// let client = Socket::connect(server.address())?;
    /// client.read_exact(&mut [0; 3])?;
    /// cancel.cancel();
    /// assert_eq!(server.shutdown(Duration::from_secs(10)).forced, 0);
    /// assert_eq!(std::io::read_to_string(&client)?, "bye\n");
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "sleep")]
    pub fn wait_timeout(&self, time: Duration) -> bool {
        let until = Deadline::after(time);
        let mut state = lock(&self.0.state);
        while !state.fired && !until.is_over() {
            state = wait(&self.0.fired, state, until.left());
        }
        state.fired
    }

    /// Has `call` made when this is fired, or at once if it was already. `call` should hold its object weakly, and the
    /// object should hold what this gives until it is closed: dropping that takes `call` back.
    pub(crate) fn attach(&self, call: impl FnOnce() + Send + 'static) -> Attached {
        self.attach_boxed(Box::new(call))
    }

    fn attach_boxed(&self, call: Call) -> Attached {
        let mut state = lock(&self.0.state);
        if state.fired {
            drop(state);
            call();
            return Attached { to: Weak::new(), key: 0 };
        }
        state.last += 1;
        let key = state.last;
        state.calls.insert(key, call);
        Attached { to: Arc::downgrade(&self.0), key }
    }

    /// What whoever was cancelled gets: Node's `AbortError`.
    pub(crate) fn error() -> Error {
        // Not `Interrupted`, which many a loop takes for a reason to try again.
        Error::fixed(io::ErrorKind::ConnectionAborted, "ABORT_ERR", "The operation was aborted")
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        write!(f, "Cancel({}, {} attached)", if state.fired { "fired" } else { "armed" }, state.calls.len())
    }
}

/// Tells that what holds it is gone; a last field is dropped last.
#[derive(Default)]
pub(crate) struct FiredOnDrop(pub(crate) Cancel);

impl Drop for FiredOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What ends a connect before its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) deadline: Deadline,
    pub(crate) cancel: Option<&'a Cancel>,
}

impl Limits<'_> {
    pub(crate) fn is_none(&self) -> bool {
        self.deadline == Deadline::NEVER && self.cancel.is_none()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled)
    }
}

/// That something is attached to a [`Cancel`], until this is dropped.
pub(crate) struct Attached {
    to: Weak<Shared>,
    key: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(shared) = self.to.upgrade() {
            let call = lock(&shared.state).calls.remove(self.key);
            // Not under the lock: what it holds may be the last of something.
            drop(call);
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}
