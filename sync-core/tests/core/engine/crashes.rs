//! Futures that are dropped, and processes that are killed, at any of their steps.

use std::time::Duration;

use adapter_memory::MemoryLocalStore;
use futures::{FutureExt, future::BoxFuture};
use sync_core::{
    CachePolicy, ConflictQuery, EngineOptions, LocalStoreExt, Write,
    resolve::{LastWriteWins, Manual, Resolution},
};

use super::{
    lab::{Lab, NeverAsked, Probe, payload},
    steps::Steps,
    world::{key, remote_titles, scope, titles, todo},
};

/// More steps than any of the futures here takes.
const STEPS: usize = 200;

/// Starts what is to be interrupted.
type Start = for<'a> fn(&'a Probe) -> BoxFuture<'a, ()>;

fn device(lab: &Lab, steps: &Steps) -> Probe {
    let options = EngineOptions::default().with_page_size(2).with_commit_rows(1);
    steps.run(lab.device_with(LastWriteWins, options))
}

fn restart(lab: &Lab, steps: &Steps, store: &MemoryLocalStore) -> Probe {
    steps.kill();
    // The lease of the dead one ends by its time.
    lab.pass_pauses();
    steps.run(lab.open(store.reopen(), LastWriteWins, EngineOptions::default()))
}

/// The state after all syncs: both sides are equal, nothing is left, nothing took effect twice.
fn expect_convergence(lab: &Lab, steps: &Steps, a: &Probe, at: usize) {
    for _ in 0..2 {
        lab.pass_pauses();
        steps.run(a.sync());
    }
    assert_eq!(steps.run(a.titles()), remote_titles(&lab.remote), "step {at}");
    assert_eq!(steps.run(a.pending()), 0, "step {at}");
    for op in lab.remote.push_log().iter().flat_map(|batch| &batch.ops) {
        assert!(lab.remote.applied_count(op.op_id) <= 1, "step {at}");
    }
}

// RCS-01: the row was written, its operation was not: visible for ever, and never sent.
#[test]
fn a_write_that_is_dropped_at_any_step_happened_as_a_whole_or_not_at_all() {
    let writes: [Start; 4] = [
        |a| a.create("new", "tea").boxed(),
        |a| a.rename("1", "edited").boxed(),
        |a| a.delete("1").boxed(),
        |a| {
            async {
                let batch = vec![
                    Write::create(&scope(), &todo("new", "tea")).unwrap(),
                    Write::update(&scope(), &todo("1", "edited")).unwrap(),
                ];
                a.engine().write_batch(batch).await.unwrap();
            }
            .boxed()
        },
    ];
    for write in writes {
        let mut outcomes = std::collections::BTreeSet::new();
        for at in 0..STEPS {
            let steps = Steps::default();
            let lab = Lab::stepping(&steps);
            let a = device(&lab, &steps);
            lab.remote.put(&key("1"), payload("1", "theirs"));
            steps.run(a.sync());
            let before = steps.run(a.titles());
            let ended = steps.run_for(at, write(&a)).is_some();
            let restarted = restart(&lab, &steps, &a.store);
            let after = steps.run(restarted.titles());
            let queued: Vec<_> = steps.run(restarted.ops()).into_iter().map(|op| op.key).collect();
            assert_eq!(
                after != before,
                !queued.is_empty(),
                "step {at}: {after:?} with {queued:?}"
            );
            assert!(
                !ended || !queued.is_empty(),
                "step {at}: an acknowledged write is there"
            );
            outcomes.insert((after, queued));
            expect_convergence(&lab, &steps, &restarted, at);
            if ended {
                break;
            }
            assert!(at + 1 < STEPS, "the write ends");
        }
        assert_eq!(
            outcomes.len(),
            2,
            "before and after, nothing between: {outcomes:?}"
        );
    }
}

/// A device with something to push, to pull, to merge and to delete.
fn busy_device(lab: &Lab, steps: &Steps) -> Probe {
    let a = device(lab, steps);
    for id in ["1", "2", "3", "4"] {
        lab.remote.put(&key(id), payload(id, "theirs"));
    }
    steps.run(a.sync());
    lab.remote.put(&key("1"), payload("1", "theirs, newer"));
    lab.remote.put(&key("5"), payload("5", "theirs"));
    lab.remote.delete(&key("4"));
    lab.pass(Duration::from_secs(1));
    steps.run(a.rename("1", "edited"));
    steps.run(a.delete("2"));
    steps.run(a.create("6", "mine"));
    a
}

fn busy_end() -> std::collections::BTreeMap<String, String> {
    titles([("1", "edited"), ("3", "theirs"), ("5", "theirs"), ("6", "mine")])
}

// P1, P2, trap 5: killed at each step of a sync, from the lease to the last commit.
#[test]
fn a_process_killed_at_any_step_of_a_sync_loses_nothing_and_repeats_nothing() {
    for full in [false, true] {
        for at in 0.. {
            let steps = Steps::default();
            let lab = Lab::stepping(&steps);
            let a = busy_device(&lab, &steps);
            let sync = async {
                if full {
                    a.todos.full_resync(&scope()).await.unwrap();
                } else {
                    a.sync().await;
                }
            };
            let ended = steps.run_for(at, sync).is_some();
            let restarted = restart(&lab, &steps, &a.store);
            let view = steps.run(restarted.titles());
            assert_eq!(
                (&*view["1"], &*view["6"]),
                ("edited", "mine"),
                "step {at}: own writes stay visible"
            );
            assert!(!view.contains_key("2") && view.contains_key("3"), "step {at}");
            expect_convergence(&lab, &steps, &restarted, at);
            assert_eq!(remote_titles(&lab.remote), busy_end(), "step {at}");
            if ended {
                assert!(at > 40, "a sync has many steps, this one {at}");
                break;
            }
        }
    }
}

