//! What is stored together: the answers to several pushes with the marks of what is sent next, and the end of a pull
//! with its last page and the lease.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use adapter_memory::faults::{Call, Fault};
use sync_core::{
    ChangeSet, EngineOptions, ErrorKind, LocalStore, OpChange, OpState, SyncError,
    resolve::{Conflict, ConflictResolver, Resolution},
};
use uuid::Uuid;

use super::{
    hooks::Moment,
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, scope, titles, todo},
};

/// A device that pushes one operation at a time, with these records to create.
async fn device(lab: &Lab, ids: std::ops::Range<u32>) -> Probe {
    let options = EngineOptions::default().with_push_batch(1);
    let device = lab.device_with(NeverAsked, options).await;
    // The first pull is a snapshot, whose end removes what it did not see.
    device.sync().await;
    for id in ids {
        device.create(&id.to_string(), "tea").await;
    }
    device
}

/// Lets so many pushes pass, and then acts after one more.
fn after_pushes(device: &Probe, passed: usize) {
    for _ in 0..passed {
        device.hooks.pass(Moment::AfterPush);
    }
}

/// How many commits `sync` makes.
async fn commits(device: &Probe) -> usize {
    for _ in 0..1_000 {
        device.hooks.pass(Moment::BeforeSyncCommit);
    }
    device.sync().await;
    let made = 1_000 - device.hooks.left();
    device.hooks.clear();
    made
}

fn lease_name() -> String {
    format!("sync:{}", scope())
}

#[tokio::test]
async fn many_pushes_to_a_fast_remote_take_few_transactions() {
    let lab = Lab::new();
    let a = device(&lab, 0..100).await;
    let made = commits(&a).await;
    assert_eq!((a.pending().await, remote_titles(&lab.remote).len()), (0, 100));
    // The first mark, its answer with all other marks, the answers to those, and the end of the pull.
    assert_eq!(made, 4);
}

#[tokio::test]
async fn answers_are_stored_one_by_one_if_none_may_wait() {
    let lab = Lab::new();
    let options = EngineOptions::default()
        .with_push_batch(1)
        .with_settle_within(std::time::Duration::ZERO);
    let a = lab.device_with(NeverAsked, options).await;
    a.sync().await;
    for id in 0..10 {
        a.create(&id.to_string(), "tea").await;
    }
    // The first mark, each answer with the next mark, and the end of the pull.
    assert_eq!(commits(&a).await, 12);
    assert_eq!(a.pending().await, 0);
}

#[tokio::test]
async fn edits_of_what_was_answered_and_of_what_waits_to_be_sent_are_sent_as_well() {
    for edited in 0..6_u32 {
        for passed in 0..6 {
            let lab = Lab::new();
            let a = device(&lab, 0..6).await;
            after_pushes(&a, passed);
            let todos = a.todos.clone();
            a.hooks.once(Moment::AfterPush, move || async move {
                let edit = todo(&edited.to_string(), "edited");
                todos.enqueue_update(&scope(), &edit).await.unwrap();
            });
            a.sync().await;
            assert_eq!(a.pending().await, 0, "edit of {edited} after push {passed}");
            let mut expected = titles([
                ("0", "tea"),
                ("1", "tea"),
                ("2", "tea"),
                ("3", "tea"),
                ("4", "tea"),
                ("5", "tea"),
            ]);
            expected.insert(edited.to_string(), "edited".to_owned());
            assert_eq!(
                remote_titles(&lab.remote),
                expected,
                "edit of {edited} after push {passed}"
            );
            assert_eq!(a.titles().await, expected);
        }
    }
}

#[tokio::test]
async fn a_failing_push_keeps_the_answers_before_it_and_takes_back_what_was_not_sent() {
    for failing in 0..6_usize {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        for _ in 0..failing {
            a.hooks.pass(Moment::BeforePush);
        }
        let unreachable = SyncError::new(ErrorKind::Unreachable, "no network");
        a.hooks.fail(Moment::BeforePush, unreachable);
        a.failing_sync().await;
        let left = a.ops().await;
        assert_eq!(left.len(), 6 - failing);
        assert_eq!(
            left[0].state,
            OpState::InDoubt,
            "whether it was sent is not known"
        );
        for waiting in &left[1..] {
            assert_eq!((&waiting.state, waiting.attempts), (&OpState::Queued, 0));
        }
        lab.pass_pauses();
        a.sync().await;
        assert_eq!((a.pending().await, remote_titles(&lab.remote).len()), (0, 6));
    }
}

