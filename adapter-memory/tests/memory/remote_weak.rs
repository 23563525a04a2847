//! Weaker remotes are really weak.

use std::time::Duration;

use adapter_memory::MemoryRemoteStore;
use sync_core::{
    Capabilities, CursorKind, DeltaKind, ErrorKind, PushOutcome, RemoteState, RemoteStore, RemoteStoreExt,
};

use crate::common::*;

fn timestamps(overlap_ms: u64) -> (MemoryRemoteStore, std::sync::Arc<ManualClock>) {
    with_clock(MemoryRemoteStore::builder().timestamp_profile(Duration::from_millis(overlap_ms)))
}

/// What a pull finds after a commit whose time was taken 5 ms before the last one that was pulled.
fn found_after_a_late_commit(overlap_ms: u64) -> Vec<String> {
    let (remote, clock) = timestamps(overlap_ms);
    clock.set(100);
    let late = remote.begin_late_commit(&key("late"), Some(n(1)));
    clock.set(105);
    remote.put(&key("seen"), n(1));
    let point = caught_up(&remote);
    late.commit();
    told(&pull(&remote, Some(&point), 10).unwrap())
}

#[test]
fn a_timestamp_cursor_misses_a_late_commit_beyond_its_overlap() {
    assert_eq!(found_after_a_late_commit(0), ["seen"]);
    assert_eq!(found_after_a_late_commit(4), ["seen"]);
    assert_eq!(found_after_a_late_commit(5), ["late", "seen"]);
}

#[test]
fn commit_order_does_not_miss_a_late_commit() {
    let remote = MemoryRemoteStore::new();
    let late = remote.begin_late_commit(&key("late"), Some(n(1)));
    remote.put(&key("seen"), n(1));
    let point = caught_up(&remote);
    let version = late.commit();
    assert_eq!(told(&pull(&remote, Some(&point), 10).unwrap()), ["late"]);
    assert_eq!(version.order(), Some(2), "its place is that of its commit");
}

#[test]
fn a_late_commit_that_is_dropped_never_happens() {
    let (remote, _) = timestamps(0);
    drop(remote.begin_late_commit(&key("late"), Some(n(1))));
    assert!(remote.dump(&target()).is_empty());
}

#[test]
fn equal_timestamps_at_a_page_edge_are_all_delivered() {
    let (remote, clock) = timestamps(0);
    clock.set(7);
    remote.seed(
        &scope("inbox"),
        &target().collection,
        ["a", "b", "c", "d", "e"].map(|name| (id(name), n(1))),
    );
    let pages = block_on(remote.pull_all(&target(), None, 2)).unwrap();
    assert_eq!(
        pages.iter().flat_map(told).collect::<Vec<_>>(),
        ["a", "b", "c", "d", "e"]
    );
    assert!(
        pages.iter().all(|page| page.kind == DeltaKind::Incremental),
        "absence would prove nothing"
    );
    remote.put(&key("f"), n(1));
    let next = pull(&remote, pages.last().map(|page| &page.next), 10).unwrap();
    assert!(
        told(&next).contains(&"f".to_owned()),
        "a row of the same millisecond is read again"
    );
}

#[test]
fn a_server_clock_that_goes_back_hides_changes_from_a_timestamp_cursor() {
    let (remote, clock) = timestamps(0);
    clock.set(1_000);
    remote.put(&key("a"), n(1));
    let point = caught_up(&remote);
    remote.set_clock_skew(-500_000);
    remote.put(&key("b"), n(1));
    assert_eq!(told(&pull(&remote, Some(&point), 10).unwrap()), ["a"]);
    assert_eq!(block_on(remote.server_time()).unwrap(), at(500));
}

#[test]
fn deletes_leave_nothing_where_only_the_sweep_finds_them() {
    let (remote, _) = timestamps(10);
    applied(&remote, create(1, "a"));
    applied(&remote, create(2, "b"));
    let point = caught_up(&remote);
    applied(&remote, delete(3, "a", None));
    assert_eq!(
        told(&pull(&remote, Some(&point), 10).unwrap()),
        ["b"],
        "only what the overlap reads again"
    );
    assert_eq!(
        block_on(remote.get(&target(), &[id("a")])).unwrap(),
        [RemoteState::Missing]
    );
    assert_eq!(outcome(&remote, delete(4, "a", None)), PushOutcome::Missing);
    let listed = block_on(remote.list_ids(&target(), None, 10)).unwrap();
    assert_eq!(
        listed.ids.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [id("b")]
    );
}

