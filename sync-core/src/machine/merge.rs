//! News from the remote, and conflicts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Surroundings, Transition, differing_fields, rebase};
use crate::{
    conflict_record::{ConflictRecord, Settlement},
    delta::RemoteState,
    error::{ErrorKind, Result, SyncError},
    operation::{ChangedFields, OpFailure, OpKind, OpState, ParkReason, PendingOp},
    payload::Payload,
    record_state::RecordState,
    resolve::{Conflict, Resolution},
};

/// How news are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MergeContext {
    /// The mark the record gets.
    pub(crate) mark: u64,
    /// Whether a provably older state counts: after a resync the remote's history may have gone back.
    pub(crate) accept_older: bool,
}

/// The record after the remote told its state, or `None` if that is no news.
///
/// An operation that is still unsent is resolved here against the news. One whose answer is outstanding is
/// not: the news may contain its own effect, so only the next answer can tell. It keeps the base it was made
/// on, and the news become the record's base.
pub(crate) fn news(
    state: &RecordState,
    remote: &RemoteState,
    context: MergeContext,
    around: &Surroundings<'_>,
) -> Result<Option<Transition>> {
    let known = state.base.is_same_as(remote);
    let stale = !context.accept_older && remote.is_older_than(&state.base);
    let nothing = matches!(
        (&state.base, remote),
        (RemoteState::Missing, RemoteState::Missing)
    );
    if known || stale || nothing {
        return Ok(None);
    }
    let mut after = state.clone();
    after.mark = after.mark.max(context.mark);
    let Some(head) = after.ops.first_mut() else {
        after.base = remote.clone();
        after.view = remote.payload().cloned();
        return Ok(Some(Transition::new(state.clone(), after)));
    };
    match head.state {
        // One that was set aside may have been sent before; the remote's own words prove it.
        _ if took_effect(head, remote, around) => {
            after.ops.remove(0);
            after.base = remote.clone();
            rebase(&mut after)?;
            Ok(Some(Transition::new(state.clone(), after)))
        }
        OpState::InDoubt | OpState::Deferred => {
            head.base.get_or_insert_with(|| state.base.clone());
            after.base = remote.clone();
            Ok(Some(Transition::new(state.clone(), after)))
        }
        _ => resolve_conflict(state, remote, context.mark, around).map(Some),
    }
}

/// Whether the news are the effect of an operation that was sent at some time.
fn took_effect(op: &PendingOp, remote: &RemoteState, around: &Surroundings<'_>) -> bool {
    let doubted = op.state == OpState::InDoubt && is_effect_of(op, remote, around);
    doubted || is_proven_effect_of(op, remote, around)
}

/// Whether a remote state tells that `op` made it, and not only one like it.
pub(super) fn is_proven_effect_of(op: &PendingOp, remote: &RemoteState, around: &Surroundings<'_>) -> bool {
    around.remote_keeps_stamps && remote.stamp() == Some(op.stamp)
}

/// Whether a remote state is what `op` made of the record.
pub(crate) fn is_effect_of(op: &PendingOp, remote: &RemoteState, around: &Surroundings<'_>) -> bool {
    if around.remote_keeps_stamps && remote.stamp().is_some() {
        return remote.stamp() == Some(op.stamp);
    }
    match (&op.payload, remote.payload()) {
        (Some(ours), Some(theirs)) => ours.same_content(theirs),
        (None, None) => matches!(remote, RemoteState::Deleted(_)),
        _ => false,
    }
}

/// Whether a remote state may be what somebody made of the record after `op` changed some of its fields: all of them are
/// there as `op` wants them.
///
/// Of an update whose answer was lost this is taken for its own effect. If it was not, somebody else wrote equal values:
/// what the user wrote is there all the same, and the fields that the user did not change are those of the other.
pub(crate) fn shows_changes_of(
    op: &PendingOp,
    remote: &RemoteState,
    around: &Surroundings<'_>,
) -> Result<bool> {
    let (OpKind::Update, ChangedFields::Only(changed)) = (op.kind, &op.changed) else {
        return Ok(false);
    };
    let (Some(ours), Some(theirs)) = (&op.payload, remote.payload()) else {
        return Ok(false);
    };
    // Who wrote on top of ours had seen it, and has a later stamp.
    let earlier = remote
        .stamp()
        .is_some_and(|stamp| around.remote_keeps_stamps && stamp < op.stamp);
    if earlier || changed.is_empty() {
        return Ok(false);
    }
    Ok(differing_fields(ours, theirs)?.is_disjoint(changed))
}

