//! Each call that ends something, from each place where the library runs a program's code: it returns.
//!
//! A test is one place. Its cells are the calls, all at once and in both address families. A cell has a server of its
//! own, with one more connection open and clients that hold their connections open after our end, so that they linger.
//! It is played after its control, the same call from a thread outside the server. Then the server is closed from
//! outside, ends, and its reports and numbers are looked at.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{error, fmt, mem};

use landline::net::{Server, ServerEvent, ServerOptions, Socket, SocketEvent};
use landline::{Cancel, Error, Events, Report, Running};
use socket2::{Domain, SockRef, Type};

use crate::support::clients::{at, client, is_turned_away};
use crate::support::fixtures::accept;
use crate::support::{HANG, differs, eventually, families, in_child_for};

const SECOND: Duration = Duration::from_secs(1);
/// For a child in which several cells hang, one after the other, so that it says which.
const LONG: Duration = HANG.saturating_mul(20);
/// The room of a channel that is not emptied while the call is made: enough for all events of a cell.
const ROOMY: usize = 64;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// `close`, so that there is an end to wait for, then `wait`.
    Wait,
    ShutdownNow,
    ShutdownSecond,
    Close,
    /// The last handle.
    DropServer,
    /// Those of the server, where the place needs no handler or hook; else those of another server, whose channel is
    /// full, and of a client.
    DropEvents,
    /// The last handles of a connection that `accept` gave before the server was served, and of one to another
    /// listener.
    DropSocket,
    /// Another connection of the server.
    Destroy,
    /// Of the thread that serves.
    Join,
}

const CALLS: [Call; 9] = [
    Call::Wait,
    Call::ShutdownNow,
    Call::ShutdownSecond,
    Call::Close,
    Call::DropServer,
    Call::DropEvents,
    Call::DropSocket,
    Call::Destroy,
    Call::Join,
];

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Call::Wait => "wait()",
            Call::ShutdownNow => "shutdown(0)",
            Call::ShutdownSecond => "shutdown(1 s)",
            Call::Close => "close()",
            Call::DropServer => "dropping a Server",
            Call::DropEvents => "dropping an Events",
            Call::DropSocket => "dropping a Socket",
            Call::Destroy => "destroy()",
            Call::Join => "join()",
        })
    }
}

/// Where it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A thread of its own: the control.
    Outside,
    Handler,
    ErrorHook,
    RefusedHook,
    CloseHook,
    Filter,
    /// The reports.
    Accepted,
    Ended,
    Failed,
    Panicked,
    Refused,
    Closing,
    Closed,
    AcceptPaused,
    /// The `error` hook of the same shortage.
    AcceptErrorHook,
    /// The events of `each`.
    EachData,
    EachEnd,
    EachError,
    EachClose,
    /// The thread that receives from `events`.
    Receiver,
    /// What a handler panics with is dropped.
    PanicDrop,
    /// The error that a handler returns is dropped.
    ErrorDrop,
    /// The handler is dropped.
    HandlerDrop,
    /// What the handler has left in a thread-local of its worker is dropped.
    LocalDrop,
    /// The report `Ended` of a connection that `accept` gave, and whose last handle is in a thread-local.
    EndedInLocalDrop,
    /// The handler serves another server, whose handler runs on the same thread.
    NestedServe,
    /// The same, without another connection of the outer server.
    NestedServeAlone,
    /// The handler of the other server runs on a worker.
    NestedWorker,
    /// The handler spawns another server and returns without having waited for it.
    NestedSpawn,
}

impl Place {
    /// The report it is, or that comes with it.
    fn of(report: &Report) -> Option<Place> {
        Some(match report {
            Report::Accepted { .. } => Place::Accepted,
            Report::Ended { .. } => Place::Ended,
            Report::Failed { .. } => Place::Failed,
            Report::Panicked { .. } => Place::Panicked,
            Report::Refused { .. } => Place::Refused,
            Report::Closing { .. } => Place::Closing,
            Report::Closed { .. } => Place::Closed,
            Report::AcceptPaused { .. } => Place::AcceptPaused,
            _ => return None,
        })
    }

