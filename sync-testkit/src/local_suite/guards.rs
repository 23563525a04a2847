//! Optimistic commits: revisions are checked inside the transaction.

use sync_core::{ChangeSet, CommitOutcome, LocalStore, LocalStoreExt, RecordKey, RecordState};

use super::LocalContext;
use crate::{
    case::{Case, Stop, Verdict, cases, ensure, ensure_eq, give_way},
    sample::{at, commit, commit_stale, confirm, confirmed_row, enqueue, id, key, live, page, todos},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "" an_unknown_record_is_absent_with_revision_0,
        "" records_are_answered_one_for_each_key_in_order,
        "P8" every_write_raises_the_revision_by_one,
        "P8" a_record_that_is_made_again_is_not_mistaken_for_the_one_before,
        "" every_write_sets_touched_at_to_the_time_of_the_commit,
        "P8" a_record_written_since_it_was_read_makes_the_commit_stale,
        "P8" a_record_that_appeared_since_makes_the_commit_stale,
        "P8" a_guard_with_the_current_revision_lets_the_commit_pass_and_leaves_the_record_alone,
        "P8" a_guard_on_an_absent_record_holds_until_it_appears,
        "P8" a_touch_raises_the_revision_and_nothing_else,
        "P8" a_touch_of_a_record_that_changed_is_stale,
        "P8" five_hundred_guards_are_all_checked,
        "P12" of_two_that_create_a_record_at_once_one_is_stale,
        "P8 P12" no_guarded_increment_is_lost_in_a_race,
    ]
}

async fn an_unknown_record_is_absent_with_revision_0(context: &LocalContext<'_>) -> Verdict {
    let state = context.store.load_record(&key("nobody")).await?;
    ensure_eq!(
        state,
        RecordState::absent(key("nobody")),
        "the state of an unknown record"
    );
    Ok(())
}

