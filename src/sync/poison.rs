//! Locks that a panic does not poison. The values under them are complete after every statement, and panics of
//! callbacks are handled elsewhere.
//!
//! Debug builds count the locks that each thread holds. The program's code is called only after [`assert_none_held`].
//! Under a lock, it could call back into the library and wait for its own thread.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

/// A lock that is held.
pub(crate) struct Held<G> {
    guard: G,
    _counted: Counted,
}

pub(crate) type Guard<'a, T> = Held<MutexGuard<'a, T>>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    match mutex.lock() {
        Ok(guard) => Held::new(guard),
        Err(poisoned) => Held::new(poisoned.into_inner()),
    }
}

/// The lock, unless a different thread holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<Guard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(Held::new(guard)),
        Err(TryLockError::Poisoned(guard)) => Some(Held::new(guard.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> Held<RwLockReadGuard<'_, T>> {
    Held::new(lock.read().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> Held<RwLockWriteGuard<'_, T>> {
    Held::new(lock.write().unwrap_or_else(PoisonError::into_inner))
}

/// Waits for a notification, at most `time` if it is given.
pub(crate) fn wait<'a, T>(condvar: &Condvar, held: Guard<'a, T>, time: Option<Duration>) -> Guard<'a, T> {
    let Held { guard, _counted } = held;
    let guard = match time {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(time) => condvar.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0,
    };
    Held { guard, _counted }
}

impl<G> Held<G> {
    fn new(guard: G) -> Held<G> {
        Held { guard, _counted: Counted::one() }
    }
}

impl<G: Deref> Deref for Held<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Held<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// Called before the program's code. The thread must hold none of these locks.
pub(crate) fn assert_none_held() {
    #[cfg(debug_assertions)]
    HELD.with(|held| assert_eq!(held.get(), 0, "code of the program's is called while the thread holds a lock"));
}

/// One of the locks that a thread holds.
pub(crate) struct Counted(());

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Counted {
    pub(crate) fn one() -> Counted {
        #[cfg(debug_assertions)]
        HELD.with(|held| held.set(held.get() + 1));
        Counted(())
    }
}

#[cfg(debug_assertions)]
impl Drop for Counted {
    fn drop(&mut self) {
        HELD.with(|held| held.set(held.get() - 1));
    }
}
