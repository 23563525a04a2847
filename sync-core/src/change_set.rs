//! What the engine asks a local store to change, as one transaction.

use crate::{
    conflict_record::ConflictRecord,
    delta::RemoteState,
    id::{OpId, RecordId, RecordKey},
    operation::PendingOp,
    payload::Payload,
    scope::Target,
    stamp::Stamp,
    store::{QuarantinedRow, TargetState},
    time::Timestamp,
};

/// Proof of a lease: the number it was granted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease.
    pub lease: String,
    /// Greater than that of every earlier holder.
    pub token: u64,
}

/// A record row to write. Its operations are written by [`ChangeSet::ops`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordWrite {
    /// The record.
    pub key: RecordKey,
    /// The revision the engine read; the commit is stale if it is no longer the current one (0 = no row).
    pub read_revision: u64,
    /// What the app sees from now on.
    pub view: Option<Payload>,
    /// Whether that is what the store holds already, at the revision that was read. It may leave the view alone then.
    pub keeps_view: bool,
    /// The schema version of the payloads.
    pub schema_version: u32,
    /// The remote state from now on.
    pub base: RemoteState,
    /// How many operations the record has from now on.
    pub pending: u32,
    /// As [`crate::RecordState::mark`].
    pub mark: u64,
}

/// A state that the remote told of a record without pending operations: base and view become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The record.
    pub id: RecordId,
    /// Live or deleted; never missing.
    pub state: RemoteState,
}

/// Confirmations for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedPage {
    /// Collection and scope.
    pub target: Target,
    /// The records, each at most once.
    pub records: Vec<Confirmation>,
    /// The schema version of the payloads.
    pub schema_version: u32,
    /// The mark they get.
    pub mark: u64,
    /// Whether the records are taken to be new here: if the store has a row of one of them, whatever it holds, the
    /// commit is stale. Saves looking for what it holds.
    pub only_new: bool,
}

/// A change of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpChange {
    /// Appends an operation; the store gives it the next `seq`, which no other operation ever gets.
    Append(PendingOp),
    /// Replaces the operation with the same `seq`; its `op_id` may have changed.
    Replace(PendingOp),
    /// Removes an operation.
    Remove(OpId),
    /// The operation with this `seq`, queued or in doubt, is about to be sent: it is in doubt from now on, and was
    /// sent so often. Nothing happens if there is none.
    MarkInDoubt {
        /// The record.
        key: RecordKey,
        /// The place in the queue.
        seq: u64,
        /// As [`PendingOp::attempts`].
        attempts: u32,
    },
}

/// One transaction on a local store.
///
/// Guards first: if any fails, nothing is written. Then the parts are written in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// The lease under which the engine acts. If it was taken over, the commit fails with `LeaseLost`.
    pub fence: Option<Fence>,
    /// Whether that lease is given back in the same transaction, as by [`crate::LocalStore::release_lease`].
    pub gives_back: bool,
    /// Records that must still have these revisions, besides those in `records`.
    pub guards: Vec<(RecordKey, u64)>,
    /// Record rows to write, each guarded by its `read_revision`. The store raises the revision and sets
    /// `touched_at` to [`ChangeSet::now`]. A row that is made again gets a revision that no earlier row of the
    /// record had, so that a guard never mistakes it for that one.
    pub records: Vec<RecordWrite>,
    /// Records whose revision is raised and nothing else, each guarded by the revision that was read: what others
    /// worked out from the state before is stale then.
    pub touches: Vec<(RecordKey, u64)>,
    /// Remote states for records without pending operations. If a record has some by now, the commit is stale.
    /// A record that already has the same state ([`RemoteState::is_same_as`]) only gets the mark.
    pub confirmed: Vec<ConfirmedPage>,
    /// Marks for records that were seen unchanged.
    pub marks: Vec<(Target, Vec<RecordId>, u64)>,
    /// Records whose row is removed. If a record has pending operations by now, the commit is stale, unless the
    /// same change set removes them all.
    pub removals: Vec<RecordKey>,
    /// Changes of the queue.
    pub ops: Vec<OpChange>,
    /// Blocked operations that wait for one of these become queued.
    pub unblock: Vec<OpId>,
    /// Target states to write.
    pub targets: Vec<TargetState>,
    /// Conflict records to write; one with the same id is replaced.
    pub conflicts: Vec<ConflictRecord>,
    /// Rows to put into quarantine; one of the same target with the same id (or, without an id, the same raw
    /// text) is replaced.
    pub quarantine: Vec<QuarantinedRow>,
    /// Records that are understood now: their rows leave the quarantine.
    pub understood: Vec<(Target, Vec<RecordId>)>,
    /// Settings to write; `None` removes one.
    pub settings: Vec<(String, Option<String>)>,
    /// The stamp of this write, not before those of its operations. The store keeps the greatest it has seen.
    pub clock: Option<Stamp>,
    /// The local time of the commit.
    pub now: Timestamp,
}

impl ChangeSet {
    /// A change set without changes at the local time `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                fence: self.fence.clone(),
                guards: self.guards.clone(),
                now: self.now,
                ..Self::default()
            }
    }
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Everything was written.
    Committed,
    /// Nothing was written: these records changed since they were read (not necessarily all of them).
    Stale(Vec<RecordKey>),
}
