//! Removing rows, finding rows that could be given up, and their size.

use sync_core::{
    ChangeSet, EvictionQuery, LocalStore, LocalStoreExt, OpChange, RecordKey, RecordState, Target,
};

use super::LocalContext;
use crate::{
    case::{Case, Verdict, cases, ensure, ensure_eq},
    sample::{
        at, commit, commit_stale, confirm, deleted, enqueue, id, key, live, op_id, page, target, todos,
    },
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "" a_removed_record_is_absent,
        "P3" a_record_with_operations_is_not_removed,
        "P3" a_record_is_removed_together_with_all_its_operations,
        "P3" a_record_of_whose_operations_one_stays_is_not_removed,
        "" removing_an_unknown_record_is_committed,
        "P3" records_with_operations_are_never_eviction_candidates,
        "" eviction_candidates_come_longest_untouched_first,
        "P6" eviction_tells_tombstones_from_live_records,
        "P14" eviction_candidates_are_those_of_the_target,
        "" eviction_keeps_its_limit_and_its_time,
        "" the_size_grows_with_records_and_operations_and_shrinks_with_removals,
        "P14" the_size_of_a_target_leaves_others_out,
    ]
}

fn removal(name: &str) -> ChangeSet {
    ChangeSet {
        removals: vec![key(name)],
        ..ChangeSet::at(at(5))
    }
}

