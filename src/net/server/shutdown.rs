//! Ending a server: how the threads that accept are woken, and how the rest is waited for.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem, process};

use socket2::SockAddr;

use crate::address::Address;
use crate::callback::own;
use crate::endpoint::reachable;
use crate::net::server::Server;
use crate::net::server::listener::Listener;
use crate::net::server::refuse::Refused;
use crate::net::server::registry::{Presence, ShutdownReport};
use crate::net::unix;
use crate::report::{Outcome, RefusedBy, Report};
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Phase, View};
use crate::sync::poison::{lock, wait};
use crate::sys;
use crate::thread::spawn;

/// How often, after the first, an acceptor is called that does not come: with pauses that grow from 20 to 500 ms, some
/// eight seconds in all.
const ROUNDS: u32 = 20;

/// How often a connection whose bytes are carried on is looked at while the server shuts down: one through which none
/// passed between two looks has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Server {
    /// Stops listening: no connection is accepted any more once this has returned, the port is free, and a blocked
    /// [`accept`](Server::accept) returns `None`. Open connections live on; [`wait`](Server::wait) waits for them.
    /// Clients whom the kernel had connected but no thread had accepted are reset, unless
    /// [`answer_queued`](crate::net::ServerOptions::answer_queued) says otherwise. Those who have been accepted, and
    /// whose [PROXY header](crate::net::ServerOptions::proxy_protocol) a thread awaits, are still served when it comes;
    /// those that a caller with a time has left are refused.
    ///
    /// Callable from any thread, from a handler or callback too, but not from a signal handler; calling it twice is
    /// harmless. It blocks until those who were queued are answered, if they are to be, and until every thread that was
    /// accepting has noticed, which takes well below a millisecond on Linux. Where shutdown(2) does not wake them, and
    /// on an [adopted](crate::net::ServerOptions::adopt) listener, which is not shut down, they are woken by connecting
    /// to the server's own address.
    ///
    /// After fork(2), `close` by the process that listened ends the listener for its children too. A child that closes
    /// it ends its own part alone, as if it had adopted the listener. Dropping the last handle does that in every
    /// process, and answers no queued client.
    #[doc(alias = "unblock")]
    #[doc(alias = "shutdown")]
    pub fn close(&self) {
        self.inner.close();
    }

    /// Blocks until the server is closed, by [`close`](Server::close) from another thread or from a handler, its last
    /// connection has ended and no longer [lingers](crate::net::ServerOptions::lingering_close), the last
    /// [goodbye](crate::net::WhenFull::RefuseWith) is over, and the `report` hook was told of it. It waits for a
    /// [`begin_shutdown`](Server::begin_shutdown) and its [`report`](Server::report), but not for a
    /// [`shutdown`](Server::shutdown) in another thread: join that thread.
    ///
    /// Callable from handlers and from every callback: what the calling thread acts for is left out, and so is what
    /// other threads act for that wait here too. Two kinds of thread wait for themselves, here and in
    /// [`shutdown`](Server::shutdown): one that holds an open socket that [`accept`](Server::accept) gave, and one that
    /// a handler has started and joins, be it by [`Running::join`](crate::Running::join). So does the thread that
    /// receives the server's [`events`](Server::events): it calls [`begin_shutdown`](Server::begin_shutdown) and goes
    /// on receiving.
    ///
    /// # Errors
    /// `ERR_WOULD_DEADLOCK` in a handler that is nested in more than fifteen others, by servers that are served in
    /// handlers.
    pub fn wait(&self) -> io::Result<()> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// As [`wait`](Server::wait), for `time` at most; gives whether all has ended. Nothing is interrupted: see
    /// [`shutdown`](Server::shutdown) for that.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let client = Socket::connect(server.address())?;
    /// let socket = server.accept()?.expect("the server is open");
    /// server.close();
    /// assert!(!server.wait_timeout(Duration::from_millis(10))?);
    ///
    /// drop((client, socket));
    /// assert!(server.wait_timeout(Duration::from_secs(10))?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `wait`.
    pub fn wait_timeout(&self, time: Duration) -> io::Result<bool> {
        self.wait_until(Deadline::after(time))
    }

    fn wait_until(&self, until: Deadline) -> io::Result<bool> {
        let registry = &self.inner.registry;
        let own = own(registry.identity())?;
        let view = registry.gate.wait(until, &own, &|view| view.phase() == Phase::Over);
        let is_over = view.phase() == Phase::Over;
        if own.is_empty() {
            if is_over {
                registry.lingering.join();
                self.inner.wait_for_reports();
            }
            return Ok(is_over);
        }
        // A caller from inside is let go before the end, with others that wait there: in time, unless it says
        // otherwise.
        Ok(is_over || view.is_left_to(own.len()) || !until.is_over())
    }
}

