//! Ending a server: how the threads that accept are woken, and how the rest is waited for.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use std::{fmt, io};

use socket2::SockAddr;

use crate::address::Address;
use crate::endpoint::reachable;
use crate::events::this_thread;
use crate::net::server::Server;
use crate::net::server::listener::Listener;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::socket::connection::CloseMode;
use crate::net::unix;
use crate::report::{Outcome, RefusedBy, Report};
use crate::sync::poison::lock;
use crate::sys;

/// How often, after the first, an acceptor is called that does not come: with pauses that grow from 20 to 500 ms, some
/// eight seconds in all.
const ROUNDS: u32 = 20;

/// How long to wait for other threads that close: they hold the listener for a few system calls that do not block.
const A_HANDLE: Duration = Duration::from_secs(1);

impl Server {
    /// Stops listening: no connection is accepted any more once this has returned, the port is free, and a blocked
    /// [`accept`](Server::accept) returns `None`. Open connections live on; [`wait`](Server::wait) waits for them.
    /// Clients whom the kernel had connected but no thread had accepted are reset, unless
    /// [`answer_queued`](crate::net::ServerOptions::answer_queued) says otherwise. Those who have been accepted, and
    /// whose [PROXY header](crate::net::ServerOptions::proxy_protocol) is awaited, are still served when it comes.
    ///
    /// Callable from any thread, from a handler or callback too, but not from a signal handler; calling it twice is
    /// harmless. It blocks until those who were queued are answered, if they are to be, and until every thread that was
    /// accepting has noticed, which takes well below a millisecond on Linux. Where shutdown(2) does not wake them, and
    /// on an [adopted](crate::net::ServerOptions::adopt) listener, which is not shut down, they are woken by connecting
    /// to the server's own address.
    #[doc(alias = "unblock")]
    #[doc(alias = "shutdown")]
    pub fn close(&self) {
        self.inner.close();
    }

    /// Blocks until the server is closed, by [`close`](Server::close) from another thread or from a handler, and its
    /// last connection has ended, and the last [goodbye](crate::net::WhenFull::RefuseWith) is over. A handler may call
    /// it: its own connection is left out, and so are those of other handlers that wait here too. The thread that
    /// receives the server's [`events`](Server::events) may call it as well: what has no room in the channel is dropped
    /// then, and the connection it comes from destroyed. The same goes for the thread that made them, if for a second
    /// no thread has received any. Not from the `refused` and `report` callbacks: the connection they are called for is
    /// there until they have returned.
    ///
    /// # Errors
    /// None today.
    pub fn wait(&self) -> io::Result<()> {
        self.inner.about_to_wait(Duration::MAX);
        self.inner.registry.wait();
        if self.inner.registry.own().is_none() {
            self.inner.join_refuser();
        }
        Ok(())
    }
}

/// How a [`shutdown`](Server::shutdown) went: what was seen, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says whether anything is still running"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that have ended since the call, in whatever way but one: not those that were forced to. A handler
    /// that returned an error or panicked counts here too; [`stats`](Server::stats) tells them apart.
    pub finished: usize,
    /// Connections that were destroyed since the time was up, by this shutdown or by another that ran at the same time.
    pub forced: usize,
    /// Handlers that had not returned yet, and sockets from `accept` that other threads were still using; also
    /// callbacks about a client that was turned away, one that calls `shutdown` itself included. While it is not 0,
    /// code of the server runs: a program must not unload it. Nor before `serve` has returned, and std has ended its
    /// threads, which takes a moment.
    pub still_running: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShutdownReport { finished, forced, still_running, elapsed } = self;
        write!(
            f,
            "{finished} finished, {forced} forced, {still_running} still running, after {:.3} s",
            elapsed.as_secs_f64()
        )
    }
}

/// How long handlers whose connection was destroyed have to notice.
const LAST_MOMENT: Duration = Duration::from_millis(50);

