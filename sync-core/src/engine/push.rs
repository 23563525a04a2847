//! The push half of a synchronization.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Activity, SyncEvent,
    batch::{Limits, NextBatch, next_batch, parents_in_batch},
    run::Run,
};
use crate::{
    capability::Capabilities,
    change_set::{ChangeSet, CommitOutcome, OpChange},
    delta::RemoteState,
    error::{ErrorKind, Result, RetryClass, SyncError},
    id::{OpId, RecordKey},
    machine::{Acknowledged, Attempt, Transition, acknowledge, is_effect_of, upgrade_state},
    operation::{OpKind, OpState, PendingOp, PushOp, PushOutcome},
    record_state::RecordState,
    remote::{PushBatch, check_outcomes},
    store::TargetState,
};

/// So many failures of single operations in a row mean that the remote as a whole is failing.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// What one push phase remembers.
struct PushPhase {
    /// How many operations go into one batch; shrinks when the remote cannot take a batch.
    limits: Limits,
    /// Records that are not sent again in this sync.
    held: BTreeSet<RecordKey>,
    /// How many conflicts each record met in this sync.
    rounds: BTreeMap<RecordKey, u32>,
    failures_in_a_row: u32,
}

impl Run<'_> {
    /// Sends what is due until nothing is.
    pub(crate) async fn push(&mut self) -> Result<()> {
        let options = &self.inner.options;
        let most = self.inner.capabilities.max_push_batch;
        let limits = Limits {
            singles: Capabilities::within(most, options.push_batch) as usize,
            group: Capabilities::within(most, u32::MAX) as usize,
        };
        let mut phase = PushPhase {
            limits,
            held: BTreeSet::new(),
            rounds: BTreeMap::new(),
            failures_in_a_row: 0,
        };
        loop {
            self.inner.set_activity(
                self.scope,
                Activity::Pushing {
                    sent: self.report.pushed,
                },
            );
            let next = next_batch(self.inner, self.scope, phase.limits, &phase.held).await?;
            if next.is_empty() {
                return Ok(());
            }
            if !self.set_aside(&next).await? {
                continue;
            }
            if next.send.is_empty() {
                continue;
            }
            self.push_batch(next.send, next.atomic, &mut phase).await?;
        }
    }

    /// Stores that operations wait for others, or are parked. Returns whether nothing changed meanwhile.
    async fn set_aside(&mut self, next: &NextBatch) -> Result<bool> {
        if !next.sets_aside() {
            return Ok(true);
        }
        let mut changes = ChangeSet::at(self.inner.now());
        for (state, by) in &next.block {
            let mut after = state.clone();
            after.ops[0].state = OpState::Blocked { by: *by };
            Transition::new(state.clone(), after).add_to(&mut changes);
        }
        for (state, at) in &next.delay {
            let mut after = state.clone();
            after.ops[0].next_attempt_at = *at;
            Transition::new(state.clone(), after).add_to(&mut changes);
        }
        for state in &next.park {
            // The state as read was upgraded in memory; the store must see the difference to write it.
            let mut before = state.clone();
            before.ops[0].state = OpState::Queued;
            Transition::new(before, state.clone()).add_to(&mut changes);
            self.tell_parked(&state.ops[0]);
        }
        Ok(self.commit(changes).await? == CommitOutcome::Committed)
    }

    async fn push_batch(
        &mut self,
        states: Vec<RecordState>,
        atomic: bool,
        phase: &mut PushPhase,
    ) -> Result<()> {
        let states = self.settle_before_sending(states, atomic, phase).await?;
        let Some(sent) = self.mark_in_doubt(states).await? else {
            return Ok(());
        };
        if sent.is_empty() {
            return Ok(());
        }
        let ops: Vec<_> = sent.iter().map(push_op).collect();
        let batch = PushBatch {
            scope: self.scope.clone(),
            ops,
            atomic,
        };
        let remote = Arc::clone(&self.inner.remote);
        let expected = sent.len();
        let answer = self
            .call("push", async move {
                check_outcomes(remote.name(), expected, remote.push(batch).await?)
            })
            .await;
        match answer {
            Ok(outcomes) => {
                phase.failures_in_a_row = 0;
                self.observe_conflicts(&outcomes);
                let outcomes = self.blame_parents(&sent, atomic, outcomes);
                self.apply_outcomes(&sent, &outcomes, phase).await
            }
            Err(error) => self.push_failed(&sent, atomic, error, phase).await,
        }
    }

    /// What the user writes after a conflict is later than what was met in it.
    fn observe_conflicts(&self, outcomes: &[PushOutcome]) {
        for outcome in outcomes {
            if let PushOutcome::Conflict { current } = outcome {
                self.observe(current);
            }
        }
    }

    /// A remote that takes every write must not be sent one on an outdated base: the records are read first,
    /// and conflicts (or the effect of an earlier attempt) are settled here. So are those that no remote could
    /// tell from the write alone.
    async fn settle_before_sending(
        &mut self,
        states: Vec<RecordState>,
        atomic: bool,
        phase: &mut PushPhase,
    ) -> Result<Vec<RecordState>> {
        let conditional = self.inner.capabilities.conditional_write;
        if conditional && !states.iter().any(is_unconditional) {
            return Ok(states);
        }
        let currents = self.read_back(&states).await?;
        let (mut ready, mut outdated, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for (state, current) in states.into_iter().zip(currents) {
            if conditional && !is_unconditional(&state) {
                ready.push(state);
                continue;
            }
            match current {
                Some(current) if is_still(expected_base(&state), &current) => ready.push(state),
                Some(current) => {
                    outcomes.push(self.outcome_by_reading(&state, current)?);
                    outdated.push(state);
                }
                None => {
                    outcomes.push(not_understood());
                    outdated.push(state);
                }
            }
        }
        if !outdated.is_empty() {
            self.apply_outcomes(&outdated, &outcomes, phase).await?;
            // What goes with them, or after them, is put together anew.
            let depends =
                |state: &RecordState| atomic || !parents_in_batch(self.inner, state, &outdated).is_empty();
            ready.retain(|state| !depends(state));
        }
        Ok(ready)
    }

    /// What an earlier attempt did, or what stands against the next one, as the record itself tells.
    fn outcome_by_reading(&self, state: &RecordState, current: RemoteState) -> Result<PushOutcome> {
        let known = self.inner.registered(&state.key.target.collection)?;
        let earlier = state.ops.first().filter(|op| op.state == OpState::InDoubt);
        let took_effect =
            earlier.is_some_and(|op| is_effect_of(op, &current, &self.inner.surroundings(known)));
        Ok(match current {
            current if took_effect => PushOutcome::Duplicate {
                version: current.version().cloned(),
            },
            RemoteState::Missing => PushOutcome::Missing,
            current => PushOutcome::Conflict { current },
        })
    }

    /// The states of records at the remote, in order; `None` for one that cannot be understood.
    async fn read_back(&mut self, states: &[RecordState]) -> Result<Vec<Option<RemoteState>>> {
        let mut found: BTreeMap<RecordKey, Option<RemoteState>> = BTreeMap::new();
        for target in self.targets.clone() {
            let ids: Vec<_> = states
                .iter()
                .filter(|state| state.key.target == target)
                .map(|state| state.key.id.clone())
                .collect();
            if !ids.is_empty() {
                for (id, state) in ids.iter().zip(self.get(&target, &ids).await?) {
                    found.insert(RecordKey::new(target.clone(), id.clone()), state);
                }
            }
        }
        Ok(states
            .iter()
            .map(|state| found.remove(&state.key).unwrap_or(Some(RemoteState::Missing)))
            .collect())
    }

    /// Stores, before anything is sent, that these operations may have taken effect. `None` if a record changed
    /// meanwhile; the batch is then put together anew. What is answered tells whether they were in doubt before.
    async fn mark_in_doubt(&mut self, states: Vec<RecordState>) -> Result<Option<Vec<RecordState>>> {
        let mut changes = ChangeSet::at(self.inner.now());
        let mut marked = Vec::with_capacity(states.len());
        for mut state in states {
            let op = &mut state.ops[0];
            op.attempts = op.attempts.saturating_add(1);
            changes.ops.push(OpChange::Replace(PendingOp {
                state: OpState::InDoubt,
                ..op.clone()
            }));
            changes.touches.push((state.key.clone(), state.revision));
            marked.push(state);
        }
        if changes.is_empty() {
            return Ok(Some(marked));
        }
        Ok((self.commit(changes).await? == CommitOutcome::Committed).then_some(marked))
    }

    /// Commits what the answers mean. Records that changed meanwhile are read again, and the answers applied to
    /// what they are now.
    async fn apply_outcomes(
        &mut self,
        sent: &[RecordState],
        outcomes: &[PushOutcome],
        phase: &mut PushPhase,
    ) -> Result<()> {
        let keys: Vec<_> = sent.iter().map(|state| state.key.clone()).collect();
        let mut current: BTreeMap<RecordKey, RemoteState> = BTreeMap::new();
        loop {
            let states = self.inner.store.load_records(&keys).await?;
            let mut changes = ChangeSet::at(self.inner.now());
            let mut settled = Vec::new();
            let mut unread = Vec::new();
            let mut group_pauses = BTreeMap::new();
            for ((mut state, was), outcome) in states.into_iter().zip(sent).zip(outcomes) {
                let known = self.inner.registered(&state.key.target.collection)?;
                let before = state.clone();
                upgrade_state(&known.schema, &mut state);
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
                            transition.before = before;
                            transition.add_to(&mut changes);
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
            if changes.is_empty() || self.commit(changes).await? == CommitOutcome::Committed {
                self.count(settled, phase);
                return Ok(());
            }
        }
    }

    /// A child that was refused beside a parent that did not take effect was refused for the parent's sake. Of a
    /// batch that takes effect as a whole, a parent that is to be sent again may only wait for the child.
    fn blame_parents(
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
                        .is_some_and(|op| op.next_attempt_at <= self.inner.now());
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

    /// The push as a whole failed. Either that is for the whole sync to end on, or the batch is made smaller
    /// until the operation that the remote cannot take is alone.
    async fn push_failed(
        &mut self,
        sent: &[RecordState],
        atomic: bool,
        error: SyncError,
        phase: &mut PushPhase,
    ) -> Result<()> {
        // What must take effect as a whole is refused as a whole, and only taken apart if it is too large.
        let too_large = error.kind() == ErrorKind::TooLarge && sent.len() > 1;
        let alone = sent.len() == 1 || (atomic && !too_large);
        match error.kind() {
            ErrorKind::ScopeRevoked => {
                self.not_sent(sent).await?;
                self.scope_revoked().await?;
                Err(error)
            }
            ErrorKind::TooLarge | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported
                if alone =>
            {
                let outcome = PushOutcome::Rejected {
                    code: error.code().unwrap_or(error.kind().as_str()).to_owned(),
                    message: error.message().to_owned(),
                    field: error.field().map(str::to_owned),
                };
                self.apply_outcomes(sent, &vec![outcome; sent.len()], phase).await
            }
            ErrorKind::TooLarge | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported => {
                self.not_sent(sent).await?;
                phase.limits = Limits::below(sent.len());
                Ok(())
            }
            ErrorKind::Server | ErrorKind::Malformed if !alone => {
                phase.limits = Limits::below(sent.len());
                Ok(())
            }
            ErrorKind::Server | ErrorKind::Malformed => {
                phase.failures_in_a_row += 1;
                let outcome = PushOutcome::Unknown {
                    reason: error.message().to_owned(),
                };
                self.apply_outcomes(sent, &vec![outcome; sent.len()], phase)
                    .await?;
                if phase.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            _ => {
                let refused_whole = matches!(error.retry(), RetryClass::SignIn | RetryClass::After(_))
                    || error.kind() == ErrorKind::RateLimited;
                if refused_whole && let Err(failed) = self.not_sent(sent).await {
                    // They stay in doubt; what the remote said counts.
                    tracing::warn!(scope = %self.scope, error = %failed, "a refused push could not be noted");
                }
                Err(error)
            }
        }
    }

    /// Stores that operations, marked as possibly sent, certainly did not take effect and cost no attempt. If a
    /// record changed meanwhile it stays in doubt, which is only slower.
    async fn not_sent(&mut self, sent: &[RecordState]) -> Result<()> {
        let mut changes = ChangeSet::at(self.inner.now());
        let keys: Vec<_> = sent.iter().map(|state| state.key.clone()).collect();
        for (state, was) in self.inner.store.load_records(&keys).await?.into_iter().zip(sent) {
            let same = state.ops.first().map(|op| op.op_id) == was.ops.first().map(|op| op.op_id);
            // An operation sent before may have taken effect then.
            if !same || was.ops.first().is_none_or(|op| op.state == OpState::InDoubt) {
                continue;
            }
            let mut after = state.clone();
            after.ops[0].state = OpState::Queued;
            after.ops[0].attempts = state.ops[0].attempts.saturating_sub(1);
            Transition::new(state, after).add_to(&mut changes);
        }
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        Ok(())
    }
}

/// The answer to an operation on a record that nobody can read at the remote.
fn not_understood() -> PushOutcome {
    PushOutcome::Rejected {
        code: "malformed_row".to_owned(),
        message: "the record as the remote has it cannot be understood".to_owned(),
        field: None,
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

/// Whether the first operation of a record would apply to any state, although it was made on the knowledge that
/// there is nothing. Only a create can say that.
fn is_unconditional(state: &RecordState) -> bool {
    let head = state.ops.first();
    let nothing = |op: &PendingOp| op.kind != OpKind::Create && op.base == Some(RemoteState::Missing);
    head.is_some_and(nothing)
}

/// Whether the remote's state is still the one that a write was made on.
fn is_still(expected: &RemoteState, current: &RemoteState) -> bool {
    match (expected, current) {
        (RemoteState::Live(ours), RemoteState::Live(theirs)) => ours.version == theirs.version,
        (RemoteState::Live(_), _) | (_, RemoteState::Live(_)) => false,
        // Someone deleted the record meanwhile, possibly what an earlier attempt had made.
        (_, RemoteState::Deleted(theirs)) => {
            theirs.version.is_none() || expected.version() == theirs.version.as_ref()
        }
        (_, RemoteState::Missing) => true,
    }
}

/// The remote state that the first operation of a record was made on.
fn expected_base(state: &RecordState) -> &RemoteState {
    state
        .ops
        .first()
        .and_then(|op| op.base.as_ref())
        .unwrap_or(&state.base)
}

fn push_op(state: &RecordState) -> PushOp {
    let op = &state.ops[0];
    PushOp {
        op_id: op.op_id,
        key: op.key.clone(),
        kind: op.kind,
        payload: op.payload.clone(),
        changed: op.changed.clone(),
        base: expected_base(state).version().cloned(),
        stamp: op.stamp,
        schema_version: op.schema_version,
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