/// How long handlers whose connection was destroyed have to notice.
const LAST_MOMENT: Duration = match sys::SLICE {
    Some(slice) => slice.saturating_add(Duration::from_millis(50)),
    None => Duration::from_millis(50),
};

impl Server {
    /// Ends the server and its connections: [closes](Server::close) it; wakes those who wait for their peer, whose read
    /// fails with `ConnectionAborted`, `server is shutting down`; waits until all have ended, at most `grace`; destroys
    /// what is left, and tells how it went.
    ///
    /// A handler that returns the error of its read, or one that has it as its source, has ended in order. One that is
    /// writing or computing goes on until it reads. Bytes that had arrived are still read first. A client whose request
    /// is still on its way is ended unanswered: to lose none, as when another process goes on with the listener,
    /// [`close`](Self::close) and let those who are connected end.
    ///
    /// A connection that [`pipe`](crate::net::Socket::pipe) or [`relay`](crate::net::relay) reads from or writes to
    /// goes on while bytes pass: it is looked at every 50 ms, and interrupted if none have passed since, in either
    /// direction. In a [channel](Server::events) the receiver is told
    /// [`ShuttingDown`](crate::net::SocketEvent::ShuttingDown) after what had arrived, and ends the connection.
    ///
    /// Clients that are being told [goodbye](crate::net::WhenFull::RefuseWith) have `grace` for that too, and are then
    /// cut off. They are no connections, so they are neither finished nor forced; one that could not be let go of in
    /// time is still running. The same goes for clients whose [PROXY header](crate::net::ServerOptions::proxy_protocol)
    /// has not arrived: they are refused at once.
    ///
    /// Blocks for `grace` and some 50 ms at most (on Windows 550), or for as long as `close` does, which grows with the
    /// queue: thousands of clients in it take some tenths of a second. Callable from any thread, twice, and from a
    /// handler or callback: the connection it acts for is left out and goes on, so such a handler returns afterwards;
    /// one that is to end with the others calls [`begin_shutdown`](Server::begin_shutdown) and goes on reading. Two
    /// handlers that call it at the same time are both let go when nothing else is left, and neither destroys the
    /// other's connection. Of two at the same time each reports what it saw, whichever did it. The thread that receives
    /// the server's [`events`](Server::events) calls [`begin_shutdown`](Server::begin_shutdown) instead: this would
    /// wait for it, and return when the time is up.
    ///
    /// [`serve`](Server::serve) in another thread returns when the last handler has returned, which is before this
    /// does. Where that thread is `main`, the process may end before the report is printed. So `main` joins the thread
    /// that calls this, or that thread calls [`begin_shutdown`](Server::begin_shutdown), whose report is there when
    /// `serve` returns.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let serving = server.spawn(|socket| socket.pipe(socket))?;
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
        let (start, registry) = (Instant::now(), &self.inner.registry);
        let (ends, until) = (registry.ends(), Deadline::after(grace));
        // In handlers that are nested too deep, its own connection is cut like the others.
        let own = own(registry.identity()).unwrap_or_default();
        let _spared = registry.spare(&own);
        self.close();
        registry.interrupt_newcomers();
        // One more as long as the report of the end is being told.
        let left = |view: View| match view.seats() + view.present().saturating_sub(own.len()) {
            0 => usize::from(own.is_empty() && view.phase() < Phase::Over),
            others => others,
        };
        let wait_for_others = |until| left(registry.gate.wait(until, &own, &|view| left(view) == 0));
        let mut still_running = loop {
            let mut goes_on = false;
            for other in registry.open(&own) {
                goes_on |= other.upgrade().is_some_and(|connection| connection.interrupt_unless_carried());
            }
            let look = if goes_on { until.or_after(LOOK_EVERY) } else { until };
            let left = wait_for_others(look);
            // Before its time it returns if others wait from inside, which then go on.
            if left == 0 || until.is_over() || !look.is_over() {
                break left;
            }
        };
        if still_running > 0 && until.is_over() {
            // What shuts the server down from inside, as the caller does, is not cut by it.
            let spared = if own.is_empty() { Vec::new() } else { registry.spared() };
            registry.cut(Outcome::Forced, &spared);
            still_running = wait_for_others(Deadline::after(LAST_MOMENT));
        }
        // By the books, which know of those too that came or were forced by another shutdown meanwhile.
        let (ended, forced) = registry.ends();
        let (ended, forced) = ((ended - ends.0) as usize, (forced - ends.1) as usize);
        ShutdownReport { finished: ended - forced, forced, still_running, elapsed: start.elapsed() }
    }

    /// Begins a [`shutdown`](Server::shutdown) on a thread of its own and returns at once, when the server has begun to
    /// close: for the thread that receives the server's [`events`](Server::events), which goes on receiving until the
    /// channel is disconnected; for a handler that goes on reading, whose connection is ended with the others; and to
    /// end several servers under one clock. [`report`](Server::report) then says how it went: it is there when
    /// [`serve`](Server::serve), [`wait`](Server::wait) or [`Running::join`](crate::Running::join) returns.
    ///
    /// ```
    /// use landline::net::Server;
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let ending = server.clone();
    /// thread::spawn(move || {
    ///     // A signal or a command of an operator has come.
    ///     ending.begin_shutdown(Duration::from_secs(10))
    /// });
    /// server.serve(|socket| socket.pipe(socket))?;
    /// println!("{}", server.report().expect("`serve` returns when it is there"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The thread cannot be started; nothing was done then.
    pub fn begin_shutdown(&self, grace: Duration) -> io::Result<()> {
        let server = self.clone();
        let name = format!("{} shutdown {}", self.inner.options.threads.thread_name, self.address());
        lock(&self.inner.shutdowns).under_way += 1;
        let started = spawn(name, self.inner.options.threads.stack_size, move || {
            let report = server.shutdown(grace);
            server.inner.shutdown_is_over(Some(report));
            Ok(())
        });
        match started {
            Ok(thread) => {
                lock(&self.inner.shutdowns).threads.push(thread);
                self.inner.registry.gate.wait(Deadline::NEVER, &[], &|view| view.phase() != Phase::Listening);
                Ok(())
            }
            Err(error) => {
                self.inner.shutdown_is_over(None);
                Err(error)
            }
        }
    }

    /// How the shutdown went that [`begin_shutdown`](Server::begin_shutdown) has begun; `None` before, and while it is
    /// under way.
    /// It is there before the server's [`events`](Server::events) are disconnected, and before a
    /// [`wait`](Server::wait) or [`serve`](Server::serve) from outside returns.
    pub fn report(&self) -> Option<ShutdownReport> {
        let shutdowns = lock(&self.inner.shutdowns);
        shutdowns.report.filter(|_| shutdowns.under_way == 0)
    }
}