async fn records_are_answered_one_for_each_key_in_order(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("b"), r#"{"n":2}"#, 1)).await?;
    commit(store, confirm(&key("a"), r#"{"n":1}"#, 1)).await?;
    let asked = ["b", "nobody", "a", "b"].map(key);
    let answered: Vec<RecordKey> = store
        .load_records(&asked)
        .await?
        .into_iter()
        .map(|state| state.key)
        .collect();
    ensure_eq!(answered, asked, "the keys of the answer");
    ensure_eq!(store.load_records(&[]).await?.len(), 0, "the answer to no keys");
    Ok(())
}

async fn every_write_raises_the_revision_by_one(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for written in 0..3 {
        let before = store.load_record(&key("r")).await?.revision;
        ensure_eq!(before, written, "the revision after {written} writes");
        commit(store, write(&key("r"), before, written as i64)).await?;
    }
    Ok(())
}

async fn a_record_that_is_made_again_is_not_mistaken_for_the_one_before(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    commit(store, write(&key("r"), 0, 1)).await?;
    let read = store.load_record(&key("r")).await?.revision;
    let removal = ChangeSet {
        removals: vec![key("r")],
        ..ChangeSet::at(at(2))
    };
    commit(store, removal).await?;
    commit(store, write(&key("r"), 0, 3)).await?;
    commit_stale(store, write(&key("r"), read, 4)).await?;
    Ok(())
}

fn write(key: &RecordKey, read_revision: u64, number: i64) -> ChangeSet {
    let row = confirmed_row(key, read_revision, live(&format!(r#"{{"n":{number}}}"#), number));
    ChangeSet {
        records: vec![row],
        ..ChangeSet::at(at(number))
    }
}

fn touch(read_revision: u64) -> ChangeSet {
    ChangeSet {
        touches: vec![(key("r"), read_revision)],
        ..ChangeSet::at(at(9))
    }
}

async fn a_touch_raises_the_revision_and_nothing_else(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, write(&key("r"), 0, 1)).await?;
    commit(store, write(&key("s"), 0, 1)).await?;
    let before = store.load_record(&key("r")).await?;
    let other = store.load_record(&key("s")).await?;
    commit(store, touch(before.revision)).await?;
    let after = store.load_record(&key("r")).await?;
    ensure!(after.revision > before.revision, "the revision was not raised");
    let revision = after.revision;
    ensure_eq!(after, RecordState { revision, ..before }, "the touched record");
    ensure_eq!(store.load_record(&key("s")).await?, other, "another record");
    Ok(())
}

async fn a_touch_of_a_record_that_changed_is_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, write(&key("r"), 0, 1)).await?;
    let read = store.load_record(&key("r")).await?.revision;
    commit(store, touch(read)).await?;
    commit_stale(store, touch(read)).await?;
    commit_stale(store, write(&key("r"), read, 2)).await?;
    Ok(())
}

async fn every_write_sets_touched_at_to_the_time_of_the_commit(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, write(&key("r"), 0, 7)).await?;
    ensure_eq!(
        store.load_record(&key("r")).await?.touched_at,
        at(7),
        "touched_at of a written record"
    );
    let confirmed = vec![page(&todos(), 0, [(id("c"), live(r#"{"n":1}"#, 1))])];
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(9))
        },
    )
    .await?;
    ensure_eq!(
        store.load_record(&key("c")).await?.touched_at,
        at(9),
        "touched_at of a confirmed record"
    );
    Ok(())
}

async fn a_record_written_since_it_was_read_makes_the_commit_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, write(&key("r"), 0, 1)).await?;
    let read = store.load_record(&key("r")).await?.revision;
    commit(store, write(&key("r"), read, 2)).await?;
    let after = store.load_record(&key("r")).await?;
    let named = commit_stale(store, write(&key("r"), read, 3)).await?;
    ensure_eq!(named, [key("r")], "the records named as stale");
    ensure_eq!(
        store.load_record(&key("r")).await?,
        after,
        "the record after a stale commit"
    );
    Ok(())
}

async fn a_record_that_appeared_since_makes_the_commit_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("r"), r#"{"n":1}"#, 1)).await?;
    let named = commit_stale(store, enqueue(&key("r"), 1, r#"{"n":2}"#)).await?;
    ensure_eq!(named, [key("r")], "the records named as stale");
    ensure_eq!(
        store.count_ops(None).await?.total(),
        0,
        "operations after a stale commit"
    );
    Ok(())
}

async fn a_guard_with_the_current_revision_lets_the_commit_pass_and_leaves_the_record_alone(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    commit(store, confirm(&key("guarded"), r#"{"n":1}"#, 1)).await?;
    let before = store.load_record(&key("guarded")).await?;
    let guarded = ChangeSet {
        guards: vec![(key("guarded"), before.revision)],
        ..write(&key("other"), 0, 5)
    };
    commit(store, guarded).await?;
    ensure_eq!(
        store.load_record(&key("guarded")).await?,
        before,
        "the guarded record"
    );
    Ok(())
}

async fn a_guard_on_an_absent_record_holds_until_it_appears(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(
        store,
        ChangeSet {
            guards: vec![(key("r"), 0)],
            ..write(&key("first"), 0, 1)
        },
    )
    .await?;
    commit(store, write(&key("r"), 0, 1)).await?;
    let late = ChangeSet {
        guards: vec![(key("r"), 0)],
        ..write(&key("second"), 0, 1)
    };
    ensure_eq!(
        commit_stale(store, late).await?,
        [key("r")],
        "the records named as stale"
    );
    ensure_eq!(
        store.load_record(&key("second")).await?.revision,
        0,
        "revision of the record that was not written"
    );
    Ok(())
}

async fn five_hundred_guards_are_all_checked(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let keys: Vec<RecordKey> = (0..500).map(|n| key(&format!("r{n:03}"))).collect();
    let rows = keys.iter().map(|key| (key.id.clone(), live(r#"{"n":1}"#, 1)));
    commit(
        store,
        ChangeSet {
            confirmed: vec![page(&todos(), 0, rows)],
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    let mut guards: Vec<(RecordKey, u64)> = store
        .load_records(&keys)
        .await?
        .into_iter()
        .map(|state| (state.key, state.revision))
        .collect();
    commit(
        store,
        ChangeSet {
            guards: guards.clone(),
            ..write(&key("other"), 0, 1)
        },
    )
    .await?;
    guards[499].1 += 1;
    let spoiled = ChangeSet {
        guards,
        ..write(&key("another"), 0, 1)
    };
    ensure_eq!(
        commit_stale(store, spoiled).await?,
        [key("r499")],
        "the records named as stale"
    );
    Ok(())
}

async fn of_two_that_create_a_record_at_once_one_is_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for round in 0..10_u64 {
        let record = key(&format!("r{round}"));
        let tries = [1, 2].map(|who| store.commit(enqueue(&record, round * 10 + who, r#"{"n":1}"#)));
        let outcomes = futures::future::try_join_all(tries).await?;
        let committed = outcomes
            .iter()
            .filter(|outcome| **outcome == CommitOutcome::Committed)
            .count();
        ensure_eq!(committed, 1, "commits that made the same new record");
        ensure_eq!(
            store.load_record(&record).await?.ops.len(),
            1,
            "operations of the new record"
        );
    }
    Ok(())
}

async fn no_guarded_increment_is_lost_in_a_race(context: &LocalContext<'_>) -> Verdict {
    const WORKERS: u64 = 8;
    const INCREMENTS: u64 = 12;
    let workers = (0..WORKERS).map(|_| async {
        for _ in 0..INCREMENTS {
            increment(&*context.store).await?;
        }
        Ok::<(), Stop>(())
    });
    futures::future::try_join_all(workers).await?;
    let state = context.store.load_record(&key("counter")).await?;
    ensure_eq!(
        counted(&state)?,
        WORKERS * INCREMENTS,
        "the counter after {WORKERS} x {INCREMENTS} increments"
    );
    Ok(())
}

async fn increment(store: &dyn LocalStore) -> Verdict {
    loop {
        let state = store.load_record(&key("counter")).await?;
        give_way().await;
        let next = counted(&state)? + 1;
        let row = confirmed_row(
            &key("counter"),
            state.revision,
            live(&format!(r#"{{"n":{next}}}"#), next as i64),
        );
        let changes = ChangeSet {
            records: vec![row],
            ..ChangeSet::at(at(1))
        };
        if store.commit(changes).await? == CommitOutcome::Committed {
            return Ok(());
        }
        give_way().await;
    }
}

pub(super) fn counted(state: &RecordState) -> Verdict<u64> {
    let Some(view) = &state.view else { return Ok(0) };
    let number = view.to_object()?.get("n").and_then(serde_json::Value::as_u64);
    ensure!(number.is_some(), "the counter holds {view:?}");
    Ok(number.unwrap_or(0))
}
