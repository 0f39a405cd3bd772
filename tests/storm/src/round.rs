//! One round: a server, its clients, and everything that may end it, by a seed.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket, WhenFull};
use landline::{Cancel, ConnectionId, Outcome, RefusedBy, Running};

use crate::book::Book;
use crate::client::{HEADER, Polite, client};
use crate::events::receive;
use crate::handler::handle;
use crate::process::{Phase, descriptors, left_over, library_threads, phase};
use crate::random::{Random, SharedRandom};
use crate::{give_up, lock};

/// What all threads of a round share.
pub struct Round {
    pub random: SharedRandom,
    /// The server, until the round is over.
    server: Mutex<Option<Server>>,
    way: Way,
    pub half_open: bool,
    pub loopback: SocketAddr,
    /// One hook in so many does something to the server.
    hooks_meddle: usize,
    /// The round waits for its clients before it closes the server, so nothing may wait for that close before.
    is_patient: bool,
    cancel: Cancel,
    book: Book,
    /// Handles to connections, for other threads to destroy.
    pub others: Mutex<Vec<Socket>>,
    pub echoes: Mutex<HashMap<[u8; HEADER], Echo>>,
    polite: Mutex<Vec<Polite>>,
    /// How many handlers and hooks run.
    inside: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    wrong: Mutex<Vec<String>>,
    pub nested: AtomicU64,
    waits: AtomicU64,
    failed_starts: AtomicU64,
}

/// What handled a polite client.
pub struct Echo {
    pub id: ConnectionId,
    pub read: u64,
    pub written: u64,
    /// All that the client has sent until its end was read and written back.
    pub whole: bool,
}

/// How the server is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Serve,
    Spawn,
    Run,
    SpawnCallbacks,
    Accept,
    Events,
    /// A channel that is never received from, and dropped.
    HeldEvents,
}

/// What the round is like, to be printed if it hangs.
pub static NOW: Mutex<String> = Mutex::new(String::new());

thread_local! {
    /// The thread has a socket from `accept`, or receives the events: it would wait for itself.
    static CANNOT_WAIT: Cell<bool> = const { Cell::new(false) };
    /// How many hooks run on this thread, each called by what the one before has done.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Counts a handler or hook, until it is dropped.
pub struct Inside<'a> {
    round: &'a Round,
    _phase: Phase,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.round.inside.fetch_sub(1, SeqCst);
    }
}