#[tokio::test]
async fn answers_that_could_not_be_stored_are_as_lost_ones() {
    for failing in 0..4 {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        for _ in 0..failing {
            a.hooks.pass(Moment::BeforeSyncCommit);
        }
        // The store is gone from there on, as it is after a crash.
        for _ in 0..100 {
            let full = SyncError::new(ErrorKind::Full, "the disk is full");
            a.hooks.fail(Moment::BeforeSyncCommit, full);
        }
        a.failing_sync().await;
        a.hooks.clear();
        lab.pass_pauses();
        a.sync().await;
        let tea = |id: u32| (id.to_string(), "tea".to_owned());
        assert_eq!(remote_titles(&lab.remote), (0..6).map(tea).collect());
        assert_eq!(
            (a.pending().await, a.titles().await),
            (0, (0..6).map(tea).collect())
        );
        assert!(a.engine().status().open_conflicts == 0);
    }
}

#[tokio::test]
async fn one_who_took_the_scope_over_sends_what_was_in_doubt_and_nothing_takes_effect_twice() {
    for passed in 0..5 {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        after_pushes(&a, passed);
        let (store, now) = (a.store.clone(), lab.now());
        a.hooks.once(Moment::AfterPush, move || async move {
            let late = now.plus(std::time::Duration::from_secs(3_600));
            let (name, second) = (lease_name(), std::time::Duration::from_secs(1));
            let taken = store.acquire_lease(&name, Uuid::from_u128(7), late, second);
            taken.await.unwrap();
        });
        assert_eq!(a.failing_sync().await.kind(), ErrorKind::LeaseLost);
        lab.pass(std::time::Duration::from_secs(7_200));
        a.sync().await;
        assert_eq!((a.pending().await, remote_titles(&lab.remote).len()), (0, 6));
        assert_eq!(a.engine().status().open_conflicts, 0);
    }
}

#[tokio::test]
async fn a_refused_operation_among_fast_ones_is_parked_and_the_others_are_stored() {
    for refused in 0..6 {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        a.fail_pushes_with(&refused.to_string(), ErrorKind::Forbidden);
        let report = a.sync().await;
        assert_eq!((report.pushed, report.parked), (5, 1));
        let left = a.ops().await;
        assert!(left.len() == 1 && left[0].key == key(&refused.to_string()));
        assert!(matches!(left[0].state, OpState::Parked(_)));
        assert_eq!(remote_titles(&lab.remote).len(), 5);
    }
}

#[tokio::test]
async fn a_page_the_end_of_its_pull_and_the_lease_are_one_transaction() {
    let lab = Lab::new();
    let (a, b) = (lab.device().await, lab.device().await);
    a.sync().await;
    b.create("1", "tea").await;
    b.sync().await;
    assert_eq!(commits(&a).await, 1);
    assert_eq!(a.titles().await, titles([("1", "tea")]));
    assert_eq!(commits(&a).await, 1, "nothing new");
    // The lease is free.
    let now = lab.now();
    let other = a
        .store
        .acquire_lease(
            &lease_name(),
            Uuid::from_u128(7),
            now,
            std::time::Duration::from_secs(1),
        )
        .await
        .unwrap();
    assert!(matches!(other, sync_core::LeaseAnswer::Granted(_)));
}

#[tokio::test]
async fn a_pull_whose_last_commit_fails_gives_the_lease_back_and_is_pulled_again() {
    let lab = Lab::new();
    let (a, b) = (lab.device().await, lab.device().await);
    a.sync().await;
    b.create("1", "tea").await;
    b.sync().await;
    let full = SyncError::new(ErrorKind::Full, "the disk is full");
    a.hooks.fail(Moment::BeforeSyncCommit, full);
    a.failing_sync().await;
    assert_eq!(a.titles().await, titles([]));
    let other = lab
        .open(a.store.clone(), NeverAsked, EngineOptions::default())
        .await;
    other.sync().await;
    assert_eq!(other.titles().await, titles([("1", "tea")]));
}

