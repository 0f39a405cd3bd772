//! Looking up names, with a time limit that the resolver lacks.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::{fmt, io, mem, thread};

use crate::address::{Address, Family};
use crate::cancel::{Cancel, Limits};
use crate::endpoint::resolve;
use crate::error::{Error, Result};
use crate::sync::poison::{lock, wait};
use crate::thread::spawn;

#[derive(Clone)]
pub(crate) struct Resolver(Arc<Ask>);

// After a panic, the program is responsible for the state of its closure, as with any function that is called again.
impl UnwindSafe for Resolver {}
impl RefUnwindSafe for Resolver {}

type Ask = dyn Fn(&str, u16, Option<Family>) -> Result<Vec<SocketAddr>> + Send + Sync;

impl Resolver {
    pub(crate) fn new<I>(f: impl Fn(&str, Option<Family>) -> io::Result<I> + Send + Sync + 'static) -> Resolver
    where
        I: IntoIterator,
        I::Item: Into<Address>,
    {
        Resolver(Arc::new(move |host, port, family| {
            let answers = f(host, family).map_err(|error| failed(host, error))?;
            usable(host, port, family, answers)
        }))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(..)")
    }
}

/// Passes on an error of the program's resolver, unless it only means that the name does not exist.
fn failed(host: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound if Error::of(&error).is_none() => Error::not_found(host).with_source(error),
        _ => Error::from(error).of_host(host),
    }
}

/// Checks the answer of the program's resolver, which may return anything.
fn usable<I>(host: &str, port: u16, family: Option<Family>, answers: I) -> Result<Vec<SocketAddr>>
where
    I: IntoIterator,
    I::Item: Into<Address>,
{
    let (mut found, mut wrong) = (Vec::new(), None);
    for answer in answers {
        let answer: Address = answer.into();
        match answer.socket_addr() {
            Some(mut at) if family.is_none_or(|family| family == answer.family()) => {
                at.set_port(port);
                if !found.contains(&at) {
                    found.push(at);
                }
            }
            _ => _ = wrong.get_or_insert(answer.family()),
        }
    }
    match wrong {
        _ if !found.is_empty() => Ok(found),
        None => Err(Error::not_found(host)),
        Some(family) => {
            let text = format!("Invalid address family: {family} {host}:{port}");
            Err(Error::invalid("ERR_INVALID_ADDRESS_FAMILY", text).of_host(host))
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) family: Option<Family>,
    pub(crate) resolver: Option<&'a Resolver>,
}

impl Question<'_> {
    fn ask(&self) -> Result<Vec<SocketAddr>> {
        match self.resolver {
            Some(resolver) => (resolver.0)(self.host, self.port, self.family),
            None => resolve(self.host, self.port, self.family),
        }
    }

    /// Calls the resolver, and waits for the answer at most as long as the limits allow.
    ///
    /// No resolver can be interrupted. So with a limit, a new thread calls the resolver. At the limit the thread is
    /// abandoned: it ends when the resolver returns. Without a limit, the resolver is called on this thread.
    pub(crate) fn look_up(&self, limits: Limits<'_>) -> Result<Vec<SocketAddr>> {
        if limits.is_none() {
            return self.ask();
        }
        let _attached = limits.cancel.map(|cancel| {
            cancel.attach(|| {
                // Notified under the lock. So a thread that is about to wait either waits by now, or sees the
                // cancellation.
                let _places = lock(&PERMITS);
                CHANGED.notify_all();
            })
        });
        let place = Permit::take(self.host, limits)?;
        let mut its = Returning { place: Arc::clone(&place), answer: None };
        let (host, port, family, resolver) = (self.host.to_owned(), self.port, self.family, self.resolver.cloned());
        // This thread does not act for the connections that the caller acts for. They may have ended while an abandoned
        // thread still runs.
        let ask = move || {
            let question = Question { host: &host, port, family, resolver: resolver.as_ref() };
            its.answer = Some(catch_unwind(AssertUnwindSafe(|| question.ask())));
            drop(its);
            Ok(())
        };
        let thread = spawn(format!("landline lookup {}", self.host), None, ask);
        let thread = thread.map_err(|error| Error::call("getaddrinfo", &error).of_host(self.host))?;
        match place.wait(limits) {
            Some(answer) => {
                let _ = thread.join();
                answer.unwrap_or_else(|panic| resume_unwind(panic))
            }
            None if limits.is_cancelled() => Err(Cancel::error()),
            None => Err(timed_out(self.host)),
        }
    }
}

fn timed_out(host: &str) -> Error {
    Error::call("getaddrinfo", &io::ErrorKind::TimedOut.into()).of_host(host)
}

/// How many look-ups may run on their own threads in this process, including stuck ones. A look-up needs a permit
/// before it begins. If no permit is free, it waits for a running look-up to return, and fails if all others are
/// abandoned.
const MOST: usize = 16;

static PERMITS: Mutex<Permits> = Mutex::new(Permits { running: 0, stuck: 0 });
/// Notified when a permit is free, when the last running look-up is abandoned, and when an answer arrives.
static CHANGED: Condvar = Condvar::new();

struct Permits {
    /// Look-ups that run while a caller waits for the answer.
    running: usize,
    /// Look-ups that are abandoned and have not returned yet.
    stuck: usize,
}

/// The permit of one look-up. Its state changes under the lock of `PERMITS`.
struct Permit(Mutex<State>);

enum State {
    Running,
    Stuck,
    Returned(Option<Answer>),
}

/// The resolver's answer, or its panic.
type Answer = thread::Result<Result<Vec<SocketAddr>>>;

impl Permit {
    fn take(host: &str, limits: Limits<'_>) -> Result<Arc<Permit>> {
        let mut places = lock(&PERMITS);
        loop {
            if limits.is_cancelled() {
                return Err(Cancel::error());
            }
            if places.running + places.stuck < MOST {
                places.running += 1;
                return Ok(Arc::new(Permit(Mutex::new(State::Running))));
            }
            if places.stuck >= MOST {
                let text = format!("getaddrinfo EAI_AGAIN {host}: {MOST} look-ups are stuck, the most allowed");
                return Err(Error::fixed(io::ErrorKind::WouldBlock, "EAI_AGAIN", text).of_host(host));
            }
            if limits.deadline.is_over() {
                return Err(timed_out(host));
            }
            places = wait(&CHANGED, places, limits.deadline.left());
        }
    }

    /// Waits for the answer. At a limit, the look-up is abandoned.
    fn wait(&self, limits: Limits<'_>) -> Option<Answer> {
        let mut places = lock(&PERMITS);
        loop {
            if let State::Returned(answer) = &mut *lock(&self.0) {
                return answer.take();
            }
            if limits.is_cancelled() || limits.deadline.is_over() {
                *lock(&self.0) = State::Stuck;
                places.running -= 1;
                places.stuck += 1;
                CHANGED.notify_all();
                return None;
            }
            places = wait(&CHANGED, places, limits.deadline.left());
        }
    }
}

/// Held by the thread that calls the resolver. Dropping it returns the permit.
struct Returning {
    place: Arc<Permit>,
    answer: Option<Answer>,
}

impl Drop for Returning {
    fn drop(&mut self) {
        let mut places = lock(&PERMITS);
        match mem::replace(&mut *lock(&self.place.0), State::Returned(self.answer.take())) {
            State::Running => places.running -= 1,
            State::Stuck => places.stuck -= 1,
            State::Returned(_) => {}
        }
        CHANGED.notify_all();
    }
}
