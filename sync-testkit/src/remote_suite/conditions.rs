//! Writes on a condition: compare and set.
//!
//! Without `conditional_write`, an operation on an old state may apply; then its effect must be there.

use sync_core::{PushOp, PushOutcome, RemoteState};

use super::context::{FIELDS, RemoteContext, ensure_live};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq, give_way};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P8" creating_a_record_that_is_there_is_a_conflict_with_it,
        "P8" an_update_of_an_old_state_is_a_conflict_with_the_current_one,
        "P8" a_delete_of_an_old_state_is_a_conflict_with_the_current_one,
        "P8" an_operation_on_a_deleted_state_is_no_update_of_the_new_one,
        "P6 P8" creating_over_a_delete_that_was_not_seen_is_a_conflict_with_it_or_applies,
        "P8" an_update_without_a_base_applies_to_any_state,
        "P8" an_update_on_the_state_a_conflict_told_applies,
        "P8 P12" of_two_that_create_a_record_at_once_one_applies,
        "P7 P8" no_increment_is_lost_in_a_race,
    ]
}

/// Pushes an operation made on an old state of the record 1, whose current title is `current`.
async fn ensure_conflict(context: &RemoteContext<'_>, op: PushOp, current: &str) -> Verdict {
    let before = context.state(1).await?;
    let intended = op.payload.clone();
    let outcome = context.push(op).await?;
    match outcome {
        PushOutcome::Conflict { current: told } => {
            ensure!(
                told.is_same_as(&before),
                "the conflict tells {told:?}, the record is {before:?}"
            );
            ensure_live(&told, &context.titled(&context.key(1), current), &["title"])?;
            ensure_eq!(
                context.state(1).await?.version(),
                before.version(),
                "the version after a conflict"
            );
            context.ensure_title(1, current).await
        }
        PushOutcome::Applied { .. } if !context.capabilities.conditional_write => match intended {
            Some(record) => ensure_live(&context.state(1).await?, &record, &FIELDS),
            None => context.ensure_gone(1).await,
        },
        other => Err(Stop::failed(format!(
            "an operation on an old state was answered {other:?}"
        ))),
    }
}

async fn creating_a_record_that_is_there_is_a_conflict_with_it(context: &RemoteContext<'_>) -> Verdict {
    context.put(1, "theirs").await?;
    let key = context.key(1);
    ensure_conflict(
        context,
        context.create(&key, context.titled(&key, "mine")),
        "theirs",
    )
    .await
}

async fn an_update_of_an_old_state_is_a_conflict_with_the_current_one(
    context: &RemoteContext<'_>,
) -> Verdict {
    let old = context.put(1, "old").await?;
    context.retitle(1, "theirs").await?;
    let key = context.key(1);
    ensure_conflict(
        context,
        context.update(&key, context.titled(&key, "mine"), Some(old.clone())),
        "theirs",
    )
    .await?;
    if context.capabilities.conditional_write {
        let partial = context.update_only(&key, context.counted(&key, "mine", 9), &["count"], Some(old));
        ensure_conflict(context, partial, "theirs").await?;
    }
    Ok(())
}

async fn a_delete_of_an_old_state_is_a_conflict_with_the_current_one(context: &RemoteContext<'_>) -> Verdict {
    let old = context.put(1, "old").await?;
    context.retitle(1, "theirs").await?;
    ensure_conflict(context, context.delete(&context.key(1), Some(old)), "theirs").await
}

async fn an_operation_on_a_deleted_state_is_no_update_of_the_new_one(context: &RemoteContext<'_>) -> Verdict {
    let old = context.put(1, "first life").await?;
    let deleted = context.remove(1).await?;
    context.put_anew(1, "second life", deleted).await?;
    let key = context.key(1);
    ensure_conflict(
        context,
        context.update(&key, context.titled(&key, "mine"), Some(old)),
        "second life",
    )
    .await
}

