//! Random choices that a seed repeats.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// SplitMix64, by Sebastiano Vigna: one word of state, and any seed is good.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A time below so many milliseconds.
    pub fn millis(&mut self, most: usize) -> Duration {
        Duration::from_micros(self.below(most * 1000 + 1) as u64)
    }

    /// Another one, for another thread.
    pub fn fork(&mut self) -> Random {
        Random(self.number())
    }
}

/// One that several threads fork from. Which thread is first is not repeated by the seed.
pub struct SharedRandom(Mutex<Random>);

impl SharedRandom {
    pub fn new(random: Random) -> SharedRandom {
        SharedRandom(Mutex::new(random))
    }

    pub fn fork(&self) -> Random {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}
