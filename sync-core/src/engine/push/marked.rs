//! Operations that the store holds to be in doubt: marked before they are sent, and settled together when the remote
//! answers fast.

use std::{collections::BTreeMap, time::Duration};

use super::PushPhase;
use crate::{
    change_set::{ChangeSet, CommitOutcome, OpChange},
    engine::{
        batch::{Ahead, read_ahead},
        run::Run,
    },
    error::Result,
    operation::{OpState, PushOutcome},
    record_state::RecordState,
};

/// How many operations are in doubt at most, unless one batch has more.
const MOST_IN_DOUBT: usize = 512;

/// Records whose first operations go in one push.
pub(super) struct Batch {
    /// The records as they were read, but with this attempt counted.
    pub(super) sent: Vec<RecordState>,
    /// Whether the operations take effect as a whole.
    pub(super) atomic: bool,
    /// Whether they were read as the store holds them, and not brought to a newer schema version.
    as_stored: bool,
    /// Whether nothing is sent between the mark and this.
    goes_first: bool,
}

impl Batch {
    pub(super) fn new(mut sent: Vec<RecordState>, atomic: bool, as_stored: bool) -> Self {
        for state in &mut sent {
            let op = &mut state.ops[0];
            op.attempts = op.attempts.saturating_add(1);
        }
        Self {
            sent,
            atomic,
            as_stored,
            goes_first: false,
        }
    }

    /// Adds to a change set that these operations may have taken effect.
    pub(super) fn add_marks(&self, changes: &mut ChangeSet) {
        for state in &self.sent {
            let op = &state.ops[0];
            changes.ops.push(OpChange::MarkInDoubt {
                key: state.key.clone(),
                seq: op.seq,
                attempts: op.attempts,
            });
            changes.touches.push((state.key.clone(), state.revision));
        }
    }

    /// The records as the mark left them. Whoever changed one since has raised its revision further, so a commit that
    /// goes out from these states is stale then. `None` if the states in the store are others.
    pub(super) fn as_marked(&self) -> Option<Vec<RecordState>> {
        let mut states = self.as_stored.then(|| self.sent.clone())?;
        for state in &mut states {
            state.ops[0].state = OpState::InDoubt;
            state.revision += 1;
        }
        Some(states)
    }
}

