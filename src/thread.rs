//! Threads that have a name, are counted and have a large enough stack.

use std::borrow::Cow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::callback::{dispose, own};
use crate::error::Error;
use crate::sync::deadline::Deadline;
use crate::sync::poison::{lock, wait};
use crate::sys;

/// A thread that [`spawn`](crate::net::Server::spawn) started.
///
/// Dropping it detaches the thread.
#[must_use = "dropping it detaches the thread; join() waits for it and gives its result"]
pub struct Running {
    /// `None` once it has been joined.
    thread: Option<Thread>,
    end: Arc<End>,
    /// The gate of the server or socket that the thread serves.
    gate: usize,
    close: Box<dyn Fn() + Send + Sync>,
}

// The closure changes what it holds in one atomic step or under a lock.
impl UnwindSafe for Running {}
impl RefUnwindSafe for Running {}

/// Whether a thread's work is done. std cannot join a thread with a timeout.
#[derive(Default)]
struct End {
    is_over: Mutex<bool>,
    ended: Condvar,
}

/// Signals that the work is done when it is dropped, even if a panic drops it.
struct AtWork(Arc<End>);

impl Drop for AtWork {
    fn drop(&mut self) {
        *lock(&self.0.is_over) = true;
        self.0.ended.notify_all();
    }
}

impl End {
    /// Waits until the work is done. Returns whether that was in time.
    fn wait(&self, until: Deadline) -> bool {
        let mut is_over = lock(&self.is_over);
        while !*is_over && !until.is_over() {
            is_over = wait(&self.ended, is_over, until.left());
        }
        *is_over
    }
}

/// The smallest stack, in bytes. With a smaller one, printing a panic overflows it and ends the process.
const SMALLEST_STACK: usize = 64 * 1024;

/// The options of a server's or socket's threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThreadOptions {
    /// The prefix of their names.
    pub(crate) thread_name: Cow<'static, str>,
    /// `None` means std's default.
    pub(crate) stack_size: Option<usize>,
}

impl Default for ThreadOptions {
    fn default() -> ThreadOptions {
        ThreadOptions::DEFAULT
    }
}

impl ThreadOptions {
    pub(crate) const DEFAULT: ThreadOptions =
        ThreadOptions { thread_name: Cow::Borrowed("landline"), stack_size: None };

    pub(crate) fn is_default(&self) -> bool {
        *self == ThreadOptions::DEFAULT
    }

    /// Returns an error that names the option if no thread can be started with it.
    pub(crate) fn check(&self) -> crate::error::Result<()> {
        match self.stack_size {
            _ if self.thread_name.contains('\0') => {
                let text = "The argument 'thread_name' must not contain a NUL";
                Err(Error::invalid("ERR_INVALID_ARG_VALUE", text))
            }
            Some(bytes) if bytes < SMALLEST_STACK => {
                Err(Error::option("stack_size", format!(">= {SMALLEST_STACK}"), bytes))
            }
            _ => Ok(()),
        }
    }
}

impl Running {
    /// Starts a thread like [`spawn`]. `close` closes the server or socket that the thread serves, and `gate` is the
    /// number of its gate.
    pub(crate) fn start(
        name: String,
        stack_size: Option<usize>,
        gate: usize,
        close: impl Fn() + Send + Sync + 'static,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Running> {
        Running::start_boxed(name, stack_size, gate, Box::new(close), Box::new(work))
    }

    fn start_boxed(
        name: String,
        stack_size: Option<usize>,
        gate: usize,
        close: Box<dyn Fn() + Send + Sync>,
        work: Box<Work<'static>>,
    ) -> io::Result<Running> {
        let ends = AtWork(Arc::default());
        let end = Arc::clone(&ends.0);
        let thread = spawn(name, stack_size, move || {
            let _ends = ends;
            work()
        })?;
        Ok(Running { thread: Some(thread), end, gate, close })
    }

