//! Reading, working out and committing in one step.

use sync_core::{ChangeSet, CommitOutcome, ErrorKind, LocalStoreExt, RecordState, SyncError};

use super::{LocalContext, everything::everything};
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq, give_way},
    sample::{at, commit, confirmed_row, enqueue, key, live},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P1 P8" an_update_sees_the_records_as_load_records_answers_them,
        "P1" an_update_that_gives_up_or_fails_changes_nothing,
        "P8" an_update_on_other_revisions_than_those_it_read_is_stale,
        "P8 P12" no_update_is_lost_in_a_race,
    ]
}

async fn an_update_sees_the_records_as_load_records_answers_them(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("b"), 1, r#"{"n":1}"#)).await?;
    let keys = ["b", "nobody", "b"].map(key);
    let expected = store.load_records(&keys).await?;
    let outcome = store
        .update(
            &keys,
            Box::new(move |records| {
                if records == expected {
                    Ok(Some(enqueue(&key("seen"), 2, "{}")))
                } else {
                    let message = format!("{records:?} instead of {expected:?}");
                    Err(SyncError::new(ErrorKind::Internal, message))
                }
            }),
        )
        .await?;
    ensure_eq!(outcome, Some(CommitOutcome::Committed), "the outcome");
    ensure_eq!(
        store.load_record(&key("seen")).await?.ops.len(),
        1,
        "operations of the record that was written"
    );
    Ok(())
}

async fn an_update_that_gives_up_or_fails_changes_nothing(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("a"), 1, "{}")).await?;
    let before = everything(store).await?;
    let given_up = store
        .update(&[key("a"), key("b")], Box::new(|_| Ok(None)))
        .await?;
    ensure_eq!(given_up, None, "the outcome of an update that gave up");
    let refused = || SyncError::new(ErrorKind::NotFound, "refused");
    let failed = store.update(&[key("a")], Box::new(move |_| Err(refused()))).await;
    ensure!(
        failed
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound),
        "an update that failed answered {failed:?}"
    );
    ensure_eq!(everything(store).await?, before, "the store after both");
    Ok(())
}

async fn an_update_on_other_revisions_than_those_it_read_is_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("a"), 1, "{}")).await?;
    commit(store, enqueue(&key("b"), 2, "{}")).await?;
    let before = everything(store).await?;
    let wrong = |revision: u64, read: bool| {
        let name = if read { "a" } else { "b" };
        let row = confirmed_row(&key(name), revision, live("{}", 1));
        ChangeSet {
            guards: vec![(row.key, revision)],
            settings: vec![("touched".to_owned(), Some("yes".to_owned()))],
            ..ChangeSet::at(at(5))
        }
    };
    for read in [true, false] {
        let outcome = store
            .update(&[key("a")], Box::new(move |_| Ok(Some(wrong(7, read)))))
            .await?;
        ensure!(
            matches!(outcome, Some(CommitOutcome::Stale(_))),
            "a guard that does not hold was answered {outcome:?}"
        );
    }
    ensure_eq!(everything(store).await?, before, "the store after both");
    Ok(())
}

async fn no_update_is_lost_in_a_race(context: &LocalContext<'_>) -> Verdict {
    const WORKERS: u64 = 8;
    const INCREMENTS: u64 = 12;
    let store = &*context.store;
    let workers = (0..WORKERS).map(|_| async {
        for _ in 0..INCREMENTS {
            while store.update(&[key("counter")], Box::new(incremented)).await?
                != Some(CommitOutcome::Committed)
            {
                give_way().await;
            }
            give_way().await;
        }
        Ok::<(), Stop>(())
    });
    futures::future::try_join_all(workers).await?;
    let state = store.load_record(&key("counter")).await?;
    ensure_eq!(
        super::guards::counted(&state)?,
        WORKERS * INCREMENTS,
        "the counter after {WORKERS} x {INCREMENTS} increments"
    );
    Ok(())
}

fn incremented(records: Vec<RecordState>) -> sync_core::Result<Option<ChangeSet>> {
    let state = &records[0];
    let before = match &state.view {
        Some(view) => view.to_object()?.get("n").and_then(serde_json::Value::as_i64),
        None => Some(0),
    };
    let next = before.unwrap_or(0) + 1;
    let row = confirmed_row(
        &key("counter"),
        state.revision,
        live(&format!(r#"{{"n":{next}}}"#), next),
    );
    Ok(Some(ChangeSet {
        records: vec![row],
        ..ChangeSet::at(at(1))
    }))
}