impl Run<'_> {
    /// What was read ahead, in batches, as far as it may be in doubt together with `other` operations.
    pub(super) fn take_ahead(&self, phase: &mut PushPhase, other: usize) -> Vec<Batch> {
        let held = &phase.held;
        phase.ahead.states.retain(|state| !held.contains(&state.key));
        let singles = phase.limits.singles.max(1);
        let within = self.inner.options.settle_within;
        let pushes = match phase.pace {
            // How fast the remote answers is not known yet.
            None => 1,
            Some(pace) => within.as_nanos() / pace.max(Duration::from_nanos(1)).as_nanos(),
        };
        let pushes = usize::try_from(pushes).unwrap_or(usize::MAX);
        let most = pushes.saturating_mul(singles).min(MOST_IN_DOUBT).max(singles);
        let mut room = most.saturating_sub(other);
        let mut batches = Vec::new();
        let states = &mut phase.ahead.states;
        while !states.is_empty() {
            let count = states.len().min(singles);
            if count > room {
                break;
            }
            batches.push(Batch::new(states.drain(..count).collect(), false, true));
            room -= count;
        }
        batches
    }

    /// Stores, before anything is sent, that these operations may have taken effect. If a record changed meanwhile,
    /// nothing is marked, and what is to be sent is read anew.
    pub(super) async fn mark_in_doubt(&mut self, next: Vec<Batch>, phase: &mut PushPhase) -> Result<()> {
        let mut changes = ChangeSet::at(self.inner.now());
        next.iter().for_each(|batch| batch.add_marks(&mut changes));
        let marked = self.commit(changes).await? == CommitOutcome::Committed;
        self.take_marked(next, marked, phase);
        Ok(())
    }

    fn take_marked(&self, next: Vec<Batch>, marked: bool, phase: &mut PushPhase) {
        if !marked {
            phase.ahead = Ahead::default();
            return;
        }
        phase.marked.extend(next);
        if let Some(first) = phase.marked.front_mut() {
            first.goes_first = true;
        }
    }

    /// Whether the records are still as the mark left them. While others were on their way, the user may have
    /// discarded what was to be sent next.
    pub(super) async fn is_as_marked(&self, batch: &Batch) -> Result<bool> {
        if batch.goes_first {
            return Ok(true);
        }
        for states in batch.sent.chunk_by(|a, b| a.key.target == b.key.target) {
            let ids: Vec<_> = states.iter().map(|state| state.key.id.clone()).collect();
            let target = &states[0].key.target;
            let summaries = self.inner.store.load_summaries(target, &ids).await?;
            let revisions: BTreeMap<_, _> = summaries.iter().map(|now| (&now.id, now.revision)).collect();
            let changed = |state: &RecordState| revisions.get(&state.key.id) != Some(&(state.revision + 1));
            if states.iter().any(changed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores the answers that wait, unless they may wait for more.
    pub(super) async fn store_answers_in_time(&mut self, phase: &mut PushPhase) -> Result<()> {
        let waited = self
            .inner
            .effects
            .clock
            .monotonic()
            .saturating_sub(phase.waiting_since);
        let in_time = waited < self.inner.options.settle_within;
        if in_time && !phase.marked.is_empty() {
            return Ok(());
        }
        self.store_answers(phase).await
    }

    /// Stores the answers that wait, and in the same transaction marks what is sent next.
    pub(super) async fn store_answers(&mut self, phase: &mut PushPhase) -> Result<()> {
        let answered = std::mem::take(&mut phase.answered);
        if answered.is_empty() {
            return Ok(());
        }
        let next = if phase.marked.is_empty() {
            self.take_ahead(phase, 0)
        } else {
            Vec::new()
        };
        let known = answered.iter().map(|(batch, _)| batch.as_marked());
        let known: Option<Vec<Vec<RecordState>>> = known.collect();
        let mut sent: Vec<RecordState> = Vec::new();
        let mut outcomes: Vec<PushOutcome> = Vec::new();
        for (batch, of_batch) in answered {
            sent.extend(batch.sent);
            outcomes.extend(of_batch);
        }
        let known = known.map(|known| known.into_iter().flatten().collect());
        // What comes after is read while this is stored.
        let (inner, scope, limits) = (self.inner, self.scope, phase.limits);
        let after = phase.reads_on_after();
        let reading = async move {
            match after {
                Some(after) => read_ahead(inner, scope, limits, after).await.map(Some),
                None => Ok(None),
            }
        };
        let storing = self.apply_and_mark(&sent, known, &outcomes, &next, phase);
        let (marked, read) = futures::join!(storing, reading);
        let marked = marked?;
        match read {
            Ok(Some(ahead)) => phase.set_ahead(ahead),
            Ok(None) => {}
            // It is read again, and fails again, where that can be told.
            Err(_) => phase.ahead = Ahead::default(),
        }
        if !next.is_empty() {
            self.take_marked(next, marked, phase);
        }
        Ok(())
    }

    /// After a failure, or if a mark is out of date: stores the answers that wait, and that what was marked has not been sent. What cannot be stored
    /// stays in doubt, and is settled by the next push.
    pub(super) async fn put_in_order(&mut self, phase: &mut PushPhase) {
        phase.ahead = Ahead::default();
        let stored = self.store_answers(phase).await;
        let not_sent: Vec<RecordState> = phase.marked.drain(..).flat_map(|batch| batch.sent).collect();
        let taken_back = self.take_back(&not_sent, None).await;
        for error in [stored, taken_back].into_iter().filter_map(Result::err) {
            tracing::debug!(scope = %self.scope, %error, "operations stay in doubt");
        }
    }
}
