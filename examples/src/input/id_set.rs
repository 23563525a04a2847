//! The ids seen so far, in 16 bytes each.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
};

/// Remembers ids by two independent 64-bit hashes, keyed anew in each process: among a billion ids, the chance
/// that any two are mistaken for each other is less than one in a hundred quintillions.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    first: RandomState,
    second: RandomState,
    seen: HashSet<(u64, u64)>,
}

impl IdSet {
    /// Adds the id; whether it is new.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        self.seen
            .insert((self.first.hash_one(id), self.second.hash_one(id)))
    }
}