impl Round {
    pub fn inside(&self, what: &'static str) -> Inside<'_> {
        self.inside.fetch_add(1, SeqCst);
        Inside { round: self, _phase: phase(what) }
    }

    pub fn wrong(&self, text: String) {
        lock(&self.wrong).push(text);
    }

    pub fn is_accepted_by_hand(&self) -> bool {
        self.way == Way::Accept
    }

    fn thread(self: &Arc<Round>, name: &str, work: impl FnOnce(&Arc<Round>) + Send + 'static) -> JoinHandle<()> {
        let round = Arc::clone(self);
        let started = thread::Builder::new().name(name.to_owned()).spawn(move || work(&round));
        started.expect("the system has threads")
    }

    /// Starts a thread that the round joins.
    pub fn start(self: &Arc<Round>, name: &str, work: impl FnOnce(&Arc<Round>) + Send + 'static) {
        let thread = self.thread(name, work);
        lock(&self.threads).push(thread);
    }

    /// What any code of a program may do to its server, wherever it runs.
    pub fn meddle(&self, random: &mut Random) {
        let Some(server) = lock(&self.server).clone() else { return };
        if DEPTH.get() >= 4 {
            return;
        }
        DEPTH.set(DEPTH.get() + 1);
        match random.below(15) {
            0 => {
                let _phase = phase("close");
                server.close();
            }
            1 => {
                let _phase = phase("close, and wait");
                server.close();
                self.wait(&server);
            }
            2 if !self.is_patient => self.wait(&server),
            3 => self.shut_down(&server, Duration::ZERO),
            4 => self.shut_down(&server, random.millis(20)),
            5 => {
                let _phase = phase("cancel");
                self.cancel.cancel();
            }
            6 => self.destroy_another(random),
            7 if random.one_in(3) => {
                let _phase = phase("destroy all");
                server.sockets().iter().for_each(Socket::destroy);
            }
            8 => {
                let stats = server.stats();
                if stats.accepted != stats.open + stats.ended + stats.failed + stats.panicked {
                    self.wrong(format!("the accounts do not balance meanwhile: {stats:?}"));
                }
            }
            9 => thread::sleep(random.millis(3)),
            10 => {
                let _phase = phase("begin_shutdown");
                if server.begin_shutdown(random.millis(20)).is_err() {
                    server.close();
                }
            }
            _ => {}
        }
        DEPTH.set(DEPTH.get() - 1);
    }

    /// The same, in a hook.
    pub fn meddle_now_and_then(&self, random: &mut Random) {
        if random.one_in(self.hooks_meddle) {
            self.meddle(random);
        }
        if random.one_in(50) {
            panic!("storm: in a hook");
        }
    }

    /// The same, on the thread that receives the events.
    pub fn meddle_by_receiver(&self, random: &mut Random) {
        if random.one_in(self.hooks_meddle) {
            self.meddle(random);
        }
    }

    fn wait(&self, server: &Server) {
        if CANNOT_WAIT.get() {
            return;
        }
        let _phase = phase("wait");
        self.waits.fetch_add(1, SeqCst);
        if let Err(error) = server.wait() {
            self.wrong(format!("wait: {error}"));
        }
    }

    fn shut_down(&self, server: &Server, grace: Duration) {
        let _phase = phase("shutdown");
        let _ = server.shutdown(grace);
    }

    pub fn destroy_another(&self, random: &mut Random) {
        let _phase = phase("destroy another");
        let other = {
            let others = lock(&self.others);
            if others.is_empty() { None } else { Some(others[random.below(others.len())].clone()) }
        };
        if let Some(other) = other {
            other.destroy();
        }
    }

    /// Runs what cannot wait for the server.
    pub fn without_waiting<T>(work: impl FnOnce() -> T) -> T {
        CANNOT_WAIT.set(true);
        let result = work();
        CANNOT_WAIT.set(false);
        result
    }

    fn failed_start(&self, error: &io::Error) {
        self.failed_starts.fetch_add(1, SeqCst);
        if error.kind() != io::ErrorKind::WouldBlock {
            self.wrong(format!("a thread was not started: {error}"));
        }
    }
}

/// What a round counts, for the last line.
#[derive(Default, Debug, Clone, Copy)]
pub struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub no_thread: u64,
    pub failed_starts: u64,
    pub accept_errors: u64,
    pub waits: u64,
    pub nested: u64,
    pub whole_echoes: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        let Counts { accepted, refused, no_thread, failed_starts, accept_errors, waits, nested, whole_echoes } = other;
        self.accepted += accepted;
        self.refused += refused;
        self.no_thread += no_thread;
        self.failed_starts += failed_starts;
        self.accept_errors += accept_errors;
        self.waits += waits;
        self.nested += nested;
        self.whole_echoes += whole_echoes;
    }
}

/// Runs one round; gives what was wrong. `known` are the descriptors that are not its own.
pub fn run(seed: u64, known: &[String]) -> (Vec<String>, Counts) {
    let mut random = Random::new(seed);
    let ways = [Way::Serve, Way::Spawn, Way::Run, Way::SpawnCallbacks, Way::Accept, Way::Events, Way::HeldEvents];
    let way = random.one_of(&ways);
    let round = Arc::new(Round {
        way,
        random: SharedRandom::new(random.fork()),
        server: Mutex::default(),
        half_open: random.one_in(3),
        loopback: random.one_of(&["127.0.0.1:0", "[::1]:0"]).parse().expect("an address"),
        hooks_meddle: random.one_of(&[3, 10, 40]),
        is_patient: way != Way::HeldEvents && random.one_in(2),
        cancel: Cancel::new(),
        book: Book::default(),
        others: Mutex::default(),
        echoes: Mutex::default(),
        polite: Mutex::default(),
        inside: AtomicUsize::new(0),
        threads: Mutex::default(),
        wrong: Mutex::default(),
        nested: AtomicU64::new(0),
        waits: AtomicU64::new(0),
        failed_starts: AtomicU64::new(0),
    });
    let server = listen(&round, &mut random);
    *lock(&NOW) = format!("{way:?}, patient {}, hooks meddle 1 in {}", round.is_patient, round.hooks_meddle);
    *lock(&round.server) = Some(server.clone());
    let at = server.address().socket_addr().expect("an IP address");
    let (running, is_served) = serve(&round, &server, &mut random);

    let clients: Vec<_> = (0..random.below(12))
        .map(|_| {
            let mut random = random.fork();
            round.thread("storm client", move |round| {
                let saw = client(at, &mut random);
                lock(&round.polite).extend(saw);
            })
        })
        .collect();
    for _ in 0..random.one_of(&[0, 0, 1, 2, 3]) {
        let mut random = random.fork();
        round.start("storm outside", move |round| {
            let _phase = phase("outside");
            thread::sleep(random.millis(25));
            round.meddle(&mut random);
        });
    }
    // Where nothing serves, clients wait in the backlog until the server is closed.
    if round.is_patient && is_served {
        let _phase = phase("main: clients");
        clients.into_iter().for_each(join);
    } else {
        lock(&round.threads).extend(clients);
        thread::sleep(random.millis(20));
    }
    end(&round, &server, &mut random);
    let counts = finish(&round, &server, running, known);
    drop(server);
    let wrong = std::mem::take(&mut *lock(&round.wrong));
    (wrong.into_iter().map(|text| format!("{way:?}: {text}")).collect(), counts)
}