impl Listener {
    /// Closes the server. No code of the program's runs before the listener is gone, so that another thread that closes
    /// the server waits for none.
    pub(crate) fn close(&self) {
        self.end(!self.adopted && self.made_by == process::id());
    }

    /// `is_shut`: whether the queued clients are answered and the listener is shut down, which reaches every process
    /// that has it. Otherwise our descriptor is closed and no more.
    fn end(&self, is_shut: bool) {
        let registry = &self.registry;
        if !registry.gate.begin_close() {
            registry.gate.wait(Deadline::NEVER, &[], &|view| view.phase() >= Phase::Closed);
            return;
        }
        let presence = Arc::new(Presence::counted(registry));
        registry.slots.wake();
        self.turn.wake_all();
        let mut turned_away = self.turn_kept_away();
        if !self.adopted {
            registry.slots.close();
        }
        if is_shut {
            if self.options.answer_queued {
                turned_away.append(&mut self.answer(&presence));
            }
            // Although no thread may be inside: a child that was forked would keep the port with its copy.
            if let Some(listener) = self.listener() {
                sys::shut_listener(&listener);
            }
        }
        // On an adopted listener, an acceptor that gets a client instead of our call still serves it.
        self.call_acceptors_back(is_shut);
        let file = lock(&self.file).take().map_or(Ok(()), |mut file| file.remove());
        drop(lock(&self.spare).take());
        drop(lock(&self.attached).take());
        self.drop_listener();
        registry.lingering.close();
        registry.gate.closed();
        let _frame = presence.frame();
        registry.reporter.tell(|| Report::Closing { address: self.address.clone(), udp: false });
        if let Err(error) = file {
            registry.reporter.tell_failed(&error);
        }
        for refused in turned_away {
            self.tell_refused(refused);
        }
    }

    /// Waits for the reports of the shutdowns that were begun. For a thread that has seen the server's end, which ends
    /// them too.
    fn wait_for_reports(&self) {
        let mut shutdowns = lock(&self.shutdowns);
        while shutdowns.under_way > 0 {
            shutdowns = wait(&self.reported, shutdowns, None);
        }
        let threads = mem::take(&mut shutdowns.threads);
        drop(shutdowns);
        for thread in threads {
            // Nothing in it panics.
            let _ = thread.join();
        }
    }

