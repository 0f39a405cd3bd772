//! Refusing a client.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::callback::guarded;
use crate::error::Error;
use crate::net::server::listener::Listener;
use crate::net::server::registry::Presence;
use crate::net::socket::lingering::leaving::Last;
use crate::report::{ConnectionInfo, RefusedBy, Report};
use crate::sys;

/// A client that was refused. [`ServerCallbacks::refused`](crate::net::ServerCallbacks::refused) gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The address that the client connected to.
    pub local: Address,
    /// The client's address.
    pub remote: Address,
    /// Why the client was refused.
    pub by: RefusedBy,
}

/// The server's callbacks, without the handler.
#[derive(Default)]
pub(crate) struct Hooks<'a> {
    pub(crate) refused: Option<&'a RefusedHook<'a>>,
    pub(crate) error: Option<&'a ErrorHook<'a>>,
}

pub(crate) type RefusedHook<'a> = dyn Fn(&Refused) + Send + Sync + 'a;
pub(crate) type ErrorHook<'a> = dyn Fn(&Error, Option<&ConnectionInfo>) + Send + Sync + 'a;

impl<'a> Hooks<'a> {
    /// Whether a callback of the program is called for a client that is refused for this cause.
    pub(crate) fn hear_of(&self, by: RefusedBy, server: &Listener) -> bool {
        server.registry.reporter.is_on() || self.refused(by).is_some()
    }

    /// Clients that a list or the program's filter refuses are reported to the report hook only.
    fn refused(&self, by: RefusedBy) -> Option<&'a RefusedHook<'a>> {
        self.refused.filter(|_| !matches!(by, RefusedBy::Blocked | RefusedBy::Filtered))
    }
}

/// Closes the client's connection, or starts the goodbye. Then calls `tell_first` and the hooks. A refused client costs
/// two system calls in all, accept(2) and close(2). On a wildcard listener, a third call gets the local address if a
/// hook needs it.
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
    // Counted before the connection is closed. So when the client sees the close, the callback is counted or has
    // finished.
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
    /// Counts the client, and closes its connection or starts the goodbye.
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
