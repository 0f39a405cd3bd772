//! The refuser: the thread that says goodbye to clients that were turned away.
//!
//! A goodbye that is only written and closed behind is lost with most clients: closing with input unread sends RST, and
//! a client that still writes gets an error before it reads. So each is written, our direction is ended, and what the
//! client still sends is thrown away until its own end (RFC 9112, 9.6), for a time. That must hold up neither the
//! thread that accepts nor the goodbye of another client: the sockets do not block, and the refuser looks at them in
//! turn.
//!
//! It runs while there is anybody to say goodbye to, is started by the first such client, and ends by itself.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::net::server::registry::Presence;
use crate::net::socket::lingering::LINGERING_BYTES;
use crate::net::socket::stream::CHUNK;
use crate::sync::deadline::Deadline;
use crate::sync::poison::lock;
use crate::sys;
use crate::thread::Builder;

/// The longest goodbye. As Linux sizes its buffers by default, the kernel takes this much at once, whether the client
/// reads or not.
pub(crate) const LONGEST: usize = 64 * 1024;

/// How often the refuser looks whether clients have sent or ended: there is no call in std that waits for many sockets.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How many clients are said goodbye to at once, at most; the next ones are only closed. Each takes a descriptor, so a
/// process with few of them spends an eighth.
pub(crate) fn at_once() -> usize {
    sys::descriptor_limit().map_or(1024, |limit| (limit / 8).clamp(1, 1024))
}

/// What the accepting threads share with the refuser.
pub(crate) struct Goodbyes {
    message: Vec<u8>,
    time: Duration,
    at_once: usize,
    thread_name: String,
    stack_size: Option<usize>,
    state: Mutex<State>,
    /// A client arrived, or `is_cut` was set.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrived: Vec<Goodbye>,
    /// How many the refuser has taken from there.
    taken: usize,
    /// Whether it still looks at this state. Once it does not, the next client starts another.
    runs: bool,
    refuser: Option<JoinHandle<()>>,
    /// The server's time is up: nobody is waited for any more.
    is_cut: bool,
}

impl Goodbyes {
    pub(crate) fn new(
        message: Vec<u8>,
        time: Duration,
        thread_name: String,
        stack_size: Option<usize>,
    ) -> Arc<Goodbyes> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Goodbyes { message, time, at_once: at_once(), thread_name, stack_size, state, changed })
    }

    /// Hands a client to the refuser. If there are too many already, or no thread is to be had, it is only closed.
    pub(crate) fn say(self: &Arc<Goodbyes>, stream: TcpStream, presence: Presence) {
        // Declared before the lock is taken, so dropped after it was given back: closing it may tell a hook of the
        // user's.
        let goodbye = Goodbye {
            stream,
            until: Deadline::NEVER,
            written: 0,
            has_ended: false,
            left: LINGERING_BYTES,
            _presence: presence,
        };
        let mut state = lock(&self.state);
        if state.is_cut || state.arrived.len() + state.taken >= self.at_once {
            drop(state);
            return drop(goodbye);
        }
        if !state.runs {
            match self.start() {
                Ok(refuser) => (state.runs, state.refuser) = (true, Some(refuser)),
                Err(_) => {
                    drop(state);
                    return drop(goodbye);
                }
            }
        }
        state.arrived.push(goodbye);
        self.changed.notify_all();
    }

    fn start(self: &Arc<Goodbyes>) -> io::Result<JoinHandle<()>> {
        let goodbyes = Arc::clone(self);
        Builder::new(self.thread_name.clone(), self.stack_size)?.spawn(move || goodbyes.refuse())
    }

    /// What the refuser does.
    fn refuse(&self) {
        let (mut open, mut buffer, mut last_look) = (Vec::new(), vec![0; CHUNK], Instant::now());
        while let Some((arrived, is_cut)) = self.wait(open.len(), last_look) {
            for mut goodbye in arrived {
                if goodbye.begin(self.time) && goodbye.go_on(&self.message, &mut buffer) {
                    open.push(goodbye);
                }
            }
            if is_cut {
                open.clear();
            } else if last_look.elapsed() >= LOOK_EVERY {
                open.retain_mut(|goodbye| goodbye.go_on(&self.message, &mut buffer));
                last_look = Instant::now();
            }
        }
    }

    /// Waits for new clients, or until it is time to look at those the refuser has. `None` if there are neither.
    fn wait(&self, open: usize, last_look: Instant) -> Option<(Vec<Goodbye>, bool)> {
        let mut state = lock(&self.state);
        state.taken = open;
        if open == 0 && state.arrived.is_empty() {
            state.runs = false;
            return None;
        }
        while state.arrived.is_empty() && !state.is_cut {
            let left = LOOK_EVERY.saturating_sub(last_look.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.taken += state.arrived.len();
        Some((std::mem::take(&mut state.arrived), state.is_cut))
    }

    /// Ends all goodbyes, those to come too.
    pub(crate) fn cut(&self) {
        lock(&self.state).is_cut = true;
        self.changed.notify_all();
    }

    /// Waits for the refuser's thread, which ends by itself once nobody is left.
    pub(crate) fn join(&self) {
        // A hook that the last goodbye's end is told to may be the one that waits; it leaves the thread to be waited
        // for.
        let is_another = |refuser: &mut JoinHandle<()>| refuser.thread().id() != thread::current().id();
        let refuser = lock(&self.state).refuser.take_if(is_another);
        if let Some(refuser) = refuser {
            // It calls hooks by guarded calls only, so it does not panic.
            let _ = refuser.join();
        }
    }
}

/// One client on its way out. Dropping it closes the connection; after that it is no longer present.
struct Goodbye {
    stream: TcpStream,
    /// When its time is up, once it has begun.
    until: Deadline,
    written: usize,
    has_ended: bool,
    /// How much more input is thrown away.
    left: usize,
    _presence: Presence,
}

impl Goodbye {
    /// Gives whether it can be said at all.
    fn begin(&mut self, time: Duration) -> bool {
        self.until = Deadline::after(time);
        sys::prepare(&self.stream);
        self.stream.set_nonblocking(true).is_ok()
    }

    /// Does what can be done without waiting; gives whether there is more to do.
    fn go_on(&mut self, message: &[u8], buffer: &mut [u8]) -> bool {
        let waits = |result: &io::Result<()>| result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        let written = self.write(message);
        let mut goes_on = written.is_ok() || waits(&written);
        if goes_on {
            // While the goodbye is not out too: a client may read only once it has written all it has.
            let read = self.discard(buffer);
            goes_on = waits(&read) || read.is_ok() && waits(&written);
        }
        goes_on && !self.until.is_over()
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        while self.written < message.len() {
            match (&self.stream).write(&message[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.has_ended {
            self.stream.shutdown(Shutdown::Write)?;
            self.has_ended = true;
        }
        Ok(())
    }

    /// Reads until the client's end; an error too if the size is used up.
    fn discard(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match (&self.stream).read(buffer) {
                Ok(0) => return Ok(()),
                Ok(n) if n <= self.left => self.left -= n,
                Ok(_) => return Err(io::ErrorKind::FileTooLarge.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
