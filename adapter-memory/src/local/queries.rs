//! Reads that look at many rows.

use std::cmp::Reverse;

use sync_core::{
    ConflictQuery, ConflictRecord, EvictionCandidate, EvictionQuery, LocalRecord, Payload, PendingOp,
    QuarantinedRow, RecordId, RecordKey, RecordSummary, RemoteState, Result, Target,
    query::{Filter, QuerySpec, count, evaluate, is_marked_deleted},
};

use super::state::{Row, State};

/// About what a row, an operation or a conflict takes besides its texts.
const OVERHEAD_BYTES: u64 = 128;

impl State {
    pub(super) fn summaries(&self, target: &Target, ids: &[RecordId]) -> Vec<RecordSummary> {
        let Some(rows) = self.rows.get(target) else {
            return Vec::new();
        };
        ids.iter()
            .filter_map(|id| rows.get_key_value(id))
            .map(|(id, row)| RecordSummary {
                id: id.clone(),
                revision: row.revision,
                version: row.base.version().cloned(),
                live: row.base.is_live(),
                pending: self.is_pending(target, id),
            })
            .collect()
    }

    pub(super) fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        let found = evaluate(spec, self.view(target))?;
        let rows = self.rows.get(target);
        let describe = |(id, payload): (RecordId, Payload)| LocalRecord {
            schema_version: rows
                .and_then(|rows| rows.get(&id))
                .map_or(0, |row| row.schema_version),
            pending: self.is_pending(target, &id),
            id,
            payload,
        };
        Ok(found.into_iter().map(describe).collect())
    }

    pub(super) fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        let spec = QuerySpec {
            filter: filter.cloned(),
            ..QuerySpec::new()
        };
        count(&spec, self.view(target))
    }

    /// The rows of the view that are not marked as deleted. A damaged row stays in: the evaluator reports it.
    fn view(&self, target: &Target) -> impl Iterator<Item = (RecordId, Payload)> {
        let mark = self
            .schemas
            .get(&target.collection)
            .and_then(|schema| schema.deleted_at_field.clone());
        let shown = move |payload: &Payload| match &mark {
            Some(field) => payload
                .to_object()
                .map_or(true, |fields| !is_marked_deleted(fields.get(field))),
            None => true,
        };
        let rows = self.rows.get(target).into_iter().flatten();
        rows.filter_map(|(id, row)| Some((id.clone(), row.view.clone()?)))
            .filter(move |(_, payload)| shown(payload))
    }

    pub(super) fn conflicts(&self, query: &ConflictQuery) -> Vec<ConflictRecord> {
        let wanted = |conflict: &&ConflictRecord| {
            query
                .target
                .as_ref()
                .is_none_or(|target| conflict.key.target == *target)
                && query.key.as_ref().is_none_or(|key| conflict.key == *key)
                && query.open.is_none_or(|open| conflict.is_open() == open)
                && query.conflict_id.is_none_or(|id| conflict.conflict_id == id)
        };
        let mut found: Vec<_> = self.conflicts.values().filter(wanted).collect();
        found.sort_by_key(|conflict| Reverse((conflict.detected_at, conflict.conflict_id)));
        found.into_iter().take(limit(query.limit)).cloned().collect()
    }

    pub(super) fn quarantine(&self, target: Option<&Target>, most: u64) -> Vec<QuarantinedRow> {
        let targets = self
            .quarantine
            .iter()
            .filter(|(of, _)| target.is_none_or(|target| target == *of));
        let mut found: Vec<_> = targets.flat_map(|(_, rows)| rows.values()).collect();
        found.sort_by_key(|row| Reverse(row.seen_at));
        found.into_iter().take(limit(Some(most))).cloned().collect()
    }

    pub(super) fn unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        most: u64,
    ) -> Vec<RecordId> {
        let Some(rows) = self.rows.get(target) else {
            return Vec::new();
        };
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        rows.range((from, std::ops::Bound::Unbounded))
            .filter(|(id, row)| row.base.is_live() && row.mark < generation && !self.is_pending(target, id))
            .take(limit(Some(most)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn eviction_candidates(&self, query: &EvictionQuery) -> Vec<EvictionCandidate> {
        let wanted = |row: &Row| match row.base {
            RemoteState::Live(_) => !query.tombstones,
            RemoteState::Deleted(_) => query.tombstones,
            RemoteState::Missing => false,
        };
        let mut found = Vec::new();
        for (target, rows) in self
            .rows
            .iter()
            .filter(|(of, _)| query.target.as_ref().is_none_or(|t| t == *of))
        {
            for (id, row) in rows.iter().filter(|(_, row)| wanted(row)) {
                let untouched = query.touched_before.is_none_or(|time| row.touched_at < time);
                if untouched && !self.is_pending(target, id) {
                    found.push((row.touched_at, target, id, row));
                }
            }
        }
        found.sort_by_key(|(touched_at, target, id, _)| (*touched_at, *target, *id));
        let candidate = |(_, target, id, row): (_, &Target, &RecordId, &Row)| EvictionCandidate {
            key: RecordKey::new(target.clone(), id.clone()),
            bytes: row_bytes(id, row),
        };
        found
            .into_iter()
            .take(limit(Some(query.limit)))
            .map(candidate)
            .collect()
    }

    pub(super) fn approx_size(&self, target: Option<&Target>) -> u64 {
        let counted = |of: &Target| target.is_none_or(|target| target == of);
        let rows = self
            .rows
            .iter()
            .filter(|(of, _)| counted(of))
            .flat_map(|(_, rows)| rows);
        let rows: u64 = rows.map(|(id, row)| row_bytes(id, row)).sum();
        let ops: u64 = self
            .queue
            .iter()
            .filter(|op| counted(&op.key.target))
            .map(op_bytes)
            .sum();
        let conflicts = self
            .conflicts
            .values()
            .filter(|conflict| counted(&conflict.key.target));
        let conflicts: u64 = conflicts.map(conflict_bytes).sum();
        rows + ops + conflicts
    }

    fn is_pending(&self, target: &Target, id: &RecordId) -> bool {
        self.queue.is_pending(&RecordKey::new(target.clone(), id.clone()))
    }
}

fn limit(most: Option<u64>) -> usize {
    most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

fn bytes(text: Option<&Payload>) -> u64 {
    text.map_or(0, |text| text.as_str().len() as u64)
}

/// A view that shares its text with the base takes no memory of its own.
fn row_bytes(id: &RecordId, row: &Row) -> u64 {
    let base = row.base.payload();
    let view = row.view.as_ref().filter(|view| base != Some(view));
    OVERHEAD_BYTES + id.as_str().len() as u64 + bytes(view) + bytes(base)
}

fn op_bytes(op: &PendingOp) -> u64 {
    let base = op.base.as_ref().and_then(RemoteState::payload);
    OVERHEAD_BYTES + op.key.id.as_str().len() as u64 + bytes(op.payload.as_ref()) + bytes(base)
}

fn conflict_bytes(conflict: &ConflictRecord) -> u64 {
    let (base, local) = (bytes(conflict.base.as_ref()), bytes(conflict.local.as_ref()));
    OVERHEAD_BYTES + base + local + bytes(conflict.remote.payload())
}
