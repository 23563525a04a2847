//! What the store holds.

use std::collections::BTreeMap;

use sync_core::{
    CollectionName, CollectionSchema, ConflictRecord, Payload, QuarantinedRow, RecordId, RecordKey,
    RecordState, RemoteState, Stamp, Target, TargetState, Timestamp,
};
use uuid::Uuid;

use super::{leases::Leases, queue::Queue};

/// The row of one record. Its operations are in the [`Queue`].
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) revision: u64,
    pub(super) view: Option<Payload>,
    pub(super) schema_version: u32,
    pub(super) base: RemoteState,
    pub(super) mark: u64,
    pub(super) touched_at: Timestamp,
}

/// What tells the rows of a target's quarantine apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QuarantineKey {
    Id(RecordId),
    Raw(String),
}

impl QuarantineKey {
    pub(super) fn of(row: &QuarantinedRow) -> Self {
        match &row.row.id {
            Some(id) => Self::Id(id.clone()),
            None => Self::Raw(row.row.raw.clone()),
        }
    }
}

/// Everything. Ordered maps throughout, so that equal histories give equal answers.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) schemas: BTreeMap<CollectionName, CollectionSchema>,
    pub(super) clock: Option<Stamp>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) rows: BTreeMap<Target, BTreeMap<RecordId, Row>>,
    pub(super) queue: Queue,
    pub(super) targets: BTreeMap<Target, TargetState>,
    pub(super) conflicts: BTreeMap<Uuid, ConflictRecord>,
    pub(super) quarantine: BTreeMap<Target, BTreeMap<QuarantineKey, QuarantinedRow>>,
    pub(super) leases: Leases,
    /// The greatest revision of any row that was removed; rows made later start above it.
    pub(super) revision_floor: u64,
}

impl State {
    pub(super) fn row(&self, key: &RecordKey) -> Option<&Row> {
        self.rows.get(&key.target)?.get(&key.id)
    }

    pub(super) fn revision(&self, key: &RecordKey) -> u64 {
        self.row(key).map_or(0, |row| row.revision)
    }

    /// The revision of the next state of a record.
    pub(super) fn next_revision(&self, key: &RecordKey) -> u64 {
        self.row(key).map_or(self.revision_floor, |row| row.revision) + 1
    }

    pub(super) fn put_row(&mut self, key: RecordKey, row: Row) {
        self.rows.entry(key.target).or_default().insert(key.id, row);
    }

    pub(super) fn remove_row(&mut self, key: &RecordKey) {
        if let Some(rows) = self.rows.get_mut(&key.target) {
            if let Some(row) = rows.remove(&key.id) {
                self.revision_floor = self.revision_floor.max(row.revision);
            }
            if rows.is_empty() {
                self.rows.remove(&key.target);
            }
        }
    }

    pub(super) fn record(&self, key: &RecordKey) -> RecordState {
        let ops = self.queue.of_record(key).cloned().collect();
        match self.row(key) {
            None => RecordState {
                ops,
                ..RecordState::absent(key.clone())
            },
            Some(row) => RecordState {
                key: key.clone(),
                revision: row.revision,
                view: row.view.clone(),
                schema_version: row.schema_version,
                base: row.base.clone(),
                ops,
                mark: row.mark,
                touched_at: row.touched_at,
            },
        }
    }
}
