//! A limit of connections that several servers and other code share.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::report::RefusedBy;
use crate::slots::{self, AddressSlot, Addresses, Denied, Slots};

/// How many connections may be open at once, in all and from each address. Several servers can share it, and a program
/// can count other things with it, such as the sessions of a datagram socket.
///
/// A clone is the same limit. Give one to each server, by
/// [`ServerOptions::shared_limit`](crate::net::ServerOptions::shared_limit), and keep one. Each connection of these
/// servers takes a slot, and gives it back before its client can see the end. [`try_acquire`](Limit::try_acquire) takes
/// a slot for anything else. The count is exact. No more slots are ever taken than the limit allows.
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
    /// At most `max` slots in all. `None` is no limit in all, for a limit that counts [per address](Limit::per_address)
    /// alone.
    pub fn new(max: impl Into<Option<usize>>) -> Limit {
        Limit { slots: Arc::new(Slots::new(max.into().unwrap_or(usize::MAX))), addresses: None }
    }

    /// The same limit with at most `max` slots for each address. An address is one of IPv4, also if it is IPv4-mapped,
    /// or the /64 of an IPv6 address, as in
    /// [`max_connections_per_address`](crate::net::ServerOptions::max_connections_per_address). The handle that this
    /// returns, and its clones, count addresses. Handles cloned before this call count only the total.
    pub fn per_address(self, max: usize) -> Limit {
        Limit { addresses: Some(Addresses::new(max)), ..self }
    }

    /// Takes a slot for a client from that address. Dropping the [`Slot`] gives it back. `None` is for things without
    /// an address, which count only toward the total. It does not block.
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
    /// [`RefusedBy::PerAddress`] if the address has as many slots as it may, [`RefusedBy::Full`] if all are taken.
    #[doc(alias = "try_take")]
    #[doc(alias = "acquire")]
    pub fn try_acquire(&self, from: impl Into<Option<IpAddr>>) -> Result<Slot, RefusedBy> {
        // Before the slot. A client that is refused must not hold a slot even for a moment.
        let of_address = match (&self.addresses, from.into()) {
            (Some(addresses), Some(ip)) => Some(addresses.take(ip).ok_or(RefusedBy::PerAddress)?),
            _ => None,
        };
        match self.slots.take() {
            Ok(in_all) => Ok(Slot { _of_address: of_address, _in_all: in_all }),
            Err(Denied::Full | Denied::Closed) => Err(RefusedBy::Full),
        }
    }

    /// How many slots are taken at this instant, by every server that shares the limit and by everything else.
    #[doc(alias = "available_permits")]
    pub fn in_use(&self) -> usize {
        self.slots.taken()
    }

    /// How many slots there are in all.
    pub fn max(&self) -> usize {
        self.slots.limit()
    }

    /// Changes how many slots there are in all, from the next `try_acquire` or client on. Lowering it takes no slot
    /// back. With 0 no slot is given out, and `None` is no limit.
    pub fn set_max(&self, max: impl Into<Option<usize>>) {
        self.slots.set_limit(max.into().unwrap_or(usize::MAX));
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({} of {} in use)", self.in_use(), self.max())
    }
}

/// One taken slot of a [`Limit`]. Dropping it, on whatever path, gives it back.
#[must_use = "dropping it gives the slot back"]
#[doc(alias = "SemaphorePermit")]
pub struct Slot {
    _of_address: Option<AddressSlot>,
    _in_all: slots::Slot,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
