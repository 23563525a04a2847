//! Commits of the local store: guards, order, revisions, notices.

use std::time::Duration;

use adapter_memory::MemoryLocalStore;
use futures::{FutureExt, StreamExt};
use sync_core::{
    ChangeSet, CommitOutcome, Confirmation, ConfirmedPage, ErrorKind, Fence, LeaseAnswer, LocalStore,
    LocalStoreExt, MalformedRow, OpChange, OpQuery, QuarantinedRow, RecordKey, RemoteState, StoreChange,
    Tombstone,
};
use uuid::Uuid;

use crate::common::*;

fn confirm(name: &str, state: RemoteState, mark: u64) -> ChangeSet {
    let page = ConfirmedPage {
        only_new: false,
        target: target(),
        records: vec![Confirmation { id: id(name), state }],
        schema_version: 1,
        mark,
    };
    ChangeSet {
        confirmed: vec![page],
        ..ChangeSet::at(at(1))
    }
}

fn enqueue(number: u128, key: &RecordKey, read_revision: u64, pending_after: u32) -> ChangeSet {
    ChangeSet {
        records: vec![write(key, read_revision, Some(n(1)), pending_after)],
        ops: vec![OpChange::Append(pending(number, key))],
        ..ChangeSet::at(at(1))
    }
}

fn record(store: &MemoryLocalStore, name: &str) -> sync_core::RecordState {
    block_on(store.load_record(&key(name))).unwrap()
}

#[track_caller]
fn stale(store: &MemoryLocalStore, changes: ChangeSet, names: &[&str]) {
    let keys = names.iter().map(|name| key(name)).collect();
    assert_eq!(commit(store, changes).unwrap(), CommitOutcome::Stale(keys));
}

#[test]
fn every_write_raises_the_revision_and_a_stale_one_changes_nothing() {
    let store = MemoryLocalStore::new();
    for revision in 0..3 {
        let records = vec![write(&key("a"), revision, Some(n(1)), 0)];
        committed(
            &store,
            ChangeSet {
                records,
                ..ChangeSet::at(at(1))
            },
        );
        assert_eq!(record(&store, "a").revision, revision + 1);
    }
    let records = vec![write(&key("b"), 0, Some(n(1)), 0), write(&key("a"), 2, None, 0)];
    stale(
        &store,
        ChangeSet {
            records,
            ..ChangeSet::at(at(2))
        },
        &["a"],
    );
    assert_eq!(
        (record(&store, "a").revision, record(&store, "b").revision),
        (3, 0)
    );
}

#[test]
fn a_guard_names_a_record_that_moved() {
    let store = MemoryLocalStore::new();
    let settings = vec![("seen".to_owned(), Some("yes".to_owned()))];
    let changes = ChangeSet {
        guards: vec![(key("a"), 1)],
        settings,
        ..ChangeSet::at(at(1))
    };
    stale(&store, changes.clone(), &["a"]);
    assert_eq!(block_on(store.load_setting("seen")).unwrap(), None);
    committed(&store, confirm("a", live(1), 0));
    committed(&store, changes);
    assert_eq!(
        block_on(store.load_setting("seen")).unwrap().as_deref(),
        Some("yes")
    );
}

#[test]
fn a_confirmation_of_a_record_with_operations_is_stale() {
    let store = MemoryLocalStore::new();
    committed(&store, enqueue(1, &key("a"), 0, 1));
    stale(&store, confirm("a", live(5), 1), &["a"]);
    assert_eq!(record(&store, "a").base, RemoteState::Missing);
}

