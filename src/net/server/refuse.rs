//! What a client gets that is not let in.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::callback::guarded;
use crate::error::Error;
use crate::net::server::listener::Listener;
use crate::net::server::registry::Presence;
use crate::net::socket::lingering::Last;
use crate::report::{ConnectionInfo, RefusedBy, Report};
use crate::sys;

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
pub(crate) type ErrorHook<'a> = dyn Fn(&Error, Option<&ConnectionInfo>) + Send + Sync + 'a;

impl<'a> Hooks<'a> {
    /// Whether code of the program's is called about a client that is turned away for that cause.
    pub(crate) fn hear_of(&self, by: RefusedBy, server: &Listener) -> bool {
        server.registry.reporter.is_on() || self.refused(by).is_some()
    }

    /// Clients that the program itself shuts out, by a list or its filter, are told to the report hook alone.
    fn refused(&self, by: RefusedBy) -> Option<&'a RefusedHook<'a>> {
        self.refused.filter(|_| !matches!(by, RefusedBy::Blocked | RefusedBy::Filtered))
    }
}

/// Closes the client's connection, or has goodbye said to it; then tells of it, by `tell_first` and the hooks. Two
/// system calls in all, accept(2) and close(2), unless a hook is to know the address the client came to on a wildcard
/// listener.
pub(crate) fn refuse(
    server: &Listener,
    stream: TcpStream,
    (local, remote): (Option<Address>, Address),
    by: RefusedBy,
    presence: Presence,
    hooks: &Hooks<'_>,
    tell_first: &dyn Fn(),
) {
    let is_told = hooks.hear_of(by, server);
    let local = if is_told { local.unwrap_or_else(|| server.local_of(&stream)) } else { server.address.clone() };
    let presence = Arc::new(presence);
    if !is_told && hooks.error.is_none() {
        return server.turn_away(stream, by, &presence);
    }
    // Before the client can see its end: who does finds the callback counted, or over.
    let _in_hook = server.registry.in_hook();
    server.turn_away(stream, by, &presence);
    let _frame = presence.frame();
    tell_first();
    let refused = Refused { local, remote, by };
    if let Some(hook) = hooks.refused(by) {
        guarded(|| hook(&refused));
    }
    server.tell_refused(refused);
}

impl Listener {
    /// Counts the client, and closes its connection or has goodbye said to it.
    pub(crate) fn turn_away(&self, stream: TcpStream, by: RefusedBy, presence: &Arc<Presence>) {
        self.registry.refused(by);
        let message = self.goodbye.as_ref().filter(|_| by.hears_goodbye());
        let Some((message, place)) =
            message.and_then(|message| Some((message, self.registry.lingering.place_for_refused()?)))
        else {
            return;
        };
        sys::prepare(&stream);
        let message = Last::Message(Arc::clone(message));
        place.begin(Arc::new(stream), message, Duration::MAX, Box::new(Arc::clone(presence)));
    }

    pub(crate) fn tell_refused(&self, Refused { local, remote, by }: Refused) {
        self.registry.reporter.tell(|| Report::Refused { local, remote, by });
    }
}