    /// Whether no connection is left when it is reached.
    fn is_last(self) -> bool {
        matches!(self, Place::Closed | Place::CloseHook | Place::HandlerDrop)
    }

    /// Whether the server is not served.
    fn is_unserved(self) -> bool {
        self == Place::EndedInLocalDrop
    }

    /// Whether there can be such a cell.
    fn has(self, call: Call) -> bool {
        let is_in_local = matches!(self, Place::LocalDrop | Place::EndedInLocalDrop);
        let waits = !matches!(call, Call::Close | Call::DropServer | Call::DropSocket | Call::Destroy);
        // Windows runs destructors of thread-locals under a lock that each thread takes as it starts and as it ends. So
        // none of them may wait for a thread, as std's documentation of `LocalKey` says.
        if cfg!(windows) && is_in_local && waits {
            return !differs(&format!("{call} waits for threads, which a thread-local's `Drop` must not do"));
        }
        // There is no `Running` of a server that is not served, nor of one whose events are received.
        call != Call::Join || !(self.is_unserved() || self == Place::Receiver)
    }
}

/// What the thread that calls says.
enum Note {
    /// The handler has left its thread-local.
    Left,
    Begun,
    Done(Outcome),
}

/// How a call went.
struct Outcome {
    took: Duration,
    /// What a shutdown of a second found running at its end; of other calls 0.
    still_running: usize,
    /// What was wrong with what it gave.
    wrong: Option<String>,
}

/// One cell: what the call ends, and what the callbacks share.
struct Cell {
    family: &'static str,
    place: Place,
    call: Call,
    /// The last handles.
    server: Mutex<Option<Server>>,
    sockets: Mutex<Vec<Socket>>,
    events: Mutex<Option<Events<ServerEvent>>>,
    socket_events: Mutex<Option<Events<SocketEvent>>>,
    /// The other connection, to be destroyed.
    other: Mutex<Option<Socket>>,
    running: Mutex<Option<Running>>,
    /// Of the nested server.
    nested: Mutex<Option<Running>>,
    /// What closes the server where the program has no handle of it any more.
    cancel: Cancel,
    /// From here on the place is the one that is meant.
    is_armed: AtomicBool,
    has_acted: AtomicBool,
    /// The reports, in order.
    told: Mutex<Vec<Option<Place>>>,
    notes: mpsc::Sender<Note>,
    /// What is going on, for the message of a hang.
    step: Mutex<&'static str>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in there, with no lock held.
fn take<T>(mutex: &Mutex<Option<T>>) -> Option<T> {
    lock(mutex).take()
}

impl Cell {
    fn server(&self) -> Option<Server> {
        lock(&self.server).clone()
    }

    /// Makes the call, if this is the place and nothing has been called yet.
    fn reached(&self, place: Place) {
        if place != self.place || !self.is_armed.load(SeqCst) || self.has_acted.swap(true, SeqCst) {
            return;
        }
        *lock(&self.step) = "the call does not return";
        let _ = self.notes.send(Note::Begun);
        let start = Instant::now();
        // A panic in the `Drop` of a thread-local would end the process.
        let result = catch_unwind(AssertUnwindSafe(|| self.make()));
        let took = start.elapsed();
        let (still_running, wrong) = match result {
            Ok(Ok(still_running)) => (still_running, None),
            Ok(Err(text)) => (0, Some(text)),
            Err(panic) => (0, Some(format!("it panics: {}", text_of(&*panic)))),
        };
        let _ = self.notes.send(Note::Done(Outcome { took, still_running, wrong }));
    }

