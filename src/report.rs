use std::fmt::{self, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::address::Address;
use crate::callback::guarded;
use crate::error::Error;
use crate::one_line::OneLine;
use crate::sync::atomic_u64::AtomicU64;

/// The number of a connection. It is unique in the process and never reused. It prints as `#17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    pub(crate) fn next() -> ConnectionId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        ConnectionId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("#{}", self.0))
    }
}

/// Which connection a [`Report`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The number of the connection.
    pub id: ConnectionId,
    /// The address on our side.
    pub local: Address,
    /// The address on the peer's side.
    pub remote: Address,
    /// Whether a server of this program accepted the connection. If not, the program connected it or took it over.
    pub accepted: bool,
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = if self.accepted { (&self.remote, &self.local) } else { (&self.local, &self.remote) };
        f.pad(&format!("{} {from} -> {to}", self.id))
    }
}

/// Why a server refused a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedBy {
    /// The server already had as many connections as it allows.
    Full,
    /// The server already had as many connections from this client's address as it allows for each address.
    PerAddress,
    /// The client's address is on the server's block list.
    Blocked,
    /// The server's [filter](crate::net::ServerOptions::filter) refused the client, or panicked.
    Filtered,
    /// No thread could be started to serve the client.
    NoThread,
    /// The server was closing when the client arrived, or when it was still waiting for the client's PROXY header.
    Closing,
    /// The client is not one of the [trusted](crate::net::ServerOptions::proxy_protocol) load balancers.
    Untrusted,
    /// The client's PROXY header was invalid, or the connection ended before the header was complete.
    ProxyHeader,
    /// The client's PROXY header did not arrive [in time](crate::net::ServerOptions::proxy_timeout).
    ProxyTimeout,
}

impl RefusedBy {
    /// All of them in the order of the enum. The counts have the same order.
    pub(crate) const ALL: [RefusedBy; 9] = [
        RefusedBy::Full,
        RefusedBy::PerAddress,
        RefusedBy::Blocked,
        RefusedBy::Filtered,
        RefusedBy::NoThread,
        RefusedBy::Closing,
        RefusedBy::Untrusted,
        RefusedBy::ProxyHeader,
        RefusedBy::ProxyTimeout,
    ];

    /// The text in a log, and whether such a client gets the goodbye of a full server. A client that a list or filter
    /// rejects is closed without the goodbye. So is a load balancer that is untrusted or broken.
    fn text_and_goodbye(self) -> (&'static str, bool) {
        match self {
            RefusedBy::Full => ("full", true),
            RefusedBy::PerAddress => ("too many from its address", true),
            RefusedBy::Blocked => ("blocked", false),
            RefusedBy::Filtered => ("filtered", false),
            RefusedBy::NoThread => ("no thread", true),
            RefusedBy::Closing => ("closing", true),
            RefusedBy::Untrusted => ("no trusted load balancer", false),
            RefusedBy::ProxyHeader => ("its PROXY header", false),
            RefusedBy::ProxyTimeout => ("no PROXY header in time", false),
        }
    }

    pub(crate) fn hears_goodbye(self) -> bool {
        self.text_and_goodbye().1
    }
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text_and_goodbye().0)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Normally. Its handler returned, both sides sent FIN, or the last handle to it was dropped.
    Finished,
    /// `destroy()` was called.
    Destroyed,
    /// `reset_and_destroy()` was called.
    Reset,
    /// A [`shutdown`](crate::net::Server::shutdown) destroyed the connection because its `grace` had passed.
    Forced,
    /// With an error. A [`Report::Failed`] came before.
    Failed,
    /// Its handler panicked. A [`Report::Panicked`] came before.
    Panicked,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Finished => "finished",
            Outcome::Destroyed => "destroyed",
            Outcome::Reset => "reset",
            Outcome::Forced => "forced",
            Outcome::Failed => "failed",
            Outcome::Panicked => "panicked",
        })
    }
}

