//! Ending a server: closing its listener, and waiting for its connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem, process, thread};

use crate::address::Address;
use crate::callback::own;
use crate::net::server::Server;
use crate::net::server::listener::Listener;
use crate::net::server::refuse::Refused;
use crate::net::server::registry::{Presence, ShutdownReport};
use crate::report::{Outcome, RefusedBy, Report};
use crate::sync::deadline::Deadline;
use crate::sync::gate::{Phase, View};
use crate::sync::poison::{lock, wait};
use crate::sys;
use crate::thread::spawn;

/// How often a shutdown checks a connection that `pipe` or `relay` uses. A connection that moved no bytes between two
/// checks is interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Server {
    /// Stops listening. When this returns, no connection is accepted any more, the port is free, and a blocked
    /// [`accept`](Server::accept) returns `None`. Open connections are not affected. [`wait`](Server::wait) waits for
    /// them.
    ///
    /// - Clients in the backlog are reset, unless [`answer_queued`](crate::net::ServerOptions::answer_queued) is set.
    /// - On Linux, a client may get no reset if it connects while `close` runs or the last handle is dropped. Its
    ///   connect succeeds. Its reads block until it sends something. The kernel answers that with a reset. This is
    ///   rare. The kernel does the same to programs of std. `answer_queued` does not prevent it.
    /// - An accepted client is still served if a thread is reading its [PROXY
    ///   header](crate::net::ServerOptions::proxy_protocol).
    /// - If [`accept_timeout`](Server::accept_timeout) or [`try_accept`](Server::try_accept) has accepted a client
    ///   without returning it, and keeps it for the next call, that client is refused.
    /// - Of an [adopted](crate::net::ServerOptions::adopt) listener only our descriptor is closed. The port and the
    ///   clients in the backlog stay with the other programs. In rare cases, which `adopt` lists, a thread stays in
    ///   accept(2).
    ///
    /// `close` may be called on any thread, in a handler and in a callback, but not in a signal handler. It blocks
    /// until every accepting thread has stopped and, if `answer_queued` is set, until the clients in the backlog are
    /// refused. On Linux, stopping the threads takes well below a millisecond. A second call only waits until the first
    /// has finished.
    ///
    /// To wake the accepting threads, `close` shuts the listener down with shutdown(2). Where that fails or does not
    /// wake them, and for an adopted listener, `close` connects to the server's own address.
    ///
    /// On systems other than Linux, and in a child after fork(2), that connection may reach a socket of another program,
    /// or fail:
    /// - The other program listens on the same port at a more specific address, such as 127.0.0.1 if the server is on
    ///   0.0.0.0. On Windows this is possible for every server, and on other systems with `SO_REUSEADDR`, which
    ///   [`reuse_address`](crate::net::ServerOptions::reuse_address) sets by default.
    /// - The other program shares the port by [`reuse_port`](crate::net::ServerOptions::reuse_port).
    /// - The file of a Unix socket was removed or replaced.
    ///
    /// `close` then takes 5.4 s, and a thread stays in accept(2) until the next client connects.
    ///
    /// After fork(2), `close` in the process that listened ends the listener for its children too. In a child, `close`
    /// closes only the child's descriptor, as for an adopted listener. In every process, dropping the last handle only
    /// closes the descriptor, and refuses no client in the backlog. The kernel resets these clients if no other process
    /// has the listener.
    #[doc(alias = "unblock")]
    #[doc(alias = "shutdown")]
    pub fn close(&self) {
        self.inner.close();
    }

    /// Blocks until the server has stopped. The server has stopped when all of this is true:
    ///
    /// - [`close`](Server::close) was called, on any thread,
    /// - the last connection is closed and no longer [lingers](crate::net::ServerOptions::lingering_close),
    /// - the last [goodbye](crate::net::WhenFull::RefuseWith) is done,
    /// - the `report` hook was called with [`Report::Closed`](crate::Report::Closed) and has returned,
    /// - the [`report`](Server::report) of each [`begin_shutdown`](Server::begin_shutdown) is ready.
    ///
    /// `wait` does not wait for a [`shutdown`](Server::shutdown) on another thread. Join that thread instead.
    ///
    /// `wait` may be called in handlers and callbacks. It does not wait for the connection that the calling thread
    /// serves, nor for the connections of other threads that are in `wait`. The following threads must not call `wait`
    /// or [`shutdown`](Server::shutdown), because they would wait for themselves:
    /// - a thread that holds an open socket from [`accept`](Server::accept),
    /// - a thread that a handler has started and joins, for instance with [`Running::join`](crate::Running::join),
    /// - a thread that receives the server's [`events`](Server::events). It should call
    ///   [`begin_shutdown`](Server::begin_shutdown) and keep receiving.
    /// - a thread that drops such a channel, in a callback that this calls. The drop closes the server first, and ends
    ///   the connections after that.
    ///
    /// # Errors
    /// `ERR_WOULD_DEADLOCK` if handlers are nested more than sixteen deep. A handler that runs a server itself adds one
    /// level.
    pub fn wait(&self) -> io::Result<()> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Waits like [`wait`](Server::wait), but for at most `time`. Returns whether the server has stopped. Unlike
    /// [`shutdown`](Server::shutdown), it interrupts no connection.
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
        // Callers inside handlers return once only they are left, before the server has stopped. This counts as in
        // time, unless the caller's own time has expired.
        Ok(is_over || view.is_left_to(own.len()) || !until.is_over())
    }
}