/// The record after its pending writes met a concurrent remote state.
pub(crate) fn resolve_conflict(
    state: &RecordState,
    remote: &RemoteState,
    mark: u64,
    around: &Surroundings<'_>,
) -> Result<Transition> {
    let Some((first, last)) = state.ops.first().zip(state.ops.last()) else {
        let error = SyncError::new(ErrorKind::Internal, "a conflict without pending operations");
        return Err(error.with_scope(&state.key));
    };
    let base = first.base.as_ref().unwrap_or(&state.base).payload().cloned();
    let changed = state.ops[1..]
        .iter()
        .fold(first.changed.clone(), |all, op| all.union(&op.changed));
    let remote_stamp = remote
        .stamp()
        .filter(|stamp| around.remote_keeps_stamps && !around.clock.is_too_far_ahead(*stamp, around.now));
    let conflict = Conflict {
        key: state.key.clone(),
        base: base.clone(),
        local: state.view.clone(),
        remote: remote.payload().cloned(),
        changed,
        local_stamp: last.stamp,
        local_time: last.stamp.time().plus_micros(around.server_offset),
        remote_stamp,
        remote_time: remote.server_time(),
    };
    let mut transition = Transition::new(state.clone(), state.clone());
    transition.after.mark = transition.after.mark.max(mark);
    let mut record = ConflictRecord {
        conflict_id: around.effects.new_uuid(),
        key: state.key.clone(),
        base,
        local: state.view.clone(),
        local_stamp: last.stamp,
        remote: remote.clone(),
        detected_at: around.now,
        settlement: None,
        settled_at: None,
    };
    match decide(&conflict, around) {
        Ok(resolution) => {
            record.settlement = apply_resolution(&mut transition.after, remote, resolution, around)?;
            record.settled_at = record.settlement.map(|_| around.now);
            transition.conflict = Some(record);
        }
        Err(error) => {
            let message = error.message().to_owned();
            let mut op = fold_on(&state.ops, &state.base, around);
            op.state = OpState::Parked(ParkReason::ResolverFailed { message });
            op.last_failure = Some(OpFailure::from_error(&error, around.now));
            transition.after.ops = vec![op];
            transition.after.base = remote.clone();
        }
    }
    Ok(transition)
}

fn decide(conflict: &Conflict, around: &Surroundings<'_>) -> Result<Resolution> {
    // A resolver is the app's code; its panic must not take the sync down.
    catch_unwind(AssertUnwindSafe(|| around.resolver.resolve(conflict))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let message = format!("the resolver {} panicked: {text}", around.resolver.name());
        Err(SyncError::new(ErrorKind::Internal, message))
    })
}

fn apply_resolution(
    after: &mut RecordState,
    remote: &RemoteState,
    resolution: Resolution,
    around: &Surroundings<'_>,
) -> Result<Option<Settlement>> {
    let old_base = std::mem::replace(&mut after.base, remote.clone());
    let settlement = match resolution {
        Resolution::TakeRemote => {
            after.ops.clear();
            after.view = remote.payload().cloned();
            return Ok(Some(Settlement::TookRemote));
        }
        Resolution::Defer => {
            let mut op = fold_on(&after.ops, &old_base, around);
            op.state = OpState::Deferred;
            after.ops = vec![op];
            return Ok(None);
        }
        Resolution::KeepLocal => Settlement::KeptLocal,
        Resolution::Merged(merged) => {
            if remote
                .payload()
                .is_some_and(|theirs| theirs.same_content(&merged))
            {
                after.ops.clear();
                after.view = remote.payload().cloned();
                return Ok(Some(Settlement::Merged));
            }
            after.view = Some(merged);
            Settlement::Merged
        }
    };
    let mut op = fold(&after.ops, around);
    retarget(&mut op, after.view.clone(), remote)?;
    if settlement == Settlement::Merged {
        op.stamp = around.clock.tick(around.now);
    }
    after.ops = vec![op];
    Ok(Some(settlement))
}

