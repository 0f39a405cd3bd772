//! A limit on connections that several servers and other code share.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::report::RefusedBy;
use crate::slots::{self, Addresses, Denied, Slots};

/// A limit on how many connections may be open at once, in total and from each address. Several servers can share one
/// limit. A program can also use it to count other things, such as the sessions of a datagram socket.
///
/// A clone is the same limit. Pass a clone to each server with
/// [`ServerOptions::shared_limit`](crate::net::ServerOptions::shared_limit), and keep one. Each connection of these
/// servers takes one slot, which is one of the limit's places. The slot is returned before the connection's client can
/// see that the connection has ended. [`try_acquire`](Limit::try_acquire) takes a slot for anything else. The count is
/// exact: while the limit is reached, no slot can be taken.
///
/// ```
/// use landline::Limit;
/// use landline::net::{ServerOptions, Socket};
///
/// let limit = Limit::new(1);
/// let options = ServerOptions::new().shared_limit(&limit);
/// let (first, second) = (options.listen("127.0.0.1:0")?, options.listen("127.0.0.1:0")?);
/// let _serving = [&first, &second].map(|server| server.spawn(|socket| socket.pipe(socket)));
///
/// let served = Socket::connect(first.address())?;
/// served.write_all("x")?;
/// served.read_exact(&mut [0])?;
/// assert_eq!((limit.in_use(), first.connections(), second.connections()), (1, 1, 0));
///
/// let refused = Socket::connect(second.address())?;
/// assert!(refused.read_exact(&mut [0]).is_err());
/// # first.close();
/// # second.close();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "Semaphore")]
#[doc(alias = "LimitListener")]
#[doc(alias = "maxconn")]
pub struct Limit {
    pub(crate) slots: Arc<Slots>,
    pub(crate) addresses: Option<Arc<Addresses>>,
}

impl Limit {
    /// Makes a limit of `max` slots in total. `None` means no total limit, for a limit that only counts [per
    /// address](Limit::per_address).
    pub fn new(max: impl Into<Option<usize>>) -> Limit {
        Limit { slots: Arc::new(Slots::new(max.into().unwrap_or(usize::MAX))), addresses: None }
    }

    /// Returns the same limit, with at most `max` slots for each address in addition. An address is one IPv4 address,
    /// even if it is written as IPv4-mapped, or the /64 of an IPv6 address.
    /// [`max_connections_per_address`](crate::net::ServerOptions::max_connections_per_address) counts in the same way.
    /// Only the returned handle and its clones count addresses. Handles that were cloned before this call count only
    /// the total.
    pub fn per_address(self, max: usize) -> Limit {
        Limit { addresses: Some(Addresses::new(max)), ..self }
    }

    /// Takes a slot for a client from this address, without blocking. Dropping the [`Slot`] returns it. Pass `None` for
    /// something without an address. Its slot counts only toward the total.
    ///
    /// ```
    /// use landline::{Limit, dgram};
    /// use std::collections::HashMap;
    ///
    /// let limit = Limit::new(100).per_address(1);
    /// let socket = dgram::Socket::bind("127.0.0.1:0")?;
    /// let clients = [dgram::Socket::bind("127.0.0.1:0")?, dgram::Socket::bind("127.0.0.1:0")?];
    /// for client in &clients {
    ///     client.send_to(b"hello", socket.address())?;
    /// }
    ///
    /// let (mut sessions, mut buffer) = (HashMap::new(), [0; 1500]);
    /// for _ in &clients {
    ///     let Some((_, from)) = socket.recv(&mut buffer)? else { break };
    ///     if !sessions.contains_key(&from.address()) {
    ///         let Ok(slot) = limit.try_acquire(from.address().ip()) else { continue };
    ///         sessions.insert(from.address(), slot); // a session ends when it is removed
    ///     }
    /// }
    /// assert_eq!((sessions.len(), limit.in_use()), (1, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`RefusedBy::PerAddress`] if the address already has all of its slots. [`RefusedBy::Full`] if all slots are
    /// taken.
    #[doc(alias = "try_take")]
    #[doc(alias = "acquire")]
    pub fn try_acquire(&self, from: impl Into<Option<IpAddr>>) -> Result<Slot, RefusedBy> {
        match self.slots.take_for(self.addresses.as_ref(), from.into()) {
            Ok(slot) => Ok(Slot { _slot: slot }),
            Err(Denied::PerAddress) => Err(RefusedBy::PerAddress),
            // A limit is never closed.
            Err(Denied::Full | Denied::Closed) => Err(RefusedBy::Full),
        }
    }

    /// Returns how many slots are taken at this instant. This includes the slots of all servers that share the limit,
    /// and those of everything else.
    #[doc(alias = "available_permits")]
    pub fn in_use(&self) -> usize {
        self.slots.taken()
    }

    /// Returns the total number of slots.
    pub fn max(&self) -> usize {
        self.slots.limit()
    }

    /// Changes the total number of slots, starting with the next client or `try_acquire`. Slots already taken stay
    /// taken. With 0 no slot is given out. `None` means no limit.
    pub fn set_max(&self, max: impl Into<Option<usize>>) {
        self.slots.set_limit(max.into().unwrap_or(usize::MAX));
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({} of {} in use)", self.in_use(), self.max())
    }
}

/// A taken slot of a [`Limit`]. Dropping a `Slot` returns it to the limit.
#[must_use = "dropping it gives the slot back"]
#[doc(alias = "SemaphorePermit")]
pub struct Slot {
    _slot: slots::Slot,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
