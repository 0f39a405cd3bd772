//! 64-bit counters, even for processors without 64-bit atomic instructions.

#[cfg(target_has_atomic = "64")]
pub(crate) use std::sync::atomic::AtomicU64;

#[cfg(not(target_has_atomic = "64"))]
pub(crate) use locked::AtomicU64;

/// For 32-bit MIPS and PowerPC, which routers use. Bytes are counted under a lock, because 32 bits overflow after 4
/// GiB.
#[cfg(any(test, not(target_has_atomic = "64")))]
mod locked {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use crate::sync::poison::lock;

    /// The calls of std's type that are used here. All use the strictest ordering.
    #[derive(Debug, Default)]
    pub(crate) struct AtomicU64(Mutex<u64>);

    impl AtomicU64 {
        pub(crate) const fn new(value: u64) -> AtomicU64 {
            AtomicU64(Mutex::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u64 {
            *lock(&self.0)
        }

        pub(crate) fn store(&self, value: u64, _: Ordering) {
            *lock(&self.0) = value;
        }

        pub(crate) fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
            let mut counter = lock(&self.0);
            let before = *counter;
            *counter = before.wrapping_add(value);
            before
        }

        pub(crate) fn fetch_max(&self, value: u64, _: Ordering) -> u64 {
            let mut counter = lock(&self.0);
            let before = *counter;
            *counter = before.max(value);
            before
        }

        pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            self.fetch_add(value.wrapping_neg(), order)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    use super::locked::AtomicU64;

    /// Ensures that the counter for processors without atomics of 64 bits loses no step of any thread, counts past 32
    /// bits, and gives what was there before, as std's does.
    #[test]
    fn a_locked_counter_counts_as_an_atomic_one() {
        let counter = AtomicU64::new(u64::from(u32::MAX) - 1000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| _ = counter.fetch_add(2, Relaxed)));
                scope.spawn(|| (0..1000).for_each(|_| _ = counter.fetch_sub(1, Relaxed)));
            }
        });
        assert_eq!(counter.load(Relaxed), u64::from(u32::MAX) + 3000, "each step is counted");
        counter.store(0, Relaxed);
        assert_eq!([counter.fetch_sub(1, Relaxed), counter.fetch_add(2, Relaxed)], [0, u64::MAX], "the value before");
        assert_eq!(counter.load(Relaxed), 1, "it wraps around");
        assert_eq!([counter.fetch_max(5, Relaxed), counter.fetch_max(3, Relaxed)], [1, 5], "the value before");
        assert_eq!(counter.load(Relaxed), 5, "it does not go back");
    }
}
