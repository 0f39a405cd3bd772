//! The workers. Each accepts a client, serves it, and accepts again.
//!
//! The thread that accepts a client also serves it, so no connection moves to another thread. A thread serves many
//! connections, one after another. Before a worker serves a client or calls a hook, it makes sure that another worker
//! is accepting, and starts one if none is. A worker that has served a client accepts again, unless enough other
//! workers do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};

use crate::callback::{acts_for, dispose, guarded};
use crate::error::{Cause, Error};
use crate::net::server::accept::{FIRST_PAUSE, next_client, sit};
use crate::net::server::admission::{Client, Introduced};
use crate::net::server::arrival::Incoming;
use crate::net::server::listener::Listener;
use crate::net::server::options::WhenFull;
use crate::net::server::patience::Crew;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::{Registration, Seat};
use crate::net::socket::Socket;
use crate::net::socket::connection::{CloseMode, Connection, Owner};
use crate::report::{Outcome, RefusedBy, Report};
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::thread::{ThreadOptions, panic_message, spawn_scoped};

/// How many workers wait for clients at most. Further workers end after serving a client. Because of the waiting
/// workers, no thread must be started for each connection. Because of the maximum, memory is freed after a peak.
const WAITING_AT_MOST: usize = 16;

/// How many workers there are beyond the limit of connections. They accept, or run callbacks about clients without a
/// slot. When all of them run callbacks, no worker accepts until one returns. So slow callbacks cannot start more and
/// more threads.
const SPARE: usize = 16;

type Handler<'a> = dyn Fn(&Socket) -> io::Result<()> + Sync + 'a;

/// Serves until the server is closed and the workers have ended.
pub(crate) fn serve(server: &Listener, handler: &Handler<'_>, hooks: &Hooks<'_>) -> io::Result<()> {
    server.registry.set_behind(acts_for()?);
    let (waiting, threads) = (AtomicUsize::new(1), AtomicUsize::new(1));
    let workers = Workers { server, handler, hooks, waiting, threads, failure: Mutex::default() };
    if let Some(seat) = sit(server, Deadline::NEVER) {
        server.wait_for_ever();
        thread::scope(|scope| workers.work(scope, seat));
    }
    let failure = lock(&workers.failure).take();
    failure.map_or(Ok(()), Err)
}

/// The workers of one `serve`.
struct Workers<'a> {
    server: &'a Listener,
    handler: &'a Handler<'a>,
    hooks: &'a Hooks<'a>,
    /// How many workers wait for clients: they are in accept(2), about to be, or pause. This is not the number of
    /// seats, because callers of `accept` have seats too.
    waiting: AtomicUsize,
    threads: AtomicUsize,
    /// The error that ended accepting, if any.
    failure: Mutex<Option<io::Error>>,
}

impl<'a> Workers<'a> {
    /// The loop of a worker. It is counted as waiting when it starts.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, seat: Seat<'a>) {
        let crew = Worker { workers: self, scope };
        let mut next = Some(seat);
        while let Some(seat) = next {
            match next_client(self.server, Some(seat), self.hooks, &crew) {
                Ok(Some((incoming, _))) => {
                    if let Some((socket, owner)) = self.admit(scope, incoming) {
                        self.serve_one(&socket, &owner);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    lock(&self.failure).get_or_insert(error);
                    break;
                }
            }
            let waits_again = self.waiting.fetch_update(SeqCst, SeqCst, |n| (n < WAITING_AT_MOST).then_some(n + 1));
            next = waits_again.ok().and_then(|_| sit(self.server, Deadline::NEVER));
        }
        self.threads.fetch_sub(1, SeqCst);
    }

