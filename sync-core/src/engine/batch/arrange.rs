//! Putting records into the order in which their operations are sent.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Ahead, Limits, MAX_LOOKAHEAD, NextBatch, group_of, named_by, parents_of};
use crate::{
    engine::Inner,
    error::Result,
    id::{OpId, RecordKey},
    machine::{is_current, upgrade_state},
    operation::{OpKind, OpState, PendingOp},
    record_state::RecordState,
    time::Timestamp,
};

/// What may be sent, and what it depends on.
pub(super) struct Arranger<'a> {
    inner: &'a Inner,
    now: Timestamp,
    /// Records that are not sent again in this sync.
    held: &'a BTreeSet<RecordKey>,
    /// Records with something to send, in the order of their operations.
    candidates: Vec<RecordState>,
    /// The same, and the parents they name, by key.
    known: BTreeMap<RecordKey, RecordState>,
    /// Whether no state had to be brought to a newer schema version.
    as_stored: bool,
}

impl<'a> Arranger<'a> {
    /// Brings these records to the current schema version, and reads the parents they name unless they are `alone`.
    pub(super) async fn load(
        inner: &'a Inner,
        held: &'a BTreeSet<RecordKey>,
        states: Vec<RecordState>,
        alone: bool,
    ) -> Result<Self> {
        let mut arranger = Self {
            inner,
            now: inner.due_by(),
            held,
            candidates: states,
            known: BTreeMap::new(),
            as_stored: true,
        };
        for state in &mut arranger.candidates {
            arranger.as_stored &= upgrade(inner, state);
        }
        arranger
            .candidates
            .sort_by_key(|state| state.ops.first().map(|op| op.seq));
        if arranger.stands_alone(alone) {
            return Ok(arranger);
        }
        let known = arranger
            .candidates
            .iter()
            .map(|state| (state.key.clone(), state.clone()));
        arranger.known = known.collect();
        // Parents may wait for their own parents.
        let mut children = arranger.candidates.clone();
        loop {
            let mut missing: Vec<RecordKey> = children
                .iter()
                .flat_map(|child| parents_of(inner, child))
                .filter(|parent| !arranger.known.contains_key(parent))
                .collect();
            missing.sort();
            missing.dedup();
            if missing.is_empty() {
                return Ok(arranger);
            }
            children = inner.store.load_records(&missing).await?;
            for state in &mut children {
                arranger.as_stored &= upgrade(inner, state);
                arranger.known.insert(state.key.clone(), state.clone());
            }
        }
    }

    /// Whether the candidates need no arrangement; `alone` if none can depend on another.
    pub(super) fn stands_alone(&self, alone: bool) -> bool {
        alone && self.as_stored
    }

    /// The candidates that are to be sent now.
    pub(super) fn due(self) -> Vec<RecordState> {
        let (held, now) = (self.held, self.now);
        let is_due = |state: &RecordState| is_due(state, held, now);
        self.candidates.into_iter().filter(is_due).collect()
    }

    /// The batch of operations that each stand alone.
    fn in_order(self, limits: Limits) -> NextBatch {
        let mut send = self.due();
        let ahead = send.split_off(send.len().min(limits.singles));
        NextBatch {
            send,
            ahead: Ahead {
                states: ahead.into(),
                beyond: None,
            },
            as_stored: true,
            ..NextBatch::default()
        }
    }

    /// Puts the next batch together; `alone` if no candidate can depend on another.
    pub(super) fn arrange(self, limits: Limits, alone: bool) -> NextBatch {
        if self.stands_alone(alone) {
            return self.in_order(limits);
        }
        let mut batch = NextBatch {
            as_stored: self.as_stored,
            ..NextBatch::default()
        };
        let mut placed = BTreeSet::new();
        let before = Prerequisites {
            of_record: self.pending_children(),
            of_group: self.parents_of_groups(),
        };
        let mut order = Vec::new();
        for state in &self.candidates {
            self.place(state, &before, &mut placed, &mut order);
        }
        let mut waiting = BTreeMap::new();
        for key in order {
            let Some(state) = self.known.get(key) else {
                continue;
            };
            let Some(op) = state.ops.first() else { continue };
            match &op.state {
                OpState::Parked(_) => batch.park.push(state.clone()),
                OpState::Queued | OpState::InDoubt => {
                    let obstacle = self.obstacle(state, &waiting);
                    match obstacle {
                        Obstacle::None => batch.send.push(state.clone()),
                        Obstacle::Parked(by) if op.state == OpState::Queued => {
                            batch.block.push((state.clone(), by))
                        }
                        Obstacle::Later(at) => batch.delay.push((state.clone(), at)),
                        Obstacle::Parked(_) => {}
                    }
                    waiting.insert(key, obstacle);
                }
                OpState::Deferred | OpState::Blocked { .. } => {}
            }
        }
        if self.inner.capabilities.atomic_batch {
            hold_together(&mut batch);
            self.hold_children(&mut batch);
        }
        self.cut(&mut batch, limits);
        batch
    }

