//! Pushes of a naive client.

use std::collections::BTreeSet;

use sync_core::{
    ChangedFields, ErrorKind, OpId, OpKind, ParkReason, Payload, PushBatch, PushOp, PushOutcome, RecordKey,
    RemoteState, Result, Stamp, SyncError, SyncScope, Tombstone, Versioned,
};

use super::{ClientMistake, Kept, NaiveClient, Op, payload_of};

/// A client that is refused so often in one sync has lost its way.
const MAX_ROUNDS: usize = 400;

const MOST_FAILURES: u32 = 3;

impl NaiveClient {
    pub(crate) async fn push(&self, scope: &SyncScope) -> Result<()> {
        let mut held = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let ops = self.next_batch(scope, &held);
            if ops.is_empty() {
                break;
            }
            let batch = PushBatch {
                scope: scope.clone(),
                ops: ops.iter().map(|op| self.push_op(op)).collect(),
                atomic: false,
            };
            self.note_attempts(&ops);
            match self.remote.push(batch).await {
                Ok(outcomes) => self.settle(&ops, outcomes, &mut held)?,
                Err(error) => return self.failed(&ops, error),
            }
        }
        if self.has(ClientMistake::CursorMovesWithPush) {
            for target in self.targets(scope) {
                self.move_cursor_to_now(&target).await?;
            }
        }
        Ok(())
    }

    fn next_batch(&self, scope: &SyncScope, held: &BTreeSet<RecordKey>) -> Vec<Op> {
        let kept = self.kept();
        let all_at_once = self.has(ClientMistake::SendsAllOpsOfARecordAtOnce)
            || self.has(ClientMistake::RegroupsByKind)
            || self.has(ClientMistake::SortsByClock);
        let mut seen = BTreeSet::new();
        let mut ops: Vec<Op> = Vec::new();
        for op in kept.ops.iter().filter(|op| op.key.scope() == scope) {
            let first = seen.insert(op.key.clone());
            let waits = op.attempts > 0
                && (self.has(ClientMistake::WaitsForTheAnswer)
                    || self.has(ClientMistake::FailedNeedsNewInput));
            let dead = op.dead.is_some() && !self.has(ClientMistake::RetriesRefusedForEver);
            if (first || all_at_once) && !waits && !dead && !held.contains(&op.key) {
                ops.push(op.clone());
            }
        }
        // Collections are given with the parents of others first.
        let place = |op: &Op| {
            self.collections
                .iter()
                .position(|of| *of == op.key.target.collection)
        };
        ops.sort_by_key(place);
        if self.has(ClientMistake::RegroupsByKind) {
            ops.sort_by_key(|op| match op.kind {
                OpKind::Create => 0,
                OpKind::Update => 1,
                OpKind::Delete => 2,
            });
        }
        if self.has(ClientMistake::SortsByIds) {
            ops.sort_by(|a, b| a.key.id.cmp(&b.key.id));
        }
        if self.has(ClientMistake::SortsByClock) {
            ops.sort_by_key(|op| op.stamp);
        }
        if !self.has(ClientMistake::IgnoresBatchLimit) {
            ops.truncate(self.limits.batch);
        }
        ops
    }

    fn push_op(&self, op: &Op) -> PushOp {
        let kept = &mut *self.kept();
        let again = op.attempts > 0 && self.has(ClientMistake::RepeatsBlindly);
        let op_id = if again { self.new_op_id(kept) } else { op.op_id };
        let base = kept
            .rows
            .get(&op.key)
            .map_or(RemoteState::Missing, |row| row.base.clone());
        let blind = again
            || self.has(ClientMistake::UnconditionalPush)
            || self.has(ClientMistake::RegroupsByKind)
            || self.has(ClientMistake::PushesTheLoser) && kept.conflicts > 0
            || self.has(ClientMistake::ForcesThePush) && kept.conflicts > 0;
        let kind = match (op.kind, &base) {
            (OpKind::Update, RemoteState::Deleted(_)) => OpKind::Create,
            (OpKind::Create, RemoteState::Live(_)) => OpKind::Update,
            (kind, _) => kind,
        };
        PushOp {
            op_id,
            key: op.key.clone(),
            kind: if blind && kind == OpKind::Create && again {
                OpKind::Update
            } else {
                kind
            },
            payload: op.payload.clone(),
            changed: ChangedFields::All,
            base: base.version().filter(|_| !blind).cloned(),
            stamp: op.stamp,
            schema_version: 1,
        }
    }

    fn note_attempts(&self, sent: &[Op]) {
        let ids: BTreeSet<OpId> = sent.iter().map(|op| op.op_id).collect();
        for op in self.kept().ops.iter_mut().filter(|op| ids.contains(&op.op_id)) {
            op.attempts += 1;
        }
    }

    fn settle(&self, sent: &[Op], outcomes: Vec<PushOutcome>, held: &mut BTreeSet<RecordKey>) -> Result<()> {
        let mut refused = false;
        {
            let kept = &mut *self.kept();
            for (op, outcome) in sent.iter().zip(outcomes) {
                refused |= matches!(outcome, PushOutcome::Rejected { .. });
                self.settle_one(kept, op, outcome, held);
                if refused && self.has(ClientMistake::StopsAtFirstRefusal) {
                    break;
                }
            }
            if self.has(ClientMistake::ClearsQueueAfterPush) {
                kept.ops.clear();
            }
        }
        if refused && self.has(ClientMistake::StopsAtFirstRefusal) {
            return Err(SyncError::new(ErrorKind::Invalid, "an operation was refused"));
        }
        Ok(())
    }

    fn settle_one(&self, kept: &mut Kept, op: &Op, outcome: PushOutcome, held: &mut BTreeSet<RecordKey>) {
        let swallowed = self.has(ClientMistake::SwallowsFailures);
        match outcome {
            PushOutcome::Applied { version, record, .. } => {
                let record = record.or_else(|| op.payload.clone());
                self.confirmed(kept, op, state_of(record, version, op.stamp));
            }
            PushOutcome::Duplicate {
                version: Some(version),
            } => {
                self.confirmed(kept, op, state_of(op.payload.clone(), version, op.stamp));
            }
            PushOutcome::Missing => {
                self.confirmed(kept, op, RemoteState::Deleted(Tombstone::default()));
                if op.kind == OpKind::Update {
                    drop_ops(kept, &op.key);
                    kept.rows.entry(op.key.clone()).or_default().view = None;
                    kept.decided.push(op.key.clone());
                }
            }
            PushOutcome::Conflict { current } if current.stamp() == Some(op.stamp) => {
                self.confirmed(kept, op, current);
            }
            PushOutcome::Conflict { current } => {
                kept.conflicts += 1;
                self.decide(kept, &op.key, op.stamp, current);
            }
            PushOutcome::Rejected { code, message, field } => {
                held.insert(op.key.clone());
                let reason = ParkReason::Rejected { code, message, field };
                for op in kept.ops.iter_mut().filter(|other| other.key == op.key) {
                    op.dead = Some(reason.clone());
                }
            }
            _ if swallowed => drop_op(kept, op.op_id),
            _ => {
                held.insert(op.key.clone());
            }
        }
    }

    /// An operation took effect.
    fn confirmed(&self, kept: &mut Kept, op: &Op, state: RemoteState) {
        drop_op(kept, op.op_id);
        let pending = kept.is_pending(&op.key);
        if self.has(ClientMistake::AnswerOverwritesEdit) {
            // What is queued is the record as it stands.
            for later in kept.ops.iter_mut().filter(|later| later.key == op.key) {
                later.payload = payload_of(&state);
            }
        }
        let row = kept.rows.entry(op.key.clone()).or_default();
        let old = payload_of(&row.base);
        row.was_deleted |= !state.is_live();
        if !self.has(ClientMistake::ForgetsNewVersion) {
            row.base = state.clone();
        }
        if self.has(ClientMistake::DropsOverlayAtAnswer) {
            row.view = old;
        } else if !pending || self.has(ClientMistake::AnswerOverwritesEdit) {
            row.view = payload_of(&state);
        } else if let (Some(view), Some(sent), Some(stored)) = (&mut row.view, &op.payload, state.payload()) {
            take_server_changes(view, sent, stored);
        }
    }

    /// Last write wins, of the whole record or of each field. Of the local side, the latest write counts.
    pub(super) fn decide(&self, kept: &mut Kept, key: &RecordKey, first: Stamp, current: RemoteState) {
        let local = kept
            .ops
            .iter()
            .filter(|op| op.key == *key)
            .map(|op| op.stamp)
            .fold(first, Stamp::max);
        let remote = current.stamp();
        let same_time = remote.is_some_and(|remote| remote.millis() == local.millis());
        let local_wins = remote.is_some_and(|remote| local > remote)
            || same_time && self.has(ClientMistake::TieGoesToTheLocal);
        let deleted = !current.is_live() && self.has(ClientMistake::RemoteDeleteAlwaysWins);
        let merged = self.merged(kept, key, &current, local_wins);
        let keeps_local = match (&merged, current.payload()) {
            (Some(merged), Some(theirs)) => !merged.same_content(theirs),
            _ => local_wins && !deleted || self.has(ClientMistake::PushesTheLoser),
        };
        let row = kept.rows.entry(key.clone()).or_default();
        row.base = current.clone();
        kept.decided.push(key.clone());
        // What is written on it comes after it.
        kept.stamp = kept.stamp.max(remote);
        let stamp = match merged {
            // It is later than both sides.
            Some(_) => self.next_stamp(kept).unwrap_or(local),
            None => local,
        };
        let row = kept.rows.entry(key.clone()).or_default();
        if keeps_local {
            // One operation stands for all, under a new identity.
            row.view = merged.or_else(|| row.view.take());
            let view = row.view.clone();
            kept.stamp = kept.stamp.max(Some(stamp));
            let live = current.is_live();
            let place = kept.ops.iter().find(|op| op.key == *key).map(|op| op.place);
            drop_ops(kept, key);
            let op_id = self.new_op_id(kept);
            let kind = match (&view, live) {
                (None, _) => OpKind::Delete,
                (Some(_), true) => OpKind::Update,
                (Some(_), false) => OpKind::Create,
            };
            let place = place.unwrap_or_else(|| kept.next_place());
            kept.ops.push(Op {
                op_id,
                place,
                key: key.clone(),
                kind,
                payload: view,
                stamp,
                attempts: 0,
                dead: None,
            });
        } else {
            row.view = payload_of(&current);
            row.was_deleted |= !current.is_live();
            drop_ops(kept, key);
        }
    }

    /// The push as a whole failed.
    fn failed(&self, sent: &[Op], error: SyncError) -> Result<()> {
        let mut kept = self.kept();
        if self.has(ClientMistake::SwallowsFailures) {
            for op in sent {
                drop_op(&mut kept, op.op_id);
            }
            return Ok(());
        }
        let refused = error.kind() == ErrorKind::ScopeRevoked
            || error.kind() == ErrorKind::Unauthenticated && self.has(ClientMistake::AuthFailureIsRefusal);
        let ids: BTreeSet<OpId> = sent.iter().map(|op| op.op_id).collect();
        for op in kept.ops.iter_mut().filter(|op| ids.contains(&op.op_id)) {
            if refused {
                op.dead = Some(refusal(&error));
            }
        }
        if self.has(ClientMistake::DropsAfterThreeFailures) {
            kept.ops.retain(|op| op.attempts < MOST_FAILURES);
        }
        if error.kind() == ErrorKind::ScopeRevoked
            && let Some(op) = sent.first()
        {
            self.revoked(&mut kept, op.key.scope());
        }
        Err(error)
    }
}

