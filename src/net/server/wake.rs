//! How `close` waits for the threads in accept(2). Where shutdown(2) does not wake them, it connects to the server's own
//! address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use crate::address::Address;
use crate::endpoint::reachable;
use crate::net::server::listener::Listener;
use crate::net::unix;
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::sys;

/// How many times each acceptor is called, at most. The pauses between two calls grow from 20 to 320 ms. That is 5.4
/// seconds in all.
const ROUNDS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

impl Listener {
    /// Waits until no thread is in accept(2). Where nothing else wakes these threads, this connects to the server's own
    /// address.
    ///
    /// An acceptor counts itself before it checks whether the server is closing. So either it is counted here, or it
    /// never enters accept(2).
    ///
    /// `are_awake`: shutdown(2) has woken all acceptors.
    pub(crate) fn call_acceptors_back(&self, are_awake: bool) {
        let gate = &self.registry.gate;
        let gone = |time| gate.wait(Deadline::after(time), &[], &|view| view.seats() == 0).seats() == 0;
        if are_awake {
            // They return as soon as they run. A connection would not reach this listener any more, but maybe another
            // server, since the port is free.
            gone(Duration::from_secs(60));
            return;
        }
        // A connection is made only if nothing else brings these threads back. If a thread merely has to wait for a
        // processor, the connection would stay in the queue of an adopted listener, and its giver would accept it.
        // Threads at a non-blocking listener poll, but for one that was in accept(2) before it was made so.
        let polls = |listener: Arc<socket2::Socket>| sys::is_nonblocking(&listener).unwrap_or(false);
        let returns = !self.is_called || self.adopted && self.listener().is_some_and(polls);
        let first = if returns { Duration::from_millis(1500) } else { Duration::ZERO };
        // Where it cannot be called, a thread that does not return in time is still running.
        if gate.view().seats() == 0 || gone(first) || !self.is_called {
            return;
        }
        for round in 0..ROUNDS {
            self.call();
            if gone(LONGEST_PAUSE.min(FIRST_PAUSE * (1 << round.min(8)))) {
                return;
            }
        }
    }

    /// Connects to the server's own address, once for each accepting thread. If the backlog is full, connecting fails,
    /// but in that case no thread is blocked in accept(2). If no descriptor is free, an acceptor may still be blocked,
    /// because accept(2) reserves its descriptor first. Closing the spare descriptor lets one connect succeed. The
    /// acceptor that it wakes frees two descriptors.
    fn call(&self) {
        for _ in 0..self.registry.gate.view().seats() {
            // The lock is held while connecting, so that the acceptor finds the connection's address in the list.
            let mut wakers = lock(&self.wakers);
            let call = self.call_once().or_else(|error| match lock(&self.spare).take() {
                Some(spare) => {
                    drop(spare);
                    self.call_once()
                }
                None => Err(error),
            });
            if let Ok(Some(waker)) = call {
                wakers.push(waker);
            }
        }
    }

    /// Connects to the server's own address. Returns the local address, by which the acceptor recognizes the
    /// connection.
    fn call_once(&self) -> io::Result<Option<Address>> {
        if let Some(path) = &self.path {
            let held = lock(&self.held);
            return match held.as_ref().map(|(_, held)| unix::call(held)) {
                // There is no /proc any more. In all other cases, the path may lead to another server.
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => unix::call(path),
                Some(call) => call,
                None => unix::call(path),
            };
        }
        let Some(at) = self.address.socket_addr().map(reachable) else {
            return Ok(None);
        };
        let patience = Duration::from_millis(250);
        let call = TcpStream::connect_timeout(&at, patience).or_else(|error| match self.address.ip() {
            // The system may have no IPv6 address, although `::` can be bound.
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => {
                TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, at.port()).into(), patience)
            }
            _ => Err(error),
        })?;
        call.local_addr().map(|own| Some(own.into()))
    }

    /// Calls accept(2). Returns `None` for a connection that was made to wake the thread. That connection is reset,
    /// because FIN could keep the port in use for a while.
    pub(crate) fn accept_client(&self, listener: &socket2::Socket) -> Option<io::Result<(socket2::Socket, SockAddr)>> {
        let accepted = listener.accept();
        match &accepted {
            Ok((call, remote)) if self.is_closing() && self.is_call(remote) => {
                let _ = call.set_linger(Some(Duration::ZERO));
                None
            }
            _ => Some(accepted),
        }
    }

    /// Whether an accepted connection was made to wake the thread. Its address is removed from the list, because a
    /// client may get the same port later.
    fn is_call(&self, remote: &SockAddr) -> bool {
        let mut wakers = lock(&self.wakers);
        let place = Address::of(remote).and_then(|remote| wakers.iter().position(|own| *own == remote));
        place.map(|place| wakers.swap_remove(place)).is_some()
    }
}
