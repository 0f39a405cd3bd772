//! The workers: each accepts a client, serves it, and accepts again.
//!
//! The thread that accepts a connection serves it, so no connection is handed over and a thread serves many, one after
//! the other. The rule that keeps one of them accepting: the worker that takes a client while no other worker waits
//! starts the next one first. A worker that has served waits again unless enough do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Scope};

use crate::error::{Cause, Error};
use crate::net::server::accept::{FIRST_PAUSE, next_client};
use crate::net::server::admission::Client;
use crate::net::server::listener::Listener;
use crate::net::server::options::ServerOptions;
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::Presence;
use crate::net::socket::Socket;
use crate::net::socket::connection::CloseMode;
use crate::report::{Outcome, RefusedBy, Report, dispose, guarded};
use crate::sync::poison::lock;
use crate::thread::{Builder, panic_message};

/// How many workers wait for clients at most; more end when they have served. What is kept saves starting a thread per
/// connection; the cap lets the memory of a peak go again.
const WAITING_AT_MOST: usize = 16;

/// Serves until the server is closed and the last handler has returned.
pub(crate) fn serve<H>(server: &Listener, handler: &H, hooks: &Hooks<'_>) -> io::Result<()>
where
    H: Fn(&Socket) -> io::Result<()> + Sync,
{
    let workers = Workers { server, handler, hooks, waiting: AtomicUsize::new(1), failure: Mutex::default() };
    thread::scope(|scope| workers.work(scope));
    // Somebody else may be about to finish closing.
    server.registry.wait_for_close();
    server.join_refuser();
    let failure = lock(&workers.failure).take();
    failure.map_or(Ok(()), Err)
}

/// The workers of one `serve`.
struct Workers<'a, H> {
    server: &'a Listener,
    handler: &'a H,
    hooks: &'a Hooks<'a>,
    /// How many accept, or are about to.
    waiting: AtomicUsize,
    /// Why accepting ended, if by an error.
    failure: Mutex<Option<io::Error>>,
}

impl<H> Workers<'_, H>
where
    H: Fn(&Socket) -> io::Result<()> + Sync,
{
    /// What each worker does. It is counted as waiting when it comes in.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        loop {
            let (client, presence) = match next_client(self.server, self.hooks) {
                Ok(Some(client)) => client,
                Ok(None) => return,
                Err(error) => {
                    self.server.close();
                    lock(&self.failure).get_or_insert(error);
                    return;
                }
            };
            if self.waiting.fetch_sub(1, SeqCst) == 1 {
                if let Err(error) = self.start_another(scope) {
                    self.waiting.fetch_add(1, SeqCst);
                    self.keep_accepting(client, presence, error);
                    continue;
                }
            }
            if let Some((client, presence)) = client.introduce(self.server, presence, self.hooks) {
                self.serve_one(client);
                drop(presence);
            }
            let rejoined = self.waiting.fetch_update(SeqCst, SeqCst, |n| (n < WAITING_AT_MOST).then_some(n + 1));
            if rejoined.is_err() {
                return;
            }
        }
    }

    fn start_another<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<()> {
        let ServerOptions { thread_name, stack_size, .. } = &self.server.options;
        let builder = Builder::new(format!("{thread_name} worker {}", self.server.address), *stack_size)?;
        // Counted before it runs, so that no other worker starts one too.
        self.waiting.fetch_add(1, SeqCst);
        let started = builder.spawn_scoped(scope, move || self.work(scope));
        if started.is_err() {
            self.waiting.fetch_sub(1, SeqCst);
        }
        started.map(drop)
    }

    /// No thread can be had to accept after this one, so this one refuses its client and goes on accepting.
    fn keep_accepting(&self, client: Client, presence: Presence, error: io::Error) {
        let Client { stream, local, remote, slot, address, .. } = client;
        drop((slot, address));
        let error = Error::call("spawn", &error);
        self.server.registry.reporter.tell(|| Report::Failed { connection: None, error: error.clone() });
        if let Some(hook) = self.hooks.error {
            guarded(|| hook(&error, None));
        }
        refuse(self.server, stream, (Some(local), remote), RefusedBy::NoThread, presence, self.hooks);
        self.server.pause(FIRST_PAUSE);
    }

    fn finish(&self, socket: &Socket) {
        socket.connection.close(Outcome::Finished, CloseMode::InOrder(self.server.options.lingering_close));
    }

    fn serve_one(&self, client: Client) {
        let socket = client.register(self.server, None);
        // What is queued goes out before the end. An error of the user's own is asked for its text and dropped in here
        // too, since it may panic like the handler itself.
        let work = || {
            let result = (self.handler)(&socket);
            // One that ends because of a shutdown ends in order too.
            let in_order = result.as_ref().map_or_else(|error| Cause::ShuttingDown.is_of(error), |()| true);
            let flushed = if in_order { socket.connection.turn().flush() } else { Ok(()) };
            flushed.and(result).map_err(Error::from)
        };
        let result = self.server.registry.serving(socket.id(), || catch_unwind(AssertUnwindSafe(work)));
        match result {
            Ok(Ok(())) => self.finish(&socket),
            Ok(Err(error)) if error.has(Cause::ShuttingDown) => self.finish(&socket),
            // The handler was cut off by a destroy, and says no more than that.
            Ok(Err(error)) if socket.connection.is_closed() && error.has(Cause::Destroyed) => {}
            Ok(Err(error)) => {
                if let Some(hook) = self.hooks.error {
                    guarded(|| hook(&error, Some(&socket)));
                }
                socket.connection.fail(&error);
            }
            Err(panic) => {
                socket.connection.panicked(panic_message(&*panic));
                dispose(panic);
            }
        }
    }
}