fn state_of(record: Option<Payload>, version: sync_core::RemoteVersion, stamp: Stamp) -> RemoteState {
    match record {
        Some(record) => RemoteState::Live(Versioned::new(record, version).with_stamp(Some(stamp))),
        None => RemoteState::Deleted(Tombstone {
            version: Some(version),
            stamp: Some(stamp),
            server_time: None,
        }),
    }
}

/// Why operations are dead after this.
fn refusal(error: &SyncError) -> ParkReason {
    match error.kind() {
        ErrorKind::ScopeRevoked => ParkReason::ScopeRevoked,
        kind => ParkReason::Rejected {
            code: kind.to_string(),
            message: error.message().to_owned(),
            field: None,
        },
    }
}

/// What the server changed on the way, where the user did not write meanwhile.
fn take_server_changes(view: &mut Payload, sent: &Payload, stored: &Payload) {
    if stored.same_content(sent) {
        return;
    }
    let fields = |payload: &Payload| payload.to_object().unwrap_or_default();
    let (mut seen, sent) = (fields(view), fields(sent));
    for (field, value) in fields(stored) {
        if seen.get(&field) == sent.get(&field) {
            seen.insert(field, value);
        }
    }
    *view = Payload::from_object(&seen);
}

fn drop_op(kept: &mut Kept, op_id: OpId) {
    kept.ops.retain(|op| op.op_id != op_id);
}

fn drop_ops(kept: &mut Kept, key: &RecordKey) {
    kept.ops.retain(|op| op.key != *key);
}
