//! Calls the program's code: handlers, callbacks and hooks. During a call no lock is held, panics are caught, and the
//! thread knows for which connections it acts.
//!
//! While a thread runs a handler or a callback, its connection counts as present at the server's gate (see
//! `sync::gate`). If that code waits for the server to end, the wait must not count this connection. So each thread has
//! a stack of frames, one for each connection that it acts for. While the program's code runs, every connection that
//! the thread keeps present is on this stack.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::sync::poison::assert_none_held;

/// The number of a gate, and the number of a connection that is present there.
pub(crate) type ActsFor = (usize, usize);

/// The maximum number of frames of a thread. A handler that serves a second server adds one for each level.
const DEEPEST: usize = 16;

// Without destructors, so that it works even while the thread's other locals are being destroyed.
thread_local! {
    static STACK: [Cell<ActsFor>; DEEPEST] = const { [const { Cell::new((0, 0)) }; DEEPEST] };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// While this exists, the thread acts for the connections in it.
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

/// The connections that this thread acts for.
///
/// # Errors
/// The thread acts for more connections than fit on its stack.
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

/// The connections of one gate that this thread acts for.
pub(crate) fn own(gate: usize) -> Result<Vec<usize>> {
    let mut own = Vec::new();
    for (at, number) in acts_for()? {
        if at == gate {
            own.push(number);
        }
    }
    Ok(own)
}

/// Calls a hook of the program. If the hook panics, std has already printed the panic on standard error, and the panic
/// is otherwise ignored.
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

/// Drops a panic's payload. This drop may panic too.
pub(crate) fn dispose(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
