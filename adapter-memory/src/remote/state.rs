//! The backend itself: rows, their order of change, and the server's clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use sync_core::{
    Capabilities, Clock, CollectionName, CursorKind, DeleteVisibility, OpId, Payload, PushBatch, PushOp,
    RecordId, RecordKey, RemoteState, RemoteVersion, Stamp, SyncScope, Target, Timestamp, Tombstone,
    Versioned,
};

use super::Rejection;

/// Versions of later epochs are ordered after those of earlier ones: the low bits hold the sequence.
const SEQUENCE_BITS: u32 = 40;

type TransformHook = Arc<dyn Fn(&RecordKey, Payload) -> Payload + Send + Sync>;
type ValidateHook = Arc<dyn Fn(&PushOp) -> Option<Rejection> + Send + Sync>;

/// The closures of a test, which stand for the server's own logic.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) transform: Option<TransformHook>,
    pub(super) validate: Option<ValidateHook>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("transform", &self.transform.is_some())
            .field("validate", &self.validate.is_some())
            .finish()
    }
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Live(Payload),
    Deleted,
    /// Something no client understands. Without a name, the id is only the place where it is kept.
    Malformed {
        raw: String,
        named: bool,
    },
}

/// One record as the backend holds it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) content: Content,
    pub(super) version: RemoteVersion,
    pub(super) sequence: i64,
    pub(super) stamp: Option<Stamp>,
    pub(super) written_at: Timestamp,
    /// Where the row stands in the order that cursors follow: its sequence, or its time in milliseconds.
    pub(super) position: i64,
}

/// The rows of one collection in one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) by_id: BTreeMap<RecordId, Row>,
    /// One entry for each row, moved to its new place with every change.
    pub(super) by_position: BTreeMap<i64, BTreeSet<RecordId>>,
}

impl Rows {
    fn put(&mut self, id: RecordId, row: Row) {
        self.remove(&id);
        self.by_position
            .entry(row.position)
            .or_default()
            .insert(id.clone());
        self.by_id.insert(id, row);
    }

    fn remove(&mut self, id: &RecordId) -> Option<Row> {
        let row = self.by_id.remove(id)?;
        if let Some(ids) = self.by_position.get_mut(&row.position) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_position.remove(&row.position);
            }
        }
        Some(row)
    }
}

/// The operation ids that the backend remembers, oldest forgotten first.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    limit: usize,
    order: VecDeque<OpId>,
    versions: BTreeMap<OpId, RemoteVersion>,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            order: VecDeque::new(),
            versions: BTreeMap::new(),
        }
    }

    pub(super) fn version_of(&self, op_id: OpId) -> Option<&RemoteVersion> {
        self.versions.get(&op_id)
    }

    pub(super) fn remember(&mut self, op_id: OpId, version: RemoteVersion) {
        if self.versions.insert(op_id, version).is_none() {
            self.order.push_back(op_id);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.versions.remove(&oldest);
            }
        }
    }
}

/// Everything a backup holds.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) sequence: i64,
    pub(super) rows: BTreeMap<Target, Rows>,
    pub(super) memory: Memory,
    /// Tombstones up to this sequence are gone.
    pub(super) horizon: i64,
}

/// The place in the order of commits, and the time, that a write is filed under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) sequence: i64,
    pub(super) time: Timestamp,
}

/// The backend that every handle shares.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) capabilities: Capabilities,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) skew_micros: i64,
    /// The incarnation of the data; another one after a restored backup.
    pub(super) epoch: u64,
    pub(super) data: Data,
    pub(super) hooks: Hooks,
    pub(super) revoked: BTreeSet<SyncScope>,
    pub(super) applied: BTreeMap<OpId, u64>,
    pub(super) push_log: Vec<PushBatch>,
    /// What changed since subscribers were last told.
    pub(super) news: BTreeSet<(SyncScope, CollectionName)>,
}

