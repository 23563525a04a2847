//! The queue of pending operations, with the indexes that keep it fast when it is long.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use sync_core::{OpCounts, OpId, OpQuery, OpState, OpStateKind, PendingOp, RecordKey, SyncScope, Timestamp};

/// The operations of one scope.
#[derive(Debug, Default)]
struct ScopeQueue {
    all: BTreeSet<u64>,
    heads: BTreeSet<u64>,
    /// Heads that are sent without the user doing anything, by when.
    due: BTreeSet<(Timestamp, u64)>,
    by_state: BTreeMap<OpStateKind, u64>,
}

/// Every pending operation. Appending, replacing and removing take logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    last_seq: u64,
    ops: BTreeMap<u64, PendingOp>,
    by_id: BTreeMap<OpId, u64>,
    by_record: BTreeMap<RecordKey, BTreeSet<u64>>,
    by_scope: BTreeMap<SyncScope, ScopeQueue>,
    heads: BTreeSet<u64>,
    waiting_for: BTreeMap<OpId, BTreeSet<u64>>,
}

impl Queue {
    /// Puts the operation at the end, under a `seq` that was never used before.
    pub(super) fn append(&mut self, mut op: PendingOp) {
        self.last_seq += 1;
        op.seq = self.last_seq;
        self.insert(op);
    }

    /// Puts the operation in the place of the one with its `seq`; does nothing if there is none.
    pub(super) fn replace(&mut self, op: PendingOp) {
        if self.take(op.seq).is_some() {
            self.insert(op);
        }
    }

    /// Notes that the operation is about to be sent; does nothing if it is not there.
    pub(super) fn mark_in_doubt(&mut self, seq: u64, attempts: u32) {
        if let Some(mut op) = self.take(seq) {
            op.state = OpState::InDoubt;
            op.attempts = attempts;
            self.insert(op);
        }
    }

    /// Takes the operation out; does nothing if it is not there.
    pub(super) fn remove(&mut self, op_id: OpId) {
        if let Some(seq) = self.by_id.get(&op_id).copied() {
            self.take(seq);
        }
    }

    /// Queues the operations that are blocked by one of these.
    pub(super) fn unblock(&mut self, by: &[OpId]) {
        let blocked: BTreeSet<u64> = by
            .iter()
            .filter_map(|by| self.waiting_for.get(by))
            .flatten()
            .copied()
            .collect();
        for seq in blocked {
            if let Some(mut op) = self.take(seq) {
                op.state = OpState::Queued;
                self.insert(op);
            }
        }
    }

    pub(super) fn get(&self, op_id: OpId) -> Option<&PendingOp> {
        self.by_id.get(&op_id).and_then(|seq| self.ops.get(seq))
    }

    pub(super) fn at(&self, seq: u64) -> Option<&PendingOp> {
        self.ops.get(&seq)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PendingOp> {
        self.ops.values()
    }

    /// The operations of one record, lowest `seq` first.
    pub(super) fn of_record(&self, key: &RecordKey) -> impl Iterator<Item = &PendingOp> {
        self.by_record
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|seq| self.ops.get(seq))
    }

    pub(super) fn count_of_record(&self, key: &RecordKey) -> usize {
        self.by_record.get(key).map_or(0, BTreeSet::len)
    }

    pub(super) fn is_pending(&self, key: &RecordKey) -> bool {
        self.by_record.contains_key(key)
    }