    fn make(&self) -> Result<usize, String> {
        let server = || self.server().expect("the cell has a server");
        match self.call {
            Call::Wait => {
                server().close();
                server().wait().map_err(|error| format!("it is an error: {error}"))?;
            }
            Call::ShutdownNow => drop(server().shutdown(Duration::ZERO)),
            Call::ShutdownSecond => return Ok(server().shutdown(SECOND).still_running),
            Call::Close => server().close(),
            Call::DropServer => drop(take(&self.server).expect("the cell has a server")),
            Call::DropEvents => {
                drop(take(&self.events).expect("the cell has events"));
                drop(take(&self.socket_events));
            }
            Call::DropSocket => {
                let sockets = mem::take(&mut *lock(&self.sockets));
                drop(sockets);
            }
            Call::Destroy => take(&self.other).expect("the cell has another connection").destroy(),
            Call::Join => {
                server().close();
                let result = take(&self.running).expect("the cell is served").join();
                let code = result.map_err(|error| Error::of(&error).map_or(error.to_string(), |e| e.code().into()));
                let is_own = code.as_ref().is_err_and(|code| code == "ERR_WOULD_DEADLOCK");
                let is_right = match self.place {
                    Place::Outside => code.is_ok(),
                    // Its thread has left the server, or never was in it: it waits, or says that it would not end.
                    Place::LocalDrop | Place::NestedSpawn => code.is_ok() || is_own,
                    _ => is_own,
                };
                if !is_right {
                    return Err(format!("it gives {code:?}"));
                }
            }
        }
        Ok(0)
    }

    /// Whether the server's events go through a channel.
    fn has_channel(&self) -> bool {
        use Place::{Accepted, Closed, Closing, Ended, Failed, Receiver, Refused};
        let by_report = matches!(self.place, Accepted | Ended | Failed | Refused | Closing | Closed);
        self.place == Receiver || (by_report && self.call == Call::DropEvents)
    }

    fn report(&self, report: &Report) {
        let place = Place::of(report);
        lock(&self.told).push(place);
        if let Some(place) = place {
            self.reached(place);
        }
        if self.place == Place::EndedInLocalDrop && place == Some(Place::Ended) {
            self.reached(self.place);
        }
    }

    /// The handler: waits for a word of its client. By `q` it is to return, by `x` it plays the place.
    fn handle(self: &Arc<Cell>, socket: &Socket) -> io::Result<()> {
        let mut word = [0];
        socket.read_exact(&mut word)?;
        if word != *b"x" {
            return Ok(());
        }
        let this = Arc::clone(self);
        match self.place {
            Place::Handler => self.reached(Place::Handler),
            Place::ErrorHook | Place::Failed => return Err(io::Error::other("it is to fail")),
            Place::Panicked => resume_unwind(Box::new("it is to panic")),
            Place::EachData | Place::EachEnd | Place::EachError | Place::EachClose => return self.each(socket),
            Place::PanicDrop => resume_unwind(Box::new(OnDrop(this))),
            Place::ErrorDrop => return Err(io::Error::other(OnDrop(this))),
            Place::LocalDrop => {
                LOCAL.with(|local| local.borrow_mut().push(Box::new(OnDrop(this))));
                let _ = self.notes.send(Note::Left);
            }
            Place::NestedServe | Place::NestedServeAlone | Place::NestedWorker => return self.nested_serve(),
            Place::NestedSpawn => return self.nested_spawn(),
            // Its return is what counts, or nothing.
            _ => {}
        }
        Ok(())
    }

    fn each(&self, socket: &Socket) -> io::Result<()> {
        socket.each(|_, event| {
            match event {
                SocketEvent::Data(_) if self.place == Place::EachError => {
                    return Err(io::Error::other("it is to fail"));
                }
                SocketEvent::Data(_) => self.reached(Place::EachData),
                SocketEvent::End => self.reached(Place::EachEnd),
                SocketEvent::Error(_) => self.reached(Place::EachError),
                SocketEvent::Close { .. } => self.reached(Place::EachClose),
                _ => {}
            }
            Ok(())
        })
    }

    /// Serves another server whose clients are here too.
    fn nested_serve(&self) -> io::Result<()> {
        let inner = Server::listen(self.family)?;
        let first = client(inner.address());
        // The thread that serves has the first client, a worker the second.
        let second = (self.place == Place::NestedWorker).then(|| {
            let inner = inner.clone();
            thread::spawn(move || {
                eventually("the first client is admitted", || inner.stats().accepted == 1);
                let mut second = client(inner.address());
                second.write_all(b"x").map(|()| second)
            })
        });
        if second.is_none() {
            (&first).write_all(b"x")?;
        }
        let result = inner.serve(|socket| {
            let mut word = [0];
            if socket.read(&mut word)? == 1 {
                self.reached(self.place);
                inner.close();
                first.shutdown(Shutdown::Write)?;
            }
            Ok(())
        });
        drop(second.map(JoinHandle::join));
        result
    }