/// Something that happened, for the `report` hook. The hook runs on the thread where it happened.
///
/// Each report prints as one line, so `ServerOptions::new().report(|r| eprintln!("{r}"))` is a log. Control characters
/// in a text that came from a peer or a handler are escaped, such as `\n` and `\u{1b}`. Lines about a datagram socket
/// begin with `udp `. A program that counts the variants has metrics.
///
/// Every connection is reported when it starts, and exactly once as [`Ended`](Report::Ended). Without a hook no text is
/// formatted.
///
/// The hook is never called while the library holds a lock, so the hook may call anything. The thread that calls the
/// hook waits until the hook returns. That thread may be one that accepts clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Report {
    /// A server admitted a connection.
    #[non_exhaustive]
    Accepted {
        /// The connection.
        connection: ConnectionInfo,
        /// How many connections were open when it was admitted, including this one. Clients whose PROXY header has not
        /// arrived yet count too, as in [`connections`](crate::net::Server::connections).
        open: usize,
    },
    /// A connecting client has looked up a name. There is no such report for an IP address, which needs no look-up.
    #[non_exhaustive]
    LookedUp {
        /// The name.
        host: String,
        /// Its addresses, in the order of the resolver's answer.
        addresses: Vec<Address>,
    },
    /// A client begins to connect to an address, which may be one of several.
    #[doc(alias = "connectionAttempt")]
    #[non_exhaustive]
    Attempt {
        /// The address.
        address: Address,
    },
    /// Connecting to one address failed. If it was the only address or the last one, the whole connect failed.
    #[doc(alias = "connectionAttemptFailed")]
    #[non_exhaustive]
    AttemptFailed {
        /// The address.
        address: Address,
        /// The error.
        error: Error,
    },
    /// Connecting to one address took longer than the time allowed for that address.
    #[doc(alias = "connectionAttemptTimeout")]
    #[non_exhaustive]
    AttemptTimedOut {
        /// The address.
        address: Address,
    },
    /// A client connected.
    #[non_exhaustive]
    Connected {
        /// The connection.
        connection: ConnectionInfo,
    },
    /// A server refused a client.
    #[non_exhaustive]
    Refused {
        /// The address that the client connected to.
        local: Address,
        /// The client's address.
        remote: Address,
        /// Why the client was refused.
        by: RefusedBy,
    },
    /// A connection has ended. Its slot is free. Its socket is closed, unless it
    /// [lingers](crate::net::ServerOptions::lingering_close) because the peer may still send.
    #[non_exhaustive]
    Ended {
        /// The connection.
        connection: ConnectionInfo,
        /// How long the connection was open.
        after: Duration,
        /// Bytes read from it.
        read: u64,
        /// Bytes written to it. If another thread was writing when the connection was closed, what its last system call
        /// wrote may be missing.
        written: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// An error of a connection, a client, a server or a datagram socket.
    ///
    /// With a `connection`, usually the error has ended it. But if a [`Buffered`](crate::net::Buffered) is dropped and
    /// cannot write its data, the connection stays open. If the file of a connection's local path cannot be removed,
    /// the connection ends for a different cause.
    #[non_exhaustive]
    Failed {
        /// The connection, if the error is about one.
        connection: Option<ConnectionInfo>,
        /// The error.
        error: Error,
        /// Whether the error is about a datagram socket.
        udp: bool,
    },
    /// A handler panicked. This ends its connection, and comes before `Ended`. If the connection has ended before, for
    /// instance because the handler destroyed it, this comes after `Ended`.
    #[non_exhaustive]
    Panicked {
        /// The handler's connection.
        connection: ConnectionInfo,
        /// The panic's message, if it is text.
        message: String,
    },
    /// Accepting failed, and no other thread is accepting. Usually the cause is that descriptors or memory ran out. The
    /// server tries again after pauses that grow. This is reported again only if accepting has worked in between.
    #[non_exhaustive]
    AcceptPaused {
        /// The server.
        address: Address,
        /// The error.
        error: Error,
        /// How long the first pause is.
        pause: Duration,
    },
    /// Every thread that could accept is running a callback, or a handler whose connection is
    /// [destroyed](crate::net::Socket::destroy). The next client is accepted when one of them returns. This is reported
    /// again only if, in between, no thread was in a callback.
    #[non_exhaustive]
    AcceptHeldUp {
        /// The server.
        address: Address,
    },
    /// Accepting works again.
    #[non_exhaustive]
    Resumed {
        /// The server.
        address: Address,
    },
    /// A server or datagram socket is being closed.
    #[non_exhaustive]
    Closing {
        /// Its address.
        address: Address,
        /// Whether it is a datagram socket.
        udp: bool,
    },
    /// A server is closed and its last connection has ended, or a datagram socket is closed and no receiving thread
    /// holds it.
    #[non_exhaustive]
    Closed {
        /// Its address.
        address: Address,
        /// Whether it is a datagram socket.
        udp: bool,
    },
}

