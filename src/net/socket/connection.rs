//! A connection, below its handles: the stream, which directions have ended, and the one way to close it.
//!
//! Closing acts on the connection, not on a handle. The stream is behind a lock, and closing takes the stream out.
//! Threads in a system call still have the stream, and are woken. The last of these threads to drop the stream closes
//! the descriptor. No clone of a handle keeps the descriptor open.

use std::any::Any;
use std::mem::{self, MaybeUninit};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use socket2::SockRef;

use crate::address::{Address, Family};
use crate::callback::Frame;
use crate::cancel::{Attached, Cancel};
use crate::error::{Cause, Error};
use crate::net::socket::carried::Carried;
use crate::net::socket::lingering::leaving::Last;
use crate::net::socket::lingering::{Place, tell_given_up};
use crate::net::socket::outbox::queue::Queue;
use crate::net::socket::stream::{Options, Settings};
use crate::net::socket::timers::{IdleMark, Limits, Timer, Timers};
use crate::net::socket::unread::Unread;
use crate::report::{ConnectionId, ConnectionInfo, Outcome, Report, Reporter};
use crate::sync::atomic_u64::AtomicU64;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, read, wait, write};
use crate::sync::turn::Turn;
use crate::sys;
use crate::thread::ThreadOptions;

/// Our FIN was sent: by `end()`, or because the peer has ended its direction.
pub(crate) const WE_ENDED: u16 = 1;
/// The peer's FIN was read.
pub(crate) const PEER_ENDED: u16 = 2;
/// Closed or being closed. The thread that sets this closes the connection.
pub(crate) const CLOSED: u16 = 4;
/// A timer is set, or the kernel has a timeout of ours.
pub(crate) const TIMED: u16 = 8;
/// Loops that deliver events are paused.
const PAUSED: u16 = 16;
/// A thread waits for a place to linger, or has waited.
const WAITS_TO_LINGER: u16 = 64;
/// The server is shutting down. A read of 0 bytes may be the interruption instead of the end of the stream.
pub(crate) const INTERRUPTED: u16 = 32;
/// Bytes were put back.
pub(crate) const UNREAD: u16 = 128;
/// The connection has a `Buffered`.
pub(crate) const BUFFERED: u16 = 256;
/// Closed by a `Cancel`. Set together with `CLOSED`.
const ABORTED: u16 = 512;
/// We have ended reading. Every read returns 0.
pub(crate) const READ_ENDED: u16 = 1024;
/// The queue of the outbox is made, or is being made.
pub(crate) const QUEUES: u16 = 2048;
/// The end of our direction was begun. A queue that is made after that takes nothing.
pub(crate) const ENDS: u16 = 4096;
/// Closed because of the error in `failed_by`. Set together with `CLOSED`.
const FAILED: u16 = 8192;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) allow_half_open: bool,
    pub(crate) reporter: Reporter,
    /// Whether a server accepted it.
    pub(crate) is_accepted: bool,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    /// The number of bytes written when the server began to shut down. 0 if the program had ended reading before.
    written_at_interrupt: AtomicU64,
    pub(crate) timers: Timers,
    pub(crate) carried: Carried,
    pub(crate) flags: AtomicU16,
    /// Taken out by `close`.
    pub(crate) stream: RwLock<Option<Arc<TcpStream>>>,
    /// The stream of a closed connection that lingers while other threads have it. Set in the step that takes it out.
    lingers: OnceLock<Weak<TcpStream>>,
    /// The turn to read. It is held during a system call. So the next reader finds what was put back, and all readers
    /// find an error of the connection.
    pub(crate) reading: Turn,
    /// The turn to write. It is held during a whole message, and that can be as long as the peer does not read.
    pub(crate) writing: Turn,
    /// The outbox's queue, made when the first write is queued.
    pub(crate) queue: OnceLock<Box<Queue>>,
    pub(crate) queue_limit: usize,
    /// The buffer in which messages are composed, so that composing allocates once for each connection.
    pub(crate) scratch: Mutex<Vec<u8>>,
    /// The first error of the connection, as an error of reading. The system reports an error to only one call. After
    /// that, reads would return 0, as at the end of the stream.
    pub(crate) broken: Mutex<Option<Error>>,
    /// The error with which the outbox closes the connection. It counts once `FAILED` is set.
    failed_by: OnceLock<Error>,
    /// Bytes that were read and put back.
    pub(crate) unread: Mutex<Unread>,
    /// The settings last made.
    settings: Mutex<Settings>,
    /// How many threads wait for a flag. Flags that threads wait for change under this lock.
    gate: Mutex<usize>,
    gate_moved: Condvar,
    /// Values that are dropped when the connection is closed. Dropping them wakes threads that wait for that.
    open: Mutex<Vec<Box<dyn Any + Send>>>,
    /// Set for an accepted connection, until it is closed.
    owner: Mutex<Option<Arc<dyn Owner>>>,
    /// Set for a client's connection, if there is something to keep.
    pub(crate) origin: OnceLock<Box<Origin>>,
    /// Our address and the load balancer's, if the connection came through a load balancer. In that case, `local` and
    /// `remote` are the addresses of the client's connection.
    pub(crate) proxied: OnceLock<Box<(Address, Address)>>,
}