async fn a_removed_record_is_absent(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for state in [live(r#"{"n":1}"#, 1), deleted(1)] {
        let confirmed = vec![page(&todos(), 0, [(id("r"), state)])];
        commit(
            store,
            ChangeSet {
                confirmed,
                ..ChangeSet::at(at(1))
            },
        )
        .await?;
        commit(store, removal("r")).await?;
        ensure_eq!(
            store.load_record(&key("r")).await?,
            RecordState::absent(key("r")),
            "the removed record"
        );
        ensure_eq!(
            store.load_summaries(&todos(), &[id("r")]).await?,
            [],
            "summaries of the removed record"
        );
        ensure_eq!(store.count(&todos(), None).await?, 0, "records of the view");
    }
    Ok(())
}

async fn a_record_with_operations_is_not_removed(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("r"), 1, r#"{"n":1}"#)).await?;
    let before = store.load_record(&key("r")).await?;
    ensure_eq!(
        commit_stale(store, removal("r")).await?,
        [key("r")],
        "the records named as stale"
    );
    ensure_eq!(
        store.load_record(&key("r")).await?,
        before,
        "the record with an operation"
    );
    Ok(())
}

async fn a_record_is_removed_together_with_all_its_operations(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("r"), 1, r#"{"n":1}"#)).await?;
    commit(
        store,
        ChangeSet {
            ops: vec![OpChange::Remove(op_id(1))],
            ..removal("r")
        },
    )
    .await?;
    ensure_eq!(
        store.load_record(&key("r")).await?,
        RecordState::absent(key("r")),
        "the removed record"
    );
    ensure_eq!(store.count_ops(None).await?.total(), 0, "operations in the queue");
    Ok(())
}

async fn a_record_of_whose_operations_one_stays_is_not_removed(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let ops = vec![
        crate::sample::update(&key("r"), 1),
        crate::sample::update(&key("r"), 2),
    ];
    super::queue::put_queue(store, &key("r"), ops).await?;
    commit_stale(
        store,
        ChangeSet {
            ops: vec![OpChange::Remove(op_id(1))],
            ..removal("r")
        },
    )
    .await?;
    ensure_eq!(
        store.load_record(&key("r")).await?.ops.len(),
        2,
        "operations of the record"
    );
    Ok(())
}

async fn removing_an_unknown_record_is_committed(context: &LocalContext<'_>) -> Verdict {
    commit(&*context.store, removal("nobody")).await
}

/// A live record of `target`, last touched at `second`.
async fn touched(store: &dyn LocalStore, target: &Target, name: &str, second: i64) -> Verdict {
    let confirm = confirm(&RecordKey::new(target.clone(), id(name)), r#"{"title":"tea"}"#, 1);
    commit(
        store,
        ChangeSet {
            now: at(second),
            ..confirm
        },
    )
    .await
}

fn all_live() -> EvictionQuery {
    EvictionQuery {
        target: Some(todos()),
        tombstones: false,
        touched_before: None,
        limit: 100,
    }
}

async fn candidates(store: &dyn LocalStore, query: &EvictionQuery) -> Verdict<Vec<RecordKey>> {
    let found = store.load_eviction_candidates(query).await?;
    ensure!(
        found.iter().all(|candidate| candidate.bytes > 0),
        "a candidate takes no bytes: {found:?}"
    );
    Ok(found.into_iter().map(|candidate| candidate.key).collect())
}

async fn records_with_operations_are_never_eviction_candidates(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    touched(store, &todos(), "clean", 5).await?;
    commit(store, enqueue(&key("pending"), 1, r#"{"n":1}"#)).await?;
    let op = crate::sample::op(&key("deleted here"), 2, sync_core::OpKind::Delete, None);
    let row = sync_core::RecordWrite {
        view: None,
        base: live(r#"{"n":1}"#, 1),
        ..crate::sample::pending_row(&key("deleted here"), 0, "{}", 1)
    };
    commit(
        store,
        ChangeSet {
            records: vec![row],
            ops: vec![OpChange::Append(op)],
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    ensure_eq!(
        candidates(store, &all_live()).await?,
        [key("clean")],
        "live candidates"
    );
    let tombstones = EvictionQuery {
        tombstones: true,
        ..all_live()
    };
    ensure_eq!(
        candidates(store, &tombstones).await?,
        [],
        "tombstones that could be given up"
    );
    Ok(())
}

async fn eviction_candidates_come_longest_untouched_first(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for (name, second) in [("b", 3), ("a", 9), ("c", 1)] {
        touched(store, &todos(), name, second).await?;
    }
    ensure_eq!(
        candidates(store, &all_live()).await?,
        ["c", "b", "a"].map(key),
        "the candidates"
    );
    Ok(())
}

async fn eviction_tells_tombstones_from_live_records(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    touched(store, &todos(), "live", 1).await?;
    let confirmed = vec![page(&todos(), 0, [(id("deleted"), deleted(1))])];
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    ensure_eq!(
        candidates(store, &all_live()).await?,
        [key("live")],
        "live candidates"
    );
    let tombstones = EvictionQuery {
        tombstones: true,
        ..all_live()
    };
    ensure_eq!(
        candidates(store, &tombstones).await?,
        [key("deleted")],
        "tombstones"
    );
    Ok(())
}

async fn eviction_candidates_are_those_of_the_target(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let elsewhere = target("notes", "bob");
    touched(store, &todos(), "here", 1).await?;
    touched(store, &elsewhere, "there", 2).await?;
    ensure_eq!(
        candidates(store, &all_live()).await?,
        [key("here")],
        "candidates of one target"
    );
    let everywhere = EvictionQuery {
        target: None,
        ..all_live()
    };
    let expected = [key("here"), RecordKey::new(elsewhere, id("there"))];
    ensure_eq!(
        candidates(store, &everywhere).await?,
        expected,
        "candidates of all targets"
    );
    Ok(())
}

async fn eviction_keeps_its_limit_and_its_time(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    for second in 1..=4 {
        touched(store, &todos(), &format!("r{second}"), second).await?;
    }
    let two = EvictionQuery {
        limit: 2,
        ..all_live()
    };
    ensure_eq!(
        candidates(store, &two).await?,
        ["r1", "r2"].map(key),
        "two candidates"
    );
    let before = EvictionQuery {
        touched_before: Some(at(3)),
        ..all_live()
    };
    ensure_eq!(
        candidates(store, &before).await?,
        ["r1", "r2"].map(key),
        "candidates touched before second 3"
    );
    Ok(())
}

async fn the_size_grows_with_records_and_operations_and_shrinks_with_removals(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(2_000));
    let empty = store.approx_size(None).await?;
    commit(store, confirm(&key("r"), &long, 1)).await?;
    let with_record = store.approx_size(None).await?;
    ensure!(
        with_record >= empty + 2_000,
        "2 kB of payload raised the size from {empty} to {with_record}"
    );
    commit(store, enqueue(&key("p"), 1, &long)).await?;
    let with_op = store.approx_size(None).await?;
    ensure!(
        with_op >= with_record + 2_000,
        "an operation raised the size from {with_record} to {with_op}"
    );
    commit(store, removal("r")).await?;
    let removed = store.approx_size(None).await?;
    ensure!(
        removed <= with_op - 2_000,
        "a removal left the size at {removed}, from {with_op}"
    );
    Ok(())
}

async fn the_size_of_a_target_leaves_others_out(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(2_000));
    commit(store, confirm(&key("r"), &long, 1)).await?;
    let own = store.approx_size(Some(&todos())).await?;
    commit(
        store,
        confirm(&RecordKey::new(target("notes", "ada"), id("r")), &long, 1),
    )
    .await?;
    commit(
        store,
        enqueue(&RecordKey::new(target("todos", "bob"), id("r")), 1, &long),
    )
    .await?;
    ensure_eq!(
        store.approx_size(Some(&todos())).await?,
        own,
        "the size of the target after others grew"
    );
    let all = store.approx_size(None).await?;
    ensure!(
        all >= own + 4_000,
        "the size of all targets is {all}, that of one {own}"
    );
    Ok(())
}