    fn nested_spawn(self: &Arc<Cell>) -> io::Result<()> {
        let inner = Server::listen(self.family)?;
        let (this, closing) = (Arc::clone(self), inner.clone());
        let running = inner.spawn(move |_| {
            this.reached(this.place);
            closing.close();
            Ok(())
        })?;
        let client = client(inner.address());
        *lock(&self.nested) = Some(running);
        eventually("the call is made", || self.has_acted.load(SeqCst));
        drop(client);
        Ok(())
    }

    /// Receives until the channel is disconnected, and calls at the first data.
    fn receive(&self) {
        while let Some(events) = take(&self.events) {
            let event = events.recv_timeout(HANG);
            if let Err(error) = event {
                assert!(error.is_disconnected(), "events come until the server is closed");
                return;
            }
            // In its place, so that the call can drop it.
            *lock(&self.events) = Some(events);
            if let Ok(ServerEvent::Socket(_, SocketEvent::Data(_))) = event {
                self.reached(Place::Receiver);
            }
        }
    }

    fn close(&self) {
        match self.server() {
            Some(server) => server.close(),
            None => self.cancel.cancel(),
        }
    }
}

/// Calls when it is dropped.
struct OnDrop(Arc<Cell>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.reached(self.0.place);
    }
}

impl fmt::Debug for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDrop")
    }
}

impl fmt::Display for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is to fail")
    }
}

impl error::Error for OnDrop {}

thread_local! {
    static LOCAL: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no text)")
}

