//! The workers: each accepts a client, admits it, serves it, and accepts again.
//!
//! The thread that accepts a connection serves it, so no connection is handed over and a thread serves many, one after
//! the other. The rule that keeps somebody accepting: the worker that takes a client while no other worker waits starts
//! the next one first. A worker that has served waits again unless enough do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Scope};
use std::time::Duration;

use crate::address::Address;
use crate::error::{Cause, Error};
use crate::net::server::admission::{Client, admit};
use crate::net::server::listener::Listener;
use crate::net::server::options::ServerOptions;
use crate::net::server::registry::Presence;
use crate::net::server::reject::{Hooks, refuse};
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

/// Gives the next client to a caller who serves it himself.
pub(crate) fn accept(server: &Listener) -> io::Result<Option<Socket>> {
    let hooks = Hooks::default();
    loop {
        match next_client(server, &hooks) {
            Ok(Some((client, presence))) => {
                if let Some((client, presence)) = client.introduce(server, presence, &hooks) {
                    return Ok(Some(client.register(server, Some(presence))));
                }
            }
            Ok(None) => return Ok(None),
            Err(error) => {
                server.close();
                return Err(error);
            }
        }
    }
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
        // Counted before it runs, so that nobody else starts one meanwhile.
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

/// Blocks in accept(2) until a client comes that is let in; `None` once the server is closed.
///
/// | accept(2) says | what is done |
/// |---|---|
/// | a client | admitted, or refused and on |
/// | the server is closing | `None` |
/// | interrupted by a signal | again, at once, uncounted |
/// | the client is gone again: `ECONNABORTED`, `ECONNRESET`, … | again, at once |
/// | the listener is useless: `EINVAL`, `EBADF`, `ENOTSOCK` | the error |
/// | anything else: no descriptors, no memory, `EPERM`, `EPROTO`, the client's network errors | told once, pause, again |
fn next_client(server: &Listener, hooks: &Hooks<'_>) -> io::Result<Option<(Client, Presence)>> {
    let mut backoff = AcceptBackoff { server, in_a_row: 0 };
    loop {
        let turn = server.turn_to_accept();
        server.accepting.fetch_add(1, SeqCst);
        // Held between counting in and out only: `close` closes the descriptor when all are out, and `wait` looks then
        // who is present.
        let listener = if server.closing.load(SeqCst) { None } else { server.listener() };
        let accepted = listener.as_ref().and_then(|listener| server.accept_client(listener));
        drop(listener);
        let client = accepted.map(|accepted| accepted.map(|client| (client, server.registry.presence())));
        server.accepting.fetch_sub(1, SeqCst);
        let closing = server.closing.load(SeqCst);
        if closing {
            server.registry.changed();
        }
        match client {
            None => return Ok(None),
            Some(Ok(((socket, remote), presence))) => {
                let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                let slots = server.take_slots(&remote);
                // Before anybody is told, and before the client is served.
                drop(turn);
                backoff.is_over();
                if let Some(admitted) = admit(server, socket.into(), remote, slots, presence, hooks) {
                    return Ok(Some(admitted));
                }
            }
            Some(Err(_)) if closing => return Ok(None),
            Some(Err(error)) => {
                drop(turn);
                backoff.again(error, hooks)?;
            }
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Clients that are gone again cost no pause, unless so many come in a row that it would be spinning.
const AT_ONCE: u32 = 16;

/// One acceptor's run of failures.
struct AcceptBackoff<'a> {
    server: &'a Listener,
    in_a_row: u32,
}

impl AcceptBackoff<'_> {
    /// Pauses as the error asks for; gives back one that no pause can mend.
    fn again(&mut self, error: io::Error, hooks: &Hooks<'_>) -> io::Result<()> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if error.kind() == Interrupted {
            // A signal came, which says nothing of the clients: between two of them there may be any number.
            return Ok(());
        }
        self.server.registry.accept_failed();
        let passing = matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused);
        let error = Error::call("accept", &error);
        if matches!(error.code(), "EINVAL" | "EBADF" | "ENOTSOCK") {
            return Err(error.into());
        }
        self.in_a_row += 1;
        let pauses = if passing { self.in_a_row.saturating_sub(AT_ONCE) } else { self.in_a_row };
        if pauses == 0 {
            return Ok(());
        }
        // While others wait in accept(2), the next client is theirs: each of them has set a descriptor aside, and this
        // thread, which found none left, is only one more that waits.
        let is_short = self.server.accepting.load(SeqCst) == 0;
        if is_short && !self.server.paused.0.swap(true, SeqCst) {
            let address = self.server.address.clone();
            self.server.registry.reporter.tell(|| Report::AcceptPaused {
                address,
                error: error.clone(),
                pause: FIRST_PAUSE,
            });
            if let Some(hook) = hooks.error {
                guarded(|| hook(&error, None));
            }
        }
        self.server.pause(LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (pauses - 1).min(8))));
        Ok(())
    }

    /// A client came.
    fn is_over(&mut self) {
        self.in_a_row = 0;
        let paused = &self.server.paused.0;
        if paused.load(SeqCst) && paused.swap(false, SeqCst) {
            self.server.registry.reporter.tell(|| Report::Resumed { address: self.server.address.clone() });
        }
    }
}
