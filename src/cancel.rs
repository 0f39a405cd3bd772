use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;
use std::{fmt, io};

use crate::error::Error;
use crate::numbered::Numbered;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};

/// Cancels connects in progress, servers and sockets from another thread.
///
/// Give a clone to any number of options and keep one, by
/// [`net::SocketOptions::cancel`](crate::net::SocketOptions::cancel),
/// [`net::ServerOptions::cancel`](crate::net::ServerOptions::cancel) or
/// [`dgram::SocketOptions::cancel`](crate::dgram::SocketOptions::cancel). [`cancel`](Cancel::cancel) ends them all,
/// once and for good. What is made with it afterwards is ended at once.
///
/// It keeps nothing open and nothing in memory. It forgets a server or socket that is closed, or whose last handle was
/// dropped. Dropping every clone of it cancels nothing.
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
    /// A handle that has not been cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends everything that this was given to:
    ///
    /// - A connect in progress fails with `ABORT_ERR`, `The operation was aborted`.
    /// - A connected socket is destroyed. Its blocked and later reads and writes fail with the same error.
    ///   [`each`](crate::net::Socket::each) and channels get `Error` with it, then `Close { had_error: true }`.
    /// - A server is closed as by [`Server::close`](crate::net::Server::close), and a datagram socket as by
    ///   [`Socket::close`](crate::dgram::Socket::close), without an error. Connections that the server has accepted
    ///   stay open.
    /// - Threads in [`wait_timeout`](Cancel::wait_timeout) wake.
    ///
    /// It ends them one after the other, and blocks until each has noticed. On Linux that takes well below a
    /// millisecond for a connect or a connection. Where the system cannot wake a connect(2), the call that started it
    /// returns all the same. For a server and a datagram socket it takes as long as their `close` does. On Linux that
    /// is usually well below a millisecond, up to 2 s for some adopted sockets that nothing wakes, and as long as the
    /// `report` hook takes. It may be called on any thread and in callbacks, but not in a signal handler. Calling it
    /// twice is harmless.
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

    /// Sleeps for `time`, or until [`cancel`](Cancel::cancel) is called. Returns whether it was called. It is for a
    /// handler that sends something now and then and has to end with its server. Several threads may wait. A time too
    /// long for the clock means no limit.
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

    /// Has `call` called when this is cancelled, or at once if it was already. `call` should hold its object weakly.
    /// The object should hold the result until it is closed, since dropping the result takes `call` back.
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

    /// The error of a cancelled call, Node's `AbortError`.
    pub(crate) fn error() -> Error {
        // Not `Interrupted`, at which many loops try again.
        Error::fixed(io::ErrorKind::ConnectionAborted, "ABORT_ERR", "The operation was aborted")
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        write!(f, "Cancel({}, {} attached)", if state.fired { "fired" } else { "armed" }, state.calls.len())
    }
}

/// Fires when it is dropped. As a last field it is dropped after the others.
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
            // Not under the lock, since dropping it may run code of the program's.
            drop(call);
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}