#[test]
fn a_snapshot_remote_tells_everything_each_time() {
    let remote = MemoryRemoteStore::builder().snapshot_profile().build();
    assert_eq!(remote.capabilities(), Capabilities::minimal());
    for number in 1..=3 {
        applied(&remote, create(number, &format!("r{number}")));
    }
    let mut point = None;
    for _ in 0..2 {
        let pages = block_on(remote.pull_all(&target(), point.clone(), 2)).unwrap();
        assert_eq!(
            pages.iter().flat_map(told).collect::<Vec<_>>(),
            ["r1", "r2", "r3"]
        );
        assert!(
            pages
                .iter()
                .all(|page| page.kind == DeltaKind::Snapshot && page.server_time.is_none())
        );
        point = pages.last().map(|page| page.next.clone());
    }
    applied(&remote, delete(4, "r2", None));
    assert_eq!(told(&pull(&remote, point.as_ref(), 10).unwrap()), ["r1", "r3"]);
}

#[test]
fn without_conditional_writes_the_last_push_wins() {
    let remote = MemoryRemoteStore::builder()
        .adjust(|can| can.conditional_write = false)
        .build();
    let old = applied(&remote, create(1, "a"));
    remote.put(&key("a"), n(99));
    applied(&remote, update(2, "a", Some(old.clone())));
    assert_eq!(
        remote.state_of(&key("a")).payload(),
        Some(&n(2)),
        "the other write is lost"
    );
    applied(&remote, create(3, "a"));
    applied(&remote, delete(4, "a", Some(old)));
    let current = remote.state_of(&key("a"));
    assert_eq!(
        outcome(&remote, update(5, "a", None)),
        PushOutcome::Conflict { current }
    );
}

#[test]
fn without_idempotency_a_repeated_operation_takes_effect_again() {
    let remote = MemoryRemoteStore::builder()
        .adjust(|can| (can.idempotent_push, can.conditional_write) = (false, false))
        .build();
    applied(&remote, create(1, "a"));
    remote.put(&key("a"), n(99));
    applied(&remote, create(1, "a"));
    assert_eq!(remote.applied_count(op_id(1)), 2);
    assert_eq!(remote.state_of(&key("a")).payload(), Some(&n(1)));
}

#[test]
fn what_a_remote_does_not_keep_it_does_not_tell() {
    let remote = MemoryRemoteStore::builder()
        .adjust(|can| (can.stamps, can.server_time) = (false, false))
        .build();
    let PushOutcome::Applied {
        server_time: None, ..
    } = outcome(&remote, create(1, "a"))
    else {
        panic!("no time is told");
    };
    let states = block_on(remote.get(&target(), &[id("a")])).unwrap();
    assert_eq!((states[0].stamp(), states[0].server_time()), (None, None));
    let page = pull(&remote, None, 10).unwrap();
    assert_eq!((page.changes[0].state.stamp(), page.server_time), (None, None));
    assert_eq!(
        remote.state_of(&key("a")).stamp(),
        Some(stamp(1)),
        "the truth is still there for the test"
    );
    assert_eq!(kind(block_on(remote.server_time())), ErrorKind::Unsupported);
}

#[test]
fn absent_capabilities_are_unsupported_and_limits_are_kept() {
    let remote = MemoryRemoteStore::builder()
        .snapshot_profile()
        .adjust(|can| can.max_push_batch = 2)
        .build();
    assert_eq!(
        kind(block_on(remote.list_ids(&target(), None, 1))),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(block_on(
            remote.search(&target(), &sync_core::query::QuerySpec::new())
        )),
        ErrorKind::Unsupported
    );
    assert_eq!(
        block_on(remote.subscribe(&scope("inbox")))
            .err()
            .map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
    assert_eq!(
        kind(push_atomic(&remote, vec![create(1, "a")])),
        ErrorKind::Unsupported
    );
    let three = ["a", "b", "c"].map(|name| create(1, name)).to_vec();
    assert_eq!(kind(push(&remote, three)), ErrorKind::TooLarge);
    assert!(remote.dump(&target()).is_empty());
}

#[test]
fn versions_are_only_ordered_where_commits_are() {
    let (remote, _) = timestamps(0);
    assert_eq!(remote.put(&key("a"), n(1)).order(), None);
    assert!(matches!(
        remote.capabilities().cursor,
        CursorKind::TimestampWithRepair { overlap_ms: 0 }
    ));
    assert_eq!(MemoryRemoteStore::new().put(&key("a"), n(1)).order(), Some(1));
}
