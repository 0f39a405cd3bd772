//! Ending a server: how the threads that accept are woken, and how the rest is waited for.

use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::{io, net};

use super::server::{Inner, Server};
use super::unix;
use crate::address::{Address, reachable};
use crate::lock::lock;
use crate::report::Report;

/// How often, after the first, an acceptor is called that does not come: with pauses that grow from 20 to 500 ms, some
/// eight seconds in all.
const ROUNDS: u32 = 20;

impl Server {
    /// Stops listening: no connection is accepted any more once this has returned, the port is free, and a blocked
    /// [`accept`](Server::accept) returns `None`. Open connections live on; [`wait`](Server::wait) waits for them. Clients
    /// whom the kernel had connected but nobody had accepted are reset.
    ///
    /// Callable from any thread, from a handler too, but not from a signal handler; calling it twice is harmless. It blocks
    /// until every thread that was accepting has noticed, which takes well below a millisecond on Linux. Where shutdown(2)
    /// does not wake them, and on an [adopted](super::ServerOptions::adopt) listener, which is not shut down, they are
    /// woken by connecting to the server's own address.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Blocks until the server is closed, by [`close`](Server::close) from another thread or from a handler, and its last
    /// connection has ended. A handler may call it: its own connection is left out, and so are those of other handlers that
    /// wait here too. The thread that receives the server's [`events`](Server::events) may call it as well: what has no room
    /// in the channel is dropped then, and the connection it comes from destroyed. The same goes for the thread that made
    /// them, if for a second nobody has received any.
    ///
    /// # Errors
    /// None today.
    pub fn wait(&self) -> io::Result<()> {
        self.inner.about_to_wait();
        self.inner.ledger.wait();
        Ok(())
    }
}

impl Inner {
    pub(super) fn close(&self) {
        if !self.closing.swap(true, SeqCst) {
            self.ledger.reporter.tell(|| Report::Closing { address: self.address.clone() });
        }
        if !self.adopted {
            self.ledger.slots.close();
            if let Some(listener) = self.listener() {
                // On Linux it wakes every acceptor, those to come included; where it does not, it fails.
                let _ = listener.shutdown(net::Shutdown::Both);
            }
        }
        // On an adopted listener, an acceptor that gets a client instead of our call still serves it.
        self.call_acceptors_back();
        drop(lock(&self.file).take());
        drop(self.take_listener());
        self.ledger.closed();
    }

    /// Waits until no thread is inside accept(2), connecting to ourselves where nothing else wakes them.
    ///
    /// An acceptor counts itself before it looks whether the server is closing, so it is either counted here or never
    /// enters accept(2).
    fn call_acceptors_back(&self) {
        let gone = || self.accepting.load(SeqCst) == 0;
        let first = if self.adopted { Duration::ZERO } else { Duration::from_millis(20) };
        if gone() || self.ledger.wait_for(first, gone) {
            return;
        }
        for round in 0..ROUNDS {
            self.call();
            if self.ledger.wait_for(Duration::from_millis(20 << round.min(4)).min(Duration::from_millis(500)), gone) {
                return;
            }
        }
    }

    /// Connects to ourselves, once for each thread that accepts. When the backlog is full this fails, but then nobody is
    /// blocked in accept(2) either.
    fn call(&self) {
        for _ in 0..self.accepting.load(SeqCst) {
            // Under the lock, so that the acceptor that gets the call finds its number in the list.
            let mut wakers = lock(&self.wakers);
            if let Some(at) = self.address.socket_addr().map(reachable) {
                if let Ok(call) = TcpStream::connect_timeout(&at, Duration::from_millis(250)) {
                    wakers.extend(call.local_addr().map(Address::from));
                }
            } else if let Some(path) = self.address.path() {
                wakers.extend(unix::call(path).ok().flatten());
            }
        }
    }

    /// Whether an accepted connection is a call of ours.
    pub(super) fn is_call(&self, remote: &Address) -> bool {
        lock(&self.wakers).contains(remote)
    }
}

impl Drop for Inner {
    /// The last handle is gone, so nobody accepts.
    fn drop(&mut self) {
        if !self.closing.load(SeqCst) {
            self.close();
        }
    }
}