fn listen(round: &Arc<Round>, random: &mut Random) -> Server {
    let hook = Arc::clone(round);
    let mut options = ServerOptions::new()
        .max_connections(1 + random.below(8))
        .when_full(match random.below(3) {
            0 => WhenFull::Refuse,
            1 => WhenFull::Wait,
            _ => WhenFull::RefuseWith(vec![b'!'; random.below(60_000)]),
        })
        .lingering_close(random.one_of(&[Duration::ZERO, Duration::from_millis(20), Duration::from_millis(200)]))
        .allow_half_open(round.half_open)
        .cancel(&round.cancel)
        .answer_queued(random.one_in(4))
        .report(move |report| {
            hook.book.record(report);
            let _inside = hook.inside("report");
            let mut random = hook.random.fork();
            hook.meddle_now_and_then(&mut random);
        });
    if random.one_in(4) {
        options = options.max_connections_per_address(1 + random.below(4));
    }
    if random.one_in(10) {
        options = options.timeout(Duration::from_millis(10));
    }
    if random.one_in(10) {
        options = options.deadline(Duration::from_millis(30));
    }
    let server = match random.one_in(10) {
        true => options.adopt(TcpListener::bind(round.loopback).expect("a port")),
        false => options.listen(round.loopback),
    };
    server.expect("a port")
}

/// Serves the server in its way; gives the thread to join when it is over, and whether it is served: no thread may be
/// had.
fn serve(round: &Arc<Round>, server: &Server, random: &mut Random) -> (Option<Running>, bool) {
    let hold = Arc::clone(round);
    let handler = move |socket: &Socket| handle(&hold, socket);
    let (errors, refusals) = (Arc::clone(round), Arc::clone(round));
    let closed = Arc::clone(round);
    let callbacks = server
        .on()
        .connection(handler.clone())
        .error(move |_, _| {
            let _inside = errors.inside("error");
            errors.meddle_now_and_then(&mut errors.random.fork());
        })
        .refused(move |_| {
            let _inside = refusals.inside("refused");
            refusals.meddle_now_and_then(&mut refusals.random.fork());
        })
        .close(move || {
            let _phase = phase("close callback");
            closed.meddle(&mut closed.random.fork());
        });
    let mut running = None;
    let mut is_served = true;
    match round.way {
        Way::Serve => {
            let server = server.clone();
            round.start("storm serve", move |round| served(round, server.serve(handler)));
        }
        Way::Run => round.start("storm run", move |round| served(round, callbacks.run())),
        Way::Spawn => {
            running = started(round, || server.spawn(handler.clone()));
            is_served = running.is_some();
        }
        Way::SpawnCallbacks => {
            running = callbacks.spawn().map_err(|error| round.failed_start(&error)).ok();
            is_served = running.is_some();
        }
        Way::Accept => {
            for _ in 0..1 + random.below(3) {
                let server = server.clone();
                round.start("storm accept", move |round| accept(round, &server));
            }
        }
        Way::Events | Way::HeldEvents => {
            let n = random.below(5);
            let mut random = random.fork();
            let events = started(round, || server.events(n));
            is_served = events.is_some();
            if let Some(events) = events {
                if round.way == Way::Events {
                    round.start("storm events", move |round| {
                        Round::without_waiting(|| receive(round, events, &mut random));
                    });
                } else {
                    round.start("storm holder", move |_| {
                        let _phase = phase("drop of events");
                        thread::sleep(random.millis(20));
                        // It closes the server before it ends the connections, so hooks on this thread cannot wait.
                        Round::without_waiting(|| drop(events));
                    });
                }
            }
        }
    }
    (running, is_served)
}

/// Starts what a thread start may fail for, a second time if it did: the claim has to be given back.
fn started<T>(round: &Round, start: impl Fn() -> io::Result<T>) -> Option<T> {
    let first = start().map_err(|error| round.failed_start(&error));
    first.or_else(|()| start().map_err(|error| round.failed_start(&error))).ok()
}

fn served(round: &Round, result: io::Result<()>) {
    if let Err(error) = result {
        round.wrong(format!("serving ended by {error}"));
    }
}

