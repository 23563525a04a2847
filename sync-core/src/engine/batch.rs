//! Which operations to send next, and in which order.
//!
//! Operations go in the order they were enqueued, except that a record goes after the parents it names if those
//! are still to be created, and a delete of a parent goes after what is pending of its children. Only the first
//! operation of each record is sent; the members of a write batch go together where the remote can.

mod arrange;

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

use self::arrange::Arranger;
use super::Inner;
use crate::{
    error::Result,
    id::{OpId, RecordId, RecordKey},
    operation::{OpKind, OpStateKind, PendingOp},
    payload::Payload,
    record_state::RecordState,
    scope::{CollectionName, SyncScope, Target},
    store::OpQuery,
    time::Timestamp,
};

/// How many operations are looked at, at most, for those that must go before the delete of a parent, or together
/// with others.
const MAX_LOOKAHEAD: usize = 5_000;

/// How many operations are read at once where none of them can depend on another.
const READ_TOGETHER: usize = 512;

/// What to send next.
#[derive(Debug, Default)]
pub(crate) struct NextBatch {
    /// The records whose first operation is to be sent, in order.
    pub(crate) send: Vec<RecordState>,
    /// Whether they must take effect as a whole.
    pub(crate) atomic: bool,
    /// What may be sent after them, unless it changes meanwhile.
    pub(crate) ahead: Ahead,
    /// Whether the states to send are as the store holds them, not brought to a newer schema version.
    pub(crate) as_stored: bool,
    /// Records whose first operation waits for a parked one.
    pub(crate) block: Vec<(RecordState, OpId)>,
    /// Records whose first operation waits for another that is tried again at this time.
    pub(crate) delay: Vec<(RecordState, Timestamp)>,
    /// Records whose first operation could not be brought to the current schema version, and is parked now.
    pub(crate) park: Vec<RecordState>,
}

/// Operations that stand alone, of the current schema version, as the store held them when they were read.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Their records, in the order of the queue.
    pub(crate) states: VecDeque<RecordState>,
    /// Where in the queue reading ended, if there may be more behind it.
    pub(crate) beyond: Option<u64>,
}

impl NextBatch {
    /// Whether operations are to be set aside for now, or until the user decides.
    pub(crate) fn sets_aside(&self) -> bool {
        !(self.block.is_empty() && self.delay.is_empty() && self.park.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.send.is_empty() && !self.sets_aside()
    }
}

/// How many operations go into one push.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of operations that each stand alone.
    pub(crate) singles: usize,
    /// Of the members of one write batch. A larger one goes in pieces, not as a whole.
    pub(crate) group: usize,
}

impl Limits {
    /// Half of what was too much.
    pub(crate) fn below(sent: usize) -> Self {
        let half = (sent / 2).max(1);
        Self {
            singles: half,
            group: half,
        }
    }
}

/// Finds the next operations of a scope to send, leaving out the records in `held`.
pub(crate) async fn next_batch(
    inner: &Inner,
    scope: &SyncScope,
    limits: Limits,
    held: &BTreeSet<RecordKey>,
) -> Result<NextBatch> {
    let independent = are_independent(inner);
    let reads_ahead = independent && inner.capabilities.conditional_write;
    let mut window = if reads_ahead {
        read_together(limits)
    } else {
        limits.singles.max(1)
    };
    let mut after_seq = None;
    loop {
        let records = load_due(inner, scope, after_seq, window).await?;
        if records.is_empty() {
            return Ok(NextBatch::default());
        }
        let exhausted = records.len() < window;
        // A record that lost its operations since they were selected has none.
        let heads: Vec<&PendingOp> = records.iter().filter_map(|state| state.ops.first()).collect();
        let last_seq = heads.last().map(|op| op.seq);
        let children_beyond = window < MAX_LOOKAHEAD && deletes_parent(inner, &heads);
        if !exhausted && children_beyond {
            // What is pending of the children of a deleted record may stand behind the window's end.
            window = window.saturating_mul(2);
            continue;
        }
        let last_group = heads.last().and_then(|op| op.group);
        let alone = independent && !are_grouped(inner, &records);
        let candidates = records.into_iter().filter(|RecordState { key, .. }| {
            !held.contains(key) && inner.collections.contains_key(&key.target.collection)
        });
        let arranger = Arranger::load(inner, held, candidates.collect(), alone).await?;
        let mut batch = arranger.arrange(limits, alone);
        batch.ahead.beyond = last_seq.filter(|_| reads_ahead && !exhausted);
        let goes_on = last_group.is_some() && batch.send.iter().any(|state| group_of(state) == last_group);
        if inner.capabilities.atomic_batch && goes_on && !exhausted && window < MAX_LOOKAHEAD {
            // The rest of the write batch to be sent may stand behind the window's end.
            window = window.saturating_mul(2);
            continue;
        }
        if exhausted || !batch.is_empty() {
            return Ok(batch);
        }
        after_seq = last_seq.or(after_seq);
    }
}