#[test]
fn a_removal_is_stale_unless_all_operations_go_with_it() {
    let store = MemoryLocalStore::new();
    committed(&store, enqueue(1, &key("a"), 0, 1));
    committed(&store, enqueue(2, &key("a"), 1, 2));
    let removal = |ops| ChangeSet {
        removals: vec![key("a")],
        ops,
        ..ChangeSet::at(at(2))
    };
    stale(&store, removal(vec![]), &["a"]);
    stale(&store, removal(vec![OpChange::Remove(op_id(1))]), &["a"]);
    committed(
        &store,
        removal(vec![OpChange::Remove(op_id(1)), OpChange::Remove(op_id(2))]),
    );
    assert_eq!(record(&store, "a"), sync_core::RecordState::absent(key("a")));
}

#[test]
fn only_the_current_fence_commits() {
    let store = MemoryLocalStore::new();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let acquire =
        |holder, now| block_on(store.acquire_lease("sync", holder, at(now), Duration::from_millis(10)));
    let granted = |token| {
        LeaseAnswer::Granted(Fence {
            lease: "sync".to_owned(),
            token,
        })
    };
    let with = |token| ChangeSet {
        fence: Some(Fence {
            lease: "sync".to_owned(),
            token,
        }),
        ..ChangeSet::at(at(0))
    };
    assert_eq!(kind(commit(&store, with(1))), ErrorKind::LeaseLost);
    assert_eq!(acquire(first, 0).unwrap(), granted(1));
    assert_eq!(acquire(second, 9).unwrap(), LeaseAnswer::Held { until: at(10) });
    assert_eq!(acquire(first, 5).unwrap(), granted(1), "renewing keeps the fence");
    assert_eq!(acquire(second, 14).unwrap(), LeaseAnswer::Held { until: at(15) });
    committed(&store, with(1));
    assert_eq!(acquire(second, 15).unwrap(), granted(2));
    assert_eq!(kind(commit(&store, with(1))), ErrorKind::LeaseLost);
    block_on(store.release_lease(&Fence {
        lease: "sync".to_owned(),
        token: 1,
    }))
    .unwrap();
    committed(&store, with(2));
    block_on(store.release_lease(&Fence {
        lease: "sync".to_owned(),
        token: 2,
    }))
    .unwrap();
    assert_eq!(kind(commit(&store, with(2))), ErrorKind::LeaseLost);
    assert_eq!(
        acquire(second, 16).unwrap(),
        granted(3),
        "after a release even the same holder gets a new fence"
    );
}

#[test]
fn the_same_state_only_gets_the_mark_and_is_not_announced() {
    let store = MemoryLocalStore::new();
    committed(&store, confirm("a", live(1), 1));
    let before = record(&store, "a");
    let mut changes = store.changes();
    committed(
        &store,
        ChangeSet {
            now: at(99),
            ..confirm("a", live(1), 2)
        },
    );
    assert_eq!(record(&store, "a"), sync_core::RecordState { mark: 2, ..before });
    assert!(changes.next().now_or_never().is_none());
    committed(
        &store,
        ChangeSet {
            now: at(99),
            ..confirm("a", live(2), 2)
        },
    );
    assert_eq!(
        (record(&store, "a").revision, record(&store, "a").touched_at),
        (2, at(99))
    );
    let told = changes.next().now_or_never().flatten();
    assert_eq!(
        told,
        Some(StoreChange::Records {
            target: target(),
            ids: Some(vec![id("a")])
        })
    );
}

