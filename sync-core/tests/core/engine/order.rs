//! The queue: order, coalescing, and failures that concern one operation, a batch, or everything.

use std::{collections::BTreeSet, time::Duration};

use adapter_memory::{
    Rejection,
    faults::{Call, Fault},
};
use sync_core::{
    Activity, EngineOptions, ErrorKind, OpKind, OpState, OpStateKind, RecordId, RetryClass, SyncError,
    resolve::LastWriteWins,
};

use super::{
    lab::{Lab, NeverAsked},
    world::{key, remote_titles, scope, titles},
};

fn error(kind: ErrorKind) -> SyncError {
    SyncError::new(kind, "on purpose")
}

// RCS-16: two updates of one row in one statement are refused by PostgreSQL, for ever.
#[tokio::test]
async fn a_record_is_in_a_batch_at_most_once() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults()
        .script(Call::Push, Fault::FailAfter(error(ErrorKind::Timeout)));
    a.failing_sync().await;
    a.rename("1", "green tea").await;
    a.create("2", "milk").await;
    lab.pass_pauses();
    a.sync().await;
    for batch in lab.remote.push_log() {
        let records: BTreeSet<_> = batch.ops.iter().map(|op| &op.key).collect();
        assert_eq!(records.len(), batch.ops.len());
    }
    assert_eq!(
        remote_titles(&lab.remote),
        titles([("1", "green tea"), ("2", "milk")])
    );
}

// RCS-17: a delete and a new create, pushed in the order create, delete.
#[tokio::test]
async fn a_record_deleted_and_made_again_offline_ends_as_the_new_one() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.sync().await;
    a.delete("1").await;
    a.create("1", "coffee").await;
    let ops = a.ops().await;
    assert_eq!((ops.len(), ops[0].kind), (1, OpKind::Update), "a replacement");
    a.sync().await;
    assert_eq!(remote_titles(&lab.remote), titles([("1", "coffee")]));
    assert_eq!(a.titles().await, titles([("1", "coffee")]));
}

// Trap 19: sqlite-data#418.
#[tokio::test]
async fn a_record_made_and_deleted_offline_is_never_sent() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    a.rename("1", "green tea").await;
    a.delete("1").await;
    assert_eq!(a.pending().await, 0);
    a.sync().await;
    assert!(lab.remote.push_log().is_empty());
}

// RCS-18, trap 11: one refused row kept all others from being sent, and nothing was pulled any more.
#[tokio::test]
async fn a_refused_operation_keeps_nothing_else_from_moving() {
    let lab = Lab::new();
    let (a, b) = (lab.device().await, lab.device().await);
    lab.remote
        .set_validator(|op| (op.key.id.as_str() == "bad").then(|| Rejection::new("taken", "no")));
    b.create("other", "from b").await;
    b.sync().await;
    a.create("bad", "poison").await;
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    let report = a.sync().await;
    assert_eq!((report.pushed, report.parked, report.pulled), (2, 1, 1));
    let ops = a.ops().await;
    assert!(matches!(&ops[..], [op] if op.key == key("bad") && op.state.kind() == OpStateKind::Parked));
    assert!(ops[0].last_failure.is_some(), "the answer is kept");
    assert_eq!(a.titles().await.len(), 4, "what the user wrote stays visible");
    assert_eq!(a.sync().await.pushed, 0, "parked is not sent again by itself");
}

// Traps 11 and 12: amplify-android#2077.
#[tokio::test]
async fn a_batch_that_breaks_the_server_is_split_until_the_culprit_is_alone() {
    for kind in [
        ErrorKind::Server,
        ErrorKind::TooLarge,
        ErrorKind::Forbidden,
        ErrorKind::Malformed,
    ] {
        let lab = Lab::new();
        let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
        a.create("bad", "poison").await;
        for n in 0..7 {
            a.create(&format!("{n}"), "good").await;
        }
        a.fail_pushes_with("bad", kind);
        let report = a.sync().await;
        assert_eq!(report.pushed, 7, "{kind}");
        assert_eq!(remote_titles(&lab.remote).len(), 7, "{kind}");
        let ops = a.ops().await;
        assert!(
            matches!(&ops[..], [op] if op.key == key("bad")),
            "{kind}: {ops:?}"
        );
        let refused = matches!(ops[0].state, OpState::Parked(_));
        assert_eq!(
            refused,
            matches!(kind, ErrorKind::TooLarge | ErrorKind::Forbidden),
            "{kind}"
        );
    }
}

// P3, P13: operations were dropped after so many attempts.
#[tokio::test]
async fn no_number_of_failures_drops_an_operation() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    for _ in 0..100 {
        a.faults()
            .script(Call::Push, Fault::FailBefore(error(ErrorKind::Server)));
        let _ = a.todos.synchronize(&scope()).await;
        lab.pass_pauses();
    }
    assert_eq!(a.ops().await[0].attempts, 100);
    assert_eq!(a.sync().await.pushed, 1);
    assert_eq!(a.pending().await, 0);
}

// Trap 25: brick#585. A refused token is no answer about any operation.
#[tokio::test]
async fn an_expired_sign_in_parks_nothing_and_costs_no_attempt() {
    let lab = Lab::new();
    let a = lab.device().await;
    lab.remote.put(&key("old"), super::lab::payload("old", "kept"));
    a.sync().await;
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    a.client.expire_token();
    for _ in 0..3 {
        let failure = a.failing_sync().await;
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);
    }
    let activity = a.engine().status().scope(scope().key()).activity;
    assert!(matches!(activity, Activity::NeedsSignIn), "{activity:?}");
    for op in a.ops().await {
        assert_eq!((op.state, op.attempts), (OpState::Queued, 0));
    }
    assert_eq!(a.titles().await.len(), 3, "no local row left");
    a.client.sign_in();
    assert_eq!(a.sync().await.pushed, 2);
}

