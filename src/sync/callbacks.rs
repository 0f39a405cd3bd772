//! How many threads run callbacks, and whether it was reported that these delay accepting.
//!
//! Both share one word, so the last thread that returns ends the delay in the same step. If it did so in a second step,
//! a thread could enter in between. Then a new delay would count as reported already, or would be reported twice.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

/// If set, it was reported that callbacks delay accepting.
const REPORTED: usize = 1;
/// One thread. The count is stored above the bit.
const ONE: usize = 2;

#[derive(Default)]
pub(crate) struct Callbacks(AtomicUsize);

impl Callbacks {
    /// Counts the thread as running callbacks, until the result is dropped.
    pub(crate) fn enter(&self) -> InHook<'_> {
        self.0.fetch_add(ONE, SeqCst);
        InHook(self)
    }

    /// How many threads run callbacks.
    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst) / ONE
    }

    /// Records that callbacks delay accepting. Returns whether to report it. The calling thread must be counted, so that
    /// the record is kept until no thread is in a callback.
    pub(crate) fn hold_up(&self) -> bool {
        self.0.fetch_or(REPORTED, SeqCst) & REPORTED == 0
    }
}

/// A thread that runs callbacks that are not about a connection.
pub(crate) struct InHook<'a>(&'a Callbacks);

impl Drop for InHook<'_> {
    fn drop(&mut self) {
        let _ = self.0.0.fetch_update(SeqCst, SeqCst, |word| Some(if word / ONE == 1 { 0 } else { word - ONE }));
    }
}
