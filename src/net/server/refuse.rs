//! What a client gets that is not let in.

use std::net::TcpStream;

use crate::address::Address;
use crate::error::Error;
use crate::net::server::listener::Listener;
use crate::net::server::registry::Presence;
use crate::net::socket::Socket;
use crate::report::{RefusedBy, Report, guarded};

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

/// The callbacks of the server, besides the handler.
#[derive(Default)]
pub(crate) struct Hooks<'a> {
    pub(crate) refused: Option<&'a RefusedHook<'a>>,
    pub(crate) error: Option<&'a ErrorHook<'a>>,
}

pub(crate) type RefusedHook<'a> = dyn Fn(&Refused) + Send + Sync + 'a;
pub(crate) type ErrorHook<'a> = dyn Fn(&Error, Option<&Socket>) + Send + Sync + 'a;

/// Tells of the client, then closes it, or has goodbye said to it. Called on the accepting thread: two system calls in
/// all, accept(2) and close(2), unless a hook is to know the address it came to on a wildcard listener.
pub(crate) fn refuse(
    server: &Listener,
    stream: TcpStream,
    (local, remote): (Option<Address>, Address),
    by: RefusedBy,
    presence: Presence,
    hooks: &Hooks<'_>,
) {
    server.registry.refused(by);
    // Blocked clients are told to the report hook alone.
    let hook = hooks.refused.filter(|_| by != RefusedBy::Blocked);
    if server.registry.reporter.is_on() || hook.is_some() {
        let local = local.unwrap_or_else(|| server.local_of(&stream));
        let refused = Refused { local, remote, by };
        if let Some(hook) = hook {
            guarded(|| hook(&refused));
        }
        server.registry.reporter.tell(|| Report::Refused { local: refused.local, remote: refused.remote, by });
    }
    match &server.goodbyes {
        Some(goodbyes) if by.hears_goodbye() => goodbyes.say(stream, presence),
        // The connection first: who is present no longer has none.
        _ => drop((stream, presence)),
    }
}
