//! Batches: an outcome for each operation, partial failure, atomicity, repetition.

use sync_core::{ErrorKind, PushBatch, PushOp, PushOutcome, RecordKey, RemoteStoreExt};

use super::context::{FIELDS, RemoteContext, ensure_live};
use crate::case::{Case, Stop, Verdict, cases, ensure, ensure_eq};

pub(super) fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    cases![
        "P7" each_operation_has_its_outcome_in_the_order_of_the_batch,
        "P7" a_batch_without_operations_has_no_outcomes,
        "P9" a_refused_operation_keeps_no_other_from_applying,
        "P9" a_batch_may_span_collections,
        "P7" a_refused_atomic_batch_has_no_effect,
        "P7" a_sound_atomic_batch_applies_as_a_whole,
        "P7" a_repeated_create_has_no_second_effect,
        "P7" a_repeated_update_does_not_undo_a_later_write,
        "P7" a_repeated_delete_does_not_remove_a_record_made_anew,
        "P7" a_repeated_batch_has_no_second_effect,
        "" a_batch_of_the_stated_size_is_accepted,
    ]
}

async fn push_all(context: &RemoteContext<'_>, ops: Vec<PushOp>, atomic: bool) -> Verdict<Vec<PushOutcome>> {
    let sent = ops.len();
    let outcomes = context
        .remote
        .push(PushBatch {
            scope: context.todos().scope,
            ops,
            atomic,
        })
        .await?;
    ensure_eq!(outcomes.len(), sent, "the number of outcomes");
    Ok(outcomes)
}

fn is_applied(outcome: &PushOutcome) -> bool {
    matches!(outcome, PushOutcome::Applied { .. })
}

/// As many operations as fit into one push, at most `wanted`.
fn batch_size(context: &RemoteContext<'_>, wanted: u64) -> u64 {
    match context.capabilities.max_push_batch {
        0 => wanted,
        most => wanted.min(most.into()),
    }
}

/// A case about a batch of `size` has nothing to ask of a remote that takes fewer at once.
fn needs_batches_of(context: &RemoteContext<'_>, size: u64) -> Verdict {
    if batch_size(context, size) < size {
        Err(Stop::NotApplicable("max_push_batch"))
    } else {
        Ok(())
    }
}

fn create(context: &RemoteContext<'_>, number: u64) -> PushOp {
    let key = context.key(number);
    context.create(&key, context.titled(&key, &number.to_string()))
}

/// An update that no remote can apply: there is no such record.
fn hopeless(context: &RemoteContext<'_>, number: u64) -> PushOp {
    let key = context.key(number);
    context.update(&key, context.titled(&key, "ghost"), None)
}

async fn each_operation_has_its_outcome_in_the_order_of_the_batch(context: &RemoteContext<'_>) -> Verdict {
    needs_batches_of(context, 4)?;
    let version = context.put(1, "old").await?;
    context.put(2, "doomed").await?;
    let key = context.key(1);
    let ops = vec![
        create(context, 5),
        context.update(&key, context.titled(&key, "new"), Some(version)),
        hopeless(context, 9),
        context.delete(&context.key(2), None),
    ];
    let outcomes = push_all(context, ops, false).await?;
    let applied: Vec<bool> = outcomes.iter().map(is_applied).collect();
    ensure_eq!(
        applied,
        [true, true, false, true],
        "which of {outcomes:?} applied"
    );
    for (outcome, number) in [(&outcomes[0], 5), (&outcomes[1], 1)] {
        let PushOutcome::Applied { version, .. } = outcome else {
            continue;
        };
        ensure_eq!(
            context.state(number).await?.version(),
            Some(version),
            "the version of record {number}"
        );
    }
    context.ensure_title(1, "new").await?;
    context.ensure_title(5, "5").await?;
    context.ensure_gone(2).await?;
    context.ensure_gone(9).await
}

async fn a_batch_without_operations_has_no_outcomes(context: &RemoteContext<'_>) -> Verdict {
    ensure_eq!(push_all(context, Vec::new(), false).await?, [], "the outcomes");
    Ok(())
}

