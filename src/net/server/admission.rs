//! Who is let in: the limit, the limit of each address, the block list, and who is trusted to send a PROXY header.

use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use std::{io, mem};

use socket2::SockRef;

use crate::address::Address;
use crate::error::Result;
use crate::limit::{AddressSlot, Denied, Slot};
use crate::net::proxy;
use crate::net::proxy::header::Header;
use crate::net::server::listener::Listener;
use crate::net::server::options::WhenFull;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::{Presence, Registration};
use crate::net::socket::{Socket, stream};
use crate::report::{RefusedBy, Report};
use crate::sync::poison::lock;
use crate::sys;

/// A client that was let in.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) slot: Slot,
    pub(crate) address: Option<AddressSlot>,
    /// Where a load balancer has passed it on: the ends of the connection itself. The two above are the client's then.
    pub(crate) proxied: Option<Box<(Address, Address)>>,
}

impl Client {
    /// Lets a load balancer say whose connection it is, where that is asked for, and refuses the client if it is not
    /// told in time and in order, or not to be let in. Blocks until then: nobody else may depend on this thread.
    pub(crate) fn introduce(
        mut self,
        server: &Listener,
        presence: Presence,
        hooks: &Hooks<'_>,
    ) -> Option<(Client, Presence)> {
        if server.options.trusted.is_none() {
            return Some((self, presence));
        }
        let stream = Arc::new(self.stream);
        let awaiting_header = server.registry.awaiting_header(&stream);
        let header = proxy::header(&stream, &self.remote, server.options.proxy_timeout);
        drop(awaiting_header);
        self.stream = Arc::into_inner(stream).expect("who finds it registered has it while it is registered only");
        let by = match header {
            Ok(Header::Own) => return Some((self, presence)),
            Ok(Header::Passed { client, reached }) => {
                let own = (mem::replace(&mut self.local, reached), mem::replace(&mut self.remote, client));
                self.proxied = Some(Box::new(own));
                match server.take_address(&self.remote) {
                    Ok(address) => {
                        self.address = address;
                        return Some((self, presence));
                    }
                    Err(by) => by,
                }
            }
            // It is how the header ended that was broken off.
            Err(error) if server.registry.is_interrupting() && error.kind() != io::ErrorKind::InvalidData => {
                RefusedBy::Closing
            }
            Err(error) => {
                server.registry.reporter.tell(|| Report::Failed { connection: None, error: error.clone() });
                if error.kind() == io::ErrorKind::TimedOut { RefusedBy::ProxyTimeout } else { RefusedBy::ProxyHeader }
            }
        };
        let Client { stream, local, remote, slot, .. } = self;
        drop(slot);
        refuse(server, stream, (Some(local), remote), by, presence, hooks);
        None
    }

    /// Enters it into the accounts and makes it a socket.
    pub(crate) fn register(self, server: &Listener, presence: Option<Presence>) -> Socket {
        let registry = &server.registry;
        let registration = Registration::new(registry, (self.slot, self.address), presence);
        let addresses = (self.local, self.remote);
        let socket = Socket::new(
            self.stream,
            addresses,
            server.options.connection,
            registry.reporter.clone(),
            Some(Box::new(registration)),
        );
        if let Some(own) = self.proxied {
            // Nobody else has the socket yet.
            let _ = socket.connection.proxied.set(own);
        }
        // First: once it is entered, others find it, and may close it, which is reported too.
        registry
            .reporter
            .tell(|| Report::Accepted { connection: socket.connection.name(), open: registry.slots.taken() });
        registry.register(socket.id(), &socket.connection);
        socket
    }
}

/// Makes a client of a connection that got the slots, and refuses the others.
pub(crate) fn admit(
    server: &Listener,
    stream: TcpStream,
    remote: Address,
    slots: Result<(Slot, Option<AddressSlot>), RefusedBy>,
    presence: Presence,
    hooks: &Hooks<'_>,
) -> Option<(Client, Presence)> {
    match slots {
        Ok((slot, address)) => {
            if !sys::ACCEPTED_INHERITS || server.adopted {
                stream::plain(&stream);
                // It fails only on a connection that is dead already; reading from it will tell.
                if server.address.path().is_none() {
                    let _ = stream::apply(&SockRef::from(&stream), server.options.connection.settings);
                }
            }
            let local = server.local_of(&stream);
            Some((Client { stream, local, remote, slot, address, proxied: None }, presence))
        }
        Err(by) => {
            refuse(server, stream, (None, remote), by, presence, hooks);
            None
        }
    }
}

impl Listener {
    /// Where clients are to wait for a slot: the turn to accept, which one thread has at a time, and a slot that is
    /// free. So no client is accepted in vain, and at most one client is held in hand, if the limit is lowered
    /// meanwhile.
    pub(crate) fn turn_to_accept(&self) -> Option<MutexGuard<'_, ()>> {
        let turn = (self.options.when_full == WhenFull::Wait).then(|| lock(&self.turn));
        if turn.is_some() {
            self.wait_for_room();
        }
        turn
    }

    pub(crate) fn wait_for_room(&self) {
        self.registry.slots.wait_for_room(|| self.closing.load(SeqCst));
    }

    /// What a client needs to be let in: a slot, and one of its address's own.
    pub(crate) fn take_slots(&self, remote: &Address) -> Result<(Slot, Option<AddressSlot>), RefusedBy> {
        let address = match &self.options.trusted {
            // Before the slot, which a client that is not let in may not hold, not even for a moment.
            None => self.take_address(remote)?,
            // Its client's comes later: its address is not known yet.
            Some(trusted) if trusted.check(remote, &self.address) => None,
            Some(_) => return Err(RefusedBy::Untrusted),
        };
        loop {
            match self.registry.slots.take() {
                Ok(slot) => return Ok((slot, address)),
                Err(Denied::Closed) => return Err(RefusedBy::Closing),
                Err(Denied::Full) if self.options.when_full != WhenFull::Wait => return Err(RefusedBy::Full),
                Err(Denied::Full) if self.closing.load(SeqCst) => return Err(RefusedBy::Closing),
                Err(Denied::Full) => self.wait_for_room(),
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

    /// Sleeps, unless the server is being closed.
    pub(crate) fn pause(&self, time: Duration) {
        self.registry.wait_for(time, || self.closing.load(SeqCst));
    }
}