/// How long handlers have to return after their connection was destroyed.
const LAST_MOMENT: Duration = match sys::SLICE {
    Some(slice) => slice.saturating_add(Duration::from_millis(50)),
    None => Duration::from_millis(50),
};

impl Server {
    /// [Closes](Server::close) the server and ends its connections:
    /// 1. Interrupts connections that wait for their peer: their reads fail with an error of kind `ConnectionAborted`,
    ///    whose text is `server is shutting down`.
    /// 2. Waits until all connections are closed, for at most `grace`.
    /// 3. Destroys the rest, and returns a report.
    ///
    /// What happens to the connections:
    ///
    /// - A read first returns the bytes that have arrived, and then the error. A handler counts as finished if it
    ///   returns this error, or an error whose source is this error.
    /// - A handler that is writing or computing continues until it reads.
    /// - A client whose request has not arrived gets no answer. To lose no request, for instance when another
    ///   process takes over the listener, call [`close`](Self::close) and wait for the connections.
    /// - A connection in [`pipe`](crate::net::Socket::pipe) or [`relay`](crate::net::relay) continues while bytes pass.
    ///   It is checked every 50 ms, and interrupted if no byte has passed in either direction since the last check.
    /// - A [channel](Server::events) delivers [`ShuttingDown`](crate::net::SocketEvent::ShuttingDown) after all data
    ///   that had arrived. The thread that receives the events must then end the connection.
    /// - Clients that are still receiving the [goodbye](crate::net::WhenFull::RefuseWith) when `grace` has passed are
    ///   disconnected. Clients whose [PROXY header](crate::net::ServerOptions::proxy_protocol) has not arrived are
    ///   refused at once. Both kinds of clients count neither as finished nor as forced. If such a client could not be
    ///   closed in time, it counts as still running.
    ///
    /// Blocks for at most `grace` plus about 50 ms (on Windows 550 ms), or longer if `close` takes longer. `close`
    /// takes some tenths of a second if thousands of clients are queued.
    ///
    /// `shutdown` may be called on any thread, and several times. If two threads call it at the same time, each report
    /// counts the connections that ended during its own call.
    ///
    /// - In a handler or callback: `shutdown` neither waits for the connection of this handler nor closes it. So return
    ///   from the handler afterwards. If the handler's connection should end with the others, call
    ///   [`begin_shutdown`](Server::begin_shutdown) and keep reading. If two handlers call `shutdown`, both calls
    ///   return when only those two connections are left, and neither destroys the connection of the other.
    /// - On the thread that receives the server's [`events`](Server::events): do not call `shutdown`, which would wait
    ///   for its own thread until `grace` has passed. Call [`begin_shutdown`](Server::begin_shutdown).
    ///
    /// [`serve`](Server::serve) on another thread returns before `shutdown` does. If that thread is `main`, the process
    /// may exit before the report is printed. So let `main` join the thread that calls `shutdown`. Or call
    /// [`begin_shutdown`](Server::begin_shutdown), whose report is ready when `serve` returns.
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
        // If handlers are nested too deep, the caller's own connection is destroyed like the others.
        let own = own(registry.identity()).unwrap_or_default();
        let _spared = registry.spare(&own);
        self.close();
        registry.interrupt_newcomers();
        // One more is counted until the `report` hook has returned from the last report.
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
            // The wait returns early if other handlers wait too. They then continue.
            if left == 0 || until.is_over() || !look.is_over() {
                break left;
            }
        };
        if still_running > 0 && until.is_over() {
            // Connections whose handlers call `shutdown` themselves, as this caller does, are not destroyed.
            let spared = if own.is_empty() { Vec::new() } else { registry.spared() };
            registry.cut(Outcome::Forced, &spared);
            still_running = wait_for_others(Deadline::after(LAST_MOMENT));
        }
        // Taken from the counters. They include connections that have arrived since, or that another shutdown has
        // destroyed.
        let (ended, forced) = registry.ends();
        let (ended, forced) = ((ended - ends.0) as usize, (forced - ends.1) as usize);
        ShutdownReport { finished: ended - forced, forced, still_running, elapsed: start.elapsed() }
    }

    /// Starts a [`shutdown`](Server::shutdown) on a new thread, and returns as soon as the server has begun to close.
    /// [`report`](Server::report) returns the result, which is ready when [`serve`](Server::serve),
    /// [`wait`](Server::wait) or [`Running::join`](crate::Running::join) returns. Use `begin_shutdown` in these cases:
    ///
    /// - on the thread that receives the server's [`events`](Server::events), which keeps receiving until the channel
    ///   is disconnected,
    /// - in a handler that keeps reading, so that its connection ends with the others,
    /// - to shut several servers down at the same time, not one after the other.
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
    /// The system's error if the thread cannot be started. In that case the server is not closed.
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

    /// Returns the result of [`begin_shutdown`](Server::begin_shutdown), or `None` until that shutdown is done. The
    /// result is ready before the channel of the server's [`events`](Server::events) is disconnected. It is also ready
    /// before [`wait`](Server::wait) or [`serve`](Server::serve) returns, unless that call was made in a handler.
    pub fn report(&self) -> Option<ShutdownReport> {
        let shutdowns = lock(&self.inner.shutdowns);
        shutdowns.report.filter(|_| shutdowns.under_way == 0)
    }
}

