//! Whether accepting fails, and who tells it.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use crate::error::Error;
use crate::sync::poison::lock;

/// Whether accepting fails, whichever thread does it: one shortage, told once. It is over when one of them gets a
/// client; the others may sit in accept(2) by then, with no failure any more and no client yet.
#[derive(Default)]
pub(crate) struct Shortage {
    is_on: AtomicBool,
    telling: Mutex<Telling>,
}

/// One thread tells at a time, so that the reports come in turn: one that begins, one that ends.
#[derive(Default)]
struct Telling {
    error: Option<Error>,
    /// The last that was told is that it has begun.
    is_told: bool,
    is_telling: bool,
}

impl Shortage {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(SeqCst)
    }

    /// Notes whether accepting fails; whether the caller is to tell it.
    pub(crate) fn changes_to(&self, error: Option<Error>) -> bool {
        let mut telling = lock(&self.telling);
        if telling.error.is_some() == error.is_some() {
            return false;
        }
        self.is_on.store(error.is_some(), SeqCst);
        telling.error = error;
        !mem::replace(&mut telling.is_telling, true)
    }

    /// What is to be told next: that it has begun, by an error, or that it is over. `None` if that was told.
    pub(crate) fn next_to_tell(&self) -> Option<Option<Error>> {
        let mut telling = lock(&self.telling);
        telling.is_telling = telling.error.is_some() != telling.is_told;
        telling.is_told = telling.error.is_some();
        telling.is_telling.then(|| telling.error.clone())
    }
}
