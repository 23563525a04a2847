//! The push half of a synchronization.
//!
//! Before operations are sent, the store holds that they are in doubt; what the remote answered is stored afterwards.
//! Where the remote answers fast, one transaction stores the answers to several pushes and marks what is sent next, so
//! that it does not take a transaction for each push.

mod failed;
mod marked;
mod outcomes;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Activity,
    batch::{Ahead, Limits, NextBatch, next_batch},
    run::Run,
};
use crate::{
    capability::Capabilities,
    change_set::{ChangeSet, CommitOutcome},
    error::{Result, SyncError},
    id::RecordKey,
    machine::Transition,
    operation::{OpState, PushOp, PushOutcome},
    record_state::RecordState,
    remote::{PushBatch, check_outcomes},
};

use self::{
    marked::Batch,
    settle::{expected_base, is_unconditional},
};

/// What one push phase remembers.
struct PushPhase {
    /// How many operations go into one batch; shrinks when the remote cannot take a batch.
    limits: Limits,
    /// Records that are not sent again in this sync.
    held: BTreeSet<RecordKey>,
    /// How many conflicts each record met in this sync.
    rounds: BTreeMap<RecordKey, u32>,
    failures_in_a_row: u32,
    /// Read, and to be sent after what is marked.
    ahead: Ahead,
    /// In doubt in the store, and not sent yet.
    marked: VecDeque<Batch>,
    /// Sent, took effect, and the store does not hold it yet.
    answered: Vec<(Batch, Vec<PushOutcome>)>,
    /// Since when the first of them waits, in monotonic time.
    waiting_since: Duration,
    /// How long the last push took.
    pace: Option<Duration>,
}

impl PushPhase {
    /// Keeps what was read ahead, but for what is only sent after a look at the remote.
    fn set_ahead(&mut self, mut ahead: Ahead) {
        ahead.states.retain(|state| !is_unconditional(state));
        self.ahead = ahead;
    }

    /// Where reading ahead is to go on, if nothing is left of what was read.
    fn reads_on_after(&self) -> Option<u64> {
        self.ahead.beyond.filter(|_| self.ahead.states.is_empty())
    }
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
            ahead: Ahead::default(),
            marked: VecDeque::new(),
            answered: Vec::new(),
            waiting_since: Duration::ZERO,
            pace: None,
        };
        self.mend_due_times().await?;
        let result = self.push_all(&mut phase).await;
        if result.is_err() {
            self.put_in_order(&mut phase).await;
        }
        result
    }

    async fn push_all(&mut self, phase: &mut PushPhase) -> Result<()> {
        loop {
            match phase.marked.pop_front() {
                Some(batch) if self.is_as_marked(&batch).await? => self.push_batch(batch, phase).await?,
                Some(batch) => {
                    phase.marked.push_front(batch);
                    self.put_in_order(phase).await;
                }
                None => {
                    if !self.prepare(phase).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Marks what is sent next. Returns false if there is nothing to be sent any more.
    async fn prepare(&mut self, phase: &mut PushPhase) -> Result<bool> {
        // Until the answers are stored, what they are about would be read as something to send.
        self.store_answers(phase).await?;
        if !phase.marked.is_empty() {
            return Ok(true);
        }
        if !phase.ahead.states.is_empty() {
            let next = self.take_ahead(phase, 0);
            self.mark_in_doubt(next, phase).await?;
            return Ok(true);
        }
        let next = next_batch(self.inner, self.scope, phase.limits, &phase.held).await?;
        if next.is_empty() {
            return Ok(false);
        }
        if !self.set_aside(&next).await? || next.send.is_empty() {
            return Ok(true);
        }
        let NextBatch {
            send,
            atomic,
            ahead,
            as_stored,
            ..
        } = next;
        let send = self.settle_before_sending(send, atomic, phase).await?;
        if self.inner.capabilities.conditional_write {
            phase.set_ahead(ahead);
        }
        if !send.is_empty() {
            let count = send.len();
            let mut next = vec![Batch::new(send, atomic, as_stored)];
            next.extend(self.take_ahead(phase, count));
            self.mark_in_doubt(next, phase).await?;
        }
        Ok(true)
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

    async fn push_batch(&mut self, batch: Batch, phase: &mut PushPhase) -> Result<()> {
        if phase.answered.is_empty() {
            let sent = self.report.pushed;
            self.inner.set_activity(self.scope, Activity::Pushing { sent });
        }
        let began = self.inner.effects.clock.monotonic();
        let answer = self.send(&batch).await;
        let now = self.inner.effects.clock.monotonic();
        phase.pace = Some(now.saturating_sub(began));
        match answer {
            Ok(outcomes) => {
                phase.failures_in_a_row = 0;
                self.observe_conflicts(&outcomes);
                let outcomes = self.blame_parents(&batch.sent, batch.atomic, outcomes);
                let applied = |outcome: &PushOutcome| matches!(outcome, PushOutcome::Applied { .. });
                if batch.atomic || !outcomes.iter().all(applied) {
                    self.store_answers(phase).await?;
                    return self.apply_outcomes(&batch.sent, &outcomes, phase).await;
                }
                if phase.answered.is_empty() {
                    phase.waiting_since = now;
                }
                phase.answered.push((batch, outcomes));
                self.store_answers_in_time(phase).await
            }
            Err(error) => {
                self.put_in_order(phase).await;
                self.push_failed(&batch, error, phase).await
            }
        }
    }

    async fn send(&mut self, batch: &Batch) -> Result<Vec<PushOutcome>, SyncError> {
        let push = PushBatch {
            scope: self.scope.clone(),
            ops: batch.sent.iter().map(push_op).collect(),
            atomic: batch.atomic,
        };
        let remote = Arc::clone(&self.inner.remote);
        let expected = batch.sent.len();
        self.call("push", async move {
            check_outcomes(remote.name(), expected, remote.push(push).await?)
        })
        .await
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
