//! What a client gets that is not let in.

use std::net::TcpStream;

use super::accept::Hooks;
use super::ledger::Presence;
use super::server::Inner;
use crate::address::Address;
use crate::report::{RefusedBy, Report, guarded};

/// A client that was turned away, as [`ServerCallbacks::refused`](super::ServerCallbacks::refused) is told of it.
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

/// Tells of the client, then closes it, or has goodbye said to it. Called on the accepting thread: two system calls in all,
/// accept(2) and close(2), unless somebody wants to know the address it came to on a wildcard listener.
pub(super) fn refuse(
    server: &Inner,
    stream: TcpStream,
    remote: Address,
    by: RefusedBy,
    presence: Presence,
    hooks: &Hooks<'_>,
) {
    server.ledger.refused(by);
    if server.ledger.reporter.is_on() || hooks.refused.is_some() {
        let local = server.local_of(&stream);
        let refused = Refused { local, remote, by };
        if let Some(hook) = hooks.refused {
            guarded(|| hook(&refused));
        }
        server.ledger.reporter.tell(|| Report::Refused { local: refused.local, remote: refused.remote, by });
    }
    match &server.goodbyes {
        Some(goodbyes) if by != RefusedBy::Blocked => goodbyes.say(stream, presence),
        // The connection first: who is present no longer has none.
        _ => drop((stream, presence)),
    }
}
