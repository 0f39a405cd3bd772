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

/// The number of a connection, unique in the process and never used again. Prints as `#17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    pub(crate) fn next() -> ConnectionId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        ConnectionId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The number itself.
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
    /// Its number.
    pub id: ConnectionId,
    /// Our end.
    pub local: Address,
    /// The other end.
    pub remote: Address,
    /// Whether a server of ours accepted it. Otherwise the program connected it, or took it over.
    pub accepted: bool,
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = if self.accepted { (&self.remote, &self.local) } else { (&self.local, &self.remote) };
        f.pad(&format!("{} {from} -> {to}", self.id))
    }
}

/// Why a client was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedBy {
    /// As many connections were open as the server allows.
    Full,
    /// As many connections were open from its address as the server allows each.
    PerAddress,
    /// Its address is on the server's block list.
    Blocked,
    /// The server's [filter](crate::net::ServerOptions::filter) said no, or panicked.
    Filtered,
    /// No thread could be started to serve it.
    NoThread,
    /// The server was closing when the client arrived, or before its PROXY header did.
    Closing,
    /// It is not one of the [trusted](crate::net::ServerOptions::proxy_protocol) load balancers.
    Untrusted,
    /// Its PROXY header was invalid, or the connection ended before it.
    ProxyHeader,
    /// Its PROXY header did not arrive [in time](crate::net::ServerOptions::proxy_timeout).
    ProxyTimeout,
}

impl RefusedBy {
    /// All of them, in the order of the enum, which is that of the counts.
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

    /// Its text in a log, and whether such a client gets the goodbye of a full server. Clients that a list or filter
    /// rejects, and load balancers that are untrusted or broken, are closed without it.
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
    /// In order. Its handler returned, both sides ended, or the last handle to it was dropped.
    Finished,
    /// By `destroy()`.
    Destroyed,
    /// By `reset_and_destroy()`.
    Reset,
    /// By a `shutdown` whose time had passed.
    Forced,
    /// By an error. A [`Report::Failed`] came before.
    Failed,
    /// By a panic in its handler. A [`Report::Panicked`] came before.
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

/// What happened, for the `report` hook. The hook is called on the thread where it happens.
///
/// Each prints as one line. Control characters in a text of a peer or a handler are escaped, as `\n` and `\u{1b}`.
/// Lines about a datagram socket begin with `udp `. So `ServerOptions::new().report(|r| eprintln!("{r}"))` is a log,
/// and a program that counts variants has metrics. Every connection is reported when it starts and exactly once as
/// [`Ended`](Report::Ended). Without a hook nothing is formatted.
///
/// The hook is never called under a lock of the library, so it may call anything. The thread that calls it waits for
/// it. That thread may be the one that accepts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Report {
    /// A server admitted a connection.
    #[non_exhaustive]
    Accepted {
        /// The connection.
        connection: ConnectionInfo,
        /// How many were open when it was admitted, this one included.
        open: usize,
    },
    /// A client has looked up a name. There is none for IP addresses, which need no look-up.
    #[non_exhaustive]
    LookedUp {
        /// The name.
        host: String,
        /// Its addresses, in the order of the answer.
        addresses: Vec<Address>,
    },
    /// A client begins to connect to an address, which may be one of several.
    #[doc(alias = "connectionAttempt")]
    #[non_exhaustive]
    Attempt {
        /// The address.
        address: Address,
    },
    /// Connecting to one address failed. If it is the only or the last one, the whole connect has failed.
    #[doc(alias = "connectionAttemptFailed")]
    #[non_exhaustive]
    AttemptFailed {
        /// The address.
        address: Address,
        /// Why.
        error: Error,
    },
    /// Connecting to one address took longer than the time it had.
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
    /// A server turned a client away.
    #[non_exhaustive]
    Refused {
        /// The end the client connected to.
        local: Address,
        /// The client.
        remote: Address,
        /// Why.
        by: RefusedBy,
    },
    /// A connection has ended. Its slot is free and its socket closed, unless it
    /// [lingers](crate::net::ServerOptions::lingering_close) for a peer that still sends.
    #[non_exhaustive]
    Ended {
        /// The connection.
        connection: ConnectionInfo,
        /// How long it lasted.
        after: Duration,
        /// Bytes read from it.
        read: u64,
        /// Bytes written to it.
        written: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// An error ended a connection. Without a connection, an error happened that did not end the socket.
    #[non_exhaustive]
    Failed {
        /// The connection.
        connection: Option<ConnectionInfo>,
        /// The error.
        error: Error,
        /// Whether it is about a datagram socket.
        udp: bool,
    },
    /// A handler panicked.
    #[non_exhaustive]
    Panicked {
        /// Its connection.
        connection: ConnectionInfo,
        /// What it panicked with, where that is text.
        message: String,
    },
    /// Accepting failed, usually because descriptors or memory ran out, and no other thread is accepting. It is retried
    /// with growing pauses. Reported once until it works again.
    #[non_exhaustive]
    AcceptPaused {
        /// The server.
        address: Address,
        /// Why.
        error: Error,
        /// How long the first pause is.
        pause: Duration,
    },
    /// All threads that might accept are in callbacks. The next client is accepted when one of them returns. Reported
    /// once until no thread is in a callback.
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
    /// A server is closed and its last connection has ended. Or a datagram socket is closed and no receiver holds it.
    #[non_exhaustive]
    Closed {
        /// Its address.
        address: Address,
        /// Whether it is a datagram socket.
        udp: bool,
    },
}

impl Report {
    /// Whether something went wrong that a program would log as a warning. These are failures:
    ///
    /// - [`AttemptFailed`](Report::AttemptFailed) and [`AttemptTimedOut`](Report::AttemptTimedOut). The connect may
    ///   still succeed by another address.
    /// - [`Failed`](Report::Failed) and [`Panicked`](Report::Panicked).
    /// - [`AcceptPaused`](Report::AcceptPaused) and [`AcceptHeldUp`](Report::AcceptHeldUp).
    /// - [`Ended`](Report::Ended) by [`Outcome::Forced`]. A shutdown has destroyed the connection.
    ///
    /// The others are not. A [`Refused`](Report::Refused) client was turned away by a rule of the server's. If an error
    /// was the cause, such as a thread that could not be started or an invalid PROXY header, `Failed` came before.
    /// `Failed` also comes before an `Ended` by [`Outcome::Failed`], and `Panicked` before one by
    /// [`Outcome::Panicked`].
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
        // It may have a text of a peer, a resolver or a handler in it.
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

/// What the lines of datagram sockets begin with. A server may have the same address.
fn protocol(udp: bool) -> &'static str {
    if udp { "udp " } else { "" }
}

/// The user's hook, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Reporter(Option<Arc<Hook>>);

type Hook = dyn Fn(&Report) + Send + Sync;

// A panic of the hook is caught where it is called.
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
