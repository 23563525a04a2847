//! Each operation takes effect once, whatever becomes of its request and its answer.

use adapter_memory::{
    MemoryRemoteBuilder,
    faults::{Call, Fault},
};
use sync_core::{
    CachePolicy, EngineOptions, ErrorKind, OpState, Payload, SyncError,
    resolve::{LastWriteWins, Manual},
};

use super::{
    lab::{Lab, NeverAsked, payload},
    world::{key, remote_titles, scope, titles, todo},
};

fn lost() -> Fault {
    Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "the answer is lost"))
}

type Profile = fn(MemoryRemoteBuilder) -> MemoryRemoteBuilder;

/// Remotes by what they lack for recognising a repeated request.
const PROFILES: [(&str, Profile); 6] = [
    ("all", |builder| builder),
    ("no idempotency", |builder| {
        builder.adjust(|can| can.idempotent_push = false)
    }),
    ("no stamps", |builder| builder.adjust(|can| can.stamps = false)),
    ("neither", |builder| {
        builder.adjust(|can| (can.idempotent_push, can.stamps) = (false, false))
    }),
    ("unconditional", |builder| {
        builder.adjust(|can| (can.idempotent_push, can.conditional_write) = (false, false))
    }),
    ("unconditional, no stamps", |builder| {
        builder.adjust(|can| {
            (can.idempotent_push, can.conditional_write, can.stamps) = (false, false, false);
        })
    }),
];

async fn expect_one_effect_each(lab: &Lab, name: &str) {
    for op in lab.remote.push_log().iter().flat_map(|batch| &batch.ops) {
        assert_eq!(lab.remote.applied_count(op.op_id), 1, "{name}: {op:?}");
    }
}

// Trap 8: firebase-android-sdk#8440: a lost answer doubled the effect.
#[tokio::test]
async fn after_a_lost_answer_and_a_restart_nothing_takes_effect_again() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.create("2", "milk").await;
        a.create("3", "bread").await;
        a.sync().await;
        a.create("4", "salt").await;
        a.rename("1", "green tea").await;
        a.delete("2").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        assert!(
            a.ops().await.iter().all(|op| op.state == OpState::InDoubt),
            "{name}"
        );
        let store = a.store.reopen();
        drop(a);
        lab.pass_pauses();
        let restarted = lab.open(store, NeverAsked, EngineOptions::default()).await;
        let report = restarted.sync().await;
        assert_eq!(
            (report.pushed, report.duplicates, report.conflicts()),
            (3, 3, 0),
            "{name}"
        );
        expect_one_effect_each(&lab, name).await;
        assert_eq!(
            remote_titles(&lab.remote),
            titles([("1", "green tea"), ("3", "bread"), ("4", "salt")]),
            "{name}"
        );
        assert_eq!(restarted.titles().await, remote_titles(&lab.remote), "{name}");
        assert_eq!(restarted.pending().await, 0, "{name}");
    }
}

// Trap 8: between the lost answer and the retry, the user writes on.
#[tokio::test]
async fn edits_after_a_lost_answer_go_on_from_its_effect() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.create("2", "milk").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        a.rename("1", "green tea").await;
        a.delete("2").await;
        lab.pass_pauses();
        a.sync().await;
        expect_one_effect_each(&lab, name).await;
        assert_eq!(remote_titles(&lab.remote), titles([("1", "green tea")]), "{name}");
        assert_eq!(a.titles().await, remote_titles(&lab.remote), "{name}");
        assert_eq!(a.pending().await, 0, "{name}");
    }
}

// Trap 8: a proxy sent the request twice.
#[tokio::test]
async fn a_doubled_request_has_one_effect_where_the_remote_can_tell() {
    for (name, profile) in PROFILES.into_iter().take(4) {
        let lab = Lab::over(profile);
        let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.faults().script(Call::Push, Fault::Duplicate);
        a.sync().await;
        a.rename("1", "green tea").await;
        a.faults().script(Call::Push, Fault::Duplicate);
        a.sync().await;
        assert_eq!(remote_titles(&lab.remote), titles([("1", "green tea")]), "{name}");
        expect_one_effect_each(&lab, name).await;
        a.delete("1").await;
        a.faults().script(Call::Push, Fault::Duplicate);
        a.sync().await;
        a.sync().await;
        assert_eq!(remote_titles(&lab.remote), titles([]), "{name}");
        assert_eq!(a.pending().await, 0, "{name}");
    }
}

// RCS-34: a create that arrived again overwrote the newer row.
#[tokio::test]
async fn an_old_request_that_arrives_again_does_not_undo_newer_writes() {
    for (name, profile) in PROFILES.into_iter().take(4) {
        let lab = Lab::over(profile);
        let (a, b) = (
            lab.device_with(NeverAsked, EngineOptions::default()).await,
            lab.device_with(NeverAsked, EngineOptions::default()).await,
        );
        a.create("1", "tea").await;
        a.sync().await;
        a.rename("1", "green tea").await;
        a.sync().await;
        b.sync().await;
        b.rename("1", "black tea").await;
        b.sync().await;
        for index in 0..2 {
            lab.remote.redeliver(index).unwrap().unwrap();
        }
        for device in [&a, &b] {
            device.sync().await;
            assert_eq!(device.titles().await, titles([("1", "black tea")]), "{name}");
        }
        b.delete("1").await;
        b.sync().await;
        for index in 0..3 {
            lab.remote.redeliver(index).unwrap().unwrap();
        }
        a.sync().await;
        assert_eq!(
            a.titles().await,
            titles([]),
            "{name}: a late request revives nothing"
        );
    }
}

