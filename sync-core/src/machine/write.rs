//! Writes of the user, and how they coalesce with writes that were not sent yet.
//!
//! | last in queue \ new | create | update | delete |
//! |---|---|---|---|
//! | nothing, record absent | create | error | error |
//! | nothing, record there | error | update | delete |
//! | create | error | create with the new value | nothing |
//! | update | error | update, union of fields | delete |
//! | delete | replace (update of all fields), or create if the remote has no record | error | delete |
//!
//! Only an operation that is known not to have taken effect coalesces; one whose answer is outstanding is
//! never changed, and the new operation queues behind it. An operation that was refused or retried gets a new
//! identity when its content changes, since the remote may remember the old one. The base stays that of the
//! first write.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{differing_fields, with_fields};
use crate::{
    error::{ErrorKind, Result, SyncError},
    id::OpId,
    operation::{ChangedFields, OpKind, OpState, PendingOp},
    payload::Payload,
    record::CollectionSchema,
    record_state::RecordState,
    stamp::Stamp,
    time::Timestamp,
};

/// What the user wants to do with a record.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    Create(Payload),
    /// The record as it should be; the changed fields are found by comparison.
    Update(Payload),
    Delete,
}

/// The circumstances of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteContext<'a> {
    pub(crate) schema: &'a CollectionSchema,
    pub(crate) op_id: OpId,
    pub(crate) stamp: Stamp,
    pub(crate) now: Timestamp,
    pub(crate) group: Option<Uuid>,
}

/// The record after a write of the user.
///
/// # Errors
/// `Invalid` on `id` when creating a record that is there; `NotFound` when changing or deleting one that the
/// store knows nothing about.
pub(crate) fn write(state: &RecordState, intent: Intent, context: WriteContext<'_>) -> Result<RecordState> {
    let (kind, payload, changed) = match (intent, &state.view) {
        (Intent::Create(payload), None) => (OpKind::Create, Some(payload), ChangedFields::All),
        (Intent::Create(_), Some(_)) => {
            return Err(SyncError::invalid(
                "id",
                format!("a record {:?} is there already; update it", state.key.id),
            ));
        }
        (Intent::Update(payload), Some(view)) => {
            let (payload, changed) = update(view, &payload, context.schema)?;
            (OpKind::Update, Some(payload), ChangedFields::Only(changed))
        }
        (Intent::Delete, Some(_)) => (OpKind::Delete, None, ChangedFields::All),
        // Deleting a deleted record again raises its stamp, so that it outlives edits made in between.
        (Intent::Delete, None) if state.revision > 0 => (OpKind::Delete, None, ChangedFields::All),
        (Intent::Update(_) | Intent::Delete, None) => {
            let message = format!("there is no record {:?} in {}", state.key.id, state.key.target);
            return Err(SyncError::new(ErrorKind::NotFound, message).with_field("id"));
        }
    };
    let new = PendingOp {
        op_id: context.op_id,
        seq: 0,
        key: state.key.clone(),
        kind,
        payload,
        changed,
        base: None,
        stamp: context.stamp,
        enqueued_at: context.now,
        schema_version: context.schema.schema_version,
        group: context.group,
        state: OpState::Queued,
        attempts: 0,
        next_attempt_at: Timestamp::EPOCH,
        last_failure: None,
    };
    let mut after = state.clone();
    after.view = new.payload.clone();
    after.schema_version = context.schema.schema_version;
    match after.ops.pop() {
        Some(last) if coalesces(&last, &new) => {
            let there = match after.ops.last() {
                Some(before) => before.payload.is_some(),
                None => last.base.as_ref().unwrap_or(&state.base).is_live(),
            };
            after.ops.extend(coalesce(last, new, there));
        }
        Some(last) => after.ops.extend([last, new]),
        None => after.ops.push(new),
    }
    if after.ops.is_empty() {
        after.view = after.base.payload().cloned();
    }
    Ok(after)
}

/// The view with what the writer changed, and the names of the changed fields. What the writer's record type
/// does not know was not changed by it.
fn update(
    view: &Payload,
    wanted: &Payload,
    schema: &CollectionSchema,
) -> Result<(Payload, BTreeSet<String>)> {
    let Ok(known) = (schema.known_part)(view) else {
        // The writer cannot read what is there, so it replaces what it names and leaves the rest.
        let (wanted_fields, view_fields) = (wanted.to_object()?, view.to_object()?);
        let differs = |(name, value): &(&String, &serde_json::Value)| view_fields.get(*name) != Some(*value);
        let changed = wanted_fields
            .iter()
            .filter(differs)
            .map(|(name, _)| name.clone())
            .collect();
        return Ok((with_fields(view, wanted, &changed)?, changed));
    };
    let changed = differing_fields(&known, wanted)?;
    let payload = if known.same_content(view) {
        wanted.clone()
    } else {
        with_fields(view, wanted, &changed)?
    };
    Ok((payload, changed))
}

fn coalesces(last: &PendingOp, new: &PendingOp) -> bool {
    match last.state {
        OpState::InDoubt => false,
        // Members of different write batches stay apart, so that each batch can take effect as a whole.
        OpState::Queued => new.group.is_none() || new.group == last.group,
        OpState::Parked(_) | OpState::Deferred | OpState::Blocked { .. } => true,
    }
}

/// One operation with the effect of both, or none. `there` tells whether the record is there before `last`.
fn coalesce(last: PendingOp, new: PendingOp, there: bool) -> Option<PendingOp> {
    let (kind, changed) = match (last.kind, new.kind) {
        (OpKind::Create, OpKind::Delete) if !there => return None,
        (OpKind::Create, OpKind::Update | OpKind::Create) => (OpKind::Create, ChangedFields::All),
        (OpKind::Update, OpKind::Update) => (OpKind::Update, last.changed.union(&new.changed)),
        (OpKind::Delete, OpKind::Create) if there => (OpKind::Update, ChangedFields::All),
        (OpKind::Delete, OpKind::Create) => (OpKind::Create, ChangedFields::All),
        (_, kind) => (kind, new.changed),
    };
    let (state, next_attempt_at) = match last.state {
        OpState::Deferred | OpState::Blocked { .. } => (last.state, last.next_attempt_at),
        _ => (OpState::Queued, new.next_attempt_at),
    };
    // A request that was refused costs no attempt, and may still arrive a second time.
    let sent_before = last.attempts > 0 || last.last_failure.is_some();
    Some(PendingOp {
        op_id: if sent_before { new.op_id } else { last.op_id },
        seq: last.seq,
        key: last.key,
        kind,
        payload: new.payload,
        changed,
        base: last.base,
        stamp: new.stamp,
        enqueued_at: last.enqueued_at,
        schema_version: new.schema_version,
        group: new.group.or(last.group),
        state,
        attempts: 0,
        next_attempt_at,
        last_failure: None,
    })
}

/// The record after all of its pending writes were given up: the last confirmed state returns.
pub(crate) fn discard(state: &RecordState) -> RecordState {
    let mut after = state.clone();
    after.ops.clear();
    after.view = after.base.payload().cloned();
    after
}