/// Reads what may be sent after the operations up to `after`. Nothing if it would have to be arranged.
pub(crate) async fn read_ahead(
    inner: &Inner,
    scope: &SyncScope,
    limits: Limits,
    after: u64,
) -> Result<Ahead> {
    let window = read_together(limits);
    let records = load_due(inner, scope, Some(after), window).await?;
    if are_grouped(inner, &records) {
        return Ok(Ahead::default());
    }
    let exhausted = records.len() < window;
    let last_seq = records
        .iter()
        .rev()
        .find_map(|state| state.ops.first())
        .map(|op| op.seq);
    let registered = |state: &RecordState| inner.collections.contains_key(&state.key.target.collection);
    let candidates = records.into_iter().filter(registered).collect();
    let held = BTreeSet::new();
    let arranger = Arranger::load(inner, &held, candidates, true).await?;
    if !arranger.stands_alone(true) {
        return Ok(Ahead::default());
    }
    Ok(Ahead {
        states: arranger.due().into(),
        beyond: last_seq.filter(|_| !exhausted),
    })
}

/// Whether no operation has to go before another one of another record. Collections without parents need no
/// arrangement, and what is read of them beyond one push is of use.
fn are_independent(inner: &Inner) -> bool {
    let mut known = inner.collections.values();
    known.all(|known| known.schema.parents.is_empty())
}

/// Whether some of them are to take effect together.
fn are_grouped(inner: &Inner, records: &[RecordState]) -> bool {
    inner.capabilities.atomic_batch && records.iter().any(|state| group_of(state).is_some())
}

/// How many operations are read at once: for a whole number of pushes, so that none is sent half empty.
fn read_together(limits: Limits) -> usize {
    let singles = limits.singles.max(1);
    singles * (READ_TOGETHER / singles).max(1)
}

/// The records of a scope whose first operations are due, with `window` of those operations at most.
async fn load_due(
    inner: &Inner,
    scope: &SyncScope,
    after_seq: Option<u64>,
    window: usize,
) -> Result<Vec<RecordState>> {
    let query = OpQuery {
        scope: Some(scope.clone()),
        states: vec![OpStateKind::Queued, OpStateKind::InDoubt],
        due_by: Some(inner.due_by()),
        heads_only: true,
        after_seq,
        limit: Some(window as u64),
        ..OpQuery::default()
    };
    inner.store.load_ops_with_records(&query).await
}

/// Whether records are to be deleted that others may name as parents.
fn deletes_parent(inner: &Inner, heads: &[&PendingOp]) -> bool {
    let is_parent = |name: &CollectionName| {
        let mut parents = inner.collections.values().flat_map(|known| &known.schema.parents);
        parents.any(|parent| parent.collection == *name)
    };
    let deleted: BTreeSet<&CollectionName> = heads
        .iter()
        .filter(|op| op.kind == OpKind::Delete)
        .map(|op| &op.key.target.collection)
        .collect();
    deleted.into_iter().any(is_parent)
}

/// The members of a batch that `state` names as parents.
pub(crate) fn parents_in_batch<'s>(
    inner: &Inner,
    state: &RecordState,
    batch: &'s [RecordState],
) -> Vec<&'s RecordState> {
    let parents = parents_of(inner, state);
    batch
        .iter()
        .filter(|other| parents.contains(&other.key))
        .collect()
}

/// The write batch that the first operation of a record is of.
fn group_of(state: &RecordState) -> Option<Uuid> {
    state.ops.first().and_then(|op| op.group)
}

/// The records that the first operation of `state` names as parents.
fn parents_of(inner: &Inner, state: &RecordState) -> Vec<RecordKey> {
    match state.ops.first() {
        Some(op) if op.kind != OpKind::Delete => named_by(inner, &state.key, op.payload.as_ref()),
        _ => Vec::new(),
    }
}

/// The records that a payload names as parents.
fn named_by(inner: &Inner, key: &RecordKey, payload: Option<&Payload>) -> Vec<RecordKey> {
    let Some(known) = inner.collections.get(&key.target.collection) else {
        return Vec::new();
    };
    if known.schema.parents.is_empty() {
        return Vec::new();
    }
    let Some(fields) = payload.and_then(|payload| payload.to_object().ok()) else {
        return Vec::new();
    };
    let id_of = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => RecordId::new(text.clone()).ok(),
        serde_json::Value::Number(number) => RecordId::new(number.to_string()).ok(),
        _ => None,
    };
    let parents = known.schema.parents.iter();
    parents
        .filter(|parent| inner.collections.contains_key(&parent.collection))
        .filter_map(|parent| {
            let id = fields.get(&parent.field).and_then(id_of)?;
            Some(RecordKey::new(
                Target::new(parent.collection.clone(), key.scope().clone()),
                id,
            ))
        })
        .filter(|parent| parent != key)
        .collect()
}
