//! What synchronizations did, added up.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{ConflictRecord, Settlement, SyncEvent, SyncReport};

/// What all synchronizations of a device did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Operations that took effect at the remote.
    pub(crate) pushed: u64,
    /// Records that changed on the device because the remote told so.
    pub(crate) pulled: u64,
    /// Synchronizations that failed and were repeated.
    pub(crate) failed: u64,
    /// Conflicts by how they were settled; `None` = still open.
    pub(crate) settled: BTreeMap<Option<Settlement>, u64>,
    /// The time spent on it.
    pub(crate) time: Duration,
}

impl Tally {
    /// Adds what a synchronization reported that went to its end.
    pub(crate) fn add(&mut self, report: &SyncReport) {
        self.pushed += report.pushed;
        self.pulled += report.pulled;
    }

    /// Adds what a synchronization did before it failed.
    pub(crate) fn add_failed(&mut self, partly: &Progress) {
        self.pushed += partly.pushed;
        self.pulled += partly.pulled;
        self.failed += 1;
    }

    /// Conflicts, settled and open.
    pub(crate) fn conflicts(&self) -> u64 {
        self.settled.values().sum()
    }
}

/// How far one synchronization has come, as its events tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) pushed: u64,
    pub(crate) pulled: u64,
}

impl Progress {
    pub(crate) fn take(&mut self, event: &SyncEvent) {
        match event {
            SyncEvent::Pushed { .. } => self.pushed += 1,
            SyncEvent::Pulled { changed, .. } => self.pulled += changed,
            _ => {}
        }
    }
}

/// How many conflicts were settled in which way.
pub(crate) fn settlements(history: &[ConflictRecord]) -> BTreeMap<Option<Settlement>, u64> {
    let mut settled = BTreeMap::new();
    for conflict in history {
        *settled.entry(conflict.settlement).or_default() += 1;
    }
    settled
}
