//! The remote's answers to operations.

use std::time::Duration;

use super::{Surroundings, Transition, merge::fold_followers, merge::is_effect_of, rebase, resolve_conflict};
use crate::{
    delta::{RemoteState, Tombstone},
    error::{ErrorKind, Result, SyncError},
    id::OpId,
    operation::{OpFailure, OpKind, OpState, ParkReason, PushOutcome, state_after},
    record_state::RecordState,
};

/// What an answer led to.
#[derive(Clone, Debug)]
pub(crate) enum Acknowledged {
    /// The operation took effect and left the queue.
    Done(Transition),
    /// A concurrent change was met; the transition tells what became of it.
    Conflict(Transition),
    /// The operation was set aside.
    Parked(Transition),
    /// The operation waits for another attempt.
    Again(Transition),
    /// The record's state at the remote must be read before the answer can be placed.
    NeedsReadBack,
    /// The operation is not in the queue any more.
    Unknown,
}

/// The record after the remote answered the operation at the head of its queue.
///
/// `pause` is how long to wait before the next attempt, if there is one. `current` is the record's state read
/// back from the remote, if that was asked for.
pub(crate) fn acknowledge(
    state: &RecordState,
    op_id: OpId,
    outcome: &PushOutcome,
    current: Option<&RemoteState>,
    mark: u64,
    pause: Duration,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let Some(head) = state.ops.first().filter(|op| op.op_id == op_id) else {
        return Ok(Acknowledged::Unknown);
    };
    let base_moved = head.base.is_some();
    match outcome {
        PushOutcome::Applied {
            version,
            record,
            server_time,
        } if !base_moved => {
            let after = state_after(head, version.clone(), record.clone(), *server_time);
            done(state, after, mark).map(Acknowledged::Done)
        }
        PushOutcome::Duplicate {
            version: Some(version),
        } if !base_moved => {
            done(state, state_after(head, version.clone(), None, None), mark).map(Acknowledged::Done)
        }
        PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. } => match current {
            Some(current) => took_effect_earlier(state, current, mark, around),
            None => Ok(Acknowledged::NeedsReadBack),
        },
        PushOutcome::Missing if head.kind == OpKind::Delete => {
            done(state, RemoteState::Deleted(Tombstone::default()), mark).map(Acknowledged::Done)
        }
        PushOutcome::Missing if head.kind == OpKind::Update => {
            conflict(state, &RemoteState::Deleted(Tombstone::default()), mark, around)
        }
        PushOutcome::Missing => rejected(state, "missing", "a create was answered `missing`", None, around),
        PushOutcome::Conflict { current } => conflict(state, current, mark, around),
        PushOutcome::Rejected { code, message, field } => {
            rejected(state, code, message, field.clone(), around)
        }
        PushOutcome::Retry { after, reason } => {
            let pause = after.map_or(pause, |after| after.max(pause));
            Ok(Acknowledged::Again(again(
                state,
                OpState::Queued,
                pause,
                reason,
                around,
            )))
        }
        PushOutcome::Unknown { reason } => Ok(Acknowledged::Again(again(
            state,
            OpState::InDoubt,
            pause,
            reason,
            around,
        ))),
    }
}

/// The head took effect and the record is in the state `base`; later writes are replayed on it.
fn done(state: &RecordState, base: RemoteState, mark: u64) -> Result<Transition> {
    let mut after = state.clone();
    let head = after.ops.remove(0);
    let changed_on_the_way = base.payload() != head.payload.as_ref();
    after.base = base;
    after.mark = after.mark.max(mark);
    if after.ops.is_empty() || changed_on_the_way {
        rebase(&mut after)?;
    }
    Ok(Transition::new(state.clone(), after))
}

/// The head took effect at some time before `current` was read.
fn took_effect_earlier(
    state: &RecordState,
    current: &RemoteState,
    mark: u64,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let head = &state.ops[0];
    if state.ops.len() == 1 || is_effect_of(head, current, around) {
        return done(state, current.clone(), mark).map(Acknowledged::Done);
    }
    // Someone changed the record after our write took effect, and the user wrote on: those two are concurrent.
    let mut later = state.clone();
    let head = later.ops.remove(0);
    let ours = crate::RemoteVersion::opaque(head.op_id.to_string());
    later.ops[0].base = Some(state_after(&head, ours, None, None));
    let mut transition = resolve_conflict(&later, current, mark, around)?;
    transition.before = state.clone();
    Ok(Acknowledged::Conflict(transition))
}

fn conflict(
    state: &RecordState,
    current: &RemoteState,
    mark: u64,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let head = &state.ops[0];
    let proven = around.remote_keeps_stamps && current.stamp() == Some(head.stamp);
    if proven || (head.attempts > 1 && is_effect_of(head, current, around)) {
        // An earlier attempt whose answer was lost had made this state.
        return done(state, current.clone(), mark).map(Acknowledged::Done);
    }
    resolve_conflict(state, current, mark, around).map(Acknowledged::Conflict)
}

fn rejected(
    state: &RecordState,
    code: &str,
    message: &str,
    field: Option<String>,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let mut transition = Transition::new(state.clone(), state.clone());
    if let Some(folded) = fold_followers(state, around)? {
        // The user wrote on meanwhile; what was refused is not what is wanted any more.
        transition.after.ops = if folded.payload.is_none() && !state.base.is_live() {
            vec![]
        } else {
            vec![folded]
        };
        return Ok(Acknowledged::Again(transition));
    }
    let head = &mut transition.after.ops[0];
    let error = SyncError::new(ErrorKind::Invalid, message).with_code(code);
    head.last_failure = Some(OpFailure::from_error(&error, around.now));
    head.state = OpState::Parked(ParkReason::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
        field,
    });
    Ok(Acknowledged::Parked(transition))
}

fn again(
    state: &RecordState,
    next: OpState,
    pause: Duration,
    reason: &str,
    around: &Surroundings<'_>,
) -> Transition {
    let mut transition = Transition::new(state.clone(), state.clone());
    let head = &mut transition.after.ops[0];
    head.state = next;
    head.next_attempt_at = around.now.plus(pause);
    head.last_failure = Some(OpFailure {
        kind: ErrorKind::Server,
        message: reason.to_owned(),
        at: around.now,
    });
    transition
}