// RCS-34: someone else changed the record between the lost answer and the retry.
#[tokio::test]
async fn a_foreign_write_between_the_lost_answer_and_the_retry_is_not_overwritten() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device().await;
        a.create("1", "tea").await;
        a.sync().await;
        a.rename("1", "green tea").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        lab.pass_pauses();
        lab.remote.put(&key("1"), payload("1", "their tea"));
        a.sync().await;
        lab.pass_pauses();
        a.sync().await;
        assert_eq!(
            remote_titles(&lab.remote),
            titles([("1", "their tea")]),
            "{name}: theirs is later"
        );
        assert_eq!(a.titles().await, remote_titles(&lab.remote), "{name}");
        assert_eq!(a.pending().await, 0, "{name}");
    }
}

// RCS-34: the same with a delete, which the retried create or update must not undo.
#[tokio::test]
async fn a_foreign_delete_between_the_lost_answer_and_the_retry_stands() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device().await;
        a.create("1", "tea").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        lab.pass_pauses();
        lab.remote.delete(&key("1"));
        a.sync().await;
        lab.pass_pauses();
        a.sync().await;
        assert_eq!(
            remote_titles(&lab.remote),
            titles([]),
            "{name}: the delete is later"
        );
        assert_eq!(a.titles().await, titles([]), "{name}");
        assert_eq!(a.pending().await, 0, "{name}");
    }
}

#[tokio::test]
async fn a_refused_second_attempt_does_not_undo_the_doubt_about_the_first() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults().script(Call::Push, lost());
    a.failing_sync().await;
    lab.pass_pauses();
    let busy = SyncError::new(ErrorKind::RateLimited, "too many requests");
    a.faults().script(Call::Push, Fault::FailBefore(busy));
    a.failing_sync().await;
    let states: Vec<OpState> = a.ops().await.into_iter().map(|op| op.state).collect();
    assert_eq!(states, [OpState::InDoubt], "the first attempt took effect");
    // A create that was surely never sent would end with its record here.
    a.delete("1").await;
    lab.pass_pauses();
    a.sync().await;
    assert_eq!((remote_titles(&lab.remote), a.pending().await), (titles([]), 0));
}

fn done(id: &str, title: &str) -> Payload {
    let mut todo = todo(id, title);
    todo.done = true;
    Payload::encode(&todo).unwrap()
}

// The answer is lost, and somebody else writes on before the record is read back: the own write is no conflict.
#[tokio::test]
async fn an_update_whose_answer_was_lost_is_recognised_below_what_others_wrote_on_it() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.sync().await;
        a.rename("1", "green tea").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        lab.remote.put(&key("1"), done("1", "green tea"));
        lab.pass_pauses();
        a.todos.push_only(&scope()).await.unwrap();
        assert_eq!(a.pending().await, 0, "{name}");
        a.sync().await;
        let read = a.todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
        assert_eq!(
            (read.items[0].title.as_str(), read.items[0].done),
            ("green tea", true),
            "{name}"
        );
    }
}

// As above, and the user has written on as well: that one did not know of what the others wrote.
#[tokio::test]
async fn what_is_written_behind_such_an_update_meets_what_others_wrote_on_it() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device_with(Manual, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.sync().await;
        a.rename("1", "green tea").await;
        a.faults().script(Call::Push, lost());
        a.failing_sync().await;
        a.rename("1", "black tea").await;
        lab.remote.put(&key("1"), done("1", "green tea"));
        lab.pass_pauses();
        a.todos.push_only(&scope()).await.unwrap();
        let ops = a.ops().await;
        assert!(
            ops.len() == 1 && ops[0].state == OpState::Deferred,
            "{name}: {ops:?}"
        );
        assert_eq!(remote_titles(&lab.remote), titles([("1", "green tea")]), "{name}");
    }
}

// Values that differ show that somebody else wrote at the same time.
#[tokio::test]
async fn an_update_whose_answer_was_lost_is_a_conflict_if_others_wrote_something_else() {
    for (name, profile) in PROFILES {
        let lab = Lab::over(profile);
        let a = lab.device_with(Manual, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.sync().await;
        a.rename("1", "green tea").await;
        a.faults().script(
            Call::Push,
            Fault::FailBefore(SyncError::new(ErrorKind::Timeout, "the request is lost")),
        );
        a.failing_sync().await;
        lab.remote.put(&key("1"), done("1", "black tea"));
        lab.pass_pauses();
        a.todos.push_only(&scope()).await.unwrap();
        let ops = a.ops().await;
        assert!(
            ops.len() == 1 && ops[0].state == OpState::Deferred,
            "{name}: {ops:?}"
        );
    }
}