impl Server {
    /// Ends the server and its connections: [closes](Server::close) it; wakes those who wait for their peer, whose read
    /// fails with `ConnectionAborted`, `server is shutting down`; waits until all have ended, at most `grace`; destroys
    /// what is left, and tells how it went.
    ///
    /// A handler that returns the error of its read has ended in order. One that is writing or computing goes on until
    /// it reads. Bytes that had arrived are still read first. A client whose request is still on its way is ended
    /// unanswered: to lose none, as when another process goes on with the listener, [`close`](Self::close) and let
    /// those who are connected end.
    ///
    /// Clients that are being told [goodbye](crate::net::WhenFull::RefuseWith) have `grace` for that too, and are then
    /// cut off. They are no connections, so they are neither finished nor forced; one that could not be let go of in
    /// time is still running. The same goes for clients whose [PROXY header](crate::net::ServerOptions::proxy_protocol)
    /// has not arrived: they are refused at once.
    ///
    /// Blocks for `grace` and some 50 ms at most, or for as long as `close` does, which grows with the queue: thousands
    /// of clients in it take some tenths of a second. Callable from any thread, twice, and from a handler, whose own
    /// connection is left out and goes on. Of two at the same time each reports what it saw, whoever did it.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| socket.pipe(socket).map(drop))?;
    /// let idle = Socket::connect(server.address())?;
    /// idle.write_all("x")?;
    /// idle.read_exact(&mut [0])?;
    ///
    /// let report = server.shutdown(Duration::from_secs(2));
    /// assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0));
    /// serving.join()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let start = Instant::now();
        let registry = &self.inner.registry;
        let ends = registry.ends();
        self.inner.about_to_wait(grace);
        self.close();
        let others = || {
            let own = registry.own();
            registry.open().into_iter().filter(move |connection| own != Some(connection.id))
        };
        registry.interrupt_newcomers();
        others().for_each(|connection| connection.interrupt_reads());
        let mut still_running = registry.wait_until_alone(grace.saturating_sub(start.elapsed()));
        if still_running > 0 {
            for connection in others() {
                connection.close(Outcome::Forced, CloseMode::Cut);
            }
            registry.cut_lingering();
            self.inner.cut_goodbyes();
            still_running = registry.wait_until_alone(LAST_MOMENT);
        }
        // By the books, which know of those too that came or were forced by another shutdown meanwhile.
        let (ended, forced) = registry.ends();
        let (ended, forced) = ((ended - ends.0) as usize, (forced - ends.1) as usize);
        ShutdownReport { finished: ended - forced, forced, still_running, elapsed: start.elapsed() }
    }
}

impl Listener {
    pub(crate) fn close(&self) {
        // By the hook that is told of a client whom this thread is answering: the call that is under way does the rest.
        if lock(&self.answering).contains(&this_thread()) {
            return;
        }
        // Until all is done and told.
        let _present = self.registry.presence();
        if !self.closing.swap(true, SeqCst) {
            self.registry.reporter.tell(|| Report::Closing { address: self.address.clone() });
        }
        self.registry.slots.wake();
        if !self.adopted {
            self.registry.slots.close();
            if self.options.answer_queued {
                self.answer();
            }
            self.counted(|| self.listener().as_deref().map(sys::shut_listener));
        }
        // On an adopted listener, an acceptor that gets a client instead of our call still serves it.
        self.call_acceptors_back();
        drop(lock(&self.file).take());
        drop(lock(&self.spare).take());
        drop(lock(&self.attached).take());
        self.drop_listener();
        // Another close may have taken a handle before, which keeps the port. It is not called: the port may be
        // another's.
        self.registry.wait_for(A_HANDLE, || self.accepting.load(SeqCst) == 0);
        self.registry.closed();
    }

    /// Turns away whom the kernel has connected and nobody has accepted.
    ///
    /// A thread that accepts is blocked in accept(2) only while there is nobody, and a mode that changes does not touch
    /// it. As many as the backlog holds, since clients may go on coming; those after them are reset.
    fn answer(&self) {
        use io::ErrorKind::{ConnectionAborted, Interrupted};
        lock(&self.answering).push(this_thread());
        // The kernel keeps one more than it is told.
        let mut left = self.options.backlog.min(sys::longest_backlog()) + 1;
        while left > 0 {
            let accepted = self.counted(|| {
                let listener = self.listener()?;
                listener.set_nonblocking(true).ok()?;
                Some(self.accept_client(&listener).map(|accepted| (accepted, self.registry.presence())))
            });
            match accepted {
                // Of another thread that closes the server. It calls again.
                Some(None) => {}
                Some(Some((Ok((socket, remote)), presence))) => {
                    left -= 1;
                    let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                    // Whom a list shuts out hears no goodbye now either.
                    let by = self.shut_out(&remote).unwrap_or(RefusedBy::Closing);
                    refuse(self, socket.into(), (None, remote), by, presence, &Hooks::default());
                }
                Some(Some((Err(error), _))) if matches!(error.kind(), Interrupted | ConnectionAborted) => left -= 1,
                Some(Some((Err(_), _))) | None => break,
            }
        }
        lock(&self.answering).retain(|thread| *thread != this_thread());
    }