/// How a client's connection was made.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The addresses tried, if there were several.
    pub(crate) attempted: Vec<Address>,
    /// Taken out by `close`. Dropping it detaches the connection from its `Cancel`.
    pub(crate) attached: Mutex<Option<Attached>>,
    /// The options of threads that the connection starts.
    pub(crate) threads: ThreadOptions,
    /// The file of a Unix client with a path. Taken out by `close`.
    pub(crate) file: Mutex<Option<Removal>>,
}

/// Removes the file of a connection. Dropping it does so too, without an error.
pub(crate) struct Removal(pub(crate) Box<dyn FnOnce() -> Result<(), Error> + Send>);

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Removal")
    }
}

/// The server that accepted a connection. The connection holds this until its close was reported. Each thread that acts
/// for the connection holds it too. The server does not stop before all of them have dropped it.
pub(crate) trait Owner: fmt::Debug + Send + Sync {
    /// The thread acts for the connection until the result is dropped.
    fn frame(&self) -> Frame;

    /// Returns a place to linger. Blocks until there is one, until `given_up`, or until the deadline. Called while the
    /// connection has its slot.
    fn place_to_linger(&self, deadline: Deadline, given_up: &dyn Fn() -> bool) -> Option<Place>;

    /// Whether a shutdown of the server has begun. It begins before the server's connections are interrupted.
    fn is_shutting_down(&self) -> bool;

    /// Called when the connection ends with this outcome, before the peer can see that. So if a client sees the close
    /// and connects again, its old slot is free. The connection's gate is locked during the call.
    fn ends(&self, id: ConnectionId, outcome: Outcome);
}

/// How long a reset waits for a blocked writer, where it must wait.
pub(crate) const RESET_PATIENCE: Duration = Duration::from_millis(10);