// P1: dropping the call does not stop the sync, nor does it leave a lock.
#[test]
fn dropped_calls_leave_no_lock_and_no_half() {
    let calls: [Start; 4] = [
        |a| a.sync().map(drop).boxed(),
        |a| {
            async {
                a.todos.read(&scope(), CachePolicy::RemoteFirst).await.unwrap();
            }
            .boxed()
        },
        |a| {
            async {
                a.engine().clear(&scope(), true).await.unwrap();
            }
            .boxed()
        },
        |a| {
            async {
                a.todos.full_resync(&scope()).await.unwrap();
            }
            .boxed()
        },
    ];
    for (which, call) in calls.into_iter().enumerate() {
        for at in 0..40 {
            let steps = Steps::default();
            let lab = Lab::stepping(&steps);
            let a = busy_device(&lab, &steps);
            let _ = steps.run_for(at, call(&a));
            // Far less time passes than a lease that were left behind would last.
            let before = lab.now();
            lab.run_as_time_passes(&steps, a.sync());
            assert!(
                lab.now().since(before) < Duration::from_secs(5),
                "call {which}, step {at}"
            );
            expect_convergence(&lab, &steps, &a, at);
            if which != 2 {
                assert_eq!(remote_titles(&lab.remote), busy_end(), "call {which}, step {at}");
            }
        }
    }
}

// P1, P3: a decision of the user takes effect as a whole or not at all.
#[test]
fn a_decision_about_a_conflict_that_is_dropped_at_any_step_is_whole() {
    for at in 0..40 {
        let steps = Steps::default();
        let lab = Lab::stepping(&steps);
        let a = steps.run(lab.device_with(Manual, EngineOptions::default()));
        lab.remote.put(&key("1"), payload("1", "theirs"));
        steps.run(a.sync());
        lab.remote.put(&key("1"), payload("1", "theirs, newer"));
        steps.run(a.rename("1", "mine"));
        steps.run(a.sync());
        let open = ConflictQuery {
            open: Some(true),
            ..ConflictQuery::default()
        };
        let conflict = steps.run(a.engine().conflicts(&open)).unwrap().remove(0);
        let decision = a
            .engine()
            .resolve_conflict(conflict.conflict_id, Resolution::KeepLocal);
        let _ = steps.run_for(at, decision);
        let still_open = steps.run(a.engine().conflicts(&open)).unwrap().len();
        let state = steps.run(a.store.load_record(&key("1"))).unwrap();
        let deferred = state.ops[0].state == sync_core::OpState::Deferred;
        assert_eq!(
            still_open == 1,
            deferred,
            "step {at}: record and conflict tell the same"
        );
        if deferred {
            steps
                .run(
                    a.engine()
                        .resolve_conflict(conflict.conflict_id, Resolution::KeepLocal),
                )
                .unwrap();
        }
        expect_convergence(&lab, &steps, &a, at);
        assert_eq!(remote_titles(&lab.remote), titles([("1", "mine")]));
    }
}

// P3: nothing is taken for confirmed on the way down.
#[test]
fn a_clear_that_is_killed_at_any_step_loses_no_unsent_write_without_telling() {
    for at in 0..80 {
        let steps = Steps::default();
        let lab = Lab::stepping(&steps);
        let a = steps.run(lab.device_with(NeverAsked, EngineOptions::default()));
        for id in ["1", "2", "3"] {
            lab.remote.put(&key(id), payload(id, "theirs"));
        }
        steps.run(a.sync());
        let cleared = steps.run_for(at, a.engine().clear(&scope(), false));
        assert!(cleared.is_none_or(|cleared| cleared.is_ok()));
        let restarted = restart(&lab, &steps, &a.store);
        expect_convergence(&lab, &steps, &restarted, at);
        assert_eq!(
            steps.run(restarted.titles()).len(),
            3,
            "step {at}: everything comes back"
        );
    }
}

#[tokio::test]
async fn after_a_restart_writes_are_later_than_everything_that_was_seen_before() {
    let lab = Lab::new();
    let ahead = lab.device().await;
    ahead.create("1", "tea").await;
    let seen = ahead.ops().await.remove(0).stamp;
    ahead.sync().await;
    // This device's clock is behind the other's.
    lab.time.clock.jump(-60_000_000);
    let behind = lab.device().await;
    behind.sync().await;
    let store = behind.store.reopen();
    drop(behind);
    let restarted = lab.open(store, LastWriteWins, EngineOptions::default()).await;
    restarted.create("2", "milk").await;
    assert!(restarted.ops().await.remove(0).stamp > seen);
}

#[tokio::test]
async fn after_a_restart_writes_are_later_than_the_device_s_own_before() {
    let lab = Lab::new();
    let device = lab.device().await;
    device.create("1", "tea").await;
    let before = device.ops().await.remove(0).stamp;
    device.engine().clear(&scope(), true).await.unwrap();
    lab.time.clock.jump(-60_000_000);
    let store = device.store.reopen();
    drop(device);
    let restarted = lab.open(store, LastWriteWins, EngineOptions::default()).await;
    restarted.create("2", "milk").await;
    assert!(restarted.ops().await.remove(0).stamp > before);
}