async fn creating_over_a_delete_that_was_not_seen_is_a_conflict_with_it_or_applies(
    context: &RemoteContext<'_>,
) -> Verdict {
    let key = context.key(1);
    context.put(1, "first life").await?;
    context.remove(1).await?;
    match context
        .push(context.create(&key, context.titled(&key, "second life")))
        .await?
    {
        PushOutcome::Applied { .. } => context.ensure_title(1, "second life").await,
        PushOutcome::Conflict {
            current: RemoteState::Deleted(tombstone),
        } => {
            context.ensure_gone(1).await?;
            let Some(deleted) = tombstone.version else {
                return Err(Stop::failed(
                    "a conflict with a tombstone tells no version to create upon",
                ));
            };
            context.put_anew(1, "second life", deleted).await?;
            context.ensure_title(1, "second life").await
        }
        other => Err(Stop::failed(format!(
            "a create over a deleted record was answered {other:?}"
        ))),
    }
}

async fn an_update_without_a_base_applies_to_any_state(context: &RemoteContext<'_>) -> Verdict {
    context.put(1, "first").await?;
    for title in ["second", "third"] {
        context.retitle(1, title).await?;
        context.ensure_title(1, title).await?;
    }
    context.apply(context.delete(&context.key(1), None)).await?;
    context.ensure_gone(1).await
}

async fn an_update_on_the_state_a_conflict_told_applies(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let old = context.put(1, "old").await?;
    context.retitle(1, "theirs").await?;
    let mine = || context.titled(&key, "mine");
    match context.push(context.update(&key, mine(), Some(old))).await? {
        PushOutcome::Conflict { current } => {
            let base = current.version().cloned();
            ensure!(
                base.is_some(),
                "a conflict with a live record tells no version: {current:?}"
            );
            context.apply(context.update(&key, mine(), base)).await?;
        }
        PushOutcome::Applied { .. } if !context.capabilities.conditional_write => {}
        other => {
            return Err(Stop::failed(format!(
                "an operation on an old state was answered {other:?}"
            )));
        }
    }
    context.ensure_title(1, "mine").await
}

async fn of_two_that_create_a_record_at_once_one_applies(context: &RemoteContext<'_>) -> Verdict {
    for number in 1..=5 {
        let key = context.key(number);
        let tries = ["ada", "bob"].map(|who| context.push(context.create(&key, context.titled(&key, who))));
        let outcomes = futures::future::try_join_all(tries).await?;
        let applied = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, PushOutcome::Applied { .. }))
            .count();
        let expected = if context.capabilities.conditional_write {
            1..=1
        } else {
            1..=2
        };
        ensure!(
            expected.contains(&applied),
            "{applied} of two creates applied: {outcomes:?}"
        );
        let title = if matches!(outcomes[1], PushOutcome::Applied { .. }) {
            "bob"
        } else {
            "ada"
        };
        if applied == 1 {
            context.ensure_title(number, title).await?;
        }
    }
    Ok(())
}

async fn no_increment_is_lost_in_a_race(context: &RemoteContext<'_>) -> Verdict {
    const WORKERS: u64 = 6;
    const INCREMENTS: u64 = 8;
    let key = context.key(1);
    context
        .apply(context.create(&key, context.counted(&key, "counter", 0)))
        .await?;
    let work = || async {
        for _ in 0..INCREMENTS {
            increment(context).await?;
        }
        Ok::<(), Stop>(())
    };
    if context.capabilities.conditional_write {
        futures::future::try_join_all((0..WORKERS).map(|_| work())).await?;
    } else {
        // Nothing protects writers from each other here, which is what the capability says. They take turns.
        for _ in 0..WORKERS {
            work().await?;
        }
    }
    let counted = count_of(&context.state(1).await?)?;
    ensure_eq!(
        counted as u64,
        WORKERS * INCREMENTS,
        "the counter after {WORKERS} x {INCREMENTS} increments"
    );
    Ok(())
}

async fn increment(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    loop {
        let state = context.state(1).await?;
        give_way().await;
        let next = context.counted(&key, "counter", count_of(&state)? + 1);
        match context
            .push(context.update(&key, next, state.version().cloned()))
            .await?
        {
            PushOutcome::Applied { .. } => return Ok(()),
            PushOutcome::Conflict { .. } | PushOutcome::Retry { .. } => give_way().await,
            other => return Err(Stop::failed(format!("an increment was answered {other:?}"))),
        }
    }
}

fn count_of(state: &RemoteState) -> Verdict<i64> {
    let fields = state.payload().map(|record| record.to_object()).transpose()?;
    let count = fields
        .as_ref()
        .and_then(|fields| fields.get("count"))
        .and_then(serde_json::Value::as_i64);
    count.ok_or_else(|| Stop::failed(format!("the counter is {state:?}")))
}