    pub(super) fn select(&self, query: &OpQuery) -> Vec<PendingOp> {
        let limit = query
            .limit
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let wanted = |op: &&PendingOp| self.matches(query, op);
        if let Some(ids) = &query.op_ids {
            let named: BTreeMap<u64, &PendingOp> = ids
                .iter()
                .filter_map(|id| self.get(*id))
                .filter(wanted)
                .map(|op| (op.seq, op))
                .collect();
            return named.into_values().take(limit).cloned().collect();
        }
        let active = !query.states.is_empty() && query.states.iter().all(|state| state.is_active());
        if let (Some(scope), Some(time), true) = (&query.scope, query.due_after, query.heads_only && active) {
            // Few wait for long, and they are found without a look at the others.
            let later = (Bound::Excluded((time, u64::MAX)), Bound::Unbounded);
            let waiting = self.by_scope.get(scope).map(|queue| queue.due.range(later));
            let seqs: BTreeSet<u64> = waiting.into_iter().flatten().map(|(_, seq)| *seq).collect();
            let ops = seqs.iter().filter_map(|seq| self.ops.get(seq));
            return ops.filter(wanted).take(limit).cloned().collect();
        }
        let after = (
            query.after_seq.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let index = match query
            .scope
            .as_ref()
            .or(query.target.as_ref().map(|target| &target.scope))
        {
            Some(scope) => match self.by_scope.get(scope) {
                Some(queue) if query.heads_only => &queue.heads,
                Some(queue) => &queue.all,
                None => return Vec::new(),
            },
            None if query.heads_only => &self.heads,
            None => {
                return self
                    .ops
                    .range(after)
                    .map(|(_, op)| op)
                    .filter(wanted)
                    .take(limit)
                    .cloned()
                    .collect();
            }
        };
        index
            .range(after)
            .filter_map(|seq| self.ops.get(seq))
            .filter(wanted)
            .take(limit)
            .cloned()
            .collect()
    }

    fn matches(&self, query: &OpQuery, op: &PendingOp) -> bool {
        query.scope.as_ref().is_none_or(|scope| op.key.scope() == scope)
            && query
                .target
                .as_ref()
                .is_none_or(|target| op.key.target == *target)
            && (query.states.is_empty() || query.states.contains(&op.state.kind()))
            && query.due_by.is_none_or(|time| op.next_attempt_at <= time)
            && query.due_after.is_none_or(|time| op.next_attempt_at > time)
            && query.after_seq.is_none_or(|seq| op.seq > seq)
            && (!query.heads_only || self.heads.contains(&op.seq))
    }

    pub(super) fn count(&self, scope: Option<&SyncScope>) -> OpCounts {
        let mut counts = OpCounts::default();
        let one = scope.map(|scope| self.by_scope.get(scope));
        let queues: Vec<&ScopeQueue> = match one {
            Some(queue) => queue.into_iter().collect(),
            None => self.by_scope.values().collect(),
        };
        for queue in queues {
            for (state, number) in &queue.by_state {
                *counts.by_state.entry(*state).or_default() += number;
            }
            let due = queue.due.first().map(|(time, _)| *time);
            counts.next_due = [counts.next_due, due].into_iter().flatten().min();
        }
        counts
    }

    fn insert(&mut self, op: PendingOp) {
        let seq = op.seq;
        let queue = self.by_scope.entry(op.key.scope().clone()).or_default();
        queue.all.insert(seq);
        *queue.by_state.entry(op.state.kind()).or_default() += 1;
        if let OpState::Blocked { by } = &op.state {
            self.waiting_for.entry(*by).or_default().insert(seq);
        }
        self.by_id.insert(op.op_id, seq);
        let record = self.by_record.entry(op.key.clone()).or_default();
        let old_head = record.first().copied();
        record.insert(seq);
        let new_head = record.first().copied();
        self.ops.insert(seq, op);
        self.move_head(old_head, new_head);
    }

    fn take(&mut self, seq: u64) -> Option<PendingOp> {
        let op = self.ops.get(&seq)?.clone();
        if let Some(record) = self.by_record.get_mut(&op.key) {
            let old_head = record.first().copied();
            record.remove(&seq);
            let new_head = record.first().copied();
            if record.is_empty() {
                self.by_record.remove(&op.key);
            }
            self.move_head(old_head, new_head);
        }
        self.ops.remove(&seq);
        self.by_id.remove(&op.op_id);
        if let OpState::Blocked { by } = &op.state
            && let Some(waiting) = self.waiting_for.get_mut(by)
        {
            waiting.remove(&seq);
            if waiting.is_empty() {
                self.waiting_for.remove(by);
            }
        }
        if let Some(queue) = self.by_scope.get_mut(op.key.scope()) {
            queue.all.remove(&seq);
            if let Some(number) = queue.by_state.get_mut(&op.state.kind()) {
                *number -= 1;
            }
            if queue.all.is_empty() {
                self.by_scope.remove(op.key.scope());
            }
        }
        Some(op)
    }

    /// Another operation heads a record's queue. Both must still be in `ops`.
    fn move_head(&mut self, old: Option<u64>, new: Option<u64>) {
        if old == new {
            return;
        }
        if let Some(op) = old.and_then(|seq| self.ops.get(&seq))
            && let Some(queue) = self.by_scope.get_mut(op.key.scope())
        {
            self.heads.remove(&op.seq);
            queue.heads.remove(&op.seq);
            queue.due.remove(&(op.next_attempt_at, op.seq));
        }
        if let Some(op) = new.and_then(|seq| self.ops.get(&seq))
            && let Some(queue) = self.by_scope.get_mut(op.key.scope())
        {
            self.heads.insert(op.seq);
            queue.heads.insert(op.seq);
            if op.state.kind().is_active() {
                queue.due.insert((op.next_attempt_at, op.seq));
            }
        }
    }
}
