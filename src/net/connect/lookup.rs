//! Looking names up, with a limit on the time where the resolver has none.

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

/// A resolver of the caller's own.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Ask>);

// What the closure holds is its own affair after a panic, as with any function that a program calls again.
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

/// An error of the caller's resolver is passed on as it is, unless it says no more than that there is no such name.
fn failed(host: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound if Error::of(&error).is_none() => Error::not_found(host).with_source(error),
        _ => Error::from(error).of_host(host),
    }
}

/// The caller's resolver may answer anything.
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

/// What is asked.
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

    /// Asks, and waits for the answer no longer than the limits allow.
    ///
    /// No resolver can be interrupted. So where there is a limit, a thread of its own asks; it is abandoned when the
    /// limit is reached, and ends when the resolver returns. A question without a limit is asked here.
    pub(crate) fn look_up(&self, limits: Limits<'_>) -> Result<Vec<SocketAddr>> {
        if limits.is_none() {
            return self.ask();
        }
        let _attached = limits.cancel.map(|cancel| {
            cancel.attach(|| {
                // Under the lock, so that whoever is about to wait is waiting by now, or sees it fired.
                let _places = lock(&PERMITS);
                CHANGED.notify_all();
            })
        });
        let place = Permit::take(self.host, limits)?;
        let mut its = Returning { place: Arc::clone(&place), answer: None };
        let (host, port, family, resolver) = (self.host.to_owned(), self.port, self.family, self.resolver.cloned());
        // It acts for nothing that its caller acts for: that may be over when an abandoned one still runs.
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

/// How many look-ups may be on threads of their own in this process. That many can be stuck, and no more: one that may
/// get stuck must have its place before it begins, so others wait for one that is running, and fail if none is.
const MOST: usize = 16;

static PERMITS: Mutex<Permits> = Mutex::new(Permits { running: 0, stuck: 0 });
/// A place is free, the last one that was running is stuck, or an answer is there.
static CHANGED: Condvar = Condvar::new();

struct Permits {
    /// Somebody waits for their answer.
    running: usize,
    /// Abandoned, and not returned.
    stuck: usize,
}

/// The place of one look-up. Written under the lock of `PERMITS`.
struct Permit(Mutex<State>);

enum State {
    Running,
    Stuck,
    Returned(Option<Answer>),
}

/// What the resolver said, or what it panicked with.
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
                let text = format!("getaddrinfo EAI_AGAIN {host}: {MOST} look-ups are stuck, as many as may be");
                return Err(Error::fixed(io::ErrorKind::WouldBlock, "EAI_AGAIN", text).of_host(host));
            }
            if limits.deadline.is_over() {
                return Err(timed_out(host));
            }
            places = wait(&CHANGED, places, limits.deadline.left());
        }
    }

    /// Waits for the answer. When a limit is reached, nobody waits for it any more.
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

/// Held by whoever asks: dropping it gives the place back.
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
