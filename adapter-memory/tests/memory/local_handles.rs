//! Handles of the local store: clones, reopening, closing; and reads of its own.

use adapter_memory::MemoryLocalStore;
use futures::{FutureExt, StreamExt};
use sync_core::{
    ChangeSet, CollectionSchema, ErrorKind, EvictionQuery, LocalStore, OpChange, StoreChange,
    query::{Filter, QuerySpec},
};

use crate::common::*;

fn setting(value: &str) -> ChangeSet {
    ChangeSet {
        settings: vec![("name".to_owned(), Some(value.to_owned()))],
        ..ChangeSet::at(at(1))
    }
}

#[test]
fn closing_stops_a_handle_and_its_clones_but_not_one_that_was_reopened() {
    let store = MemoryLocalStore::new();
    let clone = store.clone();
    let mut ended = store.changes();
    let reopened = store.reopen();
    let mut open = reopened.changes();
    committed(&store, setting("kept"));
    block_on(store.close()).unwrap();
    assert_eq!(kind(block_on(clone.load_setting("name"))), ErrorKind::Stopped);
    assert_eq!(kind(commit(&clone, setting("late"))), ErrorKind::Stopped);
    assert_eq!(
        ended.next().now_or_never(),
        Some(None),
        "its stream of changes has ended"
    );
    assert_eq!(
        block_on(reopened.load_setting("name")).unwrap().as_deref(),
        Some("kept")
    );
    let written = ChangeSet {
        records: vec![write(&key("a"), 0, Some(n(1)), 0)],
        ..ChangeSet::at(at(1))
    };
    committed(&store.reopen(), written);
    let told = open.next().now_or_never().flatten();
    assert!(
        matches!(told, Some(StoreChange::Records { .. })),
        "other handles are heard: {told:?}"
    );
}

#[test]
fn a_dropped_commit_that_was_not_polled_never_happens() {
    let store = MemoryLocalStore::new();
    drop(store.commit(setting("never")));
    assert_eq!(block_on(store.load_setting("name")).unwrap(), None);
}

#[test]
fn records_marked_as_deleted_are_hidden_once_the_schema_is_registered() {
    let store = MemoryLocalStore::new();
    let shown = write(&key("shown"), 0, Some(payload(r#"{"gone":null,"n":1}"#)), 0);
    let hidden = write(
        &key("hidden"),
        0,
        Some(payload(r#"{"gone":"2030-01-01","n":1}"#)),
        0,
    );
    committed(
        &store,
        ChangeSet {
            records: vec![shown, hidden],
            ..ChangeSet::at(at(1))
        },
    );
    let found = || block_on(store.query(&target(), &QuerySpec::new())).unwrap().len();
    let counted = || block_on(store.count(&target(), Some(&Filter::eq("n", 1)))).unwrap();
    assert_eq!((found(), counted()), (2, 2));
    let schema = CollectionSchema::untyped("todos", "id")
        .unwrap()
        .with_deleted_at("gone");
    block_on(store.register(&[schema])).unwrap();
    assert_eq!((found(), counted()), (1, 1));
}

#[test]
fn a_query_that_means_nothing_is_invalid() {
    let store = MemoryLocalStore::new();
    let broken = QuerySpec::new().filter(Filter::eq("", 1));
    let error = block_on(store.query(&target(), &broken)).unwrap_err();
    assert_eq!(
        (error.kind(), error.adapter()),
        (ErrorKind::Invalid, Some("memory"))
    );
}

#[test]
fn unchanged_records_longest_untouched_are_given_up_first() {
    let store = MemoryLocalStore::new();
    for (name, now) in [("new", 30), ("old", 10), ("mid", 20)] {
        let mut record = write(&key(name), 0, Some(n(1)), 0);
        record.base = live(1);
        committed(
            &store,
            ChangeSet {
                records: vec![record],
                ..ChangeSet::at(at(now))
            },
        );
    }
    let mut busy = write(&key("busy"), 0, Some(n(1)), 1);
    busy.base = live(1);
    let ops = vec![OpChange::Append(pending(1, &key("busy")))];
    committed(
        &store,
        ChangeSet {
            records: vec![busy],
            ops,
            ..ChangeSet::at(at(1))
        },
    );
    let candidates = |touched_before| {
        let query = EvictionQuery {
            target: None,
            tombstones: false,
            touched_before,
            limit: 10,
        };
        let found = block_on(store.load_eviction_candidates(&query)).unwrap();
        found
            .into_iter()
            .map(|candidate| candidate.key.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(candidates(None), ["old", "mid", "new"]);
    assert_eq!(candidates(Some(at(20))), ["old"]);
}