    /// The parents of a record that are still to be created.
    fn parents_to_create(&self, state: &RecordState) -> Vec<&RecordState> {
        let to_create = |parent: &&RecordState| {
            !parent.base.is_live() && parent.ops.first().is_some_and(|op| op.kind == OpKind::Create)
        };
        parents_of(self.inner, state)
            .iter()
            .filter_map(|key| self.known.get(key))
            .filter(to_create)
            .collect()
    }

    /// The parents that are to be created before members of write batches and that are not members themselves.
    fn parents_of_groups(&self) -> BTreeMap<Uuid, Vec<RecordKey>> {
        let mut parents: BTreeMap<Uuid, Vec<RecordKey>> = BTreeMap::new();
        for state in &self.candidates {
            let Some(group) = group_of(state).filter(|_| self.inner.capabilities.atomic_batch) else {
                continue;
            };
            let outside = |parent: &&RecordState| group_of(parent) != Some(group);
            let keys = self.parents_to_create(state).into_iter().filter(outside);
            parents
                .entry(group)
                .or_default()
                .extend(keys.map(|parent| parent.key.clone()));
        }
        parents
    }

    /// A write batch that is first in the order, and those it needs to go with: each of them creates a parent that a
    /// member of another names, so none can go before the others.
    fn groups_that_need(&self, first: Uuid, send: &[RecordState]) -> BTreeSet<Uuid> {
        let mut together = BTreeSet::from([first]);
        loop {
            let members = send
                .iter()
                .filter(|state| group_of(state).is_some_and(|group| together.contains(&group)));
            let needed: Vec<Uuid> = members
                .flat_map(|member| self.parents_to_create(member))
                .filter(|parent| send.iter().any(|state| state.key == parent.key))
                .filter_map(group_of)
                .filter(|group| !together.contains(group))
                .collect();
            if needed.is_empty() {
                return together;
            }
            together.extend(needed);
        }
    }

    /// What is pending of the children of each record that is to be deleted.
    fn pending_children(&self) -> BTreeMap<RecordKey, Vec<RecordKey>> {
        let deleted: BTreeSet<&RecordKey> = self
            .candidates
            .iter()
            .filter(|state| state.ops.first().is_some_and(|op| op.kind == OpKind::Delete))
            .map(|state| &state.key)
            .collect();
        let mut children: BTreeMap<RecordKey, Vec<RecordKey>> = BTreeMap::new();
        if deleted.is_empty() {
            return children;
        }
        for state in &self.candidates {
            for parent in named_by(self.inner, &state.key, state.base.payload()) {
                if deleted.contains(&parent) {
                    children.entry(parent).or_default().push(state.key.clone());
                }
            }
        }
        children
    }