    /// Closes the server or socket that the thread serves, like [`Server::close`](crate::net::Server::close). This
    /// works even if no other handle to the server or socket is left.
    pub fn close(&self) {
        (self.close)();
    }

    /// Blocks until the thread has ended, and returns its result. The thread ends when its server or socket is closed
    /// and the handlers have returned.
    ///
    /// # Errors
    /// - The error that the thread's `serve` or `run` returned.
    /// - If a callback panicked there, an error with the panic's message.
    /// - `ERR_WOULD_DEADLOCK`, at once, if `join` is called on the thread itself, or in a handler or callback that the
    ///   thread waits for.
    pub fn join(mut self) -> io::Result<()> {
        self.check_caller()?;
        self.join_thread()
    }

    /// Waits for the thread to end like [`join`](Running::join), but at most `time`. Returns `true` if the thread has
    /// ended without an error. Returns `false` if the thread is still running. In that case `join_timeout` may be
    /// called again. An error of the thread is returned once. If handlers left values in a `thread_local!` on the
    /// thread that has ended, the call also waits for their destructors, even beyond `time`.
    ///
    /// ```
    /// use landline::net::{Server, Socket};
    /// use std::time::Duration;
    ///
    /// let server = Server::listen("127.0.0.1:0")?;
    /// let mut serving = server.spawn(|socket| socket.write_end("hello\n"))?;
    /// assert!(!serving.join_timeout(Duration::from_millis(10))?);
    ///
    /// let _ = server.shutdown(Duration::from_secs(10));
    /// if !serving.join_timeout(Duration::from_secs(1))? {
    ///     eprintln!("a handler has not returned");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`join`](Running::join).
    pub fn join_timeout(&mut self, time: Duration) -> io::Result<bool> {
        self.check_caller()?;
        if !self.end.wait(Deadline::after(time)) {
            return Ok(false);
        }
        self.join_thread().map(|()| true)
    }

    /// Returns an error if the thread waits for the caller.
    fn check_caller(&self) -> io::Result<()> {
        let waits_for_caller = !self.is_finished() && !own(self.gate)?.is_empty();
        let is_caller = self.thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id());
        if waits_for_caller || is_caller {
            let text = "The thread to join waits for this one";
            return Err(Error::invalid("ERR_WOULD_DEADLOCK", text).into());
        }
        Ok(())
    }

    fn join_thread(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| {
            let error = io::Error::other(format!("callback panicked: {}", panic_message(&*panic)));
            dispose(panic);
            Err(error)
        })
    }

    /// Returns whether the thread has ended. If it has, [`join`](Running::join) returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// The panic's message, if it is text.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// A thread of this library. It counts toward the process's thread limit until it ends.
pub(crate) type Thread = JoinHandle<io::Result<()>>;

/// What a thread does. It is boxed so that the code that starts a thread is compiled only once.
type Work<'a> = dyn FnOnce() -> io::Result<()> + Send + 'a;

/// Starts a thread with a name. Without a stack size in the options, the thread gets std's default.
///
/// # Errors
/// `WouldBlock` if the process already has as many threads of this library as allowed. The system's error if it cannot
/// start a thread.
pub(crate) fn spawn(
    name: String,
    stack_size: Option<usize>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<Thread> {
    let (builder, permit) = builder(name, stack_size)?;
    builder.spawn(holding(permit, Box::new(work))).map_err(failed)
}

/// Starts a thread like [`spawn`], but the thread may borrow.
pub(crate) fn spawn_scoped<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    stack_size: Option<usize>,
    work: impl FnOnce() -> io::Result<()> + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, io::Result<()>>> {
    let (builder, permit) = builder(name, stack_size)?;
    builder.spawn_scoped(scope, holding(permit, Box::new(work))).map_err(failed)
}

fn builder(name: String, stack_size: Option<usize>) -> io::Result<(thread::Builder, ThreadPermit)> {
    #[cfg(landline_inject)]
    inject::maybe_fail()?;
    let permit = ThreadPermit::take()?;
    let builder = thread::Builder::new().name(name);
    Ok(match stack_size {
        Some(size) => (builder.stack_size(size), permit),
        None => (builder, permit),
    })
}

fn holding<'a>(permit: ThreadPermit, work: Box<Work<'a>>) -> impl FnOnce() -> io::Result<()> + Send + 'a {
    move || {
        let _permit = permit;
        work()
    }
}

