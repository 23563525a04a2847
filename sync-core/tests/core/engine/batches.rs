//! Write batches: all or nothing at the remote, and never half of one on a reading device.

use std::sync::Arc;

use adapter_memory::{
    MemoryLocalStore, Rejection,
    faults::{Call, Fault},
};
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, ErrorKind, OpStateKind, SimpleSyncOrchestrator, SyncEngine, SyncError, SyncRecord, Write,
};

use super::{
    hooks::{HookedRemote, HookedStore, Hooks, Moment},
    lab::{Lab, Probe},
    world::{Todo, key, remote_titles, scope, titles, todo},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "accounts")]
struct Account {
    #[sync(id)]
    id: String,
    balance: i64,
}

fn create(id: &str, title: &str) -> Write {
    Write::create(&scope(), &todo(id, title)).unwrap()
}

async fn states(device: &Probe) -> Vec<(String, OpStateKind)> {
    let ops = device.ops().await;
    ops.iter()
        .map(|op| (op.key.id.to_string(), op.state.kind()))
        .collect()
}

// P1, P9: the parts of one decision of the user arrived one by one.
#[tokio::test]
async fn an_atomic_batch_with_a_refused_member_takes_no_effect() {
    let lab = Lab::new();
    lab.remote
        .set_validator(|op| (op.key.id.as_str() == "bad").then(|| Rejection::new("no", "no")));
    let a = lab.device().await;
    a.create("before", "alone").await;
    a.engine()
        .write_batch(vec![
            create("1", "tea"),
            create("bad", "poison"),
            create("next", "milk"),
        ])
        .await
        .unwrap();
    a.create("after", "alone").await;
    let report = a.sync().await;
    assert_eq!((report.pushed, report.parked), (2, 1));
    assert_eq!(
        remote_titles(&lab.remote),
        titles([("before", "alone"), ("after", "alone")])
    );
    let expected = [
        ("1", OpStateKind::Blocked),
        ("bad", OpStateKind::Parked),
        ("next", OpStateKind::Blocked),
    ];
    assert_eq!(
        states(&a).await,
        expected.map(|(id, state)| (id.to_owned(), state))
    );
    lab.pass_pauses();
    assert_eq!(a.sync().await.pushed, 0, "they wait for the user");
    let refused = a.ops().await.into_iter().find(|op| op.key == key("bad")).unwrap();
    assert_eq!(a.engine().discard_op(refused.op_id).await.unwrap().len(), 1);
    lab.pass_pauses();
    assert_eq!(a.sync().await.pushed, 2);
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
    assert_eq!(a.pending().await, 0);
}

// P7: a lost answer of a whole batch.
#[tokio::test]
async fn an_atomic_batch_whose_answer_is_lost_takes_effect_once() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.engine()
        .write_batch(vec![create("1", "tea"), create("2", "milk")])
        .await
        .unwrap();
    a.faults().script(
        Call::Push,
        Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "lost")),
    );
    a.failing_sync().await;
    a.rename("1", "green tea").await;
    lab.pass_pauses();
    a.sync().await;
    assert_eq!(
        remote_titles(&lab.remote),
        titles([("1", "green tea"), ("2", "milk")])
    );
    for op in lab.remote.push_log().iter().flat_map(|batch| &batch.ops) {
        assert_eq!(lab.remote.applied_count(op.op_id), 1);
    }
    assert_eq!(a.pending().await, 0);
}

// A batch is sent whole, also when it does not fit beside others.
#[tokio::test]
async fn batches_are_not_cut_and_not_mixed() {
    let lab = Lab::new();
    let options = sync_core::EngineOptions::default().with_push_batch(4);
    let a = lab.device_with(sync_core::resolve::LastWriteWins, options).await;
    for n in 0..3 {
        a.create(&format!("single{n}"), "alone").await;
    }
    for n in 0..3 {
        let member = |part: usize| create(&format!("group{n}-{part}"), "together");
        a.engine()
            .write_batch((0..3).map(member).collect())
            .await
            .unwrap();
    }
    assert_eq!(a.sync().await.pushed, 12);
    for batch in lab.remote.push_log() {
        let groups: std::collections::BTreeSet<_> = batch
            .ops
            .iter()
            .map(|op| op.key.id.as_str()[..6].to_owned())
            .collect();
        assert_eq!(groups.len(), 1, "{batch:?}");
        let together = batch.ops[0].key.id.as_str().starts_with("group");
        assert_eq!((batch.atomic, batch.ops.len()), (together, 3));
    }
}

// P9: the members of a batch larger than a push took effect in pieces, each as a whole of its own.
#[tokio::test]
async fn a_batch_larger_than_a_push_takes_effect_as_a_whole() {
    let lab = Lab::new();
    let options = sync_core::EngineOptions::default().with_push_batch(4);
    let a = lab.device_with(sync_core::resolve::LastWriteWins, options).await;
    let member = |part: usize| create(&format!("{:02}", 19 - part), "together");
    a.engine()
        .write_batch((0..20).map(member).collect())
        .await
        .unwrap();
    a.create("after", "alone").await;
    assert_eq!(a.sync().await.pushed, 21);
    let log = lab.remote.push_log();
    assert_eq!((log[0].atomic, log[0].ops.len()), (true, 20));
    let sent: Vec<_> = log[0].ops.iter().map(|op| op.key.id.to_string()).collect();
    let written: Vec<_> = (0..20).map(|part| format!("{:02}", 19 - part)).collect();
    assert_eq!(sent, written, "in the order of the writes");
}

