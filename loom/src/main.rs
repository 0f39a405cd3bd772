//! Every order in which threads can meet in what they wait with, tried by loom: `cargo run --release`, or
//! `cargo run --release SUBJECT…` for the models of one file.
//!
//! The files are the library's own. In this crate, `std` is this crate, so that they get loom's atomics, locks and
//! threads from it, and all else is std's. `loom/breaks` shows that each model fails when its file is broken.

extern crate self as std;
extern crate std as real;

mod callbacks;
mod gate;
mod queue;
mod slots;
mod thread;
mod turn;
mod wait_queue;

#[allow(dead_code, reason = "what the models do not use")]
#[path = "../../src/sync/deadline.rs"]
mod deadline;

#[allow(dead_code, reason = "what the models do not use")]
#[path = "../../src/sync/poison.rs"]
mod poison;

#[path = "../../src/net/socket/outbox/message.rs"]
mod message;

/// What the library's files and loom's macros use of std.
pub use real::{borrow, cell, collections, convert, fmt, marker, mem, ops, time};

/// What they use of std's addresses, and of the library's own modules there.
pub mod net {
    pub use real::net::*;

    pub(crate) mod socket {
        pub(crate) mod outbox {
            pub(crate) use crate::message;
        }
    }
}

/// What they use of std's locks, and of the library's.
pub mod sync {
    pub(crate) use crate::{deadline, poison};
    pub use loom::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
    pub use real::sync::{Arc, PoisonError, TryLockError};
}

use real::io::{Write, stdout};
use real::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};
use real::time::Instant;

use loom::cell::UnsafeCell;
use sync::Arc;

/// What always holds, how often loom interrupts a thread in the middle at most, and the program that would show the
/// opposite. Without a bound it is every order; three threads of many steps would not come to an end then.
type Model = (&'static str, Option<usize>, fn());

fn main() {
    static ORDERS: Count = Count::new(0);
    let subjects = [
        ("slots", slots::MODELS),
        ("gate", gate::MODELS),
        ("wait_queue", wait_queue::MODELS),
        ("turn", turn::MODELS),
        ("queue", queue::MODELS),
        ("callbacks", callbacks::MODELS),
    ];
    let wanted: Vec<String> = real::env::args().skip(1).collect();
    let mut passed = 0;
    for (subject, models) in subjects {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == subject) {
            continue;
        }
        for (claim, interruptions, model) in models {
            // Said before, so that the last line tells which model has failed.
            print!("{subject}: {claim}: ");
            stdout().flush().expect("standard output can be written to");
            let start = Instant::now();
            ORDERS.store(0, SeqCst);
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = *interruptions;
            builder.check(move || {
                ORDERS.fetch_add(1, SeqCst);
                model();
            });
            println!("{} orders in {:.1} s", ORDERS.load(SeqCst), start.elapsed().as_secs_f64());
            passed += 1;
        }
    }
    assert!(passed > 0, "no subject is called {wanted:?}");
    println!("{passed} passed, 0 failed");
}

/// What one thread does and another relies on. Loom stops where nothing orders the two.
#[derive(Clone)]
struct Note(Arc<UnsafeCell<()>>);

impl Note {
    #[allow(clippy::arc_with_non_send_sync, reason = "loom runs its threads on one thread")]
    fn new() -> Note {
        Note(Arc::new(UnsafeCell::new(())))
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }

    fn read(&self) {
        self.0.with(|_| ());
    }
}

/// Runs one as another thread of loom's, and the other on this one.
fn both<A: 'static, B>(one: impl FnOnce() -> A + 'static, other: impl FnOnce() -> B) {
    let thread = loom::thread::spawn(one);
    other();
    thread.join().expect("no panic");
}
