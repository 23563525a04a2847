//! What is settled before operations are sent.

use std::collections::BTreeMap;

use super::PushPhase;
use crate::{
    change_set::ChangeSet,
    delta::RemoteState,
    engine::{batch::parents_in_batch, run::Run},
    error::Result,
    id::RecordKey,
    machine::{Transition, is_effect_of, shows_changes_of},
    operation::{OpKind, OpState, OpStateKind, PendingOp, PushOutcome},
    record_state::RecordState,
    store::OpQuery,
};

impl Run<'_> {
    /// What was to wait until a time that a clock was set back from is due now. Otherwise it would wait for as long as
    /// the clock was set back. What waits for longer than any pause after failures, because the remote said so, goes on
    /// waiting.
    pub(super) async fn mend_due_times(&mut self) -> Result<()> {
        let now = self.inner.now();
        let mut query = OpQuery {
            scope: Some(self.scope.clone()),
            states: vec![OpStateKind::Queued, OpStateKind::InDoubt],
            due_after: Some(now.plus(self.inner.options.retry_cap)),
            heads_only: true,
            limit: Some(self.inner.options.commit_rows as u64),
            ..OpQuery::default()
        };
        loop {
            let waiting = self.inner.store.load_ops(&query).await?;
            let Some(last) = waiting.last() else {
                return Ok(());
            };
            query.after_seq = Some(last.seq);
            let keys: Vec<RecordKey> = waiting.into_iter().map(|op| op.key).collect();
            let mut changes = ChangeSet::at(now);
            for state in self.inner.store.load_records(&keys).await? {
                let Some(head) = state.ops.first() else { continue };
                let failed_at = head.last_failure.as_ref().map(|failure| failure.at);
                if state.touched_at > now || failed_at.is_some_and(|at| at > now) {
                    let mut after = state.clone();
                    after.ops[0].next_attempt_at = now;
                    Transition::new(state, after).add_to(&mut changes);
                }
            }
            if !changes.is_empty() {
                // If the user writes meanwhile, the next push looks again.
                self.commit(changes).await?;
            }
        }
    }

    /// A remote that takes every write must not be sent one on an outdated base: the records are read first,
    /// and conflicts (or the effect of an earlier attempt) are settled here. So are those that no remote could
    /// tell from the write alone.
    pub(super) async fn settle_before_sending(
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
        let around = self.inner.surroundings(known);
        let earlier = state.ops.first().filter(|op| op.state == OpState::InDoubt);
        let took_effect = earlier.is_some_and(|op| is_effect_of(op, &current, &around));
        let built_upon = match earlier {
            Some(op) => shows_changes_of(op, &current, &around)?,
            None => false,
        };
        Ok(match current {
            current if took_effect => PushOutcome::Duplicate {
                version: current.version().cloned(),
            },
            _ if built_upon => PushOutcome::Duplicate { version: None },
            RemoteState::Missing => PushOutcome::Missing,
            current => PushOutcome::Conflict { current },
        })
    }

    /// The states of records at the remote, in order; `None` for one that cannot be understood.
    pub(super) async fn read_back(&mut self, states: &[RecordState]) -> Result<Vec<Option<RemoteState>>> {
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
}

/// The answer to an operation on a record that nobody can read at the remote.
fn not_understood() -> PushOutcome {
    PushOutcome::Rejected {
        code: "malformed_row".to_owned(),
        message: "the record as the remote has it cannot be understood".to_owned(),
        field: None,
    }
}

/// Whether the first operation of a record would apply to any state, although it was made on the knowledge that
/// there is nothing. Only a create can say that.
pub(super) fn is_unconditional(state: &RecordState) -> bool {
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
pub(super) fn expected_base(state: &RecordState) -> &RemoteState {
    state
        .ops
        .first()
        .and_then(|op| op.base.as_ref())
        .unwrap_or(&state.base)
}
