//! What a client gets that is not let in.

use std::net::TcpStream;

use crate::address::Address;
use crate::error::Error;
use crate::net::server::listener::Inner;
use crate::net::server::registry::Presence;
use crate::net::socket::Socket;
use crate::report::{RefusedBy, Report, guarded};

/// What happens to a client that comes while as many connections are open as [`max_connections`] allows.
///
/// [`max_connections`]: crate::net::ServerOptions::max_connections
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is accepted, told of as refused, and closed: it sees its connect succeed and then the end, or `ConnectionReset`
    /// if it had written already. What Node does.
    #[default]
    Refuse,
    /// The same, with a goodbye that it really gets, at most 64 KiB: `WhenFull::Reply("server busy\n".into())`.
    ///
    /// The goodbye is written, our direction is ended, and what the client still sends is thrown away until its own end, for
    /// at most [`linger`](crate::net::ServerOptions::linger), and 1 MiB. So a client that writes first and reads later gets it too. One
    /// thread does that for all; it is started by the first such client and ends after the last. It never holds up the
    /// thread that accepts. It serves 1,024 clients at once, or an eighth of the limit of descriptors if that is
    /// less; those that come meanwhile are only closed. So are clients on the block list.
    ///
    /// It goes to clients that are refused for another reason too: too many from their address, no thread, a server
    /// that is closing. [`serve`](crate::net::Server::serve) and [`wait`](crate::net::Server::wait) return when the last goodbye is over too,
    /// so a client that does not end holds them up for the `linger` time; [`shutdown`](crate::net::Server::shutdown) does not wait
    /// longer than it was told. With a `linger` of zero the connection is closed right behind the goodbye, which a
    /// client that is still writing may lose.
    Reply(Vec<u8>),
    /// It is not accepted until a slot is free: it waits in the [backlog](crate::net::ServerOptions::backlog), where its connect
    /// has succeeded and what it writes is kept for it. When the backlog is full too, its connect takes a second and
    /// longer. What Go's `LimitListener` does.
    ///
    /// One thread at a time accepts then, and only while a slot is free. If the limit is lowered while it does, it keeps the
    /// one client it may get until there is room. A program that calls [`accept`](crate::net::Server::accept) on the thread that uses
    /// the sockets waits for itself when it has as many as the limit.
    ///
    /// Only a full server makes clients wait: whoever is on the block list, comes from an address that has its number, or
    /// can be given no thread, is turned away when its turn has come.
    Wait,
}

/// A client that was turned away, as [`ServerCallbacks::refused`](crate::net::ServerCallbacks::refused) is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The end the client connected to.
    pub local: Address,
    /// The client.
    pub remote: Address,
    /// Why.
    pub by: RefusedBy,
}

/// Callbacks of whoever serves, besides the handler.
#[derive(Default)]
pub(crate) struct Hooks<'a> {
    pub(crate) refused: Option<&'a RefusedHook<'a>>,
    pub(crate) error: Option<&'a ErrorHook<'a>>,
}

pub(crate) type RefusedHook<'a> = dyn Fn(&Refused) + Sync + 'a;
pub(crate) type ErrorHook<'a> = dyn Fn(&Error, Option<&Socket>) + Sync + 'a;

/// Tells of the client, then closes it, or has goodbye said to it. Called on the accepting thread: two system calls in all,
/// accept(2) and close(2), unless somebody wants to know the address it came to on a wildcard listener.
pub(crate) fn refuse(
    server: &Inner,
    stream: TcpStream,
    (local, remote): (Option<Address>, Address),
    by: RefusedBy,
    presence: Presence,
    hooks: &Hooks<'_>,
) {
    server.ledger.refused(by);
    // Of blocked clients nobody is told but the log.
    let hook = hooks.refused.filter(|_| by != RefusedBy::Blocked);
    if server.ledger.reporter.is_on() || hook.is_some() {
        let local = local.unwrap_or_else(|| server.local_of(&stream));
        let refused = Refused { local, remote, by };
        if let Some(hook) = hook {
            guarded(|| hook(&refused));
        }
        server.ledger.reporter.tell(|| Report::Refused { local: refused.local, remote: refused.remote, by });
    }
    match &server.goodbyes {
        Some(goodbyes) if hears_goodbye(by) => goodbyes.say(stream, presence),
        // The connection first: who is present no longer has none.
        _ => drop((stream, presence)),
    }
}

/// Those who are shut out by a list, or who are no load balancer or a broken one, are only closed.
fn hears_goodbye(by: RefusedBy) -> bool {
    use RefusedBy::{Blocked, Closing, Full, NoThread, PerAddress, ProxyHeader, ProxyTimeout, Untrusted};
    match by {
        Full | PerAddress | NoThread | Closing => true,
        Blocked | Untrusted | ProxyHeader | ProxyTimeout => false,
    }
}
