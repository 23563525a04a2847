//! One record as the local store holds it: base, view and pending operations.

use crate::{
    delta::{RemoteState, RemoteVersion},
    id::{RecordId, RecordKey},
    operation::PendingOp,
    payload::Payload,
    time::Timestamp,
};

/// Everything the local store knows about one record.
///
/// Invariants:
/// - `view` is `base` with the effects of `ops` in order; without `ops` they are the same;
/// - `ops` is in the order of `seq`;
/// - `revision` grows with every change of the record, and is 0 if the store has no row for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// The record.
    pub key: RecordKey,
    /// Counts the local changes of this row; the guard of optimistic commits.
    pub revision: u64,
    /// What the app sees: `None` if the record is not there or deleted.
    pub view: Option<Payload>,
    /// The schema version of `view` and of `base`'s payload.
    pub schema_version: u32,
    /// The last state that the remote confirmed or delivered.
    pub base: RemoteState,
    /// The writes the remote has not confirmed.
    pub ops: Vec<PendingOp>,
    /// The pass in which the record was last seen at the remote; see [`crate::TargetState::generation`].
    pub mark: u64,
    /// When the row last changed, by the local clock. Eviction starts with the oldest.
    pub touched_at: Timestamp,
}

impl RecordState {
    /// A record the store knows nothing about.
    pub fn absent(key: RecordKey) -> Self {
        Self {
            key,
            revision: 0,
            view: None,
            schema_version: 0,
            base: RemoteState::Missing,
            ops: Vec::new(),
            mark: 0,
            touched_at: Timestamp::EPOCH,
        }
    }

    /// Whether it has writes the remote has not confirmed.
    pub fn is_pending(&self) -> bool {
        !self.ops.is_empty()
    }
}

/// The part of a [`RecordState`] that a pull needs of most records: no payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSummary {
    /// The record's id.
    pub id: RecordId,
    /// As [`RecordState::revision`].
    pub revision: u64,
    /// The version of the base, if it has one.
    pub version: Option<RemoteVersion>,
    /// Whether the base is live.
    pub live: bool,
    /// Whether it has pending operations.
    pub pending: bool,
}

/// One record of a query's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecord {
    /// The record's id.
    pub id: RecordId,
    /// What the app sees.
    pub payload: Payload,
    /// The schema version of the payload.
    pub schema_version: u32,
    /// Whether it has pending operations.
    pub pending: bool,
}
