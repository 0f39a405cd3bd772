//! `storm ROUNDS [SEED]`: servers, clients and ends at random, and what has to hold after each round.
//!
//! Each round is made from its seed, which is printed when something is wrong: `storm 1 SEED` is that round again, as
//! far as the order of threads allows. Status 1: something was wrong. A round that hangs ends the process, after the
//! stacks of all threads.

mod book;
mod client;
mod events;
mod handler;
mod process;
mod random;
mod round;

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, panic, process as system, thread};

use crate::handler::Bomb;
use crate::process::{descriptors, print_threads};
use crate::round::Counts;

/// A round that takes longer hangs.
pub const HANG: Duration = Duration::from_secs(60);

static SEED: AtomicU64 = AtomicU64::new(0);
/// When the round began, in milliseconds of the process.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// A panic that no handler or hook of ours has asked for.
static STRANGE_PANIC: AtomicBool = AtomicBool::new(false);

/// The data, whether a thread panicked with the lock or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() {
    let number = |n: usize| env::args().nth(n).map(|text| text.parse::<u64>().expect("a number"));
    let rounds = number(1).expect("storm ROUNDS [SEED]");
    let first = number(2).unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64) * 10_000
    });
    println!("storm {rounds} {first}");
    panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or_default();
        if !info.payload().is::<Bomb>() && !text.starts_with("storm: ") {
            println!("seed {}: {info}", SEED.load(SeqCst));
            STRANGE_PANIC.store(true, SeqCst);
        }
    }));
    let start = Instant::now();
    thread::spawn(move || watch(start));
    let known = descriptors();
    let (mut failed, mut slowest, mut sum) = (0, Duration::ZERO, Counts::default());
    for seed in first..first + rounds {
        SEED.store(seed, SeqCst);
        let began = start.elapsed();
        BEGAN.store(began.as_millis() as u64, SeqCst);
        let (mut wrong, counts) = round::run(seed, &known);
        if STRANGE_PANIC.swap(false, SeqCst) {
            wrong.push("a panic that was not ours".to_owned());
        }
        slowest = slowest.max(start.elapsed() - began);
        wrong.iter().for_each(|text| println!("seed {seed}: {text}"));
        failed += u64::from(!wrong.is_empty());
        sum.add(counts);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{rounds} rounds, {failed} failed, {seconds:.0} s, the slowest {slowest:.1?}; {sum:?}; injected {injected}",
        injected = injected()
    );
    system::exit(i32::from(failed > 0));
}

/// Ends the process when a round hangs.
fn watch(start: Instant) {
    loop {
        thread::sleep(Duration::from_secs(1));
        let began = Duration::from_millis(BEGAN.load(SeqCst));
        if start.elapsed() - began > HANG {
            give_up("HANGS");
        }
    }
}

/// Ends the process, since rounds that came after would be blamed for this one.
pub fn give_up(text: &str) -> ! {
    println!("seed {}: {text}; {}", SEED.load(SeqCst), lock(&round::NOW));
    print_threads();
    system::exit(1);
}

/// How many thread starts were made to fail.
fn injected() -> u64 {
    #[cfg(landline_inject)]
    return landline::Running::injected();
    #[cfg(not(landline_inject))]
    0
}
