//! Pulls in commit order: pages, snapshots, expiry of sync points.

use adapter_memory::MemoryRemoteStore;
use sync_core::{DeltaKind, ErrorKind, PullRequest, RemoteStore, RemoteStoreExt, SyncPoint};

use crate::common::*;

fn seeded(names: &[&str]) -> MemoryRemoteStore {
    let remote = MemoryRemoteStore::new();
    let records = names.iter().map(|name| (id(name), n(1)));
    remote.seed(&scope("inbox"), &target().collection, records);
    remote
}

#[test]
fn a_snapshot_and_the_pull_after_it_lose_nothing_that_happens_between_the_pages() {
    let remote = seeded(&["b", "d", "f", "h"]);
    let first = pull(&remote, None, 2).unwrap();
    assert_eq!(
        (first.kind, told(&first), first.has_more),
        (DeltaKind::Snapshot, vec!["b".into(), "d".into()], true)
    );
    // Behind the page, before it, and on both sides of it.
    remote.put(&key("a"), n(2));
    remote.put(&key("b"), n(3));
    remote.delete(&key("d"));
    remote.put(&key("h"), n(4));
    remote.put(&key("z"), n(5));
    remote.delete(&key("f"));
    let rest = pull(&remote, Some(&first.next), 2).unwrap();
    assert_eq!(
        (rest.kind, told(&rest)),
        (DeltaKind::Snapshot, vec!["-f".into(), "h".into()])
    );
    let last = pull(&remote, Some(&rest.next), 2).unwrap();
    assert_eq!((told(&last), last.has_more), (vec!["z".into()], false));
    let after = pull(&remote, Some(&last.next), 10).unwrap();
    assert_eq!(after.kind, DeltaKind::Incremental);
    assert_eq!(
        told(&after),
        ["a", "b", "-d", "h", "z", "-f"],
        "all since the first page, in the order of commits"
    );
    assert_eq!(told(&pull(&remote, Some(&after.next), 10).unwrap()), [""; 0]);
}

#[test]
fn tombstones_come_with_a_first_pull_unless_the_client_holds_nothing() {
    let remote = seeded(&["a", "b"]);
    remote.delete(&key("a"));
    assert_eq!(told(&pull(&remote, None, 10).unwrap()), ["-a", "b"]);
    let request = PullRequest {
        target: target(),
        since: None,
        page_size: 10,
        holds_nothing: true,
    };
    assert_eq!(told(&block_on(remote.pull(request)).unwrap()), ["b"]);
}

#[test]
fn incremental_pages_follow_the_order_of_commits() {
    let remote = seeded(&["c", "a", "b"]);
    let start = caught_up(&remote);
    for name in ["b", "c", "a", "b"] {
        remote.put(&key(name), n(2));
    }
    let pages = block_on(remote.pull_all(&target(), Some(start), 1)).unwrap();
    assert_eq!(pages.iter().flat_map(told).collect::<Vec<_>>(), ["c", "a", "b"]);
}

#[test]
fn a_sync_point_of_another_epoch_is_refused() {
    let remote = seeded(&["a"]);
    let backup = remote.backup();
    let point = caught_up(&remote);
    remote.restore(&backup);
    assert_eq!(kind(pull(&remote, Some(&point), 10)), ErrorKind::ResyncRequired);
    let fresh = caught_up(&remote);
    assert!(pull(&remote, Some(&fresh), 10).is_ok());
}

#[test]
fn a_restored_backup_without_epochs_goes_unnoticed() {
    let builder = MemoryRemoteStore::builder().adjust(|can| can.epoch = false);
    let remote = builder.build();
    let backup = remote.backup();
    remote.put(&key("a"), n(1));
    remote.put(&key("b"), n(1));
    let point = caught_up(&remote);
    remote.restore(&backup);
    remote.put(&key("c"), n(1));
    let page = pull(&remote, Some(&point), 10).unwrap();
    assert_eq!(
        told(&page),
        [""; 0],
        "the new row lies behind the cursor, and nobody says so"
    );
}

#[test]
fn a_sync_point_ahead_of_the_backend_is_refused() {
    let (strong, other) = (seeded(&["a", "b"]), seeded(&["a"]));
    let ahead = caught_up(&strong);
    assert_eq!(kind(pull(&other, Some(&ahead), 10)), ErrorKind::ResyncRequired);
    other.put(&key("b"), n(1));
    assert!(
        pull(&other, Some(&ahead), 10).is_ok(),
        "exactly at the head it is good"
    );
}