    /// Does what holds the listener, counted as an acceptor is: no close returns before it is done, since the port is
    /// kept. No code of the program's may run in it.
    fn counted<T>(&self, work: impl FnOnce() -> T) -> T {
        self.accepting.fetch_add(1, SeqCst);
        let done = work();
        self.accepting.fetch_sub(1, SeqCst);
        self.registry.changed();
        done
    }

    /// Ends what is being said to clients that were turned away.
    pub(crate) fn cut_goodbyes(&self) {
        if let Some(goodbyes) = &self.goodbyes {
            goodbyes.cut();
        }
    }

    /// Waits for the thread that says goodbye, if there is one: it ends with the last whom it says it to.
    pub(crate) fn join_refuser(&self) {
        if let Some(goodbyes) = &self.goodbyes {
            goodbyes.join();
        }
    }

    /// Waits until no thread is inside accept(2), connecting to ourselves where nothing else wakes them.
    ///
    /// An acceptor counts itself before it looks whether the server is closing, so it is either counted here or never
    /// enters accept(2).
    fn call_acceptors_back(&self) {
        let gone = || self.accepting.load(SeqCst) == 0;
        let are_woken = !self.adopted && sys::SHUTDOWN_WAKES_ACCEPT;
        let first = if are_woken { Duration::from_millis(20) } else { Duration::ZERO };
        if gone() || self.registry.wait_for(first, gone) {
            return;
        }
        for round in 0..ROUNDS {
            self.call();
            if self.registry.wait_for(Duration::from_millis(20 << round.min(4)).min(Duration::from_millis(500)), gone) {
                return;
            }
        }
    }

    /// Connects to ourselves, once for each thread that accepts. When the backlog is full this fails, but then nobody
    /// is blocked in accept(2) either. When there is no descriptor, an acceptor may be blocked all the same, since it
    /// set its own aside before; the spare one calls the first of them back, which gives up two in its turn.
    fn call(&self) {
        for _ in 0..self.accepting.load(SeqCst) {
            // Under the lock, so that the acceptor that gets the call finds its number in the list.
            let mut wakers = lock(&self.wakers);
            let call = self.call_once().or_else(|error| match lock(&self.spare).take() {
                Some(spare) => {
                    drop(spare);
                    self.call_once()
                }
                None => Err(error),
            });
            wakers.extend(call.ok().flatten());
        }
    }

    /// Connects to ourselves; gives the address by which the acceptor knows the connection.
    fn call_once(&self) -> io::Result<Option<Address>> {
        if let Some(path) = self.address.path() {
            return unix::call(path);
        }
        let Some(at) = self.address.socket_addr().map(reachable) else {
            return Ok(None);
        };
        let call = TcpStream::connect_timeout(&at, Duration::from_millis(250))?;
        call.local_addr().map(|own| Some(own.into()))
    }

    /// accept(2); `None` for a call of ours. A call has ended by then, by a reset: after an orderly end its own end
    /// could keep the port for a while.
    pub(crate) fn accept_client(&self, listener: &socket2::Socket) -> Option<io::Result<(socket2::Socket, SockAddr)>> {
        let accepted = listener.accept();
        match &accepted {
            Ok((call, remote)) if self.closing.load(SeqCst) && self.is_call(remote) => {
                let _ = call.set_linger(Some(Duration::ZERO));
                None
            }
            _ => Some(accepted),
        }
    }

    /// Whether an accepted connection is a call of ours. Each call comes once. After that, a client may have its port.
    fn is_call(&self, remote: &SockAddr) -> bool {
        let mut wakers = lock(&self.wakers);
        let place = Address::of(remote).and_then(|remote| wakers.iter().position(|own| *own == remote));
        place.map(|place| wakers.swap_remove(place)).is_some()
    }
}

impl Drop for Listener {
    /// The last handle is gone, so nobody accepts.
    fn drop(&mut self) {
        if !self.closing.load(SeqCst) {
            self.close();
        }
    }
}
