//! Whether accepting fails, and which thread reports it.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use crate::error::Error;
use crate::sync::poison::lock;

/// Whether accepting fails. Failures on several threads are one shortage, which is reported once. The shortage ends
/// when any thread gets a client. By then, other threads may be in accept(2) again, with neither a failure nor a
/// client.
#[derive(Default)]
pub(crate) struct Shortage {
    is_on: AtomicBool,
    telling: Mutex<Telling>,
}

/// Only one thread reports at a time, so that the reports of the beginning and of the end alternate.
#[derive(Default)]
struct Telling {
    error: Option<Error>,
    /// The last report said that the shortage has begun.
    is_told: bool,
    is_telling: bool,
}

impl Shortage {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(SeqCst)
    }

    /// Records whether accepting fails. Returns whether the caller is to report it.
    pub(crate) fn changes_to(&self, error: Option<Error>) -> bool {
        let mut telling = lock(&self.telling);
        if telling.error.is_some() == error.is_some() {
            return false;
        }
        self.is_on.store(error.is_some(), SeqCst);
        telling.error = error;
        !mem::replace(&mut telling.is_telling, true)
    }

    /// What to report next: `Some(Some(error))` if the shortage has begun, `Some(None)` if it has ended, `None` if
    /// there is nothing to report.
    pub(crate) fn next_to_tell(&self) -> Option<Option<Error>> {
        let mut telling = lock(&self.telling);
        telling.is_telling = telling.error.is_some() != telling.is_told;
        telling.is_told = telling.error.is_some();
        telling.is_telling.then(|| telling.error.clone())
    }
}