fn failed(error: io::Error) -> io::Error {
    Error::call("spawn", &error).into()
}

/// Makes thread starts fail, for `tests/storm`.
#[cfg(landline_inject)]
mod inject {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static STARTS: AtomicU64 = AtomicU64::new(0);
    pub(super) static FAILED: AtomicU64 = AtomicU64::new(0);

    /// Fails one of every `LANDLINE_INJECT_THREADS` thread starts with EAGAIN, as the system does. Without this
    /// variable none fails.
    pub(super) fn maybe_fail() -> io::Result<()> {
        static ONE_IN: OnceLock<u64> = OnceLock::new();
        let one_in =
            *ONE_IN.get_or_init(|| std::env::var("LANDLINE_INJECT_THREADS").map_or(0, |n| n.parse().unwrap_or(0)));
        if one_in == 0 || STARTS.fetch_add(1, Relaxed) % one_in != one_in - 1 {
            return Ok(());
        }
        FAILED.fetch_add(1, Relaxed);
        Err(io::Error::new(io::ErrorKind::WouldBlock, "Resource temporarily unavailable (injected)"))
    }
}

#[cfg(landline_inject)]
impl Running {
    /// How many thread starts have failed this way.
    #[doc(hidden)]
    pub fn injected() -> u64 {
        inject::FAILED.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Permission to have one of the process's threads. Dropping it returns the permission.
#[derive(Debug)]
struct ThreadPermit(());

/// The threads of all servers and sockets of the process, because the system limits the process.
static THREADS: Mutex<Threads> = Mutex::new(Threads { running: 0, ceiling: None, started: 0 });

struct Threads {
    running: usize,
    /// The limit, and when it was last computed.
    ceiling: Option<(usize, Instant)>,
    /// How many threads were started since then.
    started: usize,
}

/// After this many starts the limit is computed again, because the rest of the program may have made memory mappings.
/// With 10,000 mappings this takes about 40 ms.
const STARTS_A_LOOK: usize = 500;

/// After the limit is reached, how long it is trusted before it is computed again.
const NO_ROOM: Duration = Duration::from_secs(1);

impl Threads {
    /// The current limit.
    fn ceiling(&mut self) -> usize {
        let is_due = match self.ceiling {
            None => true,
            Some((ceiling, _)) if self.running < ceiling => self.started >= STARTS_A_LOOK,
            Some((_, looked)) => looked.elapsed() >= NO_ROOM,
        };
        // If the limit cannot be computed, for example because no descriptor is free, the last value is used.
        if let Some(ceiling) = is_due.then(|| sys::thread_ceiling_now(self.running)).flatten() {
            (self.ceiling, self.started) = (Some((ceiling, Instant::now())), 0);
        }
        self.ceiling.map_or_else(sys::thread_ceiling, |(ceiling, _)| ceiling)
    }
}

impl ThreadPermit {
    fn take() -> io::Result<ThreadPermit> {
        let mut threads = lock(&THREADS);
        let ceiling = threads.ceiling();
        if threads.running >= ceiling {
            let text = format!("{} threads are running, as many as vm.max_map_count allows", threads.running);
            return Err(Error::fixed(io::ErrorKind::WouldBlock, "EAGAIN", text).into());
        }
        threads.running += 1;
        threads.started += 1;
        Ok(ThreadPermit(()))
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        lock(&THREADS).running -= 1;
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.thread.as_ref().and_then(|thread| thread.thread().name());
        f.debug_tuple("Running").field(&name.unwrap_or_default()).finish()
    }
}