// The edit makes the last commit of the pull stale: nothing of it may have happened, the lease given back included.
#[tokio::test]
async fn an_edit_before_the_last_commit_of_a_pull_is_merged_and_keeps_the_lease_until_then() {
    let lab = Lab::new();
    let (a, b) = (lab.device().await, lab.device().await);
    a.create("1", "tea").await;
    a.sync().await;
    b.sync().await;
    b.rename("1", "theirs").await;
    b.create("2", "new").await;
    b.sync().await;
    let todos = a.todos.clone();
    a.hooks.once(Moment::BeforePageCommit, move || async move {
        todos.enqueue_update(&scope(), &todo("1", "ours")).await.unwrap();
    });
    a.todos.pull_only(&scope()).await.unwrap();
    assert_eq!(a.titles().await["2"], "new");
    a.sync().await;
    b.sync().await;
    assert_eq!(a.titles().await, b.titles().await);
    assert_eq!(a.pending().await, 0);
}

#[tokio::test]
async fn a_lost_answer_among_fast_ones_is_resolved() {
    for lost in 0..6 {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        for _ in 0..lost {
            a.faults().script(Call::Push, Fault::Pass);
        }
        let timeout = SyncError::new(ErrorKind::Timeout, "lost");
        a.faults().script(Call::Push, Fault::FailAfter(timeout));
        a.failing_sync().await;
        lab.pass_pauses();
        a.sync().await;
        assert_eq!((a.pending().await, remote_titles(&lab.remote).len()), (0, 6));
        let stored = a.engine().status();
        assert_eq!(stored.open_conflicts, 0);
        assert_eq!(
            a.todos
                .get(&scope(), &"1".to_owned(), sync_core::CachePolicy::OfflineOnly)
                .await
                .unwrap(),
            Some(todo("1", "tea"))
        );
    }
}

#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl ConflictResolver for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn resolve(&self, _: &Conflict) -> sync_core::Result<Resolution> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Resolution::KeepLocal)
    }
}

// Simulator, seed 7147: another process had settled the operation when the answer to an earlier request came.
#[tokio::test]
async fn nobody_is_asked_about_an_operation_that_was_settled_before_its_answer_came() {
    let lab = Lab::new();
    let resolver = Counting::default();
    let a = lab.device_with(resolver.clone(), EngineOptions::default()).await;
    a.sync().await;
    a.create("1", "tea").await;
    lab.remote.put(&key("1"), payload("1", "milk"));
    let store = a.store.clone();
    a.hooks.once(Moment::AfterPush, move || async move {
        let record = store.load_records(&[key("1")]).await.unwrap().remove(0);
        let settled = ChangeSet {
            ops: vec![OpChange::Remove(record.ops[0].op_id)],
            touches: vec![(record.key, record.revision)],
            ..ChangeSet::at(record.ops[0].enqueued_at)
        };
        store.commit(settled).await.unwrap();
    });
    a.sync().await;
    assert_eq!((a.pending().await, resolver.0.load(Ordering::Relaxed)), (0, 0));
}

// Simulator, seeds 319654 and 320614: it was marked together with the one before it, and sent although it was gone.
#[tokio::test]
async fn what_was_discarded_while_others_were_on_their_way_is_not_sent() {
    for passed in 0..5 {
        let lab = Lab::new();
        let a = device(&lab, 0..6).await;
        after_pushes(&a, passed);
        let (store, engine) = (a.store.clone(), a.engine().clone());
        a.hooks.once(Moment::AfterPush, move || async move {
            let last = store.load_records(&[key("5")]).await.unwrap().remove(0);
            engine.discard_op(last.ops[0].op_id).await.unwrap();
        });
        a.sync().await;
        assert_eq!(a.pending().await, 0, "discarded after push {passed}");
        assert!(
            !remote_titles(&lab.remote).contains_key("5"),
            "discarded after push {passed}"
        );
        assert_eq!(remote_titles(&lab.remote), a.titles().await);
    }
}
