use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;
use std::{fmt, io};

use crate::error::Error;
use crate::numbered::Numbered;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};

/// Closes servers and sockets, and aborts attempts to connect, from any thread.
///
/// Pass a clone to the options of any number of servers and sockets, and keep one clone. The options are
/// [`net::SocketOptions::cancel`](crate::net::SocketOptions::cancel),
/// [`net::ServerOptions::cancel`](crate::net::ServerOptions::cancel) and
/// [`dgram::SocketOptions::cancel`](crate::dgram::SocketOptions::cancel). A call to [`cancel`](Cancel::cancel) closes
/// all of them. This cannot be undone. A socket that is made later with the same `Cancel` is closed at once.
///
/// A `Cancel` does not keep a server or socket open, nor its memory allocated. The `Cancel` forgets a server or socket
/// as soon as that is closed or its last handle is dropped. Dropping all clones of a `Cancel` cancels nothing.
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
    /// The functions that close the attached objects, oldest first. They are called without the lock.
    calls: Numbered<Call>,
}

type Call = Box<dyn FnOnce() + Send>;

impl Cancel {
    /// Makes a handle that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Closes or aborts everything that this handle was passed to:
    ///
    /// - A connect in progress fails with `ABORT_ERR`, whose text is `The operation was aborted`.
    /// - A connected socket is destroyed. Its blocked and later reads and writes fail with the same error.
    ///   [`each`](crate::net::Socket::each) and channels get `Error` with this error, followed by `Close { had_error:
    ///   true }`.
    /// - A server is closed as [`Server::close`](crate::net::Server::close) does, and a datagram socket as
    ///   [`Socket::close`](crate::dgram::Socket::close) does, both without an error. Connections that the server has
    ///   accepted stay open.
    /// - Threads in [`wait_timeout`](Cancel::wait_timeout) wake.
    ///
    /// `cancel` may be called on any thread and in callbacks, but not in a signal handler. Calling it twice is
    /// harmless.
    ///
    /// `cancel` acts on one object after the other, and blocks until each has reacted:
    ///
    /// - On Linux, a connect or a connection reacts in well below a millisecond. If the system cannot interrupt
    ///   connect(2), landline's `connect` returns all the same, and the attempt continues on its own thread.
    /// - A server or a datagram socket takes as long as its `close` does. On Linux that is usually well below a
    ///   millisecond. For an adopted socket that cannot be woken, it is up to 2 s. The time that the `report` hook
    ///   takes comes on top.
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

    /// Returns whether [`cancel`](Cancel::cancel) was called.
    #[doc(alias = "aborted")]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.0.state).fired
    }

    /// Sleeps for `time`, or until [`cancel`](Cancel::cancel) is called. Returns whether `cancel` was called. Use this
    /// in a handler that sends something at intervals and must stop when its server is cancelled. Several threads may
    /// wait at once. If `time` is too long for the clock, there is no time limit.
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

    /// Calls `call` when this is cancelled, or now if it already is. `call` should hold only a weak reference to its
    /// object. The object should keep the returned value until it is closed, because dropping that value removes
    /// `call`.
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
        // Not `Interrupted`, because many loops retry on that.
        Error::fixed(io::ErrorKind::ConnectionAborted, "ABORT_ERR", "The operation was aborted")
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        write!(f, "Cancel({}, {} attached)", if state.fired { "fired" } else { "armed" }, state.calls.len())
    }
}

/// Cancels when it is dropped. A last field is dropped after the others.
#[derive(Default)]
pub(crate) struct FiredOnDrop(pub(crate) Cancel);

impl Drop for FiredOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What ends a connect early.
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

/// An attachment to a [`Cancel`]. Dropping it detaches.
pub(crate) struct Attached {
    to: Weak<Shared>,
    key: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(shared) = self.to.upgrade() {
            let call = lock(&shared.state).calls.remove(self.key);
            // Not dropped under the lock, because the drop may run the program's own code.
            drop(call);
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}