fn accept(round: &Arc<Round>, server: &Server) {
    let _phase = phase("accept");
    loop {
        match server.accept() {
            Ok(Some(socket)) => Round::without_waiting(|| {
                let handled = catch_unwind(AssertUnwindSafe(|| handle(round, &socket)));
                drop(socket);
                // What the handler has returned or panicked with has a drop that may panic.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(handled)));
            }),
            Ok(None) => return,
            Err(error) => {
                round.wrong(format!("accept: {error}"));
                return;
            }
        }
    }
}

/// Ends the server in some way, from outside.
fn end(round: &Arc<Round>, server: &Server, random: &mut Random) {
    let _phase = phase("main: end");
    let mut has_begun = false;
    match random.below(6) {
        0 => server.close(),
        4 => {
            has_begun = server.begin_shutdown(random.millis(40)).is_ok();
            if !has_begun {
                server.close();
            }
        }
        1 => round.shut_down(server, Duration::ZERO),
        2 => round.shut_down(server, random.millis(40)),
        3 => round.cancel.cancel(),
        _ => {
            let other = server.clone();
            round.start("storm second", move |_| {
                let _phase = phase("second close");
                other.close();
            });
            server.close();
        }
    }
    if server.is_listening() {
        round.wrong("the server listens after its end was asked for".to_owned());
    }
    if has_begun {
        round.wait(server);
        // None while a shutdown that a hook has begun meanwhile is under way: the server is over, so it ends at once.
        let start = Instant::now();
        while server.report().is_none() && start.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        if server.report().is_none() {
            round.wrong("no report of a shutdown that is over".to_owned());
        }
    }
}

/// Waits, and looks at what has to hold then.
fn finish(round: &Arc<Round>, server: &Server, running: Option<Running>, known: &[String]) -> Counts {
    {
        let _phase = phase("main: wait");
        round.wait(server);
    }
    // Handlers of accepted sockets run on threads of our own.
    let inside = round.inside.load(SeqCst);
    if inside != 0 && !round.is_accepted_by_hand() {
        round.wrong(format!("{inside} handlers or hooks run after wait"));
    }
    if let Some(running) = running {
        let _phase = phase("main: join");
        served(round, running.join());
    }
    {
        let _phase = phase("main: threads");
        while let Some(thread) = { lock(&round.threads).pop() } {
            join(thread);
        }
    }
    drop(std::mem::take(&mut *lock(&round.others)));
    let _phase = phase("main: what is left");
    let threads = left_over(library_threads);
    if !threads.is_empty() {
        give_up(&format!("threads are left: {threads:?}"));
    }
    // The handles that the program itself keeps have no descriptor.
    let fds = left_over(|| descriptors().into_iter().filter(|fd| !known.contains(fd)).collect());
    if !fds.is_empty() {
        give_up(&format!("descriptors are left: {fds:?}"));
    }
    lock(&round.server).take();
    let stats = server.stats();
    if stats.lingering != 0 || stats.in_hooks != 0 {
        round.wrong(format!("connections linger or hooks run after wait: {stats:?}"));
    }
    if server.connections() != 0 {
        round.wrong(format!("{} connections are open after wait", server.connections()));
    }
    round.book.check(stats).into_iter().for_each(|text| round.wrong(text));
    Counts {
        accepted: stats.accepted,
        refused: stats.refused_total(),
        no_thread: stats.refused(RefusedBy::NoThread),
        failed_starts: round.failed_starts.load(SeqCst),
        accept_errors: stats.accept_errors,
        waits: round.waits.load(SeqCst),
        nested: round.nested.load(SeqCst),
        whole_echoes: check_echoes(round),
    }
}

fn join(thread: JoinHandle<()>) {
    // A panic is counted where it happens, by the hook of main.
    let _ = thread.join();
}

/// Bytes are equal at both ends where the connection was not cut; gives of how many.
fn check_echoes(round: &Round) -> u64 {
    let echoes = lock(&round.echoes);
    let mut whole = 0;
    for Polite { header, sent, received, in_order } in &*lock(&round.polite) {
        let Some(echo) = echoes.get(header) else { continue };
        let Some(ended) = round.book.ended(echo.id) else { continue };
        let (sent_bytes, received_bytes) = (sent.len() as u64, received.len() as u64);
        if !sent.starts_with(received) {
            round.wrong(format!("{}: other bytes came back than were sent", echo.id));
        }
        if echo.whole && ended.outcome == Outcome::Finished {
            whole += 1;
            let numbers = [echo.read, echo.written, ended.read, ended.written, received_bytes];
            if !in_order || numbers != [sent_bytes; 5] {
                round.wrong(format!(
                    "{}: finished, but of {sent_bytes} bytes were read, written, reported as both, received \
                     {numbers:?}; the client saw {}",
                    echo.id,
                    if *in_order { "the end" } else { "an error" }
                ));
            }
        }
    }
    whole
}
