//! Several stores over one file, as several processes have them.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{
    ChangeSet, CommitOutcome, ErrorKind, Fence, LeaseAnswer, LocalStore, OpChange, OpId, OpQuery, Stamp,
    StoreChange, Timestamp,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::DRIVER;
use crate::fixtures::{confirm, contents, enqueue, key};

async fn open(folder: &TempDir) -> SeaOrmLocalStore {
    let options = OpenOptions::file(folder.path().join("store.db")).sqlite_driver(DRIVER);
    SeaOrmLocalStore::open(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_a_new_file_at_once() {
    for _ in 0..10 {
        let folder = TempDir::new().unwrap();
        let stores = futures::future::join_all((0..6).map(|_| open(&folder))).await;
        for (number, store) in (0_u128..).zip(&stores) {
            let outcome = store
                .commit(enqueue(&format!("r{number}"), number, "{}"))
                .await
                .unwrap();
            assert_eq!(outcome, CommitOutcome::Committed);
        }
        assert_eq!(contents(&stores[0]).await.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_are_noticed_and_own_ones_are_not_taken_for_theirs() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    mine.commit(enqueue("a", 1, "{}")).await.unwrap();
    assert!(!mine.poll_foreign_changes().await.unwrap());
    let mut changes = mine.changes();

    theirs.commit(enqueue("b", 2, "{}")).await.unwrap();
    assert!(mine.poll_foreign_changes().await.unwrap());
    assert_eq!(changes.next().now_or_never(), Some(Some(StoreChange::Anything)));
    assert!(!mine.poll_foreign_changes().await.unwrap(), "told once");

    theirs.commit(enqueue("c", 3, "{}")).await.unwrap();
    mine.commit(enqueue("d", 4, "{}")).await.unwrap();
    assert_eq!(
        changes.next().now_or_never(),
        Some(Some(StoreChange::Anything)),
        "a commit looks as well"
    );
    mine.commit(enqueue("e", 5, "{}")).await.unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| changes.next().now_or_never().flatten()).collect();
    assert!(!rest.contains(&StoreChange::Anything), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_sees_the_commits_of_others() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    theirs.commit(enqueue("a", 1, "{}")).await.unwrap();
    let outcome = mine.commit(enqueue("a", 2, "{}")).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Stale(vec![key("a")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_over_by_another_process_fences_off_the_first() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (open(&folder).await, open(&folder).await);
    let time = Duration::from_secs(10);
    let answer = mine
        .acquire_lease("sync", Uuid::from_u128(1), Timestamp::EPOCH, time)
        .await
        .unwrap();
    let LeaseAnswer::Granted(first) = answer else {
        panic!("{answer:?}")
    };
    let held = theirs
        .acquire_lease("sync", Uuid::from_u128(2), Timestamp::from_millis(5_000), time)
        .await
        .unwrap();
    assert_eq!(
        held,
        LeaseAnswer::Held {
            until: Timestamp::from_millis(10_000)
        }
    );
    let later = Timestamp::from_millis(10_001);
    let taken = theirs
        .acquire_lease("sync", Uuid::from_u128(2), later, time)
        .await
        .unwrap();
    let LeaseAnswer::Granted(second) = taken else {
        panic!("{taken:?}")
    };
    assert!(second.token > first.token);

    let under = |fence: Fence| {
        let mut changes = confirm([("a", "{}")]);
        changes.fence = Some(fence);
        changes
    };
    assert_eq!(
        mine.commit(under(first)).await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(
        theirs.commit(under(second)).await.unwrap(),
        CommitOutcome::Committed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_removed_and_came_back_has_another_revision() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    store.commit(confirm([("a", r#"{"n":1}"#)])).await.unwrap();
    let read = store.load_records(&[key("a")]).await.unwrap().remove(0);
    let mut removal = sync_core::ChangeSet::at(Timestamp::EPOCH);
    removal.removals.push(key("a"));
    store.commit(removal).await.unwrap();
    store.commit(confirm([("a", r#"{"n":2}"#)])).await.unwrap();
    let mut late = sync_core::ChangeSet::at(Timestamp::EPOCH);
    late.guards.push((key("a"), read.revision));
    assert_eq!(
        store.commit(late).await.unwrap(),
        CommitOutcome::Stale(vec![key("a")])
    );
}

/// A write with this stamp, which is the clock's as well.
fn stamped(id: &str, number: u128, stamp: Stamp) -> ChangeSet {
    let mut changes = enqueue(id, number, "{}");
    if let OpChange::Append(op) = &mut changes.ops[0] {
        op.stamp = stamp;
    }
    changes.clock = Some(stamp);
    changes
}

fn removal_of(number: u128) -> ChangeSet {
    ChangeSet {
        ops: vec![OpChange::Remove(OpId::from_uuid(Uuid::from_u128(number)))],
        ..ChangeSet::at(Timestamp::EPOCH)
    }
}

async fn last_place(store: &SeaOrmLocalStore) -> u64 {
    let ops = store.load_ops(&OpQuery::default()).await.unwrap();
    ops.last().unwrap().seq
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_queue_is_given_once_whoever_gives_it_and_whatever_leaves() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (open(&folder).await, open(&folder).await);
    let mut last = 0;
    for round in 0..4_u128 {
        for (store, more) in [(&one, 0), (&other, 1)] {
            let number = 2 * round + more + 1;
            store
                .commit(enqueue(&format!("r{number}"), number, "{}"))
                .await
                .unwrap();
            let place = last_place(store).await;
            assert!(place > last, "{place} was given before, or {last} after it");
            last = place;
            if round % 2 == 1 {
                // By the one that did not append it.
                let remover = if more == 0 { &other } else { &one };
                remover.commit(removal_of(number)).await.unwrap();
            }
        }
    }
    for number in [1, 2, 5, 6] {
        one.commit(removal_of(number)).await.unwrap();
    }
    assert_eq!(one.count_ops(None).await.unwrap().total(), 0);
    one.close().await.unwrap();
    other.close().await.unwrap();
    let store = open(&folder).await;
    store.commit(enqueue("again", 100, "{}")).await.unwrap();
    assert!(last_place(&store).await > last, "not after a restart either");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_never_goes_back_whoever_writes_and_whatever_leaves() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (open(&folder).await, open(&folder).await);
    let at = |millis| Stamp::new(millis, 0, 1);
    one.commit(stamped("a", 1, at(10))).await.unwrap();
    assert_eq!(other.load_clock().await.unwrap(), Some(at(10)));
    // The last operation is earlier than the one before.
    other.commit(stamped("b", 2, at(5))).await.unwrap();
    assert_eq!(one.load_clock().await.unwrap(), Some(at(10)));
    one.commit(stamped("c", 3, at(20))).await.unwrap();
    other.commit(removal_of(3)).await.unwrap();
    assert_eq!(
        one.load_clock().await.unwrap(),
        Some(at(20)),
        "its operation has left"
    );
    one.commit(stamped("d", 4, at(15))).await.unwrap();
    for number in [1, 2, 4] {
        other.commit(removal_of(number)).await.unwrap();
    }
    assert_eq!(one.load_clock().await.unwrap(), Some(at(20)));
    // An operation that is replaced takes its stamp along.
    one.commit(stamped("e", 5, at(30))).await.unwrap();
    let mut op = one.load_ops(&OpQuery::default()).await.unwrap().remove(0);
    op.stamp = at(1);
    let replacement = ChangeSet {
        ops: vec![OpChange::Replace(op)],
        ..ChangeSet::at(Timestamp::EPOCH)
    };
    other.commit(replacement).await.unwrap();
    assert_eq!(one.load_clock().await.unwrap(), Some(at(30)));
    // A stamp without an operation, as of a pull.
    let only_clock = ChangeSet {
        clock: Some(at(40)),
        ..ChangeSet::at(Timestamp::EPOCH)
    };
    one.commit(only_clock).await.unwrap();
    one.close().await.unwrap();
    assert_eq!(other.load_clock().await.unwrap(), Some(at(40)));
}
