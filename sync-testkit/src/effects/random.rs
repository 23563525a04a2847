//! Random numbers that repeat.

use std::sync::{Mutex, PoisonError};

use rand::{RngCore, SeedableRng, rngs::SmallRng};
use sync_core::RandomSource;

/// Random numbers that are the same in every run with the same seed.
#[derive(Debug)]
pub struct SeededRandom(Mutex<SmallRng>);

impl SeededRandom {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl RandomSource for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}
