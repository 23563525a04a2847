//! The push half of a synchronization.

mod failed;
mod outcomes;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Activity,
    batch::{Limits, NextBatch, next_batch},
    run::Run,
};
use crate::{
    capability::Capabilities,
    change_set::{ChangeSet, CommitOutcome},
    error::Result,
    id::RecordKey,
    machine::Transition,
    operation::{OpState, PushOp},
    record_state::RecordState,
    remote::{PushBatch, check_outcomes},
};

use settle::expected_base;

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
        self.mend_due_times().await?;
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