impl Report {
    /// Returns whether something went wrong that a program would log as a warning. These reports are failures:
    ///
    /// - [`AttemptFailed`](Report::AttemptFailed) and [`AttemptTimedOut`](Report::AttemptTimedOut). The connect may
    ///   still succeed with a different address.
    /// - [`Failed`](Report::Failed) and [`Panicked`](Report::Panicked).
    /// - [`AcceptPaused`](Report::AcceptPaused) and [`AcceptHeldUp`](Report::AcceptHeldUp).
    /// - [`Ended`](Report::Ended) with [`Outcome::Forced`]. A shutdown destroyed the connection.
    ///
    /// All other reports are not failures. [`Refused`](Report::Refused) only means that a rule of the server refused
    /// the client. In these cases an error is reported separately, just before:
    ///
    /// - `Failed` comes before a `Refused` whose cause is a thread that could not be started, or an invalid PROXY
    ///   header.
    /// - `Failed` comes before an `Ended` with [`Outcome::Failed`].
    /// - `Panicked` comes before an `Ended` with [`Outcome::Panicked`].
    pub fn is_failure(&self) -> bool {
        match self {
            Report::AttemptFailed { .. }
            | Report::AttemptTimedOut { .. }
            | Report::Failed { .. }
            | Report::Panicked { .. }
            | Report::AcceptPaused { .. }
            | Report::AcceptHeldUp { .. } => true,
            Report::Ended { outcome, .. } => *outcome == Outcome::Forced,
            Report::Accepted { .. }
            | Report::LookedUp { .. }
            | Report::Attempt { .. }
            | Report::Connected { .. }
            | Report::Refused { .. }
            | Report::Resumed { .. }
            | Report::Closing { .. }
            | Report::Closed { .. } => false,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The report may contain a text from a peer, a resolver or a handler.
        let mut f = OneLine(f);
        match self {
            Report::Accepted { connection, open } => write!(f, "{connection} accepted, {open} open"),
            Report::LookedUp { host, addresses } => {
                write!(f, "{host} is")?;
                for address in addresses {
                    write!(f, " {}", address.in_messages())?;
                }
                Ok(())
            }
            Report::Attempt { address } => write!(f, "connecting to {address}"),
            Report::AttemptFailed { address, error } => write!(f, "connecting to {address} failed: {}", error.code()),
            Report::AttemptTimedOut { address } => write!(f, "connecting to {address} timed out"),
            Report::Connected { connection } => write!(f, "{connection} connected"),
            Report::Refused { local, remote, by } => write!(f, "refused {remote} -> {local}: {by}"),
            Report::Ended { connection, after, read, written, outcome } => {
                write!(f, "{connection} {outcome} after {:.3} s, {read} read, {written} written", after.as_secs_f64())
            }
            Report::Failed { connection: Some(connection), error, .. } => write!(f, "{connection} failed: {error}"),
            Report::Failed { connection: None, error, udp } => write!(f, "{}failed: {error}", protocol(*udp)),
            Report::Panicked { connection, message } => write!(f, "{connection} panicked: {message}"),
            Report::AcceptPaused { address, error, pause } => {
                write!(f, "{address} paused for {pause:?} or more: {error}")
            }
            Report::AcceptHeldUp { address } => write!(f, "{address} accepts no client until a callback returns"),
            Report::Resumed { address } => write!(f, "{address} resumed"),
            Report::Closing { address, udp } => write!(f, "{}{address} closing", protocol(*udp)),
            Report::Closed { address, udp } => write!(f, "{}{address} closed", protocol(*udp)),
        }
    }
}

/// The prefix of a datagram socket's lines. A server may have the same address.
fn protocol(udp: bool) -> &'static str {
    if udp { "udp " } else { "" }
}

