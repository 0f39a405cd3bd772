//! std's `park` and `unpark`, of loom's locks. Loom's own forget an `unpark` that comes while the thread waits for a
//! lock, and std's do not.

use loom::sync::{Condvar, Mutex};

use crate::sync::Arc;

#[derive(Clone)]
pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

loom::thread_local! {
    static CURRENT: Thread = Thread(Arc::new((Mutex::new(false), Condvar::new())));
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Thread::clone)
}

pub(crate) fn park() {
    let current = current();
    let (token, given) = &*current.0;
    let mut token = token.lock().expect("no panic");
    while !*token {
        token = given.wait(token).expect("no panic");
    }
    *token = false;
}

/// Time does not pass in a model: it is up at once, or never.
pub(crate) fn park_timeout(time: real::time::Duration) {
    if !time.is_zero() {
        park();
    }
}

impl Thread {
    pub(crate) fn unpark(&self) {
        let (token, given) = &*self.0;
        *token.lock().expect("no panic") = true;
        given.notify_one();
    }
}
