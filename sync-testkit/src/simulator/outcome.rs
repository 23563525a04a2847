//! What one simulation came to.

use std::collections::BTreeMap;

use sync_core::{Payload, RecordKey};

use super::coverage::Coverage;

/// What one simulation came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold; empty if all is well.
    pub violations: Vec<String>,
    /// Depends on everything that happened. Equal plans have equal hashes.
    pub hash: u64,
    /// What struck and what was seen.
    pub coverage: Coverage,
    /// How many operations of clients and others were carried out.
    pub operations: u64,
    /// What happened, in words, if it was asked for.
    pub lines: Vec<String>,
    /// What the remote ends with.
    pub truth: BTreeMap<RecordKey, Payload>,
}

impl Outcome {
    pub(crate) fn failed(what: String) -> Self {
        Self {
            violations: vec![what],
            hash: 0,
            coverage: Coverage::default(),
            operations: 0,
            lines: Vec::new(),
            truth: BTreeMap::new(),
        }
    }

    /// Fails the test unless everything held.
    ///
    /// # Panics
    /// With what did not hold.
    #[track_caller]
    pub fn assert_held(&self) {
        assert!(self.violations.is_empty(), "{}", self.violations.join("\n"));
    }
}