#[test]
fn notices_name_records_whose_view_or_pending_mark_changed() {
    let store = MemoryLocalStore::new();
    let mut changes = store.changes();
    let mut next = || changes.next().now_or_never().flatten();
    let records = |names: &[&str]| {
        let ids = names.iter().map(|name| id(name)).collect();
        Some(StoreChange::Records {
            target: target(),
            ids: Some(ids),
        })
    };
    committed(&store, enqueue(1, &key("a"), 0, 1));
    assert_eq!(next(), records(&["a"]));
    assert_eq!(next(), Some(StoreChange::Enqueued(scope("inbox"))));
    committed(&store, enqueue(2, &key("a"), 1, 2));
    assert_eq!(
        next(),
        Some(StoreChange::Enqueued(scope("inbox"))),
        "the view is the same, and still pending"
    );
    let ops = vec![OpChange::Remove(op_id(1)), OpChange::Remove(op_id(2))];
    let acknowledged = vec![write(&key("a"), 2, Some(n(1)), 0)];
    committed(
        &store,
        ChangeSet {
            records: acknowledged,
            ops,
            ..ChangeSet::at(at(2))
        },
    );
    assert_eq!(next(), records(&["a"]), "it is no longer pending");
    committed(
        &store,
        confirm("gone", RemoteState::Deleted(Tombstone::default()), 0),
    );
    assert_eq!(next(), None, "nobody saw that record");
    committed(
        &store,
        ChangeSet {
            removals: vec![key("a"), key("gone")],
            ..ChangeSet::at(at(3))
        },
    );
    assert_eq!(next(), records(&["a"]));
}

#[test]
fn a_slow_receiver_is_told_that_anything_may_have_changed() {
    let store = MemoryLocalStore::new();
    let mut changes = store.changes();
    for number in 0..1_000 {
        committed(&store, confirm("a", live(number), 0));
    }
    assert_eq!(
        changes.next().now_or_never().flatten(),
        Some(StoreChange::Anything)
    );
}

#[test]
fn a_change_set_that_contradicts_itself_is_refused_as_a_whole() {
    let store = MemoryLocalStore::new();
    committed(&store, enqueue(1, &key("a"), 0, 1));
    let wrong_count = enqueue(2, &key("a"), 1, 1);
    let twice = enqueue(1, &key("b"), 0, 1);
    let missing = confirm("b", RemoteState::Missing, 0);
    for changes in [wrong_count, twice, missing] {
        assert_eq!(kind(commit(&store, changes)), ErrorKind::Internal);
        assert_eq!(record(&store, "a").ops.len(), 1);
        assert_eq!(record(&store, "b").revision, 0);
    }
    let again = ChangeSet {
        records: vec![write(&key("a"), 1, Some(n(1)), 1)],
        ops: vec![
            OpChange::Remove(op_id(1)),
            OpChange::Append(pending(1, &key("a"))),
        ],
        ..ChangeSet::at(at(1))
    };
    committed(&store, again);
    let ops = block_on(store.load_ops(&OpQuery::default())).unwrap();
    assert_eq!(
        ops.iter().map(|op| op.seq).collect::<Vec<_>>(),
        [2],
        "a place in the queue is never used again"
    );
}

#[test]
fn quarantine_replaces_by_id_or_text_and_ends_when_understood() {
    let store = MemoryLocalStore::new();
    let row = |name: Option<&str>, raw: &str, seen| QuarantinedRow {
        target: target(),
        row: MalformedRow {
            id: name.map(id),
            raw: raw.to_owned(),
            error: "odd".to_owned(),
        },
        seen_at: at(seen),
    };
    let quarantine = vec![
        row(Some("a"), "1", 1),
        row(Some("a"), "2", 2),
        row(None, "x", 3),
        row(None, "x", 4),
        row(None, "y", 5),
    ];
    committed(
        &store,
        ChangeSet {
            quarantine,
            ..ChangeSet::at(at(5))
        },
    );
    let seen = || {
        let rows = block_on(store.load_quarantine(Some(&target()), 10)).unwrap();
        rows.into_iter()
            .map(|row| (row.row.raw, row.seen_at))
            .collect::<Vec<_>>()
    };
    let texts = |rows: &[(&str, i64)]| {
        rows.iter()
            .map(|(raw, seen)| (raw.to_string(), at(*seen)))
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(), texts(&[("y", 5), ("x", 4), ("2", 2)]));
    committed(
        &store,
        ChangeSet {
            understood: vec![(target(), vec![id("a")])],
            ..ChangeSet::at(at(6))
        },
    );
    assert_eq!(seen(), texts(&[("y", 5), ("x", 4)]));
}
