//! Admitting clients: the limit, the limits of addresses, the block list, the filter, and the trusted load balancers.

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

/// An admitted client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) slots: Slot,
    pub(crate) presence: Presence,
    /// The addresses of the connection itself, if it came through a load balancer. In that case, the two fields above
    /// are the client's addresses.
    pub(crate) proxied: Option<Box<(Address, Address)>>,
    /// The part of its header that was received before.
    pub(crate) header: Option<Box<Receiving>>,
}

/// The outcome of reading a client's PROXY header.
pub(crate) enum Introduced {
    In(Client),
    Refused,
    /// The caller's time expired before the header was complete.
    NotYet(Accepted),
}

impl Client {
    /// Reads the client's PROXY header, if one is expected. Refuses the client if the header is late or wrong, or if
    /// the client that it names may not be admitted. Blocks until the header is complete, or until the caller's time
    /// expires. So no other thread may depend on this thread.
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
        self.stream = Arc::into_inner(stream).expect("other threads hold the stream only while it is registered");
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
                        self.slots.address = address;
                        return Introduced::In(self);
                    }
                    Err(by) => by,
                }
            }
            // The error of a header that was interrupted.
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

    /// Registers the client and makes a socket of it. The server does not stop before the returned registration is
    /// dropped.
    pub(crate) fn register(self, server: &Listener) -> (Socket, Arc<Registration>) {
        let (registry, number) = (&server.registry, self.presence.number);
        // A load balancer's client took its slot long before, when its header had not come.
        let open = if server.options.trusted.is_some() { registry.slots.taken() } else { self.slots.nth };
        let registration = Registration::new(self.presence, self.slots);
        let owner: Arc<dyn Owner> = Arc::clone(&registration) as _;
        let addresses = (self.local, self.remote);
        let reporter = registry.reporter.clone();
        let socket = Socket::new(self.stream, addresses, server.options.connection, reporter, Some(owner));
        if let Some(own) = self.proxied {
            // No other thread has the socket yet.
            let _ = socket.connection.proxied.set(own);
        }
        // Reported before registering. After that, other threads find the connection and may close it, which is
        // reported too.
        if registry.reporter.is_on() {
            let _frame = registration.frame();
            registry.reporter.tell(|| Report::Accepted { connection: socket.connection.name(), open });
        }
        registry.register(&socket.connection, number);
        (socket, registration)
    }
}

impl Listener {
    /// Makes a client of a connection that has its slots.
    pub(crate) fn admit(
        &self,
        stream: TcpStream,
        remote: Address,
        slots: Slot,
        presence: Presence,
        header: Option<Box<Receiving>>,
    ) -> Client {
        if !self.inherits {
            stream::plain(&stream);
            // Fails only on a dead connection, whose reads fail too.
            if self.address.path().is_none() {
                let _ = stream::apply(&SockRef::from(&stream), self.options.connection.settings, false);
                let _ = self.options.connection.buffers.apply(&SockRef::from(&stream));
            }
        } else if self.is_timed() {
            // The connection may have inherited these settings of the listener when the client connected.
            let _ = stream.set_read_timeout(None);
        }
        let local = self.local_of(&stream);
        Client { stream, local, remote, slots, presence, proxied: None, header }
    }

    /// If clients wait for a slot, blocks until a slot is free, the server is closing, or the time has expired. `false`
    /// means that all slots are taken. Called by the thread that has the turn to accept, so that no client is accepted
    /// without a slot. If the limit is lowered at that moment, at most one accepted client has no slot.
    pub(crate) fn wait_for_room(&self, until: Deadline) -> bool {
        let slots = &self.registry.slots;
        if self.options.when_full != WhenFull::Wait {
            return true;
        }
        slots.wait_for_room(until, || self.is_closing());
        !until.is_over() || slots.taken() < slots.limit()
    }

