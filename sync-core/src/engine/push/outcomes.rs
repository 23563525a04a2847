//! The remote's answers to operations, and what they mean for the queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{PushPhase, marked::Batch};
use crate::{
    change_set::{ChangeSet, CommitOutcome, OpChange},
    delta::RemoteState,
    engine::{SyncEvent, batch::parents_in_batch, run::Run},
    error::Result,
    id::{OpId, RecordKey},
    machine::{Acknowledged, Attempt, Transition, acknowledge, is_current, upgrade_state},
    operation::{OpState, PendingOp, PushOutcome},
    record_state::RecordState,
    store::TargetState,
};

impl Run<'_> {
    /// What the user writes after a conflict is later than what was met in it.
    pub(super) fn observe_conflicts(&self, outcomes: &[PushOutcome]) {
        for outcome in outcomes {
            if let PushOutcome::Conflict { current } = outcome {
                self.observe(current);
            }
        }
    }

    /// Commits what the answers mean for the records as they are now: a resolver must not be asked about what another
    /// process has settled since.
    pub(super) async fn apply_outcomes(
        &mut self,
        sent: &[RecordState],
        outcomes: &[PushOutcome],
        phase: &mut PushPhase,
    ) -> Result<()> {
        let applied = self.apply_and_mark(sent, None, outcomes, &[], phase);
        applied.await.map(drop)
    }

    /// Commits what the answers mean, and marks what is sent next. `known` are the records as the store holds them, if
    /// nobody changed them. Those that changed are read again, and the answers applied to what they are now; then
    /// nothing is marked. Returns whether it was.
    pub(super) async fn apply_and_mark(
        &mut self,
        sent: &[RecordState],
        mut known: Option<Vec<RecordState>>,
        outcomes: &[PushOutcome],
        mut next: &[Batch],
        phase: &mut PushPhase,
    ) -> Result<bool> {
        let keys: Vec<_> = sent.iter().map(|state| state.key.clone()).collect();
        let mut current: BTreeMap<RecordKey, RemoteState> = BTreeMap::new();
        loop {
            let states = match known.take() {
                Some(states) => states,
                None => self.inner.store.load_records(&keys).await?,
            };
            let mut changes = ChangeSet::at(self.inner.now());
            let mut settled = Vec::new();
            let mut unread = Vec::new();
            let mut group_pauses = BTreeMap::new();
            for ((mut state, was), outcome) in states.into_iter().zip(sent).zip(outcomes) {
                let known = self.inner.registered(&state.key.target.collection)?;
                // As the store holds it, if that is not what is gone out from.
                let before = (!is_current(&known.schema, &state)).then(|| state.clone());
                if before.is_some() {
                    upgrade_state(&known.schema, &mut state);
                }
                let Some(op) = was.ops.first() else { continue };
                let mark = self
                    .states
                    .get(&state.key.target.collection)
                    .map_or(0, mark_of_pushed);
                let pause = self.inner.pause_after(op.attempts);
                // Members of a write batch become due together, to be sent together.
                let pause = op
                    .group
                    .map_or(pause, |group| *group_pauses.entry(group).or_insert(pause));
                let attempt = Attempt {
                    mark,
                    pause,
                    doubted: op.state == OpState::InDoubt,
                };
                let around = self.inner.surroundings(known);
                let read = current.get(&state.key);
                match acknowledge(&state, op.op_id, outcome, read, attempt, &around)? {
                    Acknowledged::NeedsReadBack => unread.push(state),
                    Acknowledged::Unknown => {}
                    mut acknowledged => {
                        if let Some(transition) = acknowledged.transition_mut() {
                            if let Some(before) = before {
                                transition.before = before;
                            }
                            transition.add_to_stored(&mut changes);
                        }
                        settled.push((op.op_id, outcome, acknowledged));
                    }
                }
            }
            if !unread.is_empty() {
                let read = self.read_back(&unread).await?;
                for (state, read) in unread.into_iter().zip(read) {
                    // Of a row that cannot be understood by now, the news before it are all that is known.
                    current.insert(state.key, read.unwrap_or(state.base));
                }
                continue;
            }
            self.block_followers(sent, outcomes, &mut changes).await?;
            next.iter().for_each(|batch| batch.add_marks(&mut changes));
            if changes.is_empty() || self.commit(changes).await? == CommitOutcome::Committed {
                self.count(settled, phase);
                return Ok(!next.is_empty());
            }
            next = &[];
        }
    }

    /// A child that was refused beside a parent that did not take effect was refused for the parent's sake. Of a
    /// batch that takes effect as a whole, a parent that is to be sent again may only wait for the child.
    pub(super) fn blame_parents(
        &self,
        sent: &[RecordState],
        atomic: bool,
        outcomes: Vec<PushOutcome>,
    ) -> Vec<PushOutcome> {
        let did_not_fail = |outcome: &PushOutcome| match outcome {
            PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. } => true,
            PushOutcome::Retry { .. } => atomic,
            _ => false,
        };
        let failed: BTreeSet<&RecordKey> = sent
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| !did_not_fail(outcome))
            .map(|(state, _)| &state.key)
            .collect();
        if failed.is_empty() {
            return outcomes;
        }
        sent.iter()
            .zip(&outcomes)
            .map(|(state, outcome)| {
                let refused = matches!(outcome, PushOutcome::Rejected { .. } | PushOutcome::Missing);
                let parent_failed = refused
                    && parents_in_batch(self.inner, state, sent)
                        .iter()
                        .any(|parent| failed.contains(&parent.key));
                if parent_failed {
                    PushOutcome::Retry {
                        after: None,
                        reason: "its parent did not take effect".to_owned(),
                    }
                } else {
                    outcome.clone()
                }
            })
            .collect()
    }

    /// In a write batch that takes effect as a whole or not at all, the members wait for the one that was
    /// refused.
    async fn block_followers(
        &self,
        sent: &[RecordState],
        outcomes: &[PushOutcome],
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let first = |state: &RecordState| state.ops.first().map(|op| (op.op_id, op.group));
        let Some((by, group)) = sent
            .iter()
            .zip(outcomes)
            .find(|(_, outcome)| matches!(outcome, PushOutcome::Rejected { .. }))
            .and_then(|(state, _)| first(state))
        else {
            return Ok(());
        };
        if group.is_none() || !self.inner.capabilities.atomic_batch {
            return Ok(());
        }
        for change in &mut changes.ops {
            if let OpChange::Replace(op) = change
                && op.group == group
                && matches!(op.state, OpState::Queued | OpState::InDoubt)
            {
                op.state = OpState::Blocked { by };
            }
        }
        Ok(())
    }

    fn count(&mut self, settled: Vec<(OpId, &PushOutcome, Acknowledged)>, phase: &mut PushPhase) {
        for (op_id, outcome, acknowledged) in settled {
            match acknowledged {
                Acknowledged::Done(transition) => {
                    self.report.pushed += 1;
                    let repeated = matches!(
                        outcome,
                        PushOutcome::Duplicate { .. } | PushOutcome::Conflict { .. }
                    );
                    self.report.duplicates += u64::from(repeated);
                    self.inner.emit(SyncEvent::Pushed {
                        key: transition.after.key,
                        op_id,
                    });
                }
                Acknowledged::Conflict(transition) => self.count_conflict(transition, phase),
                Acknowledged::Parked(transition) => {
                    if let Some(op) = transition.after.ops.first() {
                        self.tell_parked(op);
                    }
                }
                Acknowledged::Again(transition) => {
                    self.report.retried += 1;
                    let due = transition
                        .after
                        .ops
                        .first()
                        .is_some_and(|op| op.next_attempt_at <= self.inner.due_by());
                    if !due {
                        phase.held.insert(transition.after.key);
                    }
                }
                Acknowledged::NeedsReadBack | Acknowledged::Unknown => {}
            }
        }
    }

    fn count_conflict(&mut self, transition: Transition, phase: &mut PushPhase) {
        if let Some(conflict) = transition.conflict {
            self.report.count_conflict(&conflict);
            self.inner.emit(SyncEvent::Conflict(Arc::new(conflict)));
        }
        if let Some(op) = transition
            .after
            .ops
            .first()
            .filter(|op| matches!(op.state, OpState::Parked(_)))
        {
            self.tell_parked(op);
        }
        let rounds = phase.rounds.entry(transition.after.key.clone()).or_default();
        *rounds += 1;
        if *rounds >= self.inner.options.max_conflict_rounds {
            phase.held.insert(transition.after.key);
        }
    }

    pub(crate) fn tell_parked(&mut self, op: &PendingOp) {
        if let OpState::Parked(reason) = &op.state {
            self.report.parked += 1;
            self.inner.emit(SyncEvent::Parked {
                key: op.key.clone(),
                op_id: op.op_id,
                reason: reason.clone(),
            });
        }
    }
}

/// The mark of a record whose push was answered. In a pass that has not fetched anything yet it does not count as
/// seen: it may be gone before its page comes.
fn mark_of_pushed(target: &TargetState) -> u64 {
    if target.pass.is_some() && target.sync_point.is_none() {
        target.generation.saturating_sub(1)
    } else {
        target.generation
    }
}

impl Acknowledged {
    fn transition_mut(&mut self) -> Option<&mut Transition> {
        match self {
            Self::Done(transition)
            | Self::Conflict(transition)
            | Self::Parked(transition)
            | Self::Again(transition) => Some(transition),
            Self::NeedsReadBack | Self::Unknown => None,
        }
    }
}
