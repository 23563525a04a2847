//! Durable records of conflicts: open ones wait for the user, settled ones are history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{delta::RemoteState, id::RecordKey, payload::Payload, stamp::Stamp, time::Timestamp};

/// How a conflict was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// The local value won and is pushed.
    KeptLocal,
    /// The remote value won; the local operations were dropped, and are kept in the conflict record.
    TookRemote,
    /// A merged value took the place of both and is pushed.
    Merged,
    /// The user discarded the local operations.
    Discarded,
}

impl Settlement {
    /// The name as stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeptLocal => "kept_local",
            Self::TookRemote => "took_remote",
            Self::Merged => "merged",
            Self::Discarded => "discarded",
        }
    }
}

/// A concurrent change of one record on both sides, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictRecord {
    /// The identity of this conflict.
    pub conflict_id: Uuid,
    /// The record.
    pub key: RecordKey,
    /// The last state both sides had in common, if known.
    pub base: Option<Payload>,
    /// The local value; `None` = deleted locally.
    pub local: Option<Payload>,
    /// The stamp of the local write.
    pub local_stamp: Stamp,
    /// The remote state.
    pub remote: RemoteState,
    /// When it was found, by the local clock.
    pub detected_at: Timestamp,
    /// How it was settled; `None` while it waits for the user.
    pub settlement: Option<Settlement>,
    /// When it was settled, by the local clock.
    pub settled_at: Option<Timestamp>,
}

impl ConflictRecord {
    /// Whether it waits for the user.
    pub fn is_open(&self) -> bool {
        self.settlement.is_none()
    }
}
