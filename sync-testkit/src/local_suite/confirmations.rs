//! Remote states for records without pending operations, marks, and what a pull reads of most records.

use sync_core::{
    ChangeSet, ConfirmedPage, LocalStore, LocalStoreExt, RecordId, RecordState, RecordSummary, RemoteState,
    Target, Tombstone,
};

use super::LocalContext;
use crate::{
    case::{Case, Verdict, cases, ensure, ensure_eq},
    sample::{at, commit, commit_stale, deleted, enqueue, id, key, live, page, payload, todos, version},
};

pub(super) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    cases![
        "P2" a_confirmation_sets_base_and_view,
        "P6" a_confirmed_delete_hides_the_record_and_keeps_its_version,
        "P8" a_confirmation_of_a_record_with_operations_is_stale,
        "P2" a_confirmation_of_another_version_raises_the_revision,
        "P17" a_confirmation_of_the_same_state_only_sets_the_mark,
        "P6 P17" a_confirmation_of_the_same_tombstone_only_sets_the_mark,
        "P6" a_delete_without_a_version_replaces_a_live_record,
        "P2" new_records_are_as_if_they_were_confirmed,
        "P2 P8" a_page_of_new_records_is_stale_if_one_of_them_is_there,
        "P2" a_written_record_that_keeps_its_view_is_as_if_the_view_was_written,
        "P6" marks_set_the_mark_and_nothing_else,
        "P6" a_mark_on_an_unknown_record_makes_no_row,
        "P6" load_unmarked_lists_live_records_below_the_generation_in_order_of_ids,
        "P6 P17" load_unmarked_continues_after_an_id_and_keeps_its_limit,
        "P6 P8" load_unmarked_never_lists_records_with_operations,
        "P17" summaries_tell_of_the_records_that_have_a_row,
    ]
}

async fn confirmed(
    store: &dyn LocalStore,
    name: &str,
    state: RemoteState,
    mark: u64,
    second: i64,
) -> Verdict<RecordState> {
    let confirmed = vec![page(&todos(), mark, [(id(name), state)])];
    commit(
        store,
        ChangeSet {
            confirmed,
            ..ChangeSet::at(at(second))
        },
    )
    .await?;
    Ok(store.load_record(&key(name)).await?)
}