/// What the test holds of a cell.
struct Outside {
    cell: Arc<Cell>,
    notes: mpsc::Receiver<Note>,
    /// Clients that leave when they are to.
    leaving: Vec<TcpStream>,
    /// Clients that never leave.
    holding: Vec<TcpStream>,
    /// Whose events are dropped, if it is another one.
    other: Option<Server>,
    /// Disconnected once the handler is dropped.
    handler: mpsc::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Outside {
    /// The server, served, with another connection and what the call needs.
    fn set_up(cell: Arc<Cell>, notes: mpsc::Receiver<Note>) -> Outside {
        let (alive, handler) = mpsc::channel();
        let hook = Arc::downgrade(&cell);
        let report = move |report: &Report| hook.upgrade().into_iter().for_each(|cell| cell.report(report));
        let mut options = ServerOptions::new().cancel(&cell.cancel).report(report);
        if cell.place == Place::Filter {
            let filter = Arc::downgrade(&cell);
            options = options.filter(move |_| {
                filter.upgrade().into_iter().for_each(|cell| cell.reached(Place::Filter));
                true
            });
        }
        let server = options.listen(cell.family).expect("port 0 can be listened on");
        *lock(&cell.server) = Some(server.clone());
        let (leaving, holding, threads) = Default::default();
        let mut this = Outside { cell, notes, leaving, holding, other: None, handler, threads };
        let cell = Arc::clone(&this.cell);
        if cell.call == Call::DropSocket {
            if !cell.place.is_last() {
                this.holding.push(client(server.address()));
                lock(&cell.sockets).push(accept(&server));
            }
            let listener = TcpListener::bind(cell.family).expect("port 0 can be listened on");
            let to = listener.local_addr().expect("it is bound");
            lock(&cell.sockets).push(Socket::connect(to).expect("it listens"));
            this.holding.push(listener.accept().expect("a client has come").0);
        }
        if cell.has_channel() {
            *lock(&cell.events) = Some(server.events(ROOMY).expect("it is not served yet"));
        } else if cell.call == Call::DropEvents {
            this.fill_another_channel();
        }
        if !cell.has_channel() && !cell.place.is_unserved() {
            this.serve(&server, alive);
        }
        let is_alone = matches!(cell.place, Place::NestedServeAlone | Place::EndedInLocalDrop);
        if !is_alone || cell.call == Call::Destroy {
            let before = server.sockets().len();
            this.leaving.push(client(server.address()));
            let accepted = cell.place.is_unserved().then(|| accept(&server));
            eventually("the other client is admitted", || server.sockets().len() == before + 1);
            if cell.call == Call::Destroy {
                *lock(&cell.other) = accepted.or_else(|| server.sockets().pop());
            }
        }
        this
    }

    fn serve(&self, server: &Server, alive: mpsc::Sender<()>) {
        let cell = || Arc::clone(&self.cell);
        let (handler, refused, error, close) = (cell(), cell(), cell(), cell());
        let dropped = (self.cell.place == Place::HandlerDrop).then(|| OnDrop(cell()));
        let running = server
            .on()
            .connection(move |socket| {
                let _held = (&dropped, &alive);
                handler.handle(socket)
            })
            .refused(move |_| refused.reached(Place::RefusedHook))
            .error(move |_, connection| {
                error.reached(if connection.is_some() { Place::ErrorHook } else { Place::AcceptErrorHook });
            })
            .close(move || close.reached(Place::CloseHook))
            .spawn();
        *lock(&self.cell.running) = Some(running.expect("a thread can be started"));
    }

    /// The events of another server, with a thread that waits for room in their channel, and those of its client.
    fn fill_another_channel(&mut self) {
        let other = Server::listen(self.cell.family).expect("port 0 can be listened on");
        *lock(&self.cell.events) = Some(other.events(1).expect("it is not served yet"));
        let filler = Socket::connect(other.address()).expect("the server listens");
        filler.write_all("x").expect("it is connected");
        eventually("the client is admitted", || other.stats().accepted == 1);
        *lock(&self.cell.socket_events) = Some(filler.events(1).expect("it is connected"));
        self.other = Some(other);
    }

    fn thread(&mut self, work: impl FnOnce(&Cell) + Send + 'static) {
        let cell = Arc::clone(&self.cell);
        self.threads.push(thread::spawn(move || work(&cell)));
    }

    /// Has the place be reached. Gives what is to be kept until it is.
    fn provoke(&mut self) -> Vec<std::fs::File> {
        let cell = Arc::clone(&self.cell);
        let place = cell.place;
        let server = cell.server().expect("the call is still to come");
        let mut one = if matches!(place, Place::Outside | Place::Closing) || place.is_last() {
            None
        } else if matches!(place, Place::AcceptPaused | Place::AcceptErrorHook) {
            let free = socket2::Socket::new(Domain::for_address(at(&server)), Type::STREAM, None);
            let free = free.expect("a descriptor is free");
            let files = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            cell.is_armed.store(true, SeqCst);
            // The worker that waits has a descriptor for this client, and the next one has none.
            // One that came late to accept(2) has met the shortage already, and its call may have closed the server.
            if free.connect(&at(&server).into()).is_ok() {
                self.leaving.push(free.into());
            }
            return files;
        } else {
            if matches!(place, Place::Refused | Place::RefusedHook) {
                server.set_max_connections(server.connections());
            }
            cell.is_armed.store(true, SeqCst);
            Some(client(server.address()))
        };
        drop(server);
        cell.is_armed.store(true, SeqCst);
        if let Some(one) = &mut one {
            // A refused client may be closed already.
            let _ = one.write_all(b"x");
        }
        match place {
            Place::Outside => self.thread(|cell| cell.reached(Place::Outside)),
            Place::Receiver => self.thread(Cell::receive),
            Place::EachData | Place::EachError => {
                one.as_mut().expect("it is there").write_all(b"d").expect("it is open")
            }
            Place::EachEnd | Place::EachClose => {
                one.as_ref().expect("it is there").shutdown(Shutdown::Write).expect("it is open");
            }
            Place::Closing => self.thread(Cell::close),
            Place::Closed | Place::CloseHook | Place::HandlerDrop => {
                self.leave();
                self.thread(Cell::close);
            }
            Place::LocalDrop => {
                let left = self.notes.recv_timeout(HANG);
                assert!(matches!(left, Ok(Note::Left)), "the handler leaves its thread-local");
                self.thread(Cell::close);
            }
            Place::EndedInLocalDrop => self.thread(|cell| {
                let socket = cell.server().expect("the call is still to come").accept();
                let socket = socket.expect("accepting works").expect("the server is open");
                LOCAL.with(|local| local.borrow_mut().push(Box::new(socket)));
            }),
            Place::Ended | Place::Failed if cell.has_channel() => reset(one.take().expect("it is there")),
            _ => {}
        }
        let list = if place == Place::Receiver { &mut self.leaving } else { &mut self.holding };
        list.extend(one);
        Vec::new()
    }

    /// Has the connections of the other clients end: their handlers return, and the clients hold their own ends open.
    /// Where the events go through a channel, an end would have to be answered, so they are reset.
    fn leave(&mut self) {
        if self.cell.has_channel() {
            self.leaving.drain(..).for_each(reset);
        }
        for client in &mut self.leaving {
            // It may have been destroyed.
            let _ = client.write_all(b"q");
        }
    }

    /// Plays the cell and looks at what is left.
    fn play(mut self) -> Outcome {
        let cell = Arc::clone(&self.cell);
        let files = self.provoke();
        let begun = self.notes.recv_timeout(HANG);
        assert!(matches!(begun, Ok(Note::Begun)), "the place is reached");
        drop(files);
        if matches!(cell.call, Call::Wait | Call::Join) {
            self.leave();
        }
        let Ok(Note::Done(outcome)) = self.notes.recv_timeout(HANG) else { panic!("the call returns") };
        *lock(&cell.step) = "the call has returned, and the server does not end";
        if cell.call == Call::Destroy {
            assert!(is_turned_away(&self.leaving[0]), "the client of a destroyed connection sees its end");
        }
        self.end();
        outcome
    }

    fn end(mut self) {
        let cell = Arc::clone(&self.cell);
        self.leave();
        if cell.place == Place::EachData {
            self.holding.iter().for_each(|client| drop(client.shutdown(Shutdown::Write)));
        }
        cell.close();
        let server = take(&cell.server);
        if let Some(server) = &server {
            server.wait().expect("wait() from outside has no errors");
        }
        for running in [&cell.running, &cell.nested].into_iter().filter_map(take) {
            running.join().expect("serving ends without an error");
        }
        if let Some(other) = self.other {
            assert!(!other.is_listening(), "dropping its events has closed the other server");
            other.wait().expect("wait() from outside has no errors");
        }
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        assert_eq!(self.handler.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected), "serve() has returned");
        drop(take(&cell.events));
        if server.is_none() {
            eventually("the end is told", || lock(&cell.told).contains(&Some(Place::Closed)));
        }
        let told = lock(&cell.told).clone();
        let times = |place| told.iter().filter(|told| **told == Some(place)).count();
        assert_eq!(times(Place::Closed), 1, "Closed is told once: {told:?}");
        assert_eq!(told.last(), Some(&Some(Place::Closed)), "Closed is told last: {told:?}");
        assert_eq!(times(Place::Accepted), times(Place::Ended), "each connection is told twice: {told:?}");
        if let Some(stats) = server.map(|server| server.stats()) {
            assert_eq!(stats.open, 0, "no connection is left: {stats:?}");
            assert_eq!(stats.accepted, stats.ended + stats.failed + stats.panicked, "the numbers are right: {stats:?}");
        }
    }
}