async fn a_refused_operation_keeps_no_other_from_applying(context: &RemoteContext<'_>) -> Verdict {
    needs_batches_of(context, 5)?;
    let ops = vec![
        hopeless(context, 7),
        create(context, 1),
        hopeless(context, 8),
        create(context, 2),
        hopeless(context, 9),
    ];
    let applied: Vec<bool> = push_all(context, ops, false)
        .await?
        .iter()
        .map(is_applied)
        .collect();
    ensure_eq!(
        applied,
        [false, true, false, true, false],
        "which operations applied"
    );
    context.ensure_title(1, "1").await?;
    context.ensure_title(2, "2").await
}

async fn a_batch_may_span_collections(context: &RemoteContext<'_>) -> Verdict {
    needs_batches_of(context, 2)?;
    let note = RecordKey::new(context.fixture.target("notes", "ada"), context.id(1));
    let ops = vec![
        create(context, 1),
        context.create(&note, context.titled(&note, "a note")),
    ];
    let outcomes = push_all(context, ops, false).await?;
    ensure!(
        outcomes.iter().all(is_applied),
        "a batch over two collections was answered {outcomes:?}"
    );
    context.ensure_title(1, "1").await?;
    ensure_live(
        &context.remote.get_one(&note).await?,
        &context.titled(&note, "a note"),
        &FIELDS,
    )
}

fn needs_atomic_batches(context: &RemoteContext<'_>) -> Verdict {
    if !context.capabilities.atomic_batch {
        // The contract: `atomic` is only set if the capability is announced.
        return Err(Stop::NotApplicable("atomic_batch"));
    }
    needs_batches_of(context, 3)
}

async fn a_refused_atomic_batch_has_no_effect(context: &RemoteContext<'_>) -> Verdict {
    needs_atomic_batches(context)?;
    context.put(1, "old").await?;
    let key = context.key(1);
    let ops = vec![
        create(context, 2),
        hopeless(context, 9),
        context.update(&key, context.titled(&key, "new"), None),
    ];
    let outcomes = push_all(context, ops, true).await?;
    for index in [0, 2] {
        let outcome = &outcomes[index];
        ensure!(
            matches!(outcome, PushOutcome::Retry { .. }),
            "operation {index} was answered {outcome:?}"
        );
    }
    let refused = matches!(
        outcomes[1],
        PushOutcome::Missing | PushOutcome::Conflict { .. } | PushOutcome::Rejected { .. }
    );
    ensure!(refused, "the operation at fault was answered {:?}", outcomes[1]);
    context.ensure_title(1, "old").await?;
    context.ensure_gone(2).await
}

async fn a_sound_atomic_batch_applies_as_a_whole(context: &RemoteContext<'_>) -> Verdict {
    needs_atomic_batches(context)?;
    let version = context.put(1, "old").await?;
    let ops = vec![
        create(context, 2),
        create(context, 3),
        context.delete(&context.key(1), Some(version)),
    ];
    let outcomes = push_all(context, ops, true).await?;
    ensure!(
        outcomes.iter().all(is_applied),
        "a sound batch was answered {outcomes:?}"
    );
    context.ensure_gone(1).await?;
    context.ensure_title(2, "2").await?;
    context.ensure_title(3, "3").await
}

/// Fails unless a repetition was answered as the capabilities say.
fn ensure_repetition(context: &RemoteContext<'_>, outcome: &PushOutcome, first: &PushOutcome) -> Verdict {
    let made = match first {
        PushOutcome::Applied { version, .. } => Some(version),
        _ => return Err(Stop::failed(format!("the first push was answered {first:?}"))),
    };
    let honest = match outcome {
        PushOutcome::Duplicate { version: None } => true,
        PushOutcome::Duplicate { version } => version.as_ref() == made,
        // What a remote without memory answers is told by the condition of the operation.
        PushOutcome::Conflict { .. } | PushOutcome::Missing | PushOutcome::Applied { .. } => {
            !context.capabilities.idempotent_push
        }
        _ => false,
    };
    ensure!(
        honest,
        "a repetition of what was answered {first:?} was answered {outcome:?}"
    );
    Ok(())
}

