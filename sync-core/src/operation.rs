//! Pending operations: what the user wrote and the remote has not confirmed yet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    delta::{RemoteState, RemoteVersion, Versioned},
    error::{ErrorKind, SyncError},
    id::{OpId, RecordKey},
    payload::Payload,
    stamp::Stamp,
    time::Timestamp,
};

/// What an operation does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// Makes a record that is not there.
    Create,
    /// Changes a record that is there.
    Update,
    /// Removes a record.
    Delete,
}

impl OpKind {
    /// The name as stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Which fields an operation changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangedFields {
    /// The record is replaced as a whole; fields that the payload lacks are removed.
    All,
    /// Only these top-level fields are set, or removed if the payload lacks them.
    Only(BTreeSet<String>),
}

impl ChangedFields {
    /// The fields of either.
    pub fn union(&self, other: &ChangedFields) -> ChangedFields {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(a.union(b).cloned().collect()),
            _ => Self::All,
        }
    }
}

/// Why an operation was set aside until the user decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParkReason {
    /// The remote refused it for good.
    Rejected {
        /// The remote's own code.
        code: String,
        /// The remote's message.
        message: String,
        /// The field it is about, if any.
        field: Option<String>,
    },
    /// The payload could not be brought to the current schema version.
    SchemaUpgrade {
        /// What the upgrade said.
        message: String,
    },
    /// The conflict resolver failed.
    ResolverFailed {
        /// What it said.
        message: String,
    },
    /// This client may no longer see the scope.
    ScopeRevoked,
}

/// Where an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpState {
    /// It waits to be sent, and is known not to have taken effect.
    Queued,
    /// It was sent, and no answer has settled whether it took effect. It is sent again with the same id.
    InDoubt,
    /// It waits for the user.
    Parked(ParkReason),
    /// It waits for the user to resolve a conflict.
    Deferred,
    /// It waits for another operation that is parked.
    Blocked {
        /// The operation it waits for.
        by: OpId,
    },
}

impl OpState {
    /// The kind of state, as stored and counted.
    pub fn kind(&self) -> OpStateKind {
        match self {
            Self::Queued => OpStateKind::Queued,
            Self::InDoubt => OpStateKind::InDoubt,
            Self::Parked(_) => OpStateKind::Parked,
            Self::Deferred => OpStateKind::Deferred,
            Self::Blocked { .. } => OpStateKind::Blocked,
        }
    }
}

/// The kinds of [`OpState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpStateKind {
    /// See [`OpState::Queued`].
    Queued,
    /// See [`OpState::InDoubt`].
    InDoubt,
    /// See [`OpState::Parked`].
    Parked,
    /// See [`OpState::Deferred`].
    Deferred,
    /// See [`OpState::Blocked`].
    Blocked,
}

impl OpStateKind {
    /// Every kind.
    pub const ALL: [OpStateKind; 5] = [
        Self::Queued,
        Self::InDoubt,
        Self::Parked,
        Self::Deferred,
        Self::Blocked,
    ];

    /// The name as stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InDoubt => "in_doubt",
            Self::Parked => "parked",
            Self::Deferred => "deferred",
            Self::Blocked => "blocked",
        }
    }

    /// Whether operations in this state are sent without the user doing anything.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::InDoubt)
    }
}

/// The last thing that went wrong with an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpFailure {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The message.
    pub message: String,
    /// When, by the local clock.
    pub at: Timestamp,
}

impl OpFailure {
    /// The failure that `error` tells of.
    pub fn from_error(error: &SyncError, at: Timestamp) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            at,
        }
    }
}

