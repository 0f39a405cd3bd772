//! A client between accept(2) and its admission.

use std::net::TcpStream;

use crate::address::Address;
use crate::net::proxy::Receiving;
use crate::net::server::listener::Listener;
use crate::net::server::registry::Presence;
use crate::report::RefusedBy;
use crate::slots::Slot;

/// An accepted client, which may have to wait for a slot or for its PROXY header.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: Address,
    pub(crate) presence: Presence,
    /// Set once the client has its slots.
    pub(crate) slots: Option<Slot>,
    /// Set once a part of the header was received.
    pub(crate) header: Option<Box<Receiving>>,
}

/// A client that has its slots, or is refused.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) remote: Address,
    /// The client's slots, or the cause for refusing it.
    pub(crate) slots: Result<Slot, RefusedBy>,
    pub(crate) presence: Presence,
    /// The part of its PROXY header that was received before.
    pub(crate) header: Option<Box<Receiving>>,
}

impl Listener {
    /// The stream of a client that accept(2) has returned. Clears the SO_LINGER of an owned or adopted listener,
    /// because the server may close the stream at any moment from here on.
    pub(crate) fn stream_of(&self, accepted: socket2::Socket) -> TcpStream {
        if self.gives_linger {
            let _ = accepted.set_linger(None);
        }
        accepted.into()
    }
}