impl Listener {
    /// Closes the server. No callback of the program is called until the listener is closed. So another thread that
    /// closes the server never waits for a callback. Returns whether the caller is the first to close.
    pub(crate) fn close(&self) -> bool {
        self.end(!self.adopted && self.made_by == process::id())
    }

    /// `is_shut`: whether queued clients are answered and the listener is shut down, for every process that has it.
    /// Otherwise only our descriptor is closed.
    fn end(&self, is_shut: bool) -> bool {
        let registry = &self.registry;
        if !registry.gate.begin_close() {
            registry.gate.wait(Deadline::NEVER, &[], &|view| view.phase() >= Phase::Closed);
            return false;
        }
        let presence = Arc::new(Presence::of_thread(registry));
        registry.slots.wake();
        self.turn.wake_all();
        let mut turned_away = self.turn_kept_away();
        if !self.adopted {
            registry.slots.close();
        }
        let mut are_awake = false;
        if is_shut {
            if self.options.answer_queued {
                turned_away.append(&mut self.answer(&presence));
            }
            // Needed even if no thread accepts, because a forked child would keep the port with its copy of the
            // descriptor.
            are_awake = self.listener().is_some_and(|listener| sys::shut_listener(&listener));
        }
        // On an adopted listener, an acceptor that gets a client instead of our connection still serves it.
        self.call_acceptors_back(are_awake);
        let file = lock(&self.file).take().map_or(Ok(()), |mut file| file.remove());
        drop(lock(&self.spare).take());
        drop(lock(&self.held).take());
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
        true
    }

    /// Waits for the reports of the shutdowns that were begun. They are ready soon, because the caller has seen the
    /// server stop.
    fn wait_for_reports(&self) {
        let mut shutdowns = lock(&self.shutdowns);
        while shutdowns.under_way > 0 {
            shutdowns = wait(&self.reported, shutdowns, None);
        }
        // The caller is one of these threads if this runs in the `Drop` of a thread-local there. It waits for no other,
        // because the other may wait for it.
        if shutdowns.threads.iter().any(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        let threads = mem::take(&mut shutdowns.threads);
        drop(shutdowns);
        for thread in threads {
            // No code on that thread panics.
            let _ = thread.join();
        }
    }

    fn shutdown_is_over(&self, report: Option<ShutdownReport>) {
        let mut shutdowns = lock(&self.shutdowns);
        shutdowns.under_way -= 1;
        shutdowns.report = report.or(shutdowns.report);
        self.reported.notify_all();
    }

    /// Refuses the clients that the kernel has connected and no thread has accepted.
    ///
    /// The listener is made non-blocking. A thread that is already blocked in accept(2) is not affected by that, and
    /// blocks only while there is no client. More clients may keep coming, so only as many as the backlog holds are
    /// refused. The kernel resets the others, with the exception that the page of `close` names.
    fn answer(&self, presence: &Arc<Presence>) -> Vec<Refused> {
        use io::ErrorKind::{ConnectionAborted, Interrupted};
        let mut turned_away = Vec::new();
        // Callers with a time change the listener's mode too.
        let _told = lock(&self.told);
        let listener = self.listener().filter(|listener| listener.set_nonblocking(true).is_ok());
        let Some(listener) = listener else { return turned_away };
        // The kernel keeps one more than listen(2) asked for.
        for _ in 0..=self.options.backlog.min(sys::longest_backlog()) {
            match listener.accept() {
                Ok((socket, remote)) => {
                    let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                    // Clients on a block list get no goodbye here either.
                    let by = self.shut_out(&remote).unwrap_or(RefusedBy::Closing);
                    let stream = self.stream_of(socket);
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
}

impl Drop for Listener {
    /// Runs when the last handle is dropped, so no thread accepts.
    fn drop(&mut self) {
        if !self.is_closing() {
            self.end(false);
        }
    }
}
