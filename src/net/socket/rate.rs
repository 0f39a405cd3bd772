//! The minimum rate of a peer, kept as an account of time: waiting for the peer costs it time, and each byte is worth some.
//!
//! While it is on, a call looks at the clock and takes a lock that nobody holds for long. The accounts ask nothing of the
//! system; how long a call may block is told to the kernel with the other timers, in `timeout.rs`.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::socket::timers::{Direction, slice};
use crate::sync::poison::lock;

/// What is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinRate {
    /// Never 0.
    pub(crate) bytes_per_second: u64,
    pub(crate) grace: Duration,
}

/// Less than the kernel's ticks and a round trip cannot be meant.
const LEAST_GRACE: Duration = Duration::from_millis(10);
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a call that moves bytes takes by itself, amply, in nanoseconds. If it was left on the account, small pieces would
/// cost the peer our own time. A peer that wants to gain by it has to be worth 20,000 calls a second.
const COST: u64 = 50_000;

impl MinRate {
    pub(crate) fn new(bytes_per_second: Option<u64>, grace: Duration) -> Option<MinRate> {
        let bytes_per_second = bytes_per_second.filter(|rate| *rate > 0)?;
        Some(MinRate { bytes_per_second, grace })
    }

    pub(crate) fn check(self) -> Result<()> {
        if (LEAST_GRACE..=LONGEST_GRACE).contains(&self.grace) {
            return Ok(());
        }
        let must = format!(">= {LEAST_GRACE:?} and <= {LONGEST_GRACE:?}");
        Err(Error::option("min_rate grace", must, format!("{:?}", self.grace)))
    }

    /// How much waiting a number of bytes is worth, in nanoseconds.
    fn worth(self, bytes: u64) -> u64 {
        let time = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    fn grace_nanos(self) -> u64 {
        // A day at most, see `check`.
        self.grace.as_nanos() as u64
    }
}

/// The accounts of a connection, one for each direction. All moments are in nanoseconds since one that the caller keeps.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// The grace, or 0 while nothing is asked: so that nobody takes the lock then.
    grace: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    min: Option<MinRate>,
    accounts: [Account; 2],
}

/// What the peer owes. It is begun anew whenever the peer owes nothing, so nobody is ever ahead.
#[derive(Debug, Default, Clone, Copy)]
struct Account {
    /// Of reading: something has come that we have not answered yet. Otherwise waiting costs nothing.
    is_open: bool,
    bytes: u64,
    /// How long a call has waited.
    waited: u64,
    /// Up to which moment that is counted: two threads that wait at once count once.
    counted: u64,
    /// The grace is used up, and a last look was taken at whether bytes are there all the same.
    looked: bool,
}

impl Rates {
    /// The grace; 0 if nothing is asked of the peer.
    pub(crate) fn grace(&self) -> u64 {
        self.grace.load(Relaxed)
    }

    pub(crate) fn min(&self) -> Option<MinRate> {
        lock(&self.books).min
    }

    /// Asks this of the peer from `now` on; what it owed before is forgotten.
    pub(crate) fn set(&self, min: Option<MinRate>, now: u64) {
        let mut books = lock(&self.books);
        let new = |is_open| Account { is_open, counted: now, ..Account::default() };
        *books = Books { min, accounts: [new(false), new(true)] };
        self.grace.store(min.map_or(0, MinRate::grace_nanos), Relaxed);
    }

    /// How long a call that begins may wait; the error if it may not at all.
    pub(crate) fn left(&self, direction: Direction) -> io::Result<u64> {
        let mut books = lock(&self.books);
        let Some(min) = books.min else {
            return Ok(u64::MAX);
        };
        let account = &mut books.accounts[direction as usize];
        match account.left(min) {
            // While we did something else, enough may have come.
            0 if !account.looked => {
                account.looked = true;
                Ok(1)
            }
            0 => Err(account.fail(min, direction)),
            left => Ok(slice(min.grace_nanos(), left, direction)),
        }
    }

    /// A call that began at `began` has waited until `now` for nothing: how long it may go on.
    pub(crate) fn waited(&self, direction: Direction, began: u64, now: u64) -> io::Result<u64> {
        let mut books = lock(&self.books);
        let Some(min) = books.min else {
            return Ok(u64::MAX);
        };
        let account = &mut books.accounts[direction as usize];
        account.wait(began, now);
        match account.left(min) {
            // Linux wakes a writer when much of its buffer is free; a write that begins anew finds what little there is.
            0 if direction == Direction::Write && !account.looked => {
                account.looked = true;
                Ok(1)
            }
            0 => Err(account.fail(min, direction)),
            left => Ok(slice(min.grace_nanos(), left, direction)),
        }
    }

    /// A call that began at `began` has moved bytes, or has only seen that there are some.
    pub(crate) fn moved(&self, direction: Direction, began: u64, now: u64, bytes: usize) {
        let mut books = lock(&self.books);
        let Some(min) = books.min else {
            return;
        };
        let account = &mut books.accounts[direction as usize];
        account.wait(began, now);
        account.bytes += bytes as u64;
        account.is_open |= bytes > 0;
        if bytes > 0 {
            account.waited = account.waited.saturating_sub(COST);
        }
        if min.worth(account.bytes) >= account.waited {
            account.begin();
        } else if account.left(min) > 0 {
            account.looked = false;
        }
        if direction == Direction::Write && bytes > 0 {
            // What has come is answered.
            let reading = &mut books.accounts[Direction::Read as usize];
            reading.begin();
            reading.is_open = false;
        }
    }
}

impl Account {
    fn begin(&mut self) {
        (self.bytes, self.waited, self.looked) = (0, 0, false);
    }

    fn wait(&mut self, began: u64, now: u64) {
        let since = self.counted.max(began);
        if self.is_open {
            self.waited += now.saturating_sub(since);
        }
        self.counted = self.counted.max(now);
    }

    fn left(&self, min: MinRate) -> u64 {
        if !self.is_open {
            return u64::MAX;
        }
        let owed = self.waited.saturating_sub(min.worth(self.bytes));
        min.grace_nanos().saturating_sub(owed)
    }

    /// The error, told once: whoever goes on all the same begins anew.
    fn fail(&mut self, min: MinRate, direction: Direction) -> io::Error {
        let (bytes, waited) = (self.bytes, Duration::from_nanos(self.waited));
        self.begin();
        let text = format!(
            "{} timed out: {bytes} bytes in {:.2} s of waiting are {:.1} bytes per second, and at least {} are required",
            direction.call(),
            waited.as_secs_f64(),
            bytes as f64 / waited.as_secs_f64().max(f64::MIN_POSITIVE),
            min.bytes_per_second,
        );
        Error::fixed(io::ErrorKind::TimedOut, "ERR_SOCKET_MIN_RATE", text).into()
    }
}