    /// Takes a client's slot and the slot of its address. `None` if clients wait for slots and no slot is free until
    /// the time expires.
    pub(crate) fn take_slots(&self, remote: &Address, until: Deadline) -> Result<Option<Slot>, RefusedBy> {
        // Checked before the slot is taken, because a client that is not admitted must never hold a slot.
        if let Some(by) = self.shut_out(remote) {
            return Err(by);
        }
        // For a load balancer's client this comes later, because the client's address is not known yet.
        let ip = remote.ip().filter(|_| self.options.trusted.is_none());
        loop {
            match self.registry.slots.take_for(self.addresses.as_ref(), ip) {
                Ok(slots) => return Ok(Some(slots)),
                Err(Denied::PerAddress) => return Err(RefusedBy::PerAddress),
                Err(Denied::Closed) => return Err(RefusedBy::Closing),
                Err(Denied::Full) if self.options.when_full != WhenFull::Wait => return Err(RefusedBy::Full),
                Err(Denied::Full) if self.is_closing() => return Err(RefusedBy::Closing),
                Err(Denied::Full) if self.wait_for_room(until) => {}
                Err(Denied::Full) => return Ok(None),
            }
        }
    }

    /// Takes a slot of the address that a load balancer passed on, if addresses have limits. Refuses a blocked address.
    pub(crate) fn take_address(&self, remote: &Address) -> Result<Option<AddressSlot>, RefusedBy> {
        if self.is_blocked(remote) {
            return Err(RefusedBy::Blocked);
        }
        match (&self.addresses, remote.ip()) {
            (Some(addresses), Some(ip)) => addresses.take(ip).map(Some).map_err(|_| RefusedBy::PerAddress),
            _ => Ok(None),
        }
    }

    /// Whether the filter is called for a client before it has a slot, in this phase. Behind load balancers the filter
    /// is called later, because the client's address is not known yet.
    pub(crate) fn filters(&self, phase: Phase) -> bool {
        self.options.filter.is_on() && self.options.trusted.is_none() && phase < Phase::Closed
    }

    /// Calls the filter, if there is one, unless the client is on the block list. `call` runs it on the calling thread,
    /// which holds nothing that other threads wait for.
    ///
    /// # Errors
    /// The cause of refusing the client.
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

    /// The cause for refusing every client from this address, even if there is room. Uses the addresses of the
    /// connection itself, not those in a header.
    pub(crate) fn shut_out(&self, remote: &Address) -> Option<RefusedBy> {
        match &self.options.trusted {
            None => self.is_blocked(remote).then_some(RefusedBy::Blocked),
            Some(trusted) => (!trusted.check(remote, &self.address)).then_some(RefusedBy::Untrusted),
        }
    }

    pub(crate) fn is_blocked(&self, remote: &Address) -> bool {
        self.options.block_list.as_ref().zip(remote.ip()).is_some_and(|(list, ip)| list.check(ip))
    }

    /// The address that the client connected to. It is known without a system call, except on a wildcard address.
    pub(crate) fn local_of(&self, stream: &TcpStream) -> Address {
        match &self.local {
            Some(local) => local.clone(),
            None => stream.local_addr().map_or_else(|_| self.address.clone(), Address::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::thread;

    use super::*;
    use crate::net::ServerOptions;

    /// Ensures that a client that finds no slot is refused because the server is full, and not because of its address,
    /// while another thread asks for the same address.
    #[test]
    fn a_client_without_a_slot_has_not_reached_the_limit_of_its_address() {
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let options = ServerOptions::new().max_connections(0).max_connections_per_address(1);
            let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
            let remote = Address::from(SocketAddr::new(ip.parse().expect("an address"), 1));
            let ask = || server.inner.take_slots(&remote, Deadline::NEVER).expect_err("there is no slot");
            let asking = || (0..100_000).filter(|_| ask() != RefusedBy::Full).count();
            let wrong: usize = thread::scope(|scope| {
                let threads = [(); 2].map(|()| scope.spawn(asking));
                threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
            });
            assert_eq!(wrong, 0, "of 200,000 clients from {ip} none is refused for the limit of its address");
        }
    }
}
