//! Calls code of the program's. No lock is held, panics are caught, and the thread knows for which connections it acts.
//!
//! A thread that runs a handler or a callback keeps its connection present. If that code waits for the server, the wait
//! leaves the connection out. So the thread has a stack of frames, one for each connection that it acts for, and while
//! code of the program's runs, every presence that the thread holds is on it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::sync::poison::assert_none_held;

/// A gate, and what is present there, by their numbers.
pub(crate) type ActsFor = (usize, usize);

/// How many frames a thread has at most. A handler that serves another server adds one for each level.
const DEEPEST: usize = 16;

// Without destructors, so that it works while a thread's other locals are destroyed.
thread_local! {
    static STACK: [Cell<ActsFor>; DEEPEST] = const { [const { Cell::new((0, 0)) }; DEEPEST] };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The thread acts for these until this is dropped.
pub(crate) struct Frame(usize);

impl Frame {
    pub(crate) fn of(all: &[ActsFor]) -> Frame {
        let mut frame = Frame(DEPTH.get());
        for one in all {
            frame = frame.and(*one);
        }
        frame
    }

    pub(crate) fn and(self, one: ActsFor) -> Frame {
        STACK.with(|stack| {
            let depth = DEPTH.get();
            if !stack.iter().take(depth).any(|cell| cell.get() == one) {
                stack.get(depth).inspect(|cell| cell.set(one));
                DEPTH.set(depth + 1);
            }
        });
        self
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// What the thread acts for.
///
/// # Errors
/// The thread acts for more than fits on its stack.
pub(crate) fn acts_for() -> Result<Vec<ActsFor>> {
    let depth = DEPTH.get();
    if depth > DEEPEST {
        let text = "Handlers and the servers in them are nested too deep to wait for one";
        return Err(Error::invalid("ERR_WOULD_DEADLOCK", text));
    }
    let mut all = Vec::with_capacity(depth);
    STACK.with(|stack| {
        for cell in &stack[..depth] {
            all.push(cell.get());
        }
    });
    Ok(all)
}

/// What the thread acts for at one gate.
pub(crate) fn own(gate: usize) -> Result<Vec<usize>> {
    let mut own = Vec::new();
    for (at, number) in acts_for()? {
        if at == gate {
            own.push(number);
        }
    }
    Ok(own)
}

/// Calls a hook of the program's. A panic has been printed on standard error already and affects nothing else.
pub(crate) fn guarded(call: impl FnOnce()) {
    let mut call = Some(call);
    guard(&mut || {
        if let Some(call) = call.take() {
            call();
        }
    });
}

fn guard(call: &mut dyn FnMut()) {
    assert_none_held();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        dispose(panic);
    }
}

/// Drops a panic's payload. The drop may panic too.
pub(crate) fn dispose(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