impl Backend {
    pub(super) fn is_commit_ordered(&self) -> bool {
        self.capabilities.cursor == CursorKind::CommitOrdered
    }

    pub(super) fn keeps_tombstones(&self) -> bool {
        matches!(
            self.capabilities.deletes,
            DeleteVisibility::Tombstones | DeleteVisibility::SoftDeleteField
        )
    }

    /// The server's clock. Backends with a timestamp cursor have milliseconds only.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now().plus_micros(self.skew_micros);
        match self.capabilities.cursor {
            CursorKind::TimestampWithRepair { .. } => Timestamp::from_millis(now.as_millis()),
            _ => now,
        }
    }

    /// The server's time, as far as it tells it.
    pub(super) fn told_time(&self) -> Option<Timestamp> {
        self.capabilities.server_time.then(|| self.now())
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.data.sequence += 1;
        Ticket {
            sequence: self.data.sequence,
            time: self.now(),
        }
    }

    pub(super) fn row(&self, key: &RecordKey) -> Option<&Row> {
        self.data.rows.get(&key.target)?.by_id.get(&key.id)
    }

    /// Files a new state of a record. A delete leaves no row where the backend keeps no tombstones.
    pub(super) fn write(
        &mut self,
        key: &RecordKey,
        content: Content,
        stamp: Option<Stamp>,
        ticket: Ticket,
    ) -> RemoteVersion {
        let version = self.version(ticket.sequence);
        let position = match self.capabilities.cursor {
            CursorKind::TimestampWithRepair { .. } => ticket.time.as_millis(),
            _ => ticket.sequence,
        };
        let gone = content == Content::Deleted && !self.keeps_tombstones();
        let (sequence, written_at) = (ticket.sequence, ticket.time);
        let row = Row {
            content,
            version: version.clone(),
            sequence,
            stamp,
            written_at,
            position,
        };
        let rows = self.data.rows.entry(key.target.clone()).or_default();
        if gone {
            rows.remove(&key.id);
        } else {
            rows.put(key.id.clone(), row);
        }
        self.news
            .insert((key.target.scope.clone(), key.target.collection.clone()));
        version
    }

    /// Takes a row away without a trace.
    pub(super) fn forget(&mut self, key: &RecordKey) -> Option<Row> {
        self.data.rows.get_mut(&key.target)?.remove(&key.id)
    }

    fn version(&self, sequence: i64) -> RemoteVersion {
        let token = if self.capabilities.epoch {
            format!("{}.{sequence}", self.epoch)
        } else {
            sequence.to_string()
        };
        if !self.is_commit_ordered() {
            return RemoteVersion::opaque(token);
        }
        let earlier = i64::try_from(self.epoch.saturating_sub(1)).unwrap_or(i64::MAX);
        let order = earlier
            .saturating_mul(1 << SEQUENCE_BITS)
            .saturating_add(sequence);
        RemoteVersion::ordered(token, order)
    }

    /// The row as clients see it; `None` if it cannot be understood.
    pub(super) fn state(&self, row: &Row) -> Option<RemoteState> {
        let stamp = row.stamp.filter(|_| self.capabilities.stamps);
        row.state(stamp, self.capabilities.server_time.then_some(row.written_at))
    }
}

impl Row {
    /// The row with as much of its stamp and time as shall be told; `None` if it cannot be understood.
    pub(super) fn state(&self, stamp: Option<Stamp>, server_time: Option<Timestamp>) -> Option<RemoteState> {
        let version = self.version.clone();
        match &self.content {
            Content::Live(payload) => Some(RemoteState::Live(
                Versioned::new(payload.clone(), version)
                    .with_stamp(stamp)
                    .with_server_time(server_time),
            )),
            Content::Deleted => Some(RemoteState::Deleted(Tombstone {
                version: Some(version),
                stamp,
                server_time,
            })),
            Content::Malformed { .. } => None,
        }
    }
}