    /// Puts a record into the order after everything it must follow. A cycle is cut where it closes.
    fn place<'s>(
        &'s self,
        state: &'s RecordState,
        before: &Prerequisites,
        placed: &mut BTreeSet<&'s RecordKey>,
        order: &mut Vec<&'s RecordKey>,
    ) {
        if !placed.insert(&state.key) {
            return;
        }
        let of_group = group_of(state).and_then(|group| before.of_group.get(&group));
        let parents = self.parents_to_create(state);
        let first = parents
            .into_iter()
            .map(|parent| parent.key.clone())
            .chain(before.of_record.get(&state.key).into_iter().flatten().cloned())
            .chain(of_group.into_iter().flatten().cloned());
        for key in first {
            if let Some(other) = self.known.get(&key).filter(|other| self.is_due(other)) {
                self.place(other, before, placed, order);
            }
        }
        order.push(&state.key);
    }

    fn is_due(&self, state: &RecordState) -> bool {
        is_due(state, self.held, self.now)
    }

    /// Whether a parent that is still to be created stands in the way. `waiting` tells what stands in the way of
    /// the records before this one.
    fn obstacle(&self, state: &RecordState, waiting: &BTreeMap<&RecordKey, Obstacle>) -> Obstacle {
        for parent in self.parents_to_create(state) {
            let Some(op) = parent.ops.first() else { continue };
            match &op.state {
                OpState::Parked(_) | OpState::Deferred => return Obstacle::Parked(op.op_id),
                OpState::Blocked { by } => return Obstacle::Parked(*by),
                OpState::Queued | OpState::InDoubt if !self.is_due(parent) => {
                    // A pause, also if the parent only waits for the next sync.
                    let pause = self.now.plus(self.inner.options.retry_base);
                    return Obstacle::Later(op.next_attempt_at.max(pause));
                }
                OpState::Queued | OpState::InDoubt => match waiting.get(&parent.key) {
                    None | Some(Obstacle::None) => {}
                    Some(obstacle) => return *obstacle,
                },
            }
        }
        Obstacle::None
    }

    /// Keeps back what goes after records that are held with their write batch, and the write batches it is of.
    fn hold_children(&self, batch: &mut NextBatch) {
        let waiting = batch.block.iter().map(|(state, _)| state);
        let waiting = waiting.chain(batch.delay.iter().map(|(state, _)| state));
        let mut held: BTreeSet<RecordKey> = waiting
            .filter(|state| !state.base.is_live())
            .map(|state| state.key.clone())
            .collect();
        let mut groups = BTreeSet::new();
        loop {
            let before = batch.send.len();
            batch.send.retain(|state| {
                let group = group_of(state);
                let follows = parents_of(self.inner, state)
                    .iter()
                    .any(|parent| held.contains(parent))
                    || group.is_some_and(|group| groups.contains(&group));
                if follows {
                    held.insert(state.key.clone());
                    groups.extend(group);
                }
                !follows
            });
            if batch.send.len() == before {
                return;
            }
        }
    }

    /// Cuts the batch to its limit, without cutting through a write batch.
    fn cut(&self, batch: &mut NextBatch, limits: Limits) {
        if !self.inner.capabilities.atomic_batch {
            batch.send.truncate(limits.singles);
            return;
        }
        match batch.send.first().and_then(group_of) {
            Some(group) => {
                let together = self.groups_that_need(group, &batch.send);
                batch
                    .send
                    .retain(|state| group_of(state).is_some_and(|group| together.contains(&group)));
                let members = batch.send.len();
                batch.atomic = members > 1 && members <= limits.group.min(MAX_LOOKAHEAD);
                if !batch.atomic {
                    batch.send.truncate(limits.singles);
                }
            }
            None => {
                let singles = batch
                    .send
                    .iter()
                    .take_while(|state| group_of(state).is_none())
                    .count();
                batch.send.truncate(singles.min(limits.singles));
            }
        }
    }
}

fn is_due(state: &RecordState, held: &BTreeSet<RecordKey>, now: Timestamp) -> bool {
    let due = |op: &PendingOp| op.state.kind().is_active() && op.next_attempt_at <= now;
    !held.contains(&state.key) && state.ops.first().is_some_and(due)
}

/// What must go before others.
struct Prerequisites {
    /// What is pending of the children of records that are to be deleted.
    of_record: BTreeMap<RecordKey, Vec<RecordKey>>,
    /// The parents of any member of a write batch.
    of_group: BTreeMap<Uuid, Vec<RecordKey>>,
}

/// Brings a record to the current schema version. Returns whether it was of that already.
fn upgrade(inner: &Inner, state: &mut RecordState) -> bool {
    let Some(known) = inner.collections.get(&state.key.target.collection) else {
        return true;
    };
    let current = is_current(&known.schema, state);
    if !current {
        upgrade_state(&known.schema, state);
    }
    current
}

/// When one member of a write batch must wait, all others wait with it.
fn hold_together(batch: &mut NextBatch) {
    let blocked: BTreeMap<Uuid, OpId> = batch
        .block
        .iter()
        .filter_map(|(state, by)| Some((group_of(state)?, *by)))
        .collect();
    let delayed: BTreeMap<Uuid, Timestamp> = batch
        .delay
        .iter()
        .filter_map(|(state, at)| Some((group_of(state)?, *at)))
        .collect();
    for state in std::mem::take(&mut batch.send) {
        let group = group_of(&state);
        let by = group.and_then(|group| blocked.get(&group));
        let at = group.and_then(|group| delayed.get(&group));
        let queued = state.ops.first().is_some_and(|op| op.state == OpState::Queued);
        match (by, at) {
            (Some(by), _) if queued => batch.block.push((state, *by)),
            (_, Some(at)) => batch.delay.push((state, *at)),
            _ => batch.send.push(state),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Obstacle {
    None,
    Parked(OpId),
    Later(Timestamp),
}
