//! The heart of the engine, as pure functions: how one record's base, view and queue change when the user
//! writes, when the remote answers, and when the remote tells news.
//!
//! Every function takes a [`RecordState`] and returns the next one. [`Transition`] turns the difference into
//! the parts of a [`ChangeSet`], so nothing here knows a store.

mod acknowledge;
mod merge;
mod upgrade;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::{
    change_set::{ChangeSet, OpChange, RecordWrite},
    conflict_record::ConflictRecord,
    delta::RemoteState,
    effects::Effects,
    error::Result,
    operation::{ChangedFields, OpKind, PendingOp},
    payload::{JsonObject, Payload},
    record_state::RecordState,
    resolve::ConflictResolver,
    stamp::HybridClock,
    time::Timestamp,
};

pub(crate) use acknowledge::{Acknowledged, Attempt, acknowledge};
use merge::resolve_conflict;
pub(crate) use merge::{MergeContext, is_effect_of, news, settle_deferred, shows_changes_of};
pub(crate) use upgrade::{fit_payload, is_current, upgrade_payload, upgrade_state};
pub(crate) use write::{Intent, WriteContext, discard, write};

/// The next state of a record, and what else is to be written with it.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    /// The state as it was read.
    pub(crate) before: RecordState,
    /// The state from now on.
    pub(crate) after: RecordState,
    /// A conflict that was found or settled on the way.
    pub(crate) conflict: Option<ConflictRecord>,
}

impl Transition {
    pub(crate) fn new(before: RecordState, after: RecordState) -> Self {
        Self {
            before,
            after,
            conflict: None,
        }
    }

    /// Adds this transition to a change set.
    pub(crate) fn add_to(&self, changes: &mut ChangeSet) {
        self.add(changes, false);
    }

    /// As [`Transition::add_to`], where the state before is what the store holds, not one brought to a newer schema
    /// version: a view that stays need not be written again.
    pub(crate) fn add_to_stored(&self, changes: &mut ChangeSet) {
        let (before, after) = (&self.before, &self.after);
        let same = before.view == after.view && before.schema_version == after.schema_version;
        self.add(changes, same && before.revision > 0);
    }

    fn add(&self, changes: &mut ChangeSet, keeps_view: bool) {
        let (before, after) = (&self.before, &self.after);
        changes.ops.extend(op_changes(&before.ops, &after.ops));
        let is_left = |op: &PendingOp| after.ops.iter().any(|left| left.op_id == op.op_id);
        let gone = before.ops.iter().filter(|op| !is_left(op));
        changes.unblock.extend(gone.map(|op| op.op_id));
        changes.conflicts.extend(self.conflict.clone());
        let nothing_left = after.view.is_none() && after.ops.is_empty() && after.base == RemoteState::Missing;
        if nothing_left {
            if before.revision > 0 {
                changes.guards.push((before.key.clone(), before.revision));
                changes.removals.push(before.key.clone());
            }
            return;
        }
        changes.records.push(RecordWrite {
            key: after.key.clone(),
            read_revision: before.revision,
            view: after.view.clone(),
            keeps_view,
            schema_version: after.schema_version,
            base: after.base.clone(),
            pending: u32::try_from(after.ops.len()).unwrap_or(u32::MAX),
            mark: after.mark,
        });
    }
}

fn op_changes(before: &[PendingOp], after: &[PendingOp]) -> Vec<OpChange> {
    let mut changes = Vec::new();
    for old in before {
        match after.iter().find(|new| new.seq == old.seq) {
            None => changes.push(OpChange::Remove(old.op_id)),
            Some(new) if new != old => changes.push(OpChange::Replace(new.clone())),
            Some(_) => {}
        }
    }
    changes.extend(
        after
            .iter()
            .filter(|op| op.seq == 0)
            .cloned()
            .map(OpChange::Append),
    );
    changes
}

/// The record after `op`, given the record before it.
fn apply_op(before: Option<&JsonObject>, op: &PendingOp) -> Result<Option<JsonObject>> {
    let Some(payload) = &op.payload else {
        return Ok(None);
    };
    let after = payload.to_object()?;
    let (ChangedFields::Only(changed), Some(before), OpKind::Update) = (&op.changed, before, op.kind) else {
        return Ok(Some(after));
    };
    Ok(Some(replace_fields(before.clone(), &after, changed)))
}

/// `record` with these fields as they are in `source`, or without them if `source` lacks them.
fn replace_fields(mut record: JsonObject, source: &JsonObject, fields: &BTreeSet<String>) -> JsonObject {
    for field in fields {
        match source.get(field) {
            Some(value) => record.insert(field.clone(), value.clone()),
            None => record.remove(field),
        };
    }
    record
}

/// As [`replace_fields`], of payloads.
pub(crate) fn with_fields(record: &Payload, source: &Payload, fields: &BTreeSet<String>) -> Result<Payload> {
    Ok(Payload::from_object(&replace_fields(
        record.to_object()?,
        &source.to_object()?,
        fields,
    )))
}

/// Replays the queue on the base: each operation's payload and the view follow from the fields it changes.
fn rebase(state: &mut RecordState) -> Result<()> {
    if state.ops.is_empty() {
        state.view = state.base.payload().cloned();
        return Ok(());
    }
    let mut record = state.base.payload().map(Payload::to_object).transpose()?;
    for op in &mut state.ops {
        record = apply_op(record.as_ref(), op)?;
        op.payload = record.as_ref().map(Payload::from_object);
    }
    state.view = state.ops.last().and_then(|op| op.payload.clone());
    Ok(())
}

/// The top-level fields in which two records differ.
fn differing_fields(a: &Payload, b: &Payload) -> Result<BTreeSet<String>> {
    let (a, b) = (a.to_object()?, b.to_object()?);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    Ok(names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .cloned()
        .collect())
}

/// What the functions of this module take from the engine.
pub(crate) struct Surroundings<'a> {
    pub(crate) effects: &'a Effects,
    pub(crate) clock: &'a HybridClock,
    pub(crate) resolver: &'a dyn ConflictResolver,
    /// The current time, local.
    pub(crate) now: Timestamp,
    /// Server time minus local time, in microseconds, as far as it was measured.
    pub(crate) server_offset: i64,
    /// Whether the remote keeps our stamps.
    pub(crate) remote_keeps_stamps: bool,
    /// Whether the remote knows the operations that took effect, and so never takes one for another.
    pub(crate) remote_remembers_ops: bool,
}