/// How the descriptor is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CloseMode {
    /// close(2) only, as in std. Copies in other processes keep the connection.
    Plain,
    /// Sends FIN, then discards input until the peer's FIN arrives or the time expires. Closing with unread input would
    /// send RST, which can destroy the reply on its way (RFC 9112, 9.6).
    InOrder,
    /// Closes both directions now, and wakes blocked threads.
    Cut,
    /// Like `Cut`, for a `Cancel`. Every later call returns the error of the `Cancel`.
    Abort,
    /// Sends RST. Before that, a writing thread has this long to return by itself.
    Reset(Duration),
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        (local, remote): (Address, Address),
        options: Options,
        reporter: Reporter,
        owner: Option<Arc<dyn Owner>>,
    ) -> Connection {
        let timers = Timers::new(options.timeout, options.deadline.and_then(|time| Deadline::after(time).instant()));
        let is_timed = timers.is_on() || sys::SLICE.is_some();
        let flags = if options.paused { PAUSED } else { 0 } | if is_timed { TIMED } else { 0 };
        Connection {
            id: ConnectionId::next(),
            local,
            remote,
            allow_half_open: options.allow_half_open,
            reporter,
            is_accepted: owner.is_some(),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            written_at_interrupt: AtomicU64::new(0),
            timers,
            carried: Carried::default(),
            flags: AtomicU16::new(flags),
            stream: RwLock::new(Some(Arc::new(stream))),
            lingers: OnceLock::new(),
            reading: Turn::default(),
            writing: Turn::default(),
            queue: OnceLock::new(),
            queue_limit: options.outbox_limit,
            scratch: Mutex::default(),
            broken: Mutex::default(),
            failed_by: OnceLock::new(),
            unread: Mutex::default(),
            settings: Mutex::new(options.settings),
            gate: Mutex::new(0),
            gate_moved: Condvar::new(),
            open: Mutex::default(),
            owner: Mutex::new(owner),
            origin: OnceLock::new(),
            proxied: OnceLock::new(),
        }
    }

    /// The family of the socket itself, which may differ from the client's in a PROXY header.
    pub(crate) fn family(&self) -> Family {
        self.proxied.get().map_or(&self.local, |ends| &ends.0).family()
    }

    /// The options of threads that the connection starts.
    pub(crate) fn threads(&self) -> &ThreadOptions {
        const DEFAULT: &ThreadOptions = &ThreadOptions::DEFAULT;
        self.origin.get().map_or(DEFAULT, |origin| &origin.threads)
    }

    /// Returns the stream. If the connection is closed, returns an error that names `call`.
    #[inline]
    pub(crate) fn stream(&self, call: &'static str) -> io::Result<Arc<TcpStream>> {
        read(&self.stream).clone().ok_or_else(|| io::Error::from(self.gone(call)))
    }

    /// Returns an error that names `call` if the connection is closed.
    pub(crate) fn check_open(&self, call: &'static str) -> io::Result<()> {
        if self.is_closed() { Err(self.gone(call).into()) } else { Ok(()) }
    }

    /// The error of a call on the closed connection.
    pub(crate) fn gone(&self, call: &'static str) -> Error {
        if self.has(ABORTED) { Cancel::error() } else { destroyed(call) }
    }

    /// The error that has closed the connection, if it is of a `Cancel` or of the outbox. Other errors are returned to
    /// the program, which then knows them.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self.flags.load(SeqCst) {
            flags if flags & ABORTED != 0 => Some(Cancel::error()),
            flags if flags & FAILED != 0 => self.failed_by.get().cloned(),
            _ => None,
        }
    }

    /// Whether any of the flags is set, without ordering. A call that begins after a flag was set sees it.
    #[inline]
    pub(crate) fn may_have(&self, flags: u16) -> bool {
        self.flags.load(Relaxed) & flags != 0
    }

    #[inline]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags.load(SeqCst) & flag != 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.has(CLOSED)
    }

    /// Whether it is closed, and no longer counts as open. The thread that closes it has the lock until both are so.
    pub(crate) fn has_ended(&self) -> bool {
        let is_closed = self.is_closed();
        if is_closed {
            drop(lock(&self.gate));
        }
        is_closed
    }

    pub(crate) fn we_ended(&self) -> bool {
        self.has(WE_ENDED)
    }

    pub(crate) fn peer_ended(&self) -> bool {
        self.has(PEER_ENDED)
    }

    // ---- ending

    /// Blocks until our direction has ended or the connection is closed. Returns an error if a timer expires before.
    pub(crate) fn wait_for_our_end(&self, told: &mut Option<IdleMark>) -> io::Result<()> {
        self.wait_until(told, &|flags| (flags & (WE_ENDED | CLOSED) != 0).then_some(Ok(())))
    }

    /// Like `wait_for_our_end`, but also returns an error if the server shuts down.
    pub(crate) fn wait_for_our_end_or_shutdown(&self, told: &mut Option<IdleMark>) -> io::Result<()> {
        self.wait_until(told, &|flags| match flags {
            flags if flags & (WE_ENDED | CLOSED) != 0 => Some(Ok(())),
            flags if flags & INTERRUPTED != 0 => Some(Err(shutting_down().into())),
            _ => None,
        })
    }

    pub(crate) fn pause(&self) {
        self.flags.fetch_or(PAUSED, SeqCst);
    }

    pub(crate) fn resume(&self) {
        self.move_gate(&mut || self.flags.fetch_and(!PAUSED, SeqCst));
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.has(PAUSED)
    }

    /// For a loop that has come to the end of the stream or to a shutdown: whether more bytes may come. Another thread
    /// may have bytes that it has read, and may put them back. It can do so during a pause, or has done so. Both flags
    /// are read at once, so what was put back before a pause has ended is found.
    pub(crate) fn may_read_more(&self) -> bool {
        let flags = self.flags.load(SeqCst);
        flags & PAUSED != 0 || flags & (UNREAD | READ_ENDED) == UNREAD
    }

    /// Blocks until events may be delivered, or the connection is closed. Returns an error if a timer expires before.
    ///
    /// A shutdown of the server does not end this wait, because data that was received before the pause would be lost.
    pub(crate) fn wait_while_paused(&self, told: &mut Option<IdleMark>) -> io::Result<()> {
        self.wait_until(told, &|flags| (flags & PAUSED == 0 || flags & CLOSED != 0).then_some(Ok(())))
    }

    /// Blocks until `done` returns something, or a timer of the connection expires.
    fn wait_until(&self, told: &mut Option<IdleMark>, done: &dyn Fn(u16) -> Option<io::Result<()>>) -> io::Result<()> {
        let mut limits = self.timers.begin_waiting();
        let mut waiting = lock(&self.gate);
        *waiting += 1;
        let result = loop {
            if let Some(result) = done(self.flags.load(SeqCst)) {
                break result;
            }
            waiting = match limits.left(told) {
                Ok(left) => wait(&self.gate_moved, waiting, left),
                Err(error) => break Err(error),
            };
        };
        *waiting -= 1;
        result
    }

    /// Changes the flags, then wakes threads that wait for them.
    pub(crate) fn move_gate(&self, change: &mut dyn FnMut() -> u16) -> u16 {
        let waiting = lock(&self.gate);
        let before = change();
        if *waiting > 0 {
            self.gate_moved.notify_all();
        }
        before
    }

    /// Sets a flag that a thread may wait for. Returns the flags before.
    pub(crate) fn set(&self, flag: u16) -> u16 {
        self.move_gate(&mut || self.flags.fetch_or(flag, SeqCst))
    }

    /// How many bytes have passed, in both directions.
    pub(crate) fn passed(&self) -> u64 {
        self.bytes_read.load(Relaxed) + self.bytes_written.load(Relaxed)
    }

    /// How a forced close is done. If a pipe writes to the connection, it is closed with RST, so that the peer does not
    /// take a part of the data for the whole. A writing thread has 10 ms to return, at most `patience`, so that no FIN
    /// is sent before the RST.
    pub(crate) fn mode_of_cut(&self, patience: Duration) -> CloseMode {
        let has_reset = self.family() != Family::Unix && self.carried.is_fed();
        if has_reset { CloseMode::Reset(patience.min(Duration::from_millis(10))) } else { CloseMode::Cut }
    }

    /// Whether reading has ended: at the end of the stream, or with `end_reading`.
    pub(crate) fn has_read_all(&self) -> bool {
        self.has(PEER_ENDED | READ_ENDED)
    }

    /// Ends reading. Wakes threads that wait for the peer.
    pub(crate) fn end_reading(&self) {
        // Set before the call, so that the threads that the call wakes find the reason.
        self.set(READ_ENDED);
        self.wake_reads();
    }

    /// The server is shutting down. Wakes threads that wait for the peer.
    pub(crate) fn interrupt_reads(&self) {
        self.move_gate(&mut || {
            // The first that ends reading counts: a shutdown, or the program. What was written after it may be a last
            // answer.
            if !self.has(INTERRUPTED | READ_ENDED) {
                self.written_at_interrupt.store(self.bytes_written.load(Relaxed), Relaxed);
            }
            self.flags.fetch_or(INTERRUPTED, SeqCst)
        });
        self.wake_reads();
    }

    fn wake_reads(&self) {
        if let (Some(stream), true) = (&*read(&self.stream), sys::SHUTDOWN_WAKES_READ) {
            // Fails only if the connection is already gone.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    // ---- closing

    /// Closes the connection if it is open, and reports that. Returns whether this call closed it.
    pub(crate) fn close(&self, outcome: Outcome, mode: CloseMode) -> bool {
        let ended = self.end(outcome, mode);
        let is_closed_here = ended.is_some();
        if let Some(ended) = ended {
            ended.tell();
        }
        is_closed_here
    }

    /// Like `close`, for the program. If the connection is closed and lingers, this ends reads of other threads.
    pub(crate) fn destroy(&self, outcome: Outcome, mode: CloseMode) -> bool {
        let is_closed_here = self.close(outcome, mode);
        if !is_closed_here && sys::SHUTDOWN_WAKES_READ {
            self.wake_reads_left();
        }
        is_closed_here
    }

    /// Wakes threads that still read the closed connection. If there are none, does nothing, because the system answers
    /// everything that arrives after this with RST.
    fn wake_reads_left(&self) {
        if !self.reading.is_taken() {
            return;
        }
        let stream = read(&self.stream);
        // Fails only if the connection is already gone.
        match (&*stream, self.lingers.get()) {
            // The thread that closes the connection has not taken it out yet.
            (Some(stream), _) => _ = stream.shutdown(Shutdown::Read),
            (None, Some(stream)) => _ = stream.upgrade().map(|stream| stream.shutdown(Shutdown::Read)),
            (None, None) => {}
        }
    }

    /// Closes the connection if it is open: gives the slot back, counts the connection as ended, and closes the
    /// descriptor, in this order. Runs no code of the program. The caller must report the close. If another thread
    /// closes the connection, the slot is back when this returns.
    ///
    /// Blocks if as many connections linger as may, and all their peers keep sending, until the deadline at the latest.
    pub(crate) fn end(&self, outcome: Outcome, mode: CloseMode) -> Option<Ended> {
        let lingers = match mode {
            CloseMode::InOrder if !self.has(PEER_ENDED | CLOSED) => {
                let deadline = Deadline::at(self.timers.deadline());
                // Either this finds `CLOSED`, or the thread that closes the connection finds that a thread waits.
                let given_up = || self.flags.fetch_or(WAITS_TO_LINGER, SeqCst) & CLOSED != 0;
                self.owner().and_then(|owner| owner.place_to_linger(deadline, &given_up))
            }
            _ => None,
        };
        let flags = match mode {
            CloseMode::Abort => CLOSED | ABORTED,
            _ if outcome == Outcome::Failed && self.failed_by.get().is_some() => CLOSED | FAILED,
            _ => CLOSED,
        };
        let close = |before| (before & CLOSED == 0).then_some(before | flags);
        let mut owner = None;
        let before = self.move_gate(&mut || match self.flags.fetch_update(SeqCst, SeqCst, close) {
            Ok(before) => {
                // Under the lock, so that no thread finds the connection closed and still counted. See `has_ended`.
                owner = lock(&self.owner).take();
                if let Some(owner) = &owner {
                    owner.ends(self.id, outcome);
                }
                before
            }
            Err(before) => before,
        });
        if before & CLOSED != 0 {
            return None;
        }
        if before & WAITS_TO_LINGER != 0 {
            tell_given_up();
        }
        if let Some(queue) = self.queue.get() {
            // The thread that has sent the FIN may not have told the queue yet. If our direction was ended by closing,
            // this close sends it.
            queue.abandon(before & WE_ENDED != 0 || matches!(mode, CloseMode::InOrder));
        }
        self.drop_signals();
        let file = self.detach();
        let stream = {
            let mut stream = write(&self.stream);
            if let Some(stream) = stream.as_ref().filter(|stream| lingers.is_some() && Arc::strong_count(stream) > 1) {
                let _ = self.lingers.set(Arc::downgrade(stream));
            }
            stream.take()
        };
        if let Some(stream) = stream {
            match (lingers, &owner) {
                (Some(place), Some(owner)) => {
                    // More input could be answered with RST, which must not destroy what was written since then.
                    let was_told = self.bytes_written.load(Relaxed) > self.written_at_interrupt.load(Relaxed);
                    let is_interrupted =
                        sys::SHUTDOWN_WAKES_READ && self.has(INTERRUPTED | READ_ENDED) && !self.we_ended();
                    if is_interrupted {
                        // The interruption may have come too late for this stream.
                        let _ = stream.shutdown(Shutdown::Read);
                    }
                    let last = if is_interrupted { Last::quiet(was_told) } else { Last::Nothing };
                    place.begin(stream, last, self.timers.lifetime_left(), Box::new(Arc::clone(owner)));
                }
                _ => self.let_go(stream, mode),
            }
        }
        let report = self.reporter.is_on().then(|| Report::Ended {
            connection: self.name(),
            after: self.timers.age(),
            read: self.bytes_read.load(Relaxed),
            written: self.bytes_written.load(Relaxed),
            outcome,
        });
        let is_left =
            file.err().map(|error| Box::new(Report::Failed { connection: Some(self.name()), error, udp: false }));
        Some(Ended { reporter: self.reporter.clone(), is_left, report, owner })
    }

    /// Whether its own server shuts down. An error of another server's shutdown is an error here. A shutdown interrupts
    /// one connection after another, so an error of another connection of this server may come before this one is
    /// interrupted.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.has(INTERRUPTED) || self.owner().is_some_and(|owner| owner.is_shutting_down())
    }

    /// Detaches the connection from its `Cancel`, and removes its file.
    fn detach(&self) -> Result<(), Error> {
        let Some(origin) = self.origin.get() else { return Ok(()) };
        let (attached, file) = (lock(&origin.attached).take(), lock(&origin.file).take());
        drop(attached);
        file.map_or(Ok(()), |file| file.0())
    }

    /// What keeps the accepting server from stopping. `None` once the connection is closed, and for a client's
    /// connection.
    pub(crate) fn owner(&self) -> Option<Arc<dyn Owner>> {
        lock(&self.owner).clone()
    }

    /// Drops `open` when the connection is closed, which may be at once.
    pub(crate) fn tell_closed(&self, open: impl Any + Send) {
        lock(&self.open).push(Box::new(open));
        if self.is_closed() {
            self.drop_signals();
        }
    }

    fn drop_signals(&self) {
        let open = mem::take(&mut *lock(&self.open));
        drop(open);
    }

    /// Drops the stream. While a forked process has a copy of the descriptor, close(2) alone ends nothing. So a
    /// direction that is still open is shut down.
    fn let_go(&self, stream: Arc<TcpStream>, mode: CloseMode) {
        // The stream is out of the lock, so no other thread can take it now. A count of 1 means that only this thread
        // has it.
        let others = Arc::strong_count(&stream) > 1;
        // shutdown(2) fails only if the connection is already gone.
        match mode {
            CloseMode::Reset(patience) => self.reset(stream, patience),
            _ if others => {
                // A reading thread has left nothing unread.
                let is_unread = !self.reading.is_taken() && self.has_unread_input(&stream);
                if !(is_unread && sys::is_reset_now(&stream)) {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            CloseMode::Plain => {}
            _ if self.both_ended(mode) => {}
            _ if self.has_unread_input(&stream) => self.reset(stream, Duration::ZERO),
            _ => _ = stream.shutdown(Shutdown::Both),
        }
    }

    /// Whether close(2) alone is enough, because no direction must be shut down before. If the connection ends in order
    /// and the peer has ended its direction, close(2) sends our FIN.
    fn both_ended(&self, mode: CloseMode) -> bool {
        self.peer_ended() && (self.we_ended() || matches!(mode, CloseMode::InOrder))
    }

    /// Whether input is unread, so that close(2) sends RST and no FIN. If shutdown(2) came first, the peer would get
    /// FIN, as if its bytes had been read.
    fn has_unread_input(&self, stream: &TcpStream) -> bool {
        let is_tcp = self.family() != Family::Unix;
        is_tcp
            && !self.peer_ended()
            && sys::peek_now(stream, &mut [MaybeUninit::uninit()]).is_ok_and(|length| length > 0)
    }

    /// Sends RST, and closes the descriptor. If it must wait for a writing thread, it waits at most `patience`.
    fn reset(&self, stream: Arc<TcpStream>, patience: Duration) {
        // If RST cannot be sent now, the kernel sends it when the last descriptor is closed, unless the connection was
        // shut down for writing before.
        let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        let stream = match Arc::try_unwrap(stream) {
            Ok(stream) => return drop(sys::reset(stream)),
            Err(stream) => stream,
        };
        if !sys::is_reset_now(&stream) {
            // This wakes a reader of ours without ending our direction. It does not wake a writer.
            let _ = stream.shutdown(Shutdown::Read);
            if !self.writer_leaves(patience) {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }

    /// Whether the writing thread returns by itself after the connection was closed. A thread that is not blocked does.
    /// If our direction were ended during its write, FIN would be sent before RST, and the peer would take that for the
    /// end of the stream. The data of a blocked writer keeps the FIN back.
    fn writer_leaves(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            if self.try_turn().is_some() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Closes the connection after an error, and reports both.
    pub(crate) fn fail(&self, error: &Error) {
        let ended = self.end(Outcome::Failed, CloseMode::Cut);
        self.tell_end_by(error, ended);
    }

    /// Like `end`, after an error of the outbox. The thread that delivers events gets the error by `failure`. The
    /// caller must report the error too.
    pub(crate) fn end_by(&self, error: &Error) -> Option<Ended> {
        let _ = self.failed_by.set(error.clone());
        self.end(Outcome::Failed, CloseMode::Cut)
    }

    /// Like `fail`, but closes with RST, so that the peer does not take a part of the data for the whole. A Unix socket
    /// has no RST.
    pub(crate) fn fail_by_reset(&self, error: &Error) {
        let is_unix = self.family() == Family::Unix;
        let mode = if is_unix { CloseMode::Cut } else { CloseMode::Reset(RESET_PATIENCE) };
        self.tell_end_by(error, self.end(Outcome::Failed, mode));
    }

    /// Closes the connection for a `Cancel`, and reports it.
    pub(crate) fn abort(&self) {
        let ended = self.end(Outcome::Failed, CloseMode::Abort);
        self.tell_end_by(&Cancel::error(), ended);
    }

    /// Reports the error if it has ended the connection, and reports that the connection is closed.
    pub(crate) fn tell_end_by(&self, error: &Error, ended: Option<Ended>) {
        if let Some(ended) = ended {
            let _frame = ended.owner.as_ref().map(|owner| owner.frame());
            self.tell_failed(error);
            drop(_frame);
            ended.tell();
        }
    }

    /// Reports the error that has ended the connection.
    pub(crate) fn tell_failed(&self, error: &Error) {
        self.reporter.tell(|| Report::Failed { connection: Some(self.name()), error: error.clone(), udp: false });
    }

    pub(crate) fn name(&self) -> ConnectionInfo {
        ConnectionInfo {
            id: self.id,
            local: self.local.clone(),
            remote: self.remote.clone(),
            accepted: self.is_accepted,
        }
    }

    // ---- settings

    /// Sets a timer, which applies from the next call on.
    pub(crate) fn set_timer(&self, timer: Timer, time: Option<Duration>) {
        self.timers.set(timer, time, |is_on| self.mark_timed(is_on));
    }

    pub(crate) fn set_deadline(&self, at: Option<Instant>) {
        self.timers.set_deadline(at, |is_on| self.mark_timed(is_on));
    }

    /// Called before a system call that may block, as [`Limits::enter`].
    pub(crate) fn enter(
        &self,
        stream: &TcpStream,
        limits: &mut Limits<'_>,
        told: &mut Option<IdleMark>,
    ) -> io::Result<bool> {
        let may_time_out = limits.enter(stream, told)?;
        if !may_time_out && self.may_have(TIMED) {
            self.timers.rest(|| self.mark_timed(false));
        }
        Ok(may_time_out)
    }

    /// Under the lock of the timers, so that the flag matches them.
    fn mark_timed(&self, is_on: bool) {
        match is_on || sys::SLICE.is_some() {
            true => self.flags.fetch_or(TIMED, SeqCst),
            false => self.flags.fetch_and(!TIMED, SeqCst),
        };
    }

    /// Changes a setting if the value differs from the last one that was set. If that fails, the setting counts as
    /// `failed`.
    pub(crate) fn change<T: PartialEq>(
        &self,
        field: impl FnOnce(&mut Settings) -> &mut T,
        (value, failed): (T, T),
        call: &'static str,
        apply: impl FnOnce(&SockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let stream = read(&self.stream).clone().ok_or_else(|| self.gone(call))?;
        let mut settings = lock(&self.settings);
        let field = field(&mut settings);
        if *field != value {
            let result = apply(&SockRef::from(&*stream));
            *field = if result.is_ok() { value } else { failed };
            result.map_err(|error| Error::call(call, &error))?;
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Settings {
        *lock(&self.settings)
    }
}

/// A connection that has ended and is still to be reported.
#[must_use]
pub(crate) struct Ended {
    reporter: Reporter,
    /// Set if the file of a client could not be removed.
    is_left: Option<Box<Report>>,
    report: Option<Report>,
    owner: Option<Arc<dyn Owner>>,
}

impl Ended {
    pub(crate) fn tell(self) {
        let _frame = self.owner.as_ref().map(|owner| owner.frame());
        if let Some(report) = self.is_left {
            self.reporter.tell(|| *report);
        }
        if let Some(report) = self.report {
            self.reporter.tell(|| report);
        }
    }

    /// Reports that several connections of one server are closed. While code of the program runs, a thread may hold
    /// only presences that its frames name. So all presences except the first are dropped before. The first keeps the
    /// server from counting as stopped.
    pub(crate) fn tell_all(ended: Vec<Ended>) {
        let mut first = None;
        let mut reports = Vec::new();
        for Ended { reporter, report, owner, .. } in ended {
            first = first.or(owner);
            if let Some(report) = report {
                reports.push((reporter, report));
            }
        }
        let _frame = first.as_ref().map(|owner| owner.frame());
        for (reporter, report) in reports {
            reporter.tell(|| report);
        }
    }
}

impl Drop for Connection {
    /// Runs when the last handle is dropped. As in std, close(2) only.
    fn drop(&mut self) {
        self.close(Outcome::Finished, CloseMode::Plain);
    }
}

/// The error of a call on a socket that this program has closed.
pub(crate) fn destroyed(call: &'static str) -> Error {
    let text = format!("Cannot call {call} after a stream was destroyed");
    Error::of_cause(Cause::Destroyed, text)
}

pub(crate) fn shutting_down() -> Error {
    Error::of_cause(Cause::ShuttingDown, "server is shutting down")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::net::{Server, Socket, SocketEvent};

    /// Ensures that what a shutdown notes as written is what was written when it interrupts, and that no other shutdown
    /// notes it anew: both happen under the lock of the flags. What is written later may be a last answer.
    #[test]
    fn what_was_written_is_noted_once_and_in_the_step_that_interrupts() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let socket = Socket::connect(listener.local_addr().expect("it listens")).expect("the socket connects");
        let connection = &socket.connection;
        thread::scope(|scope| {
            let gate = lock(&connection.gate);
            for _ in 0..2 {
                let (tell, told) = mpsc::channel();
                scope.spawn(move || {
                    tell.send(()).expect("the test waits");
                    connection.interrupt_reads();
                });
                told.recv().expect("the thread runs");
            }
            // The threads go as far as they can.
            (0..10_000).for_each(|_| thread::yield_now());
            connection.bytes_written.fetch_add(7, Relaxed);
            drop(gate);
        });
        let noted = || connection.written_at_interrupt.load(Relaxed);
        assert_eq!(noted(), 7, "all that was written before the interruption is noted");
        connection.bytes_written.fetch_add(1, Relaxed);
        connection.interrupt_reads();
        assert_eq!(noted(), 7, "what is written after it is not");
    }

    /// Ensures that sending FIN and noting it is one step under the lock of the flags. So a thread that closes the
    /// connection does not take a queued end for lost that the peer has seen.
    #[test]
    fn our_end_is_sent_and_noted_in_one_step() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let socket = Socket::connect(listener.local_addr().expect("it listens")).expect("the socket connects");
        let (peer, _) = listener.accept().expect("the socket is accepted");
        let connection = &socket.connection;
        thread::scope(|scope| {
            let gate = lock(&connection.gate);
            let (tell, told) = mpsc::channel();
            scope.spawn(move || {
                tell.send(()).expect("the test waits");
                connection.turn().end_now().expect("it is connected");
            });
            told.recv().expect("the thread runs");
            // The thread goes as far as it can.
            (0..10_000).for_each(|_| thread::yield_now());
            peer.set_nonblocking(true).expect("it is open");
            let seen = peer.peek(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!((seen, connection.we_ended()), (Err(io::ErrorKind::WouldBlock), false), "neither is done");
            drop(gate);
        });
        peer.set_nonblocking(false).expect("it is open");
        peer.set_read_timeout(Some(Duration::from_secs(60))).expect("it is open");
        let seen = peer.peek(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!((seen, connection.we_ended()), (Ok(0), true), "both are done");
    }

    /// Ensures that a destroyed connection no longer counts, however a thread finds that it is destroyed: by
    /// `is_destroyed`, by the event `Close`, or by its own `destroy`. The thread that has destroyed it may still be
    /// busy. Here it waits for the queue of the outbox.
    #[test]
    fn a_destroyed_connection_does_not_count() {
        const HANG: Duration = Duration::from_secs(60);
        let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let client = Socket::connect(server.address()).expect("it listens");
        let socket = server.accept().expect("accepting works").expect("the server is open");
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let (server, socket, its) = (&server, &socket, tell.clone());
            scope.spawn(move || {
                socket.each(|socket, event| {
                    if let SocketEvent::Data(_) = event {
                        socket.pause();
                    }
                    its.send((format!("{event:?}"), server.connections())).map_err(io::Error::other)
                })
            });
            client.write_all("x").expect("it is connected");
            told.recv_timeout(HANG).expect("each has the byte");
            let busy = socket.connection.queue().state();
            scope.spawn(|| socket.destroy());
            let end = Instant::now() + HANG;
            while !socket.is_destroyed() && Instant::now() < end {
                thread::yield_now();
            }
            let found = (socket.is_destroyed(), server.connections());
            scope.spawn(move || {
                socket.destroy();
                tell.send(("destroy".into(), server.connections())).expect("the test waits");
            });
            let mut counts = [told.recv_timeout(HANG), told.recv_timeout(HANG)].map(Result::unwrap_or_default);
            drop(busy);
            counts.sort();
            assert_eq!(found, (true, 0), "a connection that is destroyed does not count");
            let none = ["Close { had_error: false }", "destroy"].map(|what| (what.to_owned(), 0));
            assert_eq!(counts, none, "nor in the event, nor when another call to destroy it returns");
        });
    }
}