// P9: a server that failed over a whole batch made it be taken apart.
#[tokio::test]
async fn a_batch_over_which_the_server_fails_stays_whole() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.engine()
        .write_batch(vec![create("1", "tea"), create("2", "milk")])
        .await
        .unwrap();
    let failure = SyncError::new(ErrorKind::Server, "deadlock");
    a.faults().script(Call::Push, Fault::FailBefore(failure));
    let report = a.sync().await;
    assert_eq!((report.pushed, report.retried), (0, 2));
    lab.pass_pauses();
    assert_eq!(a.sync().await.pushed, 2);
    assert!(
        lab.remote
            .push_log()
            .iter()
            .all(|batch| batch.atomic && batch.ops.len() == 2)
    );
}

// Where the remote cannot, the members go in their order.
#[tokio::test]
async fn without_atomic_batches_the_members_go_in_order_and_one_by_one() {
    let lab = Lab::over(|builder| builder.adjust(|can| can.atomic_batch = false));
    lab.remote
        .set_validator(|op| (op.key.id.as_str() == "bad").then(|| Rejection::new("no", "no")));
    let a = lab.device().await;
    a.engine()
        .write_batch(vec![
            create("1", "first"),
            create("bad", "poison"),
            create("next", "last"),
        ])
        .await
        .unwrap();
    let report = a.sync().await;
    assert_eq!((report.pushed, report.parked), (2, 1));
    let log = lab.remote.push_log();
    let sent: Vec<_> = log[0].ops.iter().map(|op| op.key.id.as_str()).collect();
    assert_eq!(sent, ["1", "bad", "next"]);
    assert!(!log[0].atomic);
}

/// A device with two collections.
struct Bank {
    engine: SyncEngine,
    accounts: SimpleSyncOrchestrator<Account>,
    todos: SimpleSyncOrchestrator<Todo>,
    hooks: Hooks,
}

async fn bank(lab: &Lab) -> Bank {
    let hooks = Hooks::default();
    let store = HookedStore {
        store: MemoryLocalStore::new(),
        hooks: hooks.clone(),
    };
    let remote = HookedRemote {
        remote: lab.remote.another_client(),
        hooks: hooks.clone(),
    };
    let engine = SyncEngine::builder(Arc::new(store), Arc::new(remote))
        .register::<Account>()
        .register::<Todo>()
        .effects(lab.time.effects())
        .build()
        .await
        .unwrap();
    Bank {
        accounts: engine.of().unwrap(),
        todos: engine.of().unwrap(),
        engine,
        hooks,
    }
}

// Trap 38: cursors of their own for each collection tore apart what belongs together.
#[tokio::test]
async fn a_reader_never_sees_half_of_a_batch_over_two_collections() {
    for pulls_before in 0..4 {
        let lab = Lab::new();
        let (writer, reader) = (bank(&lab).await, bank(&lab).await);
        let balance = |balance| Account {
            id: "a".into(),
            balance,
        };
        let transfer = vec![
            Write::create(&scope(), &balance(7)).unwrap(),
            Write::create(&scope(), &todo("receipt", "seven")).unwrap(),
        ];
        writer.engine.write_batch(transfer).await.unwrap();
        // It takes effect between two pulls of the reader.
        for _ in 0..pulls_before {
            reader.hooks.pass(Moment::BeforePull);
        }
        let writing = writer.engine.clone();
        reader.hooks.once(Moment::BeforePull, || async move {
            writing.synchronize(&scope()).await.unwrap();
        });
        for _ in 0..3 {
            reader.engine.synchronize(&scope()).await.unwrap();
            let count = (
                reader
                    .accounts
                    .count(&scope(), None, CachePolicy::OfflineOnly)
                    .await
                    .unwrap(),
                reader
                    .todos
                    .count(&scope(), None, CachePolicy::OfflineOnly)
                    .await
                    .unwrap(),
            );
            assert!(count == (0, 0) || count == (1, 1), "{pulls_before}: {count:?}");
        }
        assert_eq!(reader.hooks.left(), 0);
    }
}

// P9: members that were to be tried again became due one by one, and half of the batch took effect.
#[tokio::test]
async fn a_batch_that_is_tried_again_goes_as_a_whole() {
    for seed in 0..10 {
        let lab = Lab::new();
        let a = lab.device().await;
        for _ in 0..seed {
            lab.time.effects().random.next_u64();
        }
        a.engine()
            .write_batch((0..4).map(|n| create(&n.to_string(), "together")).collect())
            .await
            .unwrap();
        a.faults().script(Call::Push, Fault::RetryOps([1].into()));
        a.sync().await;
        for _ in 0..40 {
            lab.pass(std::time::Duration::from_millis(50));
            a.sync().await;
            assert!([0, 4].contains(&remote_titles(&lab.remote).len()));
        }
        assert_eq!(a.pending().await, 0);
        assert!(
            lab.remote
                .push_log()
                .iter()
                .all(|batch| batch.atomic && batch.ops.len() == 4)
        );
    }
}
