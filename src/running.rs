use std::thread::{self, JoinHandle};
use std::{fmt, io};

use crate::error::Error;
use crate::report::dispose;
use crate::sys;

/// A thread that [`spawn`](crate::net::Server::spawn) started, to be waited for.
///
/// Dropping it lets the thread run on by itself.
#[must_use = "dropping it detaches the thread; join() waits for it and gives its result"]
pub struct Running(JoinHandle<io::Result<()>>);

/// What the names of threads begin with, if nobody has said otherwise.
pub(crate) const NAME: &str = "landline";

/// What a thread cannot be named is an error that names the option.
pub(crate) fn check_name(name: &str) -> crate::Result<()> {
    match name.contains('\0') {
        true => Err(Error::invalid("ERR_INVALID_ARG_VALUE", "thread_name has a NUL in it, which no thread's name may")),
        false => Ok(()),
    }
}

impl Running {
    /// Starts a named thread, which counts against the process's ceiling.
    pub(crate) fn start(
        name: String,
        stack_size: Option<usize>,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Running> {
        let seat = sys::ThreadSeat::take()?;
        let mut builder = thread::Builder::new().name(name);
        if let Some(size) = stack_size {
            builder = builder.stack_size(size);
        }
        let thread = builder.spawn(move || {
            let _seat = seat;
            work()
        })?;
        Ok(Running(thread))
    }

    /// Waits until the thread has ended and gives what it ended with. What makes it end is closing what it serves.
    ///
    /// # Errors
    /// What the thread's `serve`, `run` or `each` returned. If a callback panicked there, an error with the panic's
    /// message. `ERR_WOULD_DEADLOCK` on the thread itself, which cannot wait for its own end.
    pub fn join(self) -> io::Result<()> {
        if self.0.thread().id() == thread::current().id() {
            let text = "A thread cannot wait for its own end";
            return Err(Error::invalid("ERR_WOULD_DEADLOCK", text).into());
        }
        self.0.join().unwrap_or_else(|panic| {
            let error = io::Error::other(format!("callback panicked: {}", panic_message(&*panic)));
            dispose(panic);
            Err(error)
        })
    }

    /// Whether the thread has ended, so that [`join`](Running::join) would return at once.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// What a thread panicked with, where that is text.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.0.thread().name().unwrap_or_default()).finish()
    }
}
