//! Scopes: nothing crosses them, and what is unsent outlives a revocation.

use std::time::Duration;

use adapter_memory::faults::{Call, Fault};
use sync_core::{
    CachePolicy, EngineOptions, ErrorKind, OpState, ParkReason, SyncError, SyncScope, resolve::LastWriteWins,
};

use super::{
    lab::{Lab, NeverAsked, Probe},
    world::{remote_titles, scope, titles, todo},
};

fn other() -> SyncScope {
    SyncScope::new("inbox").unwrap().with("user", "u2").unwrap()
}

async fn titles_of(device: &Probe, scope: &SyncScope) -> Vec<String> {
    let answer = device.todos.read(scope, CachePolicy::OfflineOnly).await.unwrap();
    answer.items.into_iter().map(|todo| todo.title).collect()
}

// RCS-13..15, RCS-24, S1: one id in two scopes was one record.
#[tokio::test]
async fn one_id_in_two_scopes_is_two_records_from_end_to_end() {
    let lab = Lab::new();
    let (a, b) = (
        lab.device_with(NeverAsked, EngineOptions::default()).await,
        lab.device_with(NeverAsked, EngineOptions::default()).await,
    );
    a.create("1", "mine").await;
    a.todos
        .enqueue_create(&other(), &todo("1", "theirs"))
        .await
        .unwrap();
    a.sync().await;
    assert_eq!(a.ops().await.len(), 1, "only this scope was pushed");
    a.todos.synchronize(&other()).await.unwrap();
    b.sync().await;
    assert!(
        titles_of(&b, &other()).await.is_empty(),
        "only this scope was pulled"
    );
    b.todos.synchronize(&other()).await.unwrap();
    assert_eq!(titles_of(&b, &scope()).await, ["mine"]);
    assert_eq!(titles_of(&b, &other()).await, ["theirs"]);
    b.delete("1").await;
    b.sync().await;
    a.sync().await;
    a.todos.synchronize(&other()).await.unwrap();
    assert!(titles_of(&a, &scope()).await.is_empty());
    assert_eq!(titles_of(&a, &other()).await, ["theirs"]);
}

// Trap 20: Kinto#467, jazz#2521: rows stayed after the right to see them was gone, or unsent work was lost.
#[tokio::test]
async fn a_revoked_scope_leaves_the_device_and_its_unsent_writes_can_be_exported() {
    for in_pull in [true, false] {
        let lab = Lab::new();
        let a = lab.device().await;
        a.create("1", "confirmed").await;
        a.create("2", "confirmed").await;
        a.sync().await;
        a.todos
            .enqueue_create(&other(), &todo("1", "untouched"))
            .await
            .unwrap();
        a.todos.synchronize(&other()).await.unwrap();
        a.todos
            .enqueue_update(&other(), &todo("1", "unsent"))
            .await
            .unwrap();
        a.rename("1", "edited").await;
        a.create("3", "new").await;
        lab.remote.set_access(&scope(), false);
        let error = match in_pull {
            true => a.todos.pull_only(&scope()).await.unwrap_err(),
            false => a.failing_sync().await,
        };
        assert_eq!(error.kind(), ErrorKind::ScopeRevoked);
        let mut left = titles_of(&a, &scope()).await;
        left.sort();
        assert_eq!(left, ["edited", "new"], "confirmed rows left, unsent work stayed");
        let revoked = OpState::Parked(ParkReason::ScopeRevoked);
        let ops = a.ops().await;
        let parked: Vec<_> = ops.iter().filter(|op| *op.key.scope() == scope()).collect();
        assert!(
            parked.len() == 2 && parked.iter().all(|op| op.state == revoked),
            "{ops:?}"
        );
        let exported = a.engine().export_ops(Some(&scope())).await.unwrap();
        assert_eq!(exported.lines().count(), 2);
        assert!(exported.contains("edited") && exported.contains("new"));
        // The other scope goes on.
        assert_eq!(titles_of(&a, &other()).await, ["unsent"]);
        assert_eq!(a.todos.synchronize(&other()).await.unwrap().pushed, 1);
        // Access returns, and the user sends what was parked.
        lab.remote.set_access(&scope(), true);
        for op in parked {
            a.engine().retry_op(op.op_id).await.unwrap();
        }
        a.sync().await;
        a.sync().await;
        assert_eq!(a.pending().await, 0, "revoked in the pull: {in_pull}");
        assert_eq!(a.titles().await, remote_titles(&lab.remote));
        assert_eq!(a.titles().await.len(), 3);
    }
}

// Seed 381: where the remote cannot refuse an outdated write, records are read before they are sent, and it was that
// request which told that the scope is gone. Its rows stayed.
#[tokio::test]
async fn a_revoked_scope_leaves_the_device_whichever_request_tells_so() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let a = lab.device().await;
    a.create("1", "confirmed").await;
    a.create("2", "tea").await;
    a.sync().await;
    a.rename("2", "edited").await;
    lab.remote.set_access(&scope(), false);
    let error = a.todos.push_only(&scope()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ScopeRevoked);
    assert_eq!(a.titles().await, titles([("2", "edited")]), "unsent work stays");
    let revoked = OpState::Parked(ParkReason::ScopeRevoked);
    assert!(a.ops().await.iter().all(|op| op.state == revoked));
}

// S2: revoked while a push is under way, whose answer is lost.
#[tokio::test]
async fn a_revocation_with_an_answer_outstanding_keeps_the_operation() {
    let lab = Lab::new();
    let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults().script(
        Call::Push,
        Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "lost")),
    );
    a.failing_sync().await;
    lab.remote.set_access(&scope(), false);
    assert_eq!(a.failing_sync().await.kind(), ErrorKind::ScopeRevoked);
    assert_eq!(a.pending().await, 1);
    lab.remote.set_access(&scope(), true);
    a.engine().retry_op(a.ops().await[0].op_id).await.unwrap();
    lab.pass_pauses();
    a.sync().await;
    a.sync().await;
    assert_eq!((a.pending().await, a.titles().await), (0, titles([("1", "tea")])));
    assert_eq!(remote_titles(&lab.remote), titles([("1", "tea")]));
    for op in lab.remote.push_log().iter().flat_map(|batch| &batch.ops) {
        assert!(lab.remote.applied_count(op.op_id) <= 1);
    }
}