/// All operations of a record as one, in the place of the first, under a new identity. None of them took
/// effect.
fn fold(ops: &[PendingOp], around: &Surroundings<'_>) -> PendingOp {
    let (first, last) = (&ops[0], &ops[ops.len() - 1]);
    let state = match &first.state {
        OpState::InDoubt | OpState::Deferred => OpState::Queued,
        other => other.clone(),
    };
    PendingOp {
        op_id: around.effects.new_op_id(),
        seq: first.seq,
        key: first.key.clone(),
        kind: match (first.kind, last.kind) {
            // Nothing was there to update.
            (OpKind::Create, OpKind::Update) => OpKind::Create,
            (_, kind) => kind,
        },
        payload: last.payload.clone(),
        changed: ops[1..]
            .iter()
            .fold(first.changed.clone(), |all, op| all.union(&op.changed)),
        base: first.base.clone(),
        stamp: last.stamp,
        enqueued_at: first.enqueued_at,
        schema_version: last.schema_version,
        group: last.group,
        state,
        attempts: 0,
        next_attempt_at: around.now,
        last_failure: None,
    }
}

/// As [`fold`], for an operation that keeps the base the first of them was made on; `base` if that is the record's.
fn fold_on(ops: &[PendingOp], base: &RemoteState, around: &Surroundings<'_>) -> PendingOp {
    let mut op = fold(ops, around);
    let base = op.base.get_or_insert_with(|| base.clone());
    match (op.kind, base.is_live()) {
        // Behind a delete: all in all, what is there is replaced, or made anew.
        (OpKind::Create, true) => (op.kind, op.changed) = (OpKind::Update, ChangedFields::All),
        (OpKind::Update, false) => (op.kind, op.changed) = (OpKind::Create, ChangedFields::All),
        _ => {}
    }
    op
}

/// Makes `op` bring the record from `remote` to `value`.
fn retarget(op: &mut PendingOp, value: Option<Payload>, remote: &RemoteState) -> Result<()> {
    (op.kind, op.changed) = match (&value, remote.payload()) {
        (None, _) => (OpKind::Delete, ChangedFields::All),
        (Some(_), None) => (OpKind::Create, ChangedFields::All),
        (Some(value), Some(theirs)) => (
            OpKind::Update,
            ChangedFields::Only(differing_fields(theirs, value)?),
        ),
    };
    op.payload = value;
    op.base = None;
    Ok(())
}

/// One operation instead of several, after the first was refused while the user had written on. `None` if
/// there is only the first.
pub(super) fn fold_followers(state: &RecordState, around: &Surroundings<'_>) -> Result<Option<PendingOp>> {
    if state.ops.len() < 2 {
        return Ok(None);
    }
    let mut op = fold(&state.ops, around);
    retarget(&mut op, state.view.clone(), &state.base)?;
    Ok(Some(op))
}

/// The record after the user decided a deferred conflict, and the conflict record with the decision.
///
/// # Errors
/// `NotFound` if the record's conflict is not open any more; `Invalid` for `Defer`.
pub(crate) fn settle_deferred(
    state: &RecordState,
    open: &ConflictRecord,
    resolution: Resolution,
    around: &Surroundings<'_>,
) -> Result<Transition> {
    if state.ops.first().is_none_or(|op| op.state != OpState::Deferred) {
        let message = format!("the conflict of {} is not open any more", state.key);
        return Err(SyncError::new(ErrorKind::NotFound, message));
    }
    let mut transition = Transition::new(state.clone(), state.clone());
    let remote = state.base.clone();
    let settlement = apply_resolution(&mut transition.after, &remote, resolution, around)?
        .ok_or_else(|| SyncError::invalid("resolution", "an open conflict cannot be deferred again"))?;
    transition.conflict = Some(ConflictRecord {
        local: state.view.clone(),
        remote,
        settlement: Some(settlement),
        settled_at: Some(around.now),
        ..open.clone()
    });
    Ok(transition)
}
