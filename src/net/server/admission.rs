//! Who is let in: the limit, the limit of each address, the block list, the filter, and who is trusted to send a PROXY
//! header.

use std::net::TcpStream;
use std::sync::Arc;
use std::{io, mem};

use socket2::SockRef;

use crate::address::Address;
use crate::error::Result;
use crate::net::proxy::Receiving;
use crate::net::proxy::header::Header;
use crate::net::server::arrival::Accepted;
use crate::net::server::listener::Listener;
use crate::net::server::options::WhenFull;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::{Presence, Registration};
use crate::net::socket::connection::Owner;
use crate::net::socket::{Socket, stream};
use crate::report::{RefusedBy, Report};
use crate::slots::{AddressSlot, Denied, Slot};
use crate::sync::deadline::Deadline;
use crate::sync::gate::Phase;

/// A client that was let in.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) slots: (Slot, Option<AddressSlot>),
    pub(crate) presence: Presence,
    /// Where a load balancer has passed it on: the ends of the connection itself. The two above are the client's then.
    pub(crate) proxied: Option<Box<(Address, Address)>>,
    /// Where a part of its header was waited for before.
    pub(crate) header: Option<Box<Receiving>>,
}

/// What became of a client that has to say who it is.
pub(crate) enum Introduced {
    In(Client),
    Refused,
    /// The caller's time is over before the header is complete.
    NotYet(Accepted),
}

impl Client {
    /// Lets a load balancer say whose connection it is, where that is asked for, and refuses the client if it is not
    /// told in time and in order, or not to be let in. Blocks until then, or until the caller's time is over: nobody
    /// else may depend on this thread.
    pub(crate) fn introduce(mut self, server: &Listener, hooks: &Hooks<'_>, until: Deadline) -> Introduced {
        if server.options.trusted.is_none() {
            return Introduced::In(self);
        }
        let mut receiving = match self.header.take() {
            Some(begun) => *begun,
            None => Receiving::new(server.options.proxy_timeout),
        };
        let stream = Arc::new(self.stream);
        let awaiting_header = server.registry.awaiting_header(&stream);
        let header = receiving.receive(&stream, &self.remote, until);
        drop(awaiting_header);
        self.stream = Arc::into_inner(stream).expect("who finds it registered has it while it is registered only");
        let mut failure = None;
        let by = match header {
            Ok(None) => {
                let Client { stream, remote, slots, presence, .. } = self;
                let (slots, header) = (Some(slots), Some(Box::new(receiving)));
                return Introduced::NotYet(Accepted { stream, remote, presence, slots, header });
            }
            Ok(Some(Header::Own)) => return Introduced::In(self),
            Ok(Some(Header::Passed { client, reached })) => {
                let own = (mem::replace(&mut self.local, reached), mem::replace(&mut self.remote, client));
                self.proxied = Some(Box::new(own));
                let asked = server.ask_filter(&self.remote, &self.presence, &|call| call());
                match asked.and_then(|()| server.take_address(&self.remote)) {
                    Ok(address) => {
                        self.slots.1 = address;
                        return Introduced::In(self);
                    }
                    Err(by) => by,
                }
            }
            // It is how the header ended that was broken off.
            Err(error) if server.registry.is_interrupting() && error.kind() != io::ErrorKind::InvalidData => {
                RefusedBy::Closing
            }
            Err(error) => {
                let is_late = error.kind() == io::ErrorKind::TimedOut;
                failure = Some(error);
                if is_late { RefusedBy::ProxyTimeout } else { RefusedBy::ProxyHeader }
            }
        };
        let Client { stream, local, remote, slots, presence, .. } = self;
        drop(slots);
        let tell_first = || {
            if let Some(error) = &failure {
                server.registry.reporter.tell_failed(error);
            }
        };
        refuse(server, stream, (Some(local), remote), by, presence, hooks, &tell_first);
        Introduced::Refused
    }

    /// Enters it into the accounts and makes it a socket. The server is not over before what keeps it is dropped too.
    pub(crate) fn register(self, server: &Listener) -> (Socket, Arc<Registration>) {
        let (registry, number, open) = (&server.registry, self.presence.number, self.slots.0.nth);
        let registration = Registration::new(self.presence, self.slots);
        let owner: Arc<dyn Owner> = Arc::clone(&registration) as _;
        let addresses = (self.local, self.remote);
        let reporter = registry.reporter.clone();
        let socket = Socket::new(self.stream, addresses, server.options.connection, reporter, Some(owner));
        if let Some(own) = self.proxied {
            // Nobody else has the socket yet.
            let _ = socket.connection.proxied.set(own);
        }
        // First: once it is entered, others find it, and may close it, which is reported too.
        if registry.reporter.is_on() {
            let _frame = registration.frame();
            registry.reporter.tell(|| Report::Accepted { connection: socket.connection.name(), open });
        }
        registry.register(&socket.connection, number);
        (socket, registration)
    }
}