// Trap 25 again: between the push and the pull, and between two pages.
#[tokio::test]
async fn a_sign_in_that_expires_in_mid_sync_loses_nothing() {
    let lab = Lab::new();
    let a = lab
        .device_with(NeverAsked, EngineOptions::default().with_page_size(2))
        .await;
    for n in 0..5 {
        lab.remote.put(
            &key(&format!("r{n}")),
            super::lab::payload(&format!("r{n}"), "theirs"),
        );
    }
    a.create("1", "tea").await;
    let client = a.client.clone();
    a.hooks.pass(super::hooks::Moment::BeforePull);
    a.hooks.once(super::hooks::Moment::BeforePull, || async move {
        client.expire_token()
    });
    assert_eq!(a.failing_sync().await.kind(), ErrorKind::Unauthenticated);
    assert_eq!(
        a.titles().await.len(),
        2,
        "the own record and the other one of the first page"
    );
    a.client.sign_in();
    a.sync().await;
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
}

// Trap 30: sqlite-data#333.
#[tokio::test]
async fn a_rate_limit_is_waited_for_and_costs_no_attempt() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    let wait = Duration::from_secs(77);
    let limited = error(ErrorKind::RateLimited).with_retry(RetryClass::After(wait));
    a.faults().script(Call::Push, Fault::FailBefore(limited));
    assert_eq!(a.failing_sync().await.kind(), ErrorKind::RateLimited);
    let op = a.ops().await.remove(0);
    assert_eq!((op.state, op.attempts), (OpState::Queued, 0));
    match a.engine().status().scope(scope().key()).activity {
        Activity::BackingOff { until } => assert!(until.since(lab.now()) >= wait),
        other => panic!("{other:?}"),
    }
    assert_eq!(a.sync().await.pushed, 1, "the user may ask at once");
}

// RCS-25, RCS-26: an error of a delete was swallowed, and one of an update became a create.
#[tokio::test]
async fn failures_of_deletes_and_updates_are_neither_swallowed_nor_turned_into_creates() {
    for kind in [
        ErrorKind::Server,
        ErrorKind::Timeout,
        ErrorKind::RateLimited,
        ErrorKind::Unauthenticated,
    ] {
        let lab = Lab::new();
        let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
        a.create("1", "tea").await;
        a.create("2", "milk").await;
        a.sync().await;
        let before = lab.remote.push_log().len();
        a.delete("1").await;
        a.rename("2", "oat milk").await;
        for _ in 0..3 {
            a.faults().script(Call::Push, Fault::FailBefore(error(kind)));
        }
        let _ = a.todos.synchronize(&scope()).await;
        assert_eq!(a.pending().await, 2, "{kind}");
        a.faults().calm();
        lab.pass_pauses();
        a.sync().await;
        assert_eq!(remote_titles(&lab.remote), titles([("2", "oat milk")]), "{kind}");
        let sent = lab.remote.push_log().split_off(before);
        assert!(
            sent.iter()
                .flat_map(|batch| &batch.ops)
                .all(|op| op.kind != OpKind::Create)
        );
    }
}

// P9: a later operation of a record overtook an earlier one that was to be tried again.
#[tokio::test]
async fn operations_of_a_record_keep_their_order_through_retries() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "first").await;
    a.create("2", "other").await;
    a.faults()
        .script(Call::Push, Fault::FailAfter(error(ErrorKind::Timeout)));
    a.failing_sync().await;
    a.rename("1", "second").await;
    a.faults().script(Call::Push, Fault::RetryOps([0].into()));
    lab.pass_pauses();
    a.sync().await;
    lab.pass_pauses();
    a.sync().await;
    let sent: Vec<_> = lab
        .remote
        .push_log()
        .into_iter()
        .flat_map(|batch| batch.ops)
        .filter(|op| op.key == key("1"))
        .map(|op| op.kind)
        .collect();
    let creates = sent.iter().take_while(|kind| **kind == OpKind::Create).count();
    assert!(
        creates >= 1 && sent[creates..].iter().all(|kind| *kind == OpKind::Update),
        "{sent:?}"
    );
    assert_eq!(
        remote_titles(&lab.remote),
        titles([("1", "second"), ("2", "other")])
    );
    assert_eq!(a.pending().await, 0);
}

// P9: others do not wait for one that is to be tried again.
#[tokio::test]
async fn an_operation_that_waits_for_its_next_attempt_holds_up_no_other_record() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("slow", "later").await;
    a.create("1", "tea").await;
    a.faults().script(Call::Push, Fault::RetryOps([0].into()));
    let report = a.sync().await;
    assert_eq!((report.pushed, report.retried), (1, 1));
    a.create("2", "milk").await;
    assert_eq!(a.sync().await.pushed, 1);
    lab.pass_pauses();
    assert_eq!(a.sync().await.pushed, 1);
    assert_eq!(remote_titles(&lab.remote).len(), 3);
}

// B2: a batch within the remote's limit, whatever the option says.
#[tokio::test]
async fn batches_keep_to_the_limit_of_the_remote() {
    let lab = Lab::over(|builder| builder.adjust(|can| can.max_push_batch = 3));
    let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    for n in 0..10 {
        a.create(&format!("{n}"), "good").await;
    }
    assert_eq!(a.sync().await.pushed, 10);
    assert!(lab.remote.push_log().iter().all(|batch| batch.ops.len() <= 3));
    let id = |id: &str| RecordId::new(id).unwrap();
    assert_eq!(
        lab.remote.push_log()[0].ops[0].key.id,
        id("0"),
        "in the order of the writes"
    );
}