    /// Makes sure that another worker waits for clients. `false` if the maximum number of workers is busy.
    ///
    /// # Errors
    /// A new thread is needed, and cannot be started.
    fn relieve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<bool> {
        if self.waiting.load(SeqCst) > 0 {
            return Ok(true);
        }
        let slots = &self.server.registry.slots;
        let most = slots.limit().max(slots.taken()).saturating_add(SPARE);
        let counted = self.threads.fetch_update(SeqCst, SeqCst, |n| (n < most).then_some(n + 1));
        if counted.is_err() {
            return Ok(false);
        }
        // The new worker is counted before it runs, so that no other worker starts one too.
        self.waiting.fetch_add(1, SeqCst);
        // There is no seat, so the server is closing.
        let started = sit(self.server, Deadline::NEVER).map_or(Ok(false), |seat| self.start(scope, seat));
        if !matches!(started, Ok(true)) {
            self.waiting.fetch_sub(1, SeqCst);
            self.threads.fetch_sub(1, SeqCst);
        }
        started.map(|_| true)
    }

    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, seat: Seat<'a>) -> io::Result<bool> {
        let ThreadOptions { thread_name, stack_size } = &self.server.options.threads;
        let name = format!("{thread_name} worker {}", self.server.address);
        let work = move || {
            self.work(scope, seat);
            Ok(())
        };
        spawn_scoped(scope, name, *stack_size, work).map(|_| true)
    }

    /// Admits or refuses a client. First makes sure that another worker waits.
    ///
    /// Not inlined, and neither is `serve_one`. Their frames would lie below accept(2) and below the handler, and a
    /// connection that waits would have touched a third page of its thread's stack.
    #[inline(never)]
    fn admit<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        incoming: Incoming,
    ) -> Option<(Socket, Arc<Registration>)> {
        let Incoming { stream, remote, slots, presence, header } = incoming;
        let was_last = self.waiting.fetch_sub(1, SeqCst) == 1;
        let slots = match slots {
            Ok(slots) => slots,
            Err(by) => {
                let is_heard = self.hooks.hear_of(by, self.server);
                let is_held_up = was_last && is_heard && matches!(self.relieve(scope), Ok(false));
                let tell_first = || {
                    if is_held_up {
                        self.tell_held_up();
                    }
                };
                refuse(self.server, stream, (None, remote), by, presence, self.hooks, &tell_first);
                return None;
            }
        };
        let client = self.server.admit(stream, remote, slots, presence, header);
        match if was_last { self.relieve(scope) } else { Ok(true) } {
            Ok(true) => {}
            Ok(false) => {
                // The `report` hook is a callback too.
                let _in_hook = self.server.registry.in_hook();
                let _frame = client.presence.frame();
                self.tell_held_up();
            }
            Err(error) => {
                self.keep_accepting(client, error);
                return None;
            }
        }
        match client.introduce(self.server, self.hooks, Deadline::NEVER) {
            Introduced::In(client) => Some(client.register(self.server)),
            _ => None,
        }
    }

    /// Reports once that accepting waits for callbacks. The calling thread is counted as running callbacks.
    fn tell_held_up(&self) {
        if self.server.registry.in_hooks.hold_up() {
            let address = self.server.address.clone();
            self.server.registry.reporter.tell(|| Report::AcceptHeldUp { address });
        }
    }

    /// Called if no thread can be started to accept the next client. This thread refuses its client and continues
    /// accepting.
    #[cold]
    fn keep_accepting(&self, client: Client, error: io::Error) {
        let Client { stream, local, remote, slots, presence, .. } = client;
        drop(slots);
        let error = Error::from(error);
        let tell_first = || {
            self.server.registry.reporter.tell_failed(&error);
            if let Some(hook) = self.hooks.error {
                guarded(|| hook(&error, None));
            }
        };
        let ends = (Some(local), remote);
        refuse(self.server, stream, ends, RefusedBy::NoThread, presence, self.hooks, &tell_first);
        self.server.pause(Deadline::after(FIRST_PAUSE));
    }

    #[inline(never)]
    fn serve_one(&self, socket: &Socket, owner: &Registration) {
        let _frame = owner.frame();
        let connection = &socket.connection;
        // What is queued is sent before the end. Nothing is queued after that, because the connection may still wait for
        // a place to linger before it ends.
        let work = || {
            let result = (self.handler)(socket);
            // If a handler ends because of a shutdown of this server, its connection ends in order too.
            match result {
                Err(error) if !(Cause::ShuttingDown.is_behind(&error) && owner.is_shutting_down()) => Err(error),
                in_order => connection.turn().flush_last().map(|()| in_order),
            }
        };
        let result = catch_unwind(AssertUnwindSafe(work));
        let ended = match &result {
            Ok(Ok(_)) => connection.end(Outcome::Finished, CloseMode::InOrder),
            Ok(Err(_)) => connection.end(Outcome::Failed, CloseMode::Cut),
            Err(_) => connection.end(Outcome::Panicked, CloseMode::Cut),
        };
        // From here on the program's code may run: hooks, and its errors and panic payloads when they are formatted or
        // dropped.
        let _in_hook = self.server.registry.in_hook();
        match result {
            Ok(Ok(in_order)) => guarded(|| drop(in_order)),
            Ok(Err(error)) => {
                let error = Error::from(error);
                // If the connection was destroyed, the handler's error says no more than that.
                if ended.is_some() || !error.has(Cause::Destroyed) {
                    self.tell_failed(connection, &error, ended.is_some());
                }
                guarded(|| drop(error));
            }
            Err(panic) => {
                self.server.registry.reporter.tell(|| Report::Panicked {
                    connection: connection.name(),
                    message: panic_message(&*panic).into(),
                });
                dispose(panic);
            }
        }
        if let Some(ended) = ended {
            ended.tell();
        }
    }

    /// Reports the error of a handler, whether or not it has ended the connection.
    fn tell_failed(&self, connection: &Connection, error: &Error, has_ended_it: bool) {
        if let Some(hook) = self.hooks.error {
            guarded(|| hook(error, Some(&connection.name())));
        }
        if has_ended_it {
            connection.tell_failed(error);
        }
    }
}

/// A worker, as the accepting code sees it.
struct Worker<'a, 'scope, 'env> {
    workers: &'scope Workers<'a>,
    scope: &'scope Scope<'scope, 'env>,
}

impl Crew for Worker<'_, '_, '_> {
    fn away(&self, call: &mut dyn FnMut()) {
        if self.workers.waiting.fetch_sub(1, SeqCst) == 1 {
            // If no thread can be started, none accepts during the call.
            if matches!(self.workers.relieve(self.scope), Ok(false)) {
                self.workers.tell_held_up();
            }
        }
        call();
        self.workers.waiting.fetch_add(1, SeqCst);
    }

    fn may_end(&self) -> bool {
        self.workers.waiting.fetch_update(SeqCst, SeqCst, |n| (n > 1).then_some(n - 1)).is_ok()
    }

    fn until(&self) -> Deadline {
        Deadline::NEVER
    }

    fn time_is_over(&self) -> io::Error {
        io::ErrorKind::TimedOut.into()
    }

    fn takes_turns(&self, server: &Listener) -> bool {
        server.options.when_full == WhenFull::Wait
    }

    fn may_accept(&self, _: &Listener) -> io::Result<()> {
        Ok(())
    }
}