impl Listener {
    /// Makes a client of a connection that got its slots.
    pub(crate) fn admit(
        &self,
        stream: TcpStream,
        remote: Address,
        slots: (Slot, Option<AddressSlot>),
        presence: Presence,
        header: Option<Box<Receiving>>,
    ) -> Client {
        if !self.inherits {
            stream::plain(&stream);
            if self.gives_linger {
                let _ = SockRef::from(&stream).set_linger(None);
            }
            // It fails only on a connection that is dead already; reading from it will tell.
            if self.address.path().is_none() {
                let _ = stream::apply(&SockRef::from(&stream), self.options.connection.settings);
                let _ = self.options.connection.buffers.apply(&SockRef::from(&stream));
            }
        } else if self.is_timed() {
            // The listener's, as it was when the client connected.
            let _ = stream.set_read_timeout(None);
        }
        let local = self.local_of(&stream);
        Client { stream, local, remote, slots, presence, proxied: None, header }
    }

    /// Where clients are to wait for a slot: blocks until one is free, the server is being closed, or the time is up,
    /// and then `false` says that all are taken. For the thread whose turn it is to accept: so no client is accepted in
    /// vain, and at most one client is held in hand, if the limit is lowered at that moment.
    pub(crate) fn wait_for_room(&self, until: Deadline) -> bool {
        let slots = &self.registry.slots;
        if self.options.when_full != WhenFull::Wait {
            return true;
        }
        slots.wait_for_room(until, || self.is_closing());
        !until.is_over() || slots.taken() < slots.limit()
    }

    /// What a client needs to be let in: a slot, and one of its address's own; `None` if all are taken until then where
    /// clients are to wait for one.
    pub(crate) fn take_slots(
        &self,
        remote: &Address,
        until: Deadline,
    ) -> Result<Option<(Slot, Option<AddressSlot>)>, RefusedBy> {
        let address = match &self.options.trusted {
            // Before the slot, which a client that is not let in may not hold, not even for a moment.
            None => self.take_address(remote)?,
            // Its client's comes later: its address is not known yet.
            Some(trusted) if trusted.check(remote, &self.address) => None,
            Some(_) => return Err(RefusedBy::Untrusted),
        };
        loop {
            match self.registry.slots.take() {
                Ok(slot) => return Ok(Some((slot, address))),
                Err(Denied::Closed) => return Err(RefusedBy::Closing),
                Err(Denied::Full) if self.options.when_full != WhenFull::Wait => return Err(RefusedBy::Full),
                Err(Denied::Full) if self.is_closing() => return Err(RefusedBy::Closing),
                Err(Denied::Full) if self.wait_for_room(until) => {}
                Err(Denied::Full) => return Ok(None),
            }
        }
    }

    /// A slot of the client's address's own, where there are such, unless it is blocked.
    pub(crate) fn take_address(&self, remote: &Address) -> Result<Option<AddressSlot>, RefusedBy> {
        if self.is_blocked(remote) {
            return Err(RefusedBy::Blocked);
        }
        match (&self.addresses, remote.ip()) {
            (Some(addresses), Some(ip)) => addresses.take(ip).map(Some).ok_or(RefusedBy::PerAddress),
            _ => Ok(None),
        }
    }

    /// Whether the filter is asked about a client that comes in that phase, before it has a slot. Behind load balancers
    /// it is asked later: the client's address is not known yet.
    pub(crate) fn filters(&self, phase: Phase) -> bool {
        self.options.filter.is_on() && self.options.trusted.is_none() && phase < Phase::Closed
    }

    /// Asks the filter, if there is one, unless the client is on the block list. `call` makes the call, on the calling
    /// thread, which holds nothing that other threads wait for.
    ///
    /// # Errors
    /// Why the client is refused.
    pub(crate) fn ask_filter(
        &self,
        remote: &Address,
        presence: &Presence,
        call: &dyn Fn(&mut dyn FnMut()),
    ) -> Result<(), RefusedBy> {
        if !self.options.filter.is_on() {
            return Ok(());
        }
        if self.is_blocked(remote) {
            return Err(RefusedBy::Blocked);
        }
        let _in_hook = self.registry.in_hook();
        let _frame = presence.frame();
        let mut lets_in = false;
        call(&mut || lets_in = self.options.filter.lets_in(remote));
        if lets_in { Ok(()) } else { Err(RefusedBy::Filtered) }
    }

    /// Why no client from there is let in, whether there is room or not; told by the ends of the connection itself.
    pub(crate) fn shut_out(&self, remote: &Address) -> Option<RefusedBy> {
        match &self.options.trusted {
            None => self.is_blocked(remote).then_some(RefusedBy::Blocked),
            Some(trusted) => (!trusted.check(remote, &self.address)).then_some(RefusedBy::Untrusted),
        }
    }

    pub(crate) fn is_blocked(&self, remote: &Address) -> bool {
        self.options.block_list.as_ref().zip(remote.ip()).is_some_and(|(list, ip)| list.check(ip))
    }

    /// The end the client reached: known without asking, except on a wildcard address.
    pub(crate) fn local_of(&self, stream: &TcpStream) -> Address {
        match &self.local {
            Some(local) => local.clone(),
            None => stream.local_addr().map_or_else(|_| self.address.clone(), Address::from),
        }
    }
}
