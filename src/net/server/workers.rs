//! The workers: each accepts a client, serves it, and accepts again.
//!
//! The thread that accepts a connection serves it, so no connection is handed over and a thread serves many, one after
//! the other. The rule that keeps one of them accepting: the worker that takes a client while no other sits at the
//! listener starts the next one, before it serves the client and before it calls a hook. A worker that has served sits
//! down again unless enough do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Scope};

use crate::callback::{acts_for, dispose, guarded};
use crate::error::{Cause, Error};
use crate::net::server::accept::{FIRST_PAUSE, Incoming, next_client, sit};
use crate::net::server::admission::Client;
use crate::net::server::listener::Listener;
use crate::net::server::options::ServerOptions;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::{Presence, Seat};
use crate::net::socket::Socket;
use crate::net::socket::connection::{CloseMode, Owner};
use crate::report::{Outcome, RefusedBy, Report};
use crate::sync::poison::lock;
use crate::thread::{Builder, panic_message};

/// How many workers sit at the listener at most; more end when they have served. What is kept saves starting a thread
/// per connection; the cap lets the memory of a peak go again.
const SEATS: usize = 16;

/// How many workers there are beyond the limit of connections. They sit at the listener, or are in callbacks about
/// clients that have no slot. When all are in callbacks, none accepts until one returns: slow callbacks cannot make
/// threads without end.
const SPARE: usize = 16;

type Handler<'a> = dyn Fn(&Socket) -> io::Result<()> + Sync + 'a;

/// Serves until the server is closed and the workers have ended.
pub(crate) fn serve(server: &Listener, handler: &Handler<'_>, hooks: &Hooks<'_>) -> io::Result<()> {
    server.registry.set_behind(acts_for()?);
    let workers = Workers { server, handler, hooks, threads: AtomicUsize::new(1), failure: Mutex::default() };
    if let Some(seat) = sit(server, usize::MAX) {
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
    threads: AtomicUsize,
    /// Why accepting ended, if by an error.
    failure: Mutex<Option<io::Error>>,
}

impl<'a> Workers<'a> {
    /// What each worker does.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, seat: Seat<'a>) {
        let relieve = || drop(self.relieve(scope));
        let mut next = Some(seat);
        while let Some(seat) = next {
            match next_client(self.server, seat, SEATS, self.hooks, &relieve) {
                Ok(Some(incoming)) => self.take(scope, incoming),
                Ok(None) => break,
                Err(error) => {
                    self.server.close();
                    lock(&self.failure).get_or_insert(error);
                    break;
                }
            }
            next = sit(self.server, SEATS);
        }
        self.threads.fetch_sub(1, SeqCst);
    }

    /// Sees to it that another thread sits at the listener; `false` if as many as may are in callbacks.
    ///
    /// # Errors
    /// It takes a thread, and none can be started.
    fn relieve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<bool> {
        if self.server.registry.gate.view().seats() > 0 {
            return Ok(true);
        }
        let most = self.server.registry.slots.limit().saturating_add(SPARE);
        let counted = self.threads.fetch_update(SeqCst, SeqCst, |n| (n < most).then_some(n + 1));
        if counted.is_err() {
            return Ok(false);
        }
        let started = match sit(self.server, usize::MAX) {
            Some(seat) => self.start(scope, seat),
            None => Ok(false),
        };
        if !matches!(started, Ok(true)) {
            self.threads.fetch_sub(1, SeqCst);
        }
        // Without a seat, the server is being closed.
        started.map(|_| true)
    }

    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, seat: Seat<'a>) -> io::Result<bool> {
        let ServerOptions { thread_name, stack_size, .. } = &self.server.options;
        let builder = Builder::new(format!("{thread_name} worker {}", self.server.address), *stack_size)?;
        builder.spawn_scoped(scope, move || self.work(scope, seat))?;
        Ok(true)
    }

    fn take<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, incoming: Incoming) {
        let Incoming { stream, remote, slots, presence, was_last } = incoming;
        let slots = match slots {
            Ok(slots) => slots,
            Err(by) => {
                if was_last && self.hooks.hear_of(by, self.server) && matches!(self.relieve(scope), Ok(false)) {
                    self.tell_held_up(&presence);
                }
                return refuse(self.server, stream, (None, remote), by, presence, self.hooks);
            }
        };
        let client = self.server.admit(stream, remote, slots, presence);
        let relieved = if was_last { self.relieve(scope) } else { Ok(true) };
        if let Err(error) = relieved {
            return self.keep_accepting(client, error);
        }
        if let Some(client) = client.introduce(self.server, self.hooks) {
            self.serve_one(client);
        }
    }

    /// Tells once that accepting waits for callbacks.
    fn tell_held_up(&self, presence: &Presence) {
        if self.server.registry.hold_up() {
            let _frame = presence.frame();
            self.server.registry.reporter.tell(|| Report::AcceptHeldUp { address: self.server.address.clone() });
        }
    }

    /// No thread can be had to accept after this one, so this one refuses its client and goes on accepting.
    fn keep_accepting(&self, client: Client, error: io::Error) {
        let Client { stream, local, remote, slots, presence, .. } = client;
        drop(slots);
        let error = Error::call("spawn", &error);
        {
            let _frame = presence.frame();
            self.server.registry.reporter.tell(|| Report::Failed { connection: None, error: error.clone() });
            if let Some(hook) = self.hooks.error {
                guarded(|| hook(&error, None));
            }
        }
        refuse(self.server, stream, (Some(local), remote), RefusedBy::NoThread, presence, self.hooks);
        self.server.pause(FIRST_PAUSE);
    }

    fn serve_one(&self, client: Client) {
        let (socket, owner) = client.register(self.server);
        let _frame = owner.frame();
        let connection = &socket.connection;
        let finish = || connection.close(Outcome::Finished, CloseMode::InOrder(self.server.options.lingering_close));
        // What is queued goes out before the end.
        let work = || {
            let result = (self.handler)(&socket);
            // One that ends because of a shutdown ends in order too.
            match result {
                Err(error) if !Cause::ShuttingDown.is_behind(&error) => Err(error),
                in_order => connection.turn().flush().map(|()| in_order),
            }
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(in_order)) => {
                finish();
                guarded(|| drop(in_order));
            }
            // The handler was cut off by a destroy, and says no more than that.
            Ok(Err(error)) if connection.is_closed() && Cause::Destroyed.is_of(&error) => {}
            Ok(Err(error)) => {
                let ended = connection.end(Outcome::Failed, CloseMode::Cut);
                // From here on code of the program's runs: an error of its own is asked for its text and dropped.
                guarded(|| {
                    let told = Error::told_by(&error);
                    if let Some(hook) = self.hooks.error {
                        guarded(|| hook(&told, Some(&connection.name())));
                    }
                    connection.tell_failed(&told);
                });
                guarded(|| drop(error));
                if let Some(ended) = ended {
                    ended.tell();
                }
            }
            Err(panic) => {
                let ended = connection.end(Outcome::Panicked, CloseMode::Cut);
                self.server.registry.reporter.tell(|| Report::Panicked {
                    connection: connection.name(),
                    message: panic_message(&*panic).into(),
                });
                dispose(panic);
                if let Some(ended) = ended {
                    ended.tell();
                }
            }
        }
    }
}
