//! What happens, as a typed stream.

use std::sync::Arc;

use crate::{
    conflict_record::ConflictRecord,
    engine::report::SyncReport,
    error::SyncError,
    id::{OpId, RecordKey},
    operation::{OpKind, ParkReason},
    scope::{SyncScope, Target},
    store::QuarantinedRow,
};

/// Something that happened. Events are for showing and logging; nothing depends on receiving them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncEvent {
    /// A write was committed locally.
    Enqueued {
        /// The record.
        key: RecordKey,
        /// What the write does.
        kind: OpKind,
    },
    /// A synchronization began.
    Started(SyncScope),
    /// A synchronization succeeded.
    Finished {
        /// The scope.
        scope: SyncScope,
        /// What it did.
        report: Arc<SyncReport>,
    },
    /// A synchronization failed.
    Failed {
        /// The scope.
        scope: SyncScope,
        /// Why.
        error: SyncError,
        /// What it did before.
        report: Arc<SyncReport>,
    },
    /// An operation took effect at the remote.
    Pushed {
        /// The record.
        key: RecordKey,
        /// The operation.
        op_id: OpId,
    },
    /// Changes were pulled and committed.
    Pulled {
        /// Collection and scope.
        target: Target,
        /// How many records changed here.
        changed: u64,
    },
    /// A conflict was found, and settled unless it says that it is open.
    Conflict(Arc<ConflictRecord>),
    /// An operation was set aside.
    Parked {
        /// The record.
        key: RecordKey,
        /// The operation.
        op_id: OpId,
        /// Why.
        reason: ParkReason,
    },
    /// A row could not be understood and was put into quarantine.
    Quarantined(Arc<QuarantinedRow>),
    /// A collection is pulled again from nothing.
    Resyncing {
        /// Collection and scope.
        target: Target,
        /// Why.
        reason: String,
    },
    /// The remote has proved that this client may no longer see the scope.
    ScopeRevoked(SyncScope),
    /// Records were evicted to stay within a limit.
    Evicted {
        /// Collection and scope.
        target: Target,
        /// How many.
        records: u64,
    },
    /// The receiver was too slow and missed this many events.
    Missed(u64),
}