/// Ends the connection by a reset.
fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("the option can be set");
}

/// Plays one cell; an error says what is wrong with it.
fn play(family: &'static str, place: Place, call: Call) -> Result<Outcome, String> {
    let (notes, noted) = mpsc::channel();
    let cell = Arc::new(Cell {
        family,
        place,
        call,
        server: Mutex::default(),
        sockets: Mutex::default(),
        events: Mutex::default(),
        socket_events: Mutex::default(),
        other: Mutex::default(),
        running: Mutex::default(),
        nested: Mutex::default(),
        cancel: Cancel::new(),
        is_armed: AtomicBool::new(false),
        has_acted: AtomicBool::new(false),
        told: Mutex::default(),
        notes,
        step: Mutex::new("the place is not reached"),
    });
    let (done, result) = mpsc::channel();
    let playing = Arc::clone(&cell);
    let thread = thread::spawn(move || {
        let _ = done.send(Outside::set_up(playing, noted).play());
    });
    let name = format!("{call} in {place:?}, {family}");
    let outcome = match result.recv_timeout(HANG) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => return Err(format!("{name}: hangs, {}", lock(&cell.step))),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().expect_err("it has given nothing");
            return Err(format!("{name}: not so: {}", text_of(&*panic)));
        }
    };
    outcome.wrong.map_or(Ok(Outcome { wrong: None, ..outcome }), |wrong| Err(format!("{name}: {wrong}")))
}