/// The user's hook, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Reporter(Option<Arc<Hook>>);

type Hook = dyn Fn(&Report) + Send + Sync;

// A panic of the hook is caught where the hook is called.
impl UnwindSafe for Reporter {}
impl RefUnwindSafe for Reporter {}

impl Reporter {
    pub(crate) fn new(hook: impl Fn(&Report) + Send + Sync + 'static) -> Reporter {
        Reporter(Some(Arc::new(hook)))
    }

    /// Whether there is a hook.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the report and calls the hook with it, if there is one.
    pub(crate) fn tell(&self, report: impl FnOnce() -> Report) {
        if let Some(hook) = &self.0 {
            call(&**hook, report());
        }
    }

    /// Reports an error that ended no connection.
    pub(crate) fn tell_failed(&self, error: &Error) {
        self.tell(|| Report::Failed { connection: None, error: error.clone(), udp: false });
    }
}

fn call(hook: &Hook, report: Report) {
    guarded(move || hook(&report));
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::*;

    /// Ensures that failures are those reports which the documentation lists, whatever is in them.
    #[test]
    fn failures_are_the_reports_that_are_listed() {
        let address = || Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let info = || ConnectionInfo { id: ConnectionId(1), local: address(), remote: address(), accepted: true };
        let error = || Error::call("accept", &io::ErrorKind::OutOfMemory.into());
        let ended = |outcome| {
            let (connection, after, read, written) = (info(), Duration::ZERO, 1, 2);
            Report::Ended { connection, after, read, written, outcome }
        };
        let failures = [
            Report::AttemptFailed { address: address(), error: error() },
            Report::AttemptTimedOut { address: address() },
            Report::Failed { connection: None, error: error(), udp: false },
            Report::Failed { connection: Some(info()), error: error(), udp: false },
            Report::Failed { connection: None, error: error(), udp: true },
            Report::Panicked { connection: info(), message: "oh".into() },
            Report::AcceptPaused { address: address(), error: error(), pause: Duration::ZERO },
            Report::AcceptHeldUp { address: address() },
            ended(Outcome::Forced),
        ];
        for report in failures {
            assert!(report.is_failure(), "it is a failure: {report:?}");
        }
        let refused = RefusedBy::ALL.map(|by| Report::Refused { local: address(), remote: address(), by });
        let ends = [Outcome::Finished, Outcome::Destroyed, Outcome::Reset, Outcome::Failed, Outcome::Panicked];
        let others = [
            Report::Accepted { connection: info(), open: 1 },
            Report::LookedUp { host: "a.name".into(), addresses: Vec::new() },
            Report::Attempt { address: address() },
            Report::Connected { connection: info() },
            Report::Resumed { address: address() },
            Report::Closing { address: address(), udp: false },
            Report::Closed { address: address(), udp: true },
        ];
        for report in others.into_iter().chain(refused).chain(ends.map(ended)) {
            assert!(!report.is_failure(), "it is none, or was told before: {report:?}");
        }
    }

    /// Ensures that each cause of a refusal has its place among the counts.
    #[test]
    fn each_cause_of_a_refusal_is_counted_by_its_number() {
        for (at, by) in RefusedBy::ALL.into_iter().enumerate() {
            assert_eq!(by as usize, at, "{by:?} stands where it is counted");
        }
        // The last of the enum. A variant that is added behind it belongs in the list too.
        assert_eq!(RefusedBy::ALL.last(), Some(&RefusedBy::ProxyTimeout), "the list is whole");
    }
}