async fn a_repeated_create_has_no_second_effect(context: &RemoteContext<'_>) -> Verdict {
    let op = create(context, 1);
    let first = context.push(op.clone()).await?;
    let before = context.state(1).await?;
    for _ in 0..2 {
        let again = context.push(op.clone()).await?;
        ensure_repetition(context, &again, &first)?;
        if !is_applied(&again) {
            ensure_eq!(
                context.state(1).await?.version(),
                before.version(),
                "the version after a repetition"
            );
        }
        context.ensure_title(1, "1").await?;
    }
    Ok(())
}

async fn a_repeated_update_does_not_undo_a_later_write(context: &RemoteContext<'_>) -> Verdict {
    let key = context.key(1);
    let base = context.put(1, "first").await?;
    let op = context.update(&key, context.titled(&key, "second"), Some(base));
    let first = context.push(op.clone()).await?;
    context.retitle(1, "third").await?;
    let again = context.push(op).await?;
    ensure_repetition(context, &again, &first)?;
    let expected = if is_applied(&again) { "second" } else { "third" };
    ensure!(
        !is_applied(&again) || !context.capabilities.conditional_write,
        "a repetition on an old base applied again"
    );
    context.ensure_title(1, expected).await
}

async fn a_repeated_delete_does_not_remove_a_record_made_anew(context: &RemoteContext<'_>) -> Verdict {
    let base = context.put(1, "first life").await?;
    let op = context.delete(&context.key(1), Some(base));
    let first = context.push(op.clone()).await?;
    let PushOutcome::Applied { version: deleted, .. } = &first else {
        return Err(Stop::failed(format!("a sound delete was answered {first:?}")));
    };
    context.put_anew(1, "second life", deleted.clone()).await?;
    let again = context.push(op).await?;
    ensure_repetition(context, &again, &first)?;
    if is_applied(&again) {
        ensure!(
            !context.capabilities.conditional_write,
            "a repetition on an old base applied again"
        );
        return context.ensure_gone(1).await;
    }
    context.ensure_title(1, "second life").await
}

async fn a_repeated_batch_has_no_second_effect(context: &RemoteContext<'_>) -> Verdict {
    needs_batches_of(context, 3)?;
    let ops: Vec<PushOp> = (1..=3).map(|number| create(context, number)).collect();
    let first = push_all(context, ops.clone(), false).await?;
    context.retitle(2, "changed meanwhile").await?;
    let again = push_all(context, ops, false).await?;
    for (again, first) in again.iter().zip(&first) {
        ensure_repetition(context, again, first)?;
    }
    if !is_applied(&again[1]) {
        context.ensure_title(2, "changed meanwhile").await?;
    }
    Ok(())
}

async fn a_batch_of_the_stated_size_is_accepted(context: &RemoteContext<'_>) -> Verdict {
    const TRIED: u64 = 200;
    let size = batch_size(context, TRIED);
    let outcomes = push_all(
        context,
        (1..=size).map(|number| create(context, number)).collect(),
        false,
    )
    .await?;
    ensure!(
        outcomes.iter().all(is_applied),
        "a batch of {size} was answered {outcomes:?}"
    );
    if size == TRIED {
        return Ok(());
    }
    // One more than the remote states: it may take it, or refuse it as a whole and say why.
    let larger: Vec<PushOp> = (1_000..=1_000 + size)
        .map(|number| create(context, number))
        .collect();
    match context
        .remote
        .push(PushBatch {
            scope: context.todos().scope,
            ops: larger,
            atomic: false,
        })
        .await
    {
        Ok(outcomes) => ensure_eq!(outcomes.len() as u64, size + 1, "the number of outcomes"),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::TooLarge, "the kind of the error");
            context.ensure_gone(1_000).await?;
        }
    }
    Ok(())
}