async fn a_confirmation_sets_base_and_view(context: &LocalContext<'_>) -> Verdict {
    let state = confirmed(&*context.store, "r", live(r#"{"title":"tea"}"#, 4), 2, 1).await?;
    ensure!(state.revision > 0, "a record with a row has revision 0");
    let expected = RecordState {
        key: key("r"),
        revision: state.revision,
        view: Some(payload(r#"{"title":"tea"}"#)),
        schema_version: 1,
        base: live(r#"{"title":"tea"}"#, 4),
        ops: Vec::new(),
        mark: 2,
        touched_at: at(1),
    };
    ensure_eq!(state, expected, "the confirmed record");
    Ok(())
}

fn new_records(target: &Target, names: &[&str], second: i64) -> ChangeSet {
    let rows = names.iter().map(|name| (id(name), live(r#"{"n":1}"#, second)));
    let new = ConfirmedPage {
        only_new: true,
        ..page(target, 3, rows)
    };
    ChangeSet {
        confirmed: vec![new],
        ..ChangeSet::at(at(second))
    }
}

async fn new_records_are_as_if_they_were_confirmed(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    confirmed(store, "had a row", live(r#"{"n":0}"#, 1), 0, 1).await?;
    let revision = store.load_record(&key("had a row")).await?.revision;
    let removal = ChangeSet {
        removals: vec![key("had a row")],
        ..ChangeSet::at(at(2))
    };
    commit(store, removal).await?;
    // What another scope has under these ids does not count.
    let elsewhere = crate::sample::target("todos", "bob");
    commit(store, new_records(&elsewhere, &["new", "had a row"], 4)).await?;
    commit(store, new_records(&todos(), &["new", "had a row", "a third"], 5)).await?;
    for name in ["new", "had a row", "a third"] {
        let state = store.load_record(&key(name)).await?;
        ensure!(state.revision > 0, "{name} has no revision");
        let expected = RecordState {
            key: key(name),
            revision: state.revision,
            view: Some(payload(r#"{"n":1}"#)),
            schema_version: 1,
            base: live(r#"{"n":1}"#, 5),
            ops: Vec::new(),
            mark: 3,
            touched_at: at(5),
        };
        ensure_eq!(state, expected, "the record {name}");
    }
    let again = store.load_record(&key("had a row")).await?.revision;
    ensure!(
        again > revision,
        "the revision {revision} of a removed row came again as {again}"
    );
    let gone = ConfirmedPage {
        only_new: true,
        ..page(&todos(), 3, [(id("gone"), deleted(6))])
    };
    let changes = ChangeSet {
        confirmed: vec![gone],
        ..ChangeSet::at(at(6))
    };
    commit(store, changes).await?;
    let state = store.load_record(&key("gone")).await?;
    ensure_eq!((state.view, state.base), (None, deleted(6)), "a new tombstone");
    Ok(())
}

async fn a_page_of_new_records_is_stale_if_one_of_them_is_there(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    confirmed(store, "clean", live(r#"{"n":1}"#, 1), 0, 1).await?;
    confirmed(store, "same", live(r#"{"n":1}"#, 2), 0, 1).await?;
    confirmed(store, "deleted", deleted(1), 0, 1).await?;
    commit(store, enqueue(&key("pending"), 1, r#"{"n":1}"#)).await?;
    for name in ["clean", "same", "deleted", "pending"] {
        let before = store.load_record(&key(name)).await?;
        for names in [["a new one", name], [name, "zzz"]] {
            let named = commit_stale(store, new_records(&todos(), &names, 2)).await?;
            ensure_eq!(named, [key(name)], "the records named as stale");
            for name in ["a new one", "zzz"] {
                let written = store.load_record(&key(name)).await?;
                ensure_eq!(written.revision, 0, "the revision of a record of the same page");
            }
        }
        ensure_eq!(store.load_record(&key(name)).await?, before, "the record {name}");
    }
    Ok(())
}

async fn a_written_record_that_keeps_its_view_is_as_if_the_view_was_written(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    let text = r#"{"title":"tea"}"#;
    for (name, keeps_view) in [("kept", true), ("written", false)] {
        commit(store, enqueue(&key(name), 1 + u64::from(keeps_view), text)).await?;
        let before = store.load_record(&key(name)).await?;
        let row = sync_core::RecordWrite {
            keeps_view,
            mark: 5,
            ..crate::sample::confirmed_row(&key(name), before.revision, live(text, 9))
        };
        let acknowledged = ChangeSet {
            records: vec![row],
            ops: vec![sync_core::OpChange::Remove(before.ops[0].op_id)],
            ..ChangeSet::at(at(3))
        };
        commit(store, acknowledged).await?;
        let expected = RecordState {
            key: key(name),
            revision: before.revision + 1,
            view: Some(payload(text)),
            schema_version: 1,
            base: live(text, 9),
            ops: Vec::new(),
            mark: 5,
            touched_at: at(3),
        };
        ensure_eq!(
            store.load_record(&key(name)).await?,
            expected,
            "the record {name}"
        );
    }
    Ok(())
}

async fn a_confirmed_delete_hides_the_record_and_keeps_its_version(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    confirmed(store, "r", live(r#"{"title":"tea"}"#, 1), 0, 1).await?;
    let state = confirmed(store, "r", deleted(2), 0, 2).await?;
    ensure_eq!(state.view, None, "the view of a deleted record");
    ensure_eq!(state.base, deleted(2), "the base of a deleted record");
    let never_seen = confirmed(store, "never seen", deleted(9), 0, 2).await?;
    ensure_eq!(
        never_seen.base,
        deleted(9),
        "the base of a record that was never seen live"
    );
    ensure_eq!(
        store.count(&todos(), None).await?,
        0,
        "the number of records in the view"
    );
    Ok(())
}

async fn a_confirmation_of_a_record_with_operations_is_stale(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    commit(store, enqueue(&key("r"), 1, r#"{"title":"mine"}"#)).await?;
    let before = store.load_record(&key("r")).await?;
    for theirs in [live(r#"{"title":"theirs"}"#, 1), deleted(1)] {
        let confirmed = vec![page(&todos(), 0, [(id("r"), theirs)])];
        let named = commit_stale(
            store,
            ChangeSet {
                confirmed,
                ..ChangeSet::at(at(2))
            },
        )
        .await?;
        ensure_eq!(named, [key("r")], "the records named as stale");
    }
    ensure_eq!(
        store.load_record(&key("r")).await?,
        before,
        "the record with an operation"
    );
    Ok(())
}

async fn a_confirmation_of_another_version_raises_the_revision(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let first = confirmed(store, "r", live(r#"{"title":"tea"}"#, 1), 0, 1).await?;
    let second = confirmed(store, "r", live(r#"{"title":"milk"}"#, 2), 0, 2).await?;
    ensure!(
        second.revision > first.revision,
        "the revision stayed {}",
        second.revision
    );
    ensure_eq!(second.view, Some(payload(r#"{"title":"milk"}"#)), "the view");
    let third = confirmed(store, "r", deleted(3), 0, 3).await?;
    ensure!(
        third.revision > second.revision,
        "a delete left the revision at {}",
        third.revision
    );
    let fourth = confirmed(store, "r", live(r#"{"title":"again"}"#, 4), 0, 4).await?;
    ensure!(
        fourth.revision > third.revision,
        "a new creation left the revision at {}",
        fourth.revision
    );
    ensure_eq!(
        fourth.view,
        Some(payload(r#"{"title":"again"}"#)),
        "the view of a record that came back"
    );
    Ok(())
}

async fn a_confirmation_of_the_same_state_only_sets_the_mark(context: &LocalContext<'_>) -> Verdict {
    let first = confirmed(&*context.store, "r", live(r#"{"title":"tea"}"#, 1), 1, 1).await?;
    let again = confirmed(&*context.store, "r", live(r#"{"title":"tea"}"#, 1), 2, 9).await?;
    ensure_eq!(
        again,
        RecordState { mark: 2, ..first },
        "the record after the same state came again"
    );
    Ok(())
}

async fn a_confirmation_of_the_same_tombstone_only_sets_the_mark(context: &LocalContext<'_>) -> Verdict {
    let first = confirmed(&*context.store, "r", deleted(3), 1, 1).await?;
    let again = confirmed(&*context.store, "r", deleted(3), 2, 9).await?;
    ensure_eq!(
        again,
        RecordState { mark: 2, ..first },
        "the record after the same tombstone came again"
    );
    Ok(())
}

async fn a_delete_without_a_version_replaces_a_live_record(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    confirmed(store, "r", live(r#"{"title":"tea"}"#, 1), 0, 1).await?;
    let gone = RemoteState::Deleted(Tombstone::default());
    let state = confirmed(store, "r", gone.clone(), 0, 2).await?;
    ensure_eq!(state.base, gone, "the base");
    ensure_eq!(state.view, None, "the view");
    Ok(())
}

async fn marks_set_the_mark_and_nothing_else(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let live_record = confirmed(store, "live", live(r#"{"n":1}"#, 1), 1, 1).await?;
    commit(store, enqueue(&key("pending"), 1, r#"{"n":2}"#)).await?;
    let pending = store.load_record(&key("pending")).await?;
    let marks = vec![(todos(), vec![id("live"), id("pending")], 5)];
    commit(
        store,
        ChangeSet {
            marks,
            ..ChangeSet::at(at(9))
        },
    )
    .await?;
    let marked = store.load_records(&[key("live"), key("pending")]).await?;
    ensure_eq!(
        marked[0],
        RecordState {
            mark: 5,
            ..live_record
        },
        "the marked live record"
    );
    ensure_eq!(
        marked[1],
        RecordState { mark: 5, ..pending },
        "the marked record with an operation"
    );
    Ok(())
}

async fn a_mark_on_an_unknown_record_makes_no_row(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    let marks = vec![(todos(), vec![id("nobody")], 5)];
    commit(
        store,
        ChangeSet {
            marks,
            ..ChangeSet::at(at(1))
        },
    )
    .await?;
    ensure_eq!(
        store.load_record(&key("nobody")).await?,
        RecordState::absent(key("nobody")),
        "the unknown record"
    );
    Ok(())
}

async fn marked(store: &dyn LocalStore, mark: u64, names: &[&str]) -> Verdict {
    let rows = names.iter().map(|name| (id(name), live(r#"{"n":1}"#, 1)));
    commit(
        store,
        ChangeSet {
            confirmed: vec![page(&todos(), mark, rows)],
            ..ChangeSet::at(at(1))
        },
    )
    .await
}

async fn unmarked(
    store: &dyn LocalStore,
    generation: u64,
    after: Option<&str>,
    limit: u64,
) -> Verdict<Vec<RecordId>> {
    let after = after.map(id);
    Ok(store
        .load_unmarked(&todos(), generation, after.as_ref(), limit)
        .await?)
}

async fn load_unmarked_lists_live_records_below_the_generation_in_order_of_ids(
    context: &LocalContext<'_>,
) -> Verdict {
    let store = &*context.store;
    marked(store, 1, &["b", "a", "B", "\u{e9}", "aa"]).await?;
    marked(store, 2, &["seen"]).await?;
    confirmed(store, "deleted", deleted(1), 0, 1).await?;
    let expected = ["B", "a", "aa", "b", "\u{e9}"].map(id);
    ensure_eq!(
        unmarked(store, 2, None, 100).await?,
        expected,
        "unmarked records of generation 2"
    );
    ensure_eq!(
        unmarked(store, 1, None, 100).await?,
        [],
        "unmarked records of generation 1"
    );
    Ok(())
}

async fn load_unmarked_continues_after_an_id_and_keeps_its_limit(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    marked(store, 1, &["a", "b", "c", "d"]).await?;
    ensure_eq!(
        unmarked(store, 2, None, 2).await?,
        ["a", "b"].map(id),
        "the first page"
    );
    ensure_eq!(
        unmarked(store, 2, Some("b"), 2).await?,
        ["c", "d"].map(id),
        "the second page"
    );
    ensure_eq!(
        unmarked(store, 2, Some("d"), 2).await?,
        [],
        "the page after the last"
    );
    ensure_eq!(
        unmarked(store, 2, Some("bb"), 1).await?,
        [id("c")],
        "a page after an id that is not there"
    );
    Ok(())
}

async fn load_unmarked_never_lists_records_with_operations(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    marked(store, 1, &["clean", "edited"]).await?;
    let read = store.load_record(&key("edited")).await?;
    let row = sync_core::RecordWrite {
        base: read.base,
        ..crate::sample::pending_row(&key("edited"), read.revision, r#"{"n":2}"#, 1)
    };
    let ops = vec![sync_core::OpChange::Append(crate::sample::update(
        &key("edited"),
        1,
    ))];
    commit(
        store,
        ChangeSet {
            records: vec![row],
            ops,
            ..ChangeSet::at(at(2))
        },
    )
    .await?;
    ensure_eq!(
        unmarked(store, 9, None, 100).await?,
        [id("clean")],
        "unmarked records"
    );
    Ok(())
}

async fn summaries_tell_of_the_records_that_have_a_row(context: &LocalContext<'_>) -> Verdict {
    let store = &*context.store;
    confirmed(store, "live", live(r#"{"n":1}"#, 7), 0, 1).await?;
    confirmed(store, "deleted", deleted(8), 0, 1).await?;
    commit(store, enqueue(&key("pending"), 1, r#"{"n":1}"#)).await?;
    let summary = |name: &str, revision, version, live, pending| RecordSummary {
        id: id(name),
        revision,
        version,
        live,
        pending,
    };
    let mut answered = store
        .load_summaries(&todos(), &["pending", "nobody", "live", "deleted"].map(id))
        .await?;
    answered.sort_by(|a, b| a.id.cmp(&b.id));
    let revisions: Vec<u64> = store
        .load_records(&["deleted", "live", "pending"].map(key))
        .await?
        .iter()
        .map(|state| state.revision)
        .collect();
    let expected = [
        summary("deleted", revisions[0], Some(version(8)), false, false),
        summary("live", revisions[1], Some(version(7)), true, false),
        summary("pending", revisions[2], None, false, true),
    ];
    ensure_eq!(answered, expected, "the summaries");
    ensure_eq!(
        store
            .load_summaries(&target_without_rows(), &[id("live")])
            .await?,
        [],
        "summaries of another target"
    );
    Ok(())
}

fn target_without_rows() -> Target {
    crate::sample::target("notes", "ada")
}