    fn shutdown_is_over(&self, report: Option<ShutdownReport>) {
        let mut shutdowns = lock(&self.shutdowns);
        shutdowns.under_way -= 1;
        shutdowns.report = report.or(shutdowns.report);
        self.reported.notify_all();
    }

    /// Turns away whom the kernel has connected and nobody has accepted.
    ///
    /// A thread that accepts is blocked in accept(2) only while there is nobody, and a mode that changes does not touch
    /// it. As many as the backlog holds, since clients may go on coming; those after them are reset.
    fn answer(&self, presence: &Arc<Presence>) -> Vec<Refused> {
        use io::ErrorKind::{ConnectionAborted, Interrupted};
        let mut turned_away = Vec::new();
        // Callers with a time change the mode too.
        let _told = lock(&self.told);
        let listener = self.listener().filter(|listener| listener.set_nonblocking(true).is_ok());
        let Some(listener) = listener else { return turned_away };
        // The kernel keeps one more than it is told.
        for _ in 0..=self.options.backlog.min(sys::longest_backlog()) {
            match listener.accept() {
                Ok((socket, remote)) => {
                    let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                    // Whom a list shuts out hears no goodbye now either.
                    let by = self.shut_out(&remote).unwrap_or(RefusedBy::Closing);
                    let stream = TcpStream::from(socket);
                    if self.registry.reporter.is_on() {
                        let local = self.local_of(&stream);
                        turned_away.push(Refused { local, remote, by });
                    }
                    self.turn_away(stream, by, presence);
                }
                Err(error) if matches!(error.kind(), Interrupted | ConnectionAborted) => {}
                Err(_) => break,
            }
        }
        turned_away
    }

    /// Waits until no thread is inside accept(2), connecting to ourselves where nothing else wakes them.
    ///
    /// An acceptor has a seat before it looks whether the server is closing, so it is either counted here or never
    /// enters accept(2).
    fn call_acceptors_back(&self, is_shut: bool) {
        let gate = &self.registry.gate;
        let gone = |time| gate.wait(Deadline::after(time), &[], &|view| view.seats() == 0).seats() == 0;
        // On a listener that does not block none stays inside.
        let are_woken = is_shut && sys::SHUTDOWN_WAKES_ACCEPT
            || self.listener().is_some_and(|listener| sys::is_nonblocking(&listener).unwrap_or(false));
        let first = if are_woken { Duration::from_millis(20) } else { Duration::ZERO };
        if gate.view().seats() == 0 || gone(first) {
            return;
        }
        if !self.is_called {
            // They look around by themselves; one that does not is still running.
            gone(Duration::from_millis(1500));
            return;
        }
        for round in 0..ROUNDS {
            self.call();
            if gone(Duration::from_millis(20 << round.min(4)).min(Duration::from_millis(500))) {
                return;
            }
        }
    }

    /// Connects to ourselves, once for each thread that accepts. When the backlog is full this fails, but then nobody
    /// is blocked in accept(2) either. When there is no descriptor, an acceptor may be blocked all the same, since it
    /// set its own aside before; the spare one calls the first of them back, which gives up two in its turn.
    fn call(&self) {
        for _ in 0..self.registry.gate.view().seats() {
            // Under the lock, so that the acceptor that gets the call finds its number in the list.
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

    /// Connects to ourselves; gives the address by which the acceptor knows the connection.
    fn call_once(&self) -> io::Result<Option<Address>> {
        if let Some(path) = &self.path {
            return unix::call(path);
        }
        let Some(at) = self.address.socket_addr().map(reachable) else {
            return Ok(None);
        };
        let patience = Duration::from_millis(250);
        let call = TcpStream::connect_timeout(&at, patience).or_else(|error| match self.address.ip() {
            // The system may have no IPv6, although it can be bound.
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => {
                TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, at.port()).into(), patience)
            }
            _ => Err(error),
        })?;
        call.local_addr().map(|own| Some(own.into()))
    }

    /// accept(2); `None` for a call of ours. A call has ended by then, by a reset: after an orderly end its own end
    /// could keep the port for a while.
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

    /// Whether an accepted connection is a call of ours. Each call comes once. After that, a client may have its port.
    fn is_call(&self, remote: &SockAddr) -> bool {
        let mut wakers = lock(&self.wakers);
        let place = Address::of(remote).and_then(|remote| wakers.iter().position(|own| *own == remote));
        place.map(|place| wakers.swap_remove(place)).is_some()
    }
}

impl Drop for Listener {
    /// The last handle is gone, so no thread accepts.
    fn drop(&mut self) {
        if !self.is_closing() {
            self.end(false);
        }
    }
}