#[test]
fn a_sync_point_is_good_at_the_tombstone_horizon_and_refused_below_it() {
    let remote = seeded(&["a", "b"]);
    let below = caught_up(&remote);
    remote.delete(&key("a"));
    let at_horizon = caught_up(&remote);
    remote.delete(&key("b"));
    remote.prune_tombstones(remote.head() - 1);
    assert_eq!(kind(pull(&remote, Some(&below), 10)), ErrorKind::ResyncRequired);
    assert_eq!(told(&pull(&remote, Some(&at_horizon), 10).unwrap()), ["-b"]);
    assert_eq!(
        told(&pull(&remote, None, 10).unwrap()),
        ["-b"],
        "the tombstone of a is forgotten"
    );
}

#[test]
fn a_snapshot_whose_tombstones_were_pruned_meanwhile_starts_over() {
    let remote = seeded(&["a", "b", "c"]);
    let first = pull(&remote, None, 1).unwrap();
    remote.delete(&key("a"));
    remote.prune_tombstones(i64::MAX);
    assert_eq!(
        kind(pull(&remote, Some(&first.next), 1)),
        ErrorKind::ResyncRequired
    );
}

#[test]
fn text_that_is_no_sync_point_is_refused() {
    let remote = seeded(&["a"]);
    for text in [
        "",
        "{",
        "null",
        "17",
        r#"{"epoch":1,"position":{"Since":5}}"#,
        r#"{"epoch":1,"position":{}}"#,
    ] {
        assert_eq!(
            kind(pull(&remote, Some(&SyncPoint::new(text)), 10)),
            ErrorKind::ResyncRequired,
            "{text}"
        );
    }
    let odd = SyncPoint::new(r#"{"epoch":1,"position":{"After":-9223372036854775808}}"#);
    assert_eq!(kind(pull(&remote, Some(&odd), 10)), ErrorKind::ResyncRequired);
}

#[test]
fn a_record_that_moves_to_another_scope_is_deleted_in_its_own() {
    let remote = seeded(&["a"]);
    let start = caught_up(&remote);
    remote.move_to_scope(&key("a"), &scope("archive"));
    assert_eq!(told(&pull(&remote, Some(&start), 10).unwrap()), ["-a"]);
    let archive = sync_core::Target::new(target().collection, scope("archive"));
    assert_eq!(remote.dump(&archive).len(), 1);
    remote.move_to_scope(&key("a"), &scope("elsewhere"));
    assert_eq!(remote.head(), 3, "what is not live does not move");
}

#[test]
fn malformed_rows_come_apart_and_end_when_the_record_is_written_again() {
    let remote = seeded(&["a"]);
    let start = caught_up(&remote);
    remote.put_malformed(&target(), Some(&id("a")), "{broken");
    remote.put_malformed(&target(), None, "?");
    let page = pull(&remote, Some(&start), 10).unwrap();
    assert_eq!(told(&page), [""; 0]);
    let rows: Vec<_> = page
        .malformed
        .iter()
        .map(|row| (row.id.clone(), row.raw.as_str()))
        .collect();
    assert_eq!(rows, [(Some(id("a")), "{broken"), (None, "?")]);
    assert_eq!(
        kind(block_on(remote.get(&target(), &[id("a")]))),
        ErrorKind::Malformed
    );
    let listed = block_on(remote.list_ids(&target(), None, 10)).unwrap();
    assert_eq!(listed.ids.len(), 1, "a row without an id cannot be listed");
    remote.put(&key("a"), n(2));
    let mended = pull(&remote, Some(&page.next), 10).unwrap();
    assert_eq!((told(&mended), mended.malformed.len()), (vec!["a".into()], 0));
}

#[test]
fn the_page_limit_of_the_backend_is_kept() {
    let builder = MemoryRemoteStore::builder().adjust(|can| can.max_page = 2);
    let remote = builder.build();
    remote.seed(
        &scope("inbox"),
        &target().collection,
        ["a", "b", "c"].map(|name| (id(name), n(1))),
    );
    let page = pull(&remote, None, 100).unwrap();
    assert_eq!((page.changes.len(), page.has_more), (2, true));
    assert_eq!(
        pull(&remote, None, 0).unwrap().changes.len(),
        1,
        "a page of nothing would never end"
    );
}