/// Plays a cell after its control until in one of ten rounds it was at most a second slower, and a shutdown of a second
/// left nothing running. Load lengthens single rounds; a call that waits for its own thread is slow in each.
fn compare(family: &'static str, place: Place, call: Call) -> Result<(), String> {
    let mut last = String::new();
    // The receiver answers nothing while it waits, so a shutdown there takes its time.
    let grace = if place == Place::Receiver && call == Call::ShutdownSecond { SECOND } else { Duration::ZERO };
    for _ in 0..10 {
        let control = play(family, Place::Outside, call)?;
        let cell = play(family, place, call)?;
        let times = format!("{:?}, from outside {:?}", cell.took, control.took);
        if cell.took < control.took + SECOND + grace && cell.still_running == 0 {
            println!("measured {call} in {place:?}, {family}: {times}");
            return Ok(());
        }
        last = format!("{times}, and {} are still running", cell.still_running);
    }
    Err(format!("{call} in {place:?}, {family}: in none of ten rounds as from outside, at last {last}"))
}

/// The cells of a place.
fn cells(place: Place) -> Vec<(&'static str, Place, Call)> {
    let calls = CALLS.into_iter().filter(|call| place.has(*call));
    calls.flat_map(|call| families().into_iter().map(move |family| (family, place, call))).collect()
}

/// Plays the cells of each place at once, one place after the other.
#[track_caller]
fn each_call_returns(places: &[Place]) {
    let mut wrong = Vec::new();
    for place in places {
        let cells = cells(*place).into_iter();
        let cells: Vec<_> = cells.map(|(at, place, call)| thread::spawn(move || compare(at, place, call))).collect();
        wrong.extend(cells.into_iter().filter_map(|cell| cell.join().expect("it does not panic").err()));
    }
    assert!(wrong.is_empty(), "each call that ends something returns in {places:?}:\n{}", wrong.join("\n"));
}

/// Plays one cell after the other: each takes all descriptors for a while.
#[track_caller]
fn each_call_returns_alone(place: Place) {
    let wrong: Vec<_> =
        cells(place).into_iter().filter_map(|(at, place, call)| compare(at, place, call).err()).collect();
    assert!(wrong.is_empty(), "each call that ends something returns in {place:?}:\n{}", wrong.join("\n"));
}

/// Ensures that each call that ends something returns in a handler.
#[test]
fn each_call_returns_in_a_handler() {
    each_call_returns(&[Place::Handler]);
}

/// Ensures that each call that ends something returns in the `error` hook of an error that a handler returned.
#[test]
fn each_call_returns_in_the_error_hook() {
    each_call_returns(&[Place::ErrorHook]);
}

/// Ensures that each call that ends something returns in the `refused` hook.
#[test]
fn each_call_returns_in_the_refused_hook() {
    each_call_returns(&[Place::RefusedHook]);
}

/// Ensures that each call that ends something returns in the `close` hook.
#[test]
fn each_call_returns_in_the_close_hook() {
    each_call_returns(&[Place::CloseHook]);
}

/// Ensures that each call that ends something returns in the filter.
#[test]
fn each_call_returns_in_the_filter() {
    each_call_returns(&[Place::Filter]);
}

/// Ensures that each call that ends something returns in the report `Accepted`.
#[test]
fn each_call_returns_in_the_report_of_a_client() {
    each_call_returns(&[Place::Accepted]);
}

