//! A client between accept(2) and the decision whether it is let in.

use std::net::TcpStream;

use crate::address::Address;
use crate::net::proxy::Receiving;
use crate::net::server::registry::Presence;
use crate::report::RefusedBy;
use crate::slots::{AddressSlot, Slot};

/// A client that accept(2) gave, and that may have to wait for a slot, or for its PROXY header.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: Address,
    pub(crate) presence: Presence,
    /// Once it has them.
    pub(crate) slots: Option<(Slot, Option<AddressSlot>)>,
    /// Once a part of it was waited for.
    pub(crate) header: Option<Box<Receiving>>,
}

/// A client that has its slots, or is refused.
pub(crate) struct Incoming {
    pub(crate) stream: TcpStream,
    pub(crate) remote: Address,
    /// What it needs to be let in, or why it is not.
    pub(crate) slots: Result<(Slot, Option<AddressSlot>), RefusedBy>,
    pub(crate) presence: Presence,
    /// Where a part of its PROXY header was waited for before.
    pub(crate) header: Option<Box<Receiving>>,
}