/// One write of the user that the remote has not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingOp {
    /// The identity, unchanged in every retry.
    pub op_id: OpId,
    /// The place in the queue, given by the store at the first commit; 0 before.
    pub seq: u64,
    /// The record.
    pub key: RecordKey,
    /// What it does.
    pub kind: OpKind,
    /// The whole record as it should be afterwards; `None` for a delete.
    pub payload: Option<Payload>,
    /// Which fields of the payload are meant.
    pub changed: ChangedFields,
    /// The remote state it was made on, if that is no longer the record's base; see [`crate::RecordState::base`].
    pub base: Option<RemoteState>,
    /// When and by whom it was written, for conflict resolution.
    pub stamp: Stamp,
    /// When it was enqueued, by the local clock.
    pub enqueued_at: Timestamp,
    /// The schema version of the payload.
    pub schema_version: u32,
    /// The write batch it belongs to, if any.
    pub group: Option<Uuid>,
    /// Where it stands.
    pub state: OpState,
    /// How often it was sent.
    pub attempts: u32,
    /// Not sent before this time, by the local clock; [`Timestamp::EPOCH`] until it was tried, whatever the clock
    /// said when it was written.
    pub next_attempt_at: Timestamp,
    /// The last thing that went wrong.
    pub last_failure: Option<OpFailure>,
}

/// An operation as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOp {
    /// The idempotency key.
    pub op_id: OpId,
    /// The record.
    pub key: RecordKey,
    /// What to do.
    pub kind: OpKind,
    /// The whole record as it should be afterwards; `None` for a delete.
    pub payload: Option<Payload>,
    /// Which fields of the payload are meant.
    pub changed: ChangedFields,
    /// The version the record must have for the operation to apply. A create carries the version of the tombstone
    /// it is made on, if one is known; without one it applies only if the remote has neither record nor
    /// tombstone. For others, `None` means that the version is not known, and the operation applies to any.
    pub base: Option<RemoteVersion>,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// The schema version of the payload.
    pub schema_version: u32,
}

/// What the remote did with one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// It took effect now.
    Applied {
        /// The version the record has now.
        version: RemoteVersion,
        /// The record as stored, if the remote may have changed it on the way.
        record: Option<Payload>,
        /// The server's time of the write, if it tells.
        server_time: Option<Timestamp>,
    },
    /// It had taken effect before; this was a repetition.
    Duplicate {
        /// The version it made then, if remembered.
        version: Option<RemoteVersion>,
    },
    /// It did not take effect, since the record is not in the state of `base`.
    Conflict {
        /// The state the record is in.
        current: RemoteState,
    },
    /// It did not take effect, since there is no such record (nor a tombstone).
    Missing,
    /// It did not and will not take effect.
    Rejected {
        /// The remote's own code.
        code: String,
        /// The remote's message.
        message: String,
        /// The field it is about, if any.
        field: Option<String>,
    },
    /// It did not take effect, and may if sent again.
    Retry {
        /// Not before this pause, if the remote says so.
        after: Option<std::time::Duration>,
        /// Why.
        reason: String,
    },
    /// Whether it took effect is not known.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl PushOutcome {
    /// `Applied` with a version and nothing else.
    pub fn applied(version: RemoteVersion) -> Self {
        Self::Applied {
            version,
            record: None,
            server_time: None,
        }
    }

    /// The name as printed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Duplicate { .. } => "duplicate",
            Self::Conflict { .. } => "conflict",
            Self::Missing => "missing",
            Self::Rejected { .. } => "rejected",
            Self::Retry { .. } => "retry",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// The state a record is in after `op` was applied at the remote.
pub(crate) fn state_after(
    op: &PendingOp,
    version: RemoteVersion,
    record: Option<Payload>,
    server_time: Option<Timestamp>,
) -> RemoteState {
    match (op.kind, record.or_else(|| op.payload.clone())) {
        (OpKind::Create | OpKind::Update, Some(record)) => RemoteState::Live(
            Versioned::new(record, version)
                .with_stamp(Some(op.stamp))
                .with_server_time(server_time),
        ),
        _ => RemoteState::Deleted(crate::delta::Tombstone {
            version: Some(version),
            stamp: Some(op.stamp),
            server_time,
        }),
    }
}