/// Ensures that each call that ends something returns in the report `Ended`.
#[test]
fn each_call_returns_in_the_report_of_an_end() {
    each_call_returns(&[Place::Ended]);
}

/// Ensures that each call that ends something returns in the report `Failed`.
#[test]
fn each_call_returns_in_the_report_of_a_failure() {
    each_call_returns(&[Place::Failed]);
}

/// Ensures that each call that ends something returns in the report `Panicked`.
#[test]
fn each_call_returns_in_the_report_of_a_panic() {
    each_call_returns(&[Place::Panicked]);
}

/// Ensures that each call that ends something returns in the report `Refused`.
#[test]
fn each_call_returns_in_the_report_of_a_refusal() {
    each_call_returns(&[Place::Refused]);
}

/// Ensures that each call that ends something returns in the report `Closing`.
#[test]
fn each_call_returns_in_the_report_of_closing() {
    each_call_returns(&[Place::Closing]);
}

/// Ensures that each call that ends something returns in the report `Closed`.
#[test]
fn each_call_returns_in_the_report_of_the_last_end() {
    each_call_returns(&[Place::Closed]);
}

/// Ensures that each call that ends something returns in the report `AcceptPaused`.
#[test]
fn each_call_returns_in_the_report_of_a_shortage() {
    in_child_for(LONG, this_test!(), &["prlimit", "--nofile=128"], || each_call_returns_alone(Place::AcceptPaused));
}

/// Ensures that each call that ends something returns in the `error` hook of a shortage.
#[test]
fn each_call_returns_in_the_error_hook_of_a_shortage() {
    in_child_for(LONG, this_test!(), &["prlimit", "--nofile=128"], || each_call_returns_alone(Place::AcceptErrorHook));
}

/// Ensures that each call that ends something returns in each event of `each`.
#[test]
fn each_call_returns_in_each_event() {
    each_call_returns(&[Place::EachData, Place::EachEnd, Place::EachError, Place::EachClose]);
}

/// Ensures that each call that ends something returns on the thread that receives the server's events.
#[test]
fn each_call_returns_where_events_are_received() {
    each_call_returns(&[Place::Receiver]);
}

/// Ensures that each call that ends something returns in the `Drop` of what a handler panicked with.
#[test]
fn each_call_returns_in_the_drop_of_a_panic() {
    each_call_returns(&[Place::PanicDrop]);
}

/// Ensures that each call that ends something returns in the `Drop` of the error that a handler returned.
#[test]
fn each_call_returns_in_the_drop_of_an_error() {
    each_call_returns(&[Place::ErrorDrop]);
}

/// Ensures that each call that ends something returns in the `Drop` of the handler.
#[test]
fn each_call_returns_in_the_drop_of_the_handler() {
    each_call_returns(&[Place::HandlerDrop]);
}

/// Ensures that each call that ends something returns in the `Drop` of a thread-local of a worker.
#[test]
fn each_call_returns_in_the_drop_of_a_thread_local() {
    each_call_returns(&[Place::LocalDrop]);
}

/// Ensures that each call that ends something returns in the report `Ended` of a connection that a thread-local held.
#[test]
fn each_call_returns_where_a_thread_local_ends_a_connection() {
    each_call_returns(&[Place::EndedInLocalDrop]);
}

/// Ensures that each call that ends something returns in the handler of a nested server, on the thread of the outer
/// handler.
#[test]
fn each_call_returns_in_a_nested_serve() {
    each_call_returns(&[Place::NestedServeAlone]);
}

/// Ensures the same while another client of the outer server is connected.
#[test]
fn each_call_returns_in_a_nested_serve_beside_another_client() {
    each_call_returns(&[Place::NestedServe]);
}

/// Ensures that each call that ends something returns in the handler of a nested server, on one of its workers.
#[test]
fn each_call_returns_on_a_worker_of_a_nested_serve() {
    each_call_returns(&[Place::NestedWorker]);
}

/// Ensures that each call that ends something returns in the handler of a server that a handler has spawned.
#[test]
fn each_call_returns_in_a_nested_spawn() {
    each_call_returns(&[Place::NestedSpawn]);
}
