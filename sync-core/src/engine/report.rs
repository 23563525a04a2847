//! What one synchronization did.

use std::{collections::BTreeMap, time::Duration};

use crate::conflict_record::{ConflictRecord, Settlement};

/// What to do in one synchronization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncRequest {
    pub(crate) push: bool,
    pub(crate) pull: bool,
    pub(crate) full_resync: bool,
    pub(crate) sweep: bool,
}

impl SyncRequest {
    pub(crate) const BOTH: Self = Self {
        push: true,
        pull: true,
        full_resync: false,
        sweep: false,
    };
    pub(crate) const PUSH: Self = Self {
        pull: false,
        ..Self::BOTH
    };
    pub(crate) const PULL: Self = Self {
        push: false,
        ..Self::BOTH
    };
    pub(crate) const FULL: Self = Self {
        full_resync: true,
        ..Self::BOTH
    };

    pub(crate) fn join(&mut self, other: &Self) {
        self.push |= other.push;
        self.pull |= other.pull;
        self.full_resync |= other.full_resync;
        self.sweep |= other.sweep;
    }
}

/// What one synchronization of a scope did. Counts are of records or operations, not of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Operations that took effect at the remote.
    pub pushed: u64,
    /// Of these, operations that had taken effect before, whose answer was lost.
    pub duplicates: u64,
    /// Records that changed here because the remote told so.
    pub pulled: u64,
    /// Of these, deletes.
    pub deleted: u64,
    /// Conflicts by how they were settled.
    pub settled: BTreeMap<Settlement, u64>,
    /// Conflicts that wait for the user.
    pub deferred: u64,
    /// Operations that were set aside.
    pub parked: u64,
    /// Operations that are to be tried again later.
    pub retried: u64,
    /// Rows that could not be understood and were put into quarantine.
    pub quarantined: u64,
    /// Records removed because the remote does not have them any more, found by a sweep or a full resync.
    pub swept: u64,
    /// Whether a collection was pulled again from nothing.
    pub resynced: bool,
    /// Requests to the remote.
    pub requests: u64,
    /// How long it took.
    pub duration: Duration,
}

impl SyncReport {
    /// Conflicts that were settled, in all ways.
    pub fn conflicts(&self) -> u64 {
        self.settled.values().sum::<u64>() + self.deferred
    }

    pub(crate) fn count_conflict(&mut self, conflict: &ConflictRecord) {
        match conflict.settlement {
            Some(settlement) => *self.settled.entry(settlement).or_default() += 1,
            None => self.deferred += 1,
        }
    }

    /// The sum of two reports.
    pub fn merged(mut self, other: &SyncReport) -> SyncReport {
        self.pushed += other.pushed;
        self.duplicates += other.duplicates;
        self.pulled += other.pulled;
        self.deleted += other.deleted;
        for (settlement, count) in &other.settled {
            *self.settled.entry(*settlement).or_default() += count;
        }
        self.deferred += other.deferred;
        self.parked += other.parked;
        self.retried += other.retried;
        self.quarantined += other.quarantined;
        self.swept += other.swept;
        self.resynced |= other.resynced;
        self.requests += other.requests;
        self.duration += other.duration;
        self
    }
}
