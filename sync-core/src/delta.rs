//! What a remote tells about records: versions, states, deltas.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{id::RecordId, payload::Payload, stamp::Stamp, time::Timestamp};

/// A remote's name for one state of one record: an ETag, a revision, a row version.
///
/// The token is opaque; equal tokens mean the same state. Where the remote's versions have an order within one
/// epoch, [`RemoteVersion::ordered`] says so, and a state that is provably older never replaces a newer one.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteVersion {
    token: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<i64>,
}

impl RemoteVersion {
    /// A version that can only be compared for equality.
    pub fn opaque(token: impl Into<Arc<str>>) -> Self {
        Self {
            token: token.into(),
            order: None,
        }
    }

    /// A version whose place among the versions of the same record is known.
    pub fn ordered(token: impl Into<Arc<str>>, order: i64) -> Self {
        Self {
            token: token.into(),
            order: Some(order),
        }
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The place among the versions of the same record, if known.
    pub fn order(&self) -> Option<i64> {
        self.order
    }

    /// Whether this version is provably older than `other`.
    pub fn is_older_than(&self, other: &RemoteVersion) -> bool {
        matches!((self.order, other.order), (Some(a), Some(b)) if a < b)
    }
}

impl fmt::Debug for RemoteVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.token)
    }
}

/// A record as the remote holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T = Payload> {
    /// The content.
    pub record: T,
    /// The remote's name for this state.
    pub version: RemoteVersion,
    /// Our own stamp of the write that made this state, where the remote keeps it.
    pub stamp: Option<Stamp>,
    /// The server's time of the write that made this state, where the remote tells it.
    pub server_time: Option<Timestamp>,
}

impl<T> Versioned<T> {
    /// A record with its version, without stamp and server time.
    pub fn new(record: T, version: RemoteVersion) -> Self {
        Self {
            record,
            version,
            stamp: None,
            server_time: None,
        }
    }

    /// Adds the stamp of the write.
    pub fn with_stamp(mut self, stamp: Option<Stamp>) -> Self {
        self.stamp = stamp;
        self
    }

    /// Adds the server's time of the write.
    pub fn with_server_time(mut self, time: Option<Timestamp>) -> Self {
        self.server_time = time;
        self
    }
}

/// The news that a record is no longer there (deleted, or moved out of the scope).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The remote's name for the deleted state, where it has one.
    pub version: Option<RemoteVersion>,
    /// Our own stamp of the delete, where the remote keeps it.
    pub stamp: Option<Stamp>,
    /// The server's time of the delete, where the remote tells it.
    pub server_time: Option<Timestamp>,
}

/// All that can be said of one record at the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoteState {
    /// Nothing is known: never seen there, or gone without a trace.
    #[default]
    Missing,
    /// It is there.
    Live(Versioned),
    /// It was deleted.
    Deleted(Tombstone),
}

impl RemoteState {
    /// The content, if the record is live.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Live(live) => Some(&live.record),
            _ => None,
        }
    }

    /// The version, if known.
    pub fn version(&self) -> Option<&RemoteVersion> {
        match self {
            Self::Missing => None,
            Self::Live(live) => Some(&live.version),
            Self::Deleted(tombstone) => tombstone.version.as_ref(),
        }
    }

    /// The stamp of the write that made this state, if known.
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Missing => None,
            Self::Live(live) => live.stamp,
            Self::Deleted(tombstone) => tombstone.stamp,
        }
    }

    /// The server's time of the write that made this state, if known.
    pub fn server_time(&self) -> Option<Timestamp> {
        match self {
            Self::Missing => None,
            Self::Live(live) => live.server_time,
            Self::Deleted(tombstone) => tombstone.server_time,
        }
    }

    /// Whether the record is there.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Whether both are the same state: both live or both deleted, with equal known versions.
    pub fn is_same_as(&self, other: &RemoteState) -> bool {
        match (self, other) {
            (Self::Live(a), Self::Live(b)) => a.version == b.version,
            (Self::Deleted(a), Self::Deleted(b)) => a.version.is_some() && a.version == b.version,
            _ => false,
        }
    }

    /// Whether this state is provably older than `other`.
    pub fn is_older_than(&self, other: &RemoteState) -> bool {
        matches!((self.version(), other.version()), (Some(a), Some(b)) if a.is_older_than(b))
    }
}

/// How far a pull has come: an opaque token that only the remote which made it can read.
///
/// It carries whatever the remote needs to go on without loss, its epoch included. No part of the framework
/// compares it with a clock.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SyncPoint(Arc<str>);

impl SyncPoint {
    /// A sync point with the remote's own text.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SyncPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncPoint({})", self.0)
    }
}

/// One changed record in a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteChange {
    /// The record.
    pub id: RecordId,
    /// Its state now: live or deleted.
    pub state: RemoteState,
}

/// A row of a delta that could not be understood. It is kept, reported, and does not stop the sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedRow {
    /// The id, if at least that could be read.
    pub id: Option<RecordId>,
    /// The row as it came.
    pub raw: String,
    /// What is wrong with it.
    pub error: String,
}

/// Whether a pass of pages tells changes or everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaKind {
    /// Changes since the sync point. Absence of a record says nothing.
    Incremental,
    /// Everything in the scope. When the last page of the pass has come, a record that was in none of them is
    /// not in the scope. A remote may say this only if it has proved that the answer is authorised and complete.
    Snapshot,
}

/// One page of what changed at the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The changes, in the order to apply them. The same id may appear more than once.
    pub changes: Vec<RemoteChange>,
    /// Rows that could not be understood.
    pub malformed: Vec<MalformedRow>,
    /// Where the next pull continues. To be stored together with the changes.
    pub next: SyncPoint,
    /// Whether more pages are ready now. A short page is not the end; this is.
    pub has_more: bool,
    /// The server's time when it answered, if it tells.
    pub server_time: Option<Timestamp>,
    /// What the pass this page belongs to tells.
    pub kind: DeltaKind,
    /// Whether the remote has reason to believe that this client missed something, and asks for an id sweep.
    pub wants_sweep: bool,
}

impl Delta {
    /// An incremental page without changes that ends the pass at `next`.
    pub fn empty(next: SyncPoint) -> Self {
        Self {
            changes: Vec::new(),
            malformed: Vec::new(),
            next,
            has_more: false,
            server_time: None,
            kind: DeltaKind::Incremental,
            wants_sweep: false,
        }
    }
}
