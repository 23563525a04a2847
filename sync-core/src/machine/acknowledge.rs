//! The remote's answers to operations.

use std::time::Duration;

use super::{
    Surroundings, Transition,
    merge::{fold_followers, is_effect_of, is_proven_effect_of, shows_changes_of},
    rebase, resolve_conflict,
};
use crate::{
    delta::{RemoteState, RemoteVersion, Tombstone},
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

/// The attempt that an answer is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempt {
    /// The mark the record gets.
    pub(crate) mark: u64,
    /// How long to wait before the next attempt, if there is one.
    pub(crate) pause: Duration,
    /// Whether an earlier attempt may have taken effect, whatever became of this one.
    pub(crate) doubted: bool,
}

/// The record after the remote answered the operation at the head of its queue.
///
/// `current` is the record's state read back from the remote, if that was asked for.
pub(crate) fn acknowledge(
    state: &RecordState,
    op_id: OpId,
    outcome: &PushOutcome,
    current: Option<&RemoteState>,
    attempt: Attempt,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let Attempt { mark, pause, doubted } = attempt;
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
        // What the remote made of it then may differ from what was sent.
        PushOutcome::Duplicate { version } => match current {
            Some(current) => took_effect_earlier(state, version.as_ref(), current, mark, around),
            None => Ok(Acknowledged::NeedsReadBack),
        },
        PushOutcome::Applied { version, .. } => match current {
            Some(current) => took_effect_earlier(state, Some(version), current, mark, around),
            None => Ok(Acknowledged::NeedsReadBack),
        },
        PushOutcome::Missing if head.kind == OpKind::Delete => {
            done(state, RemoteState::Deleted(Tombstone::default()), mark).map(Acknowledged::Done)
        }
        PushOutcome::Missing if head.kind == OpKind::Update => {
            let gone = RemoteState::Deleted(Tombstone::default());
            conflict(state, &gone, attempt, around)
        }
        PushOutcome::Missing => rejected(state, "missing", "a create was answered `missing`", None, around),
        PushOutcome::Conflict { current } => conflict(state, current, attempt, around),
        PushOutcome::Rejected { code, message, field } => {
            rejected(state, code, message, field.clone(), around)
        }
        PushOutcome::Retry { after, reason } => {
            let pause = after.map_or(pause, |after| after.max(pause));
            let next = if doubted {
                OpState::InDoubt
            } else {
                OpState::Queued
            };
            Ok(Acknowledged::Again(again(state, next, pause, reason, around)))
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

/// The head took effect at some time before `current` was read, and made the record `version`, if that is known.
fn took_effect_earlier(
    state: &RecordState,
    version: Option<&RemoteVersion>,
    current: &RemoteState,
    mark: u64,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let head = &state.ops[0];
    let unchanged = version.is_some() && version == current.version();
    if state.ops.len() == 1 || unchanged || is_effect_of(head, current, around) {
        return done(state, current.clone(), mark).map(Acknowledged::Done);
    }
    // Someone changed the record after our write took effect, and the user wrote on: those two are concurrent.
    let mut later = state.clone();
    let head = later.ops.remove(0);
    let ours = RemoteVersion::opaque(head.op_id.to_string());
    later.ops[0].base = Some(state_after(&head, ours, None, None));
    let mut transition = resolve_conflict(&later, current, mark, around)?;
    transition.before = state.clone();
    Ok(Acknowledged::Conflict(transition))
}

fn conflict(
    state: &RecordState,
    current: &RemoteState,
    attempt: Attempt,
    around: &Surroundings<'_>,
) -> Result<Acknowledged> {
    let Attempt { mark, doubted, .. } = attempt;
    let head = &state.ops[0];
    if is_proven_effect_of(head, current, around)
        || (head.attempts > 1 && is_effect_of(head, current, around))
    {
        // An earlier attempt whose answer was lost had made this state.
        return done(state, current.clone(), mark).map(Acknowledged::Done);
    }
    if doubted && !around.remote_remembers_ops && shows_changes_of(head, current, around)? {
        // An earlier attempt took effect, and somebody else wrote on.
        return took_effect_earlier(state, None, current, mark, around);
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
