//! Deletes: they arrive, they are weighed like any change, and nothing deleted comes back by itself.

use std::time::Duration;

use adapter_memory::MemoryRemoteBuilder;
use sync_core::{
    ConflictQuery, EngineOptions, LocalStoreExt, Settlement, SyncScope,
    resolve::{ClientWins, ConflictResolver, FieldMerge, LastWriteWins, Manual, Resolution, ServerWins},
};

use super::{
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, titles},
};

/// A device with an unsent edit of a record that the remote deleted before or after it.
async fn edited_and_deleted(lab: &Lab, resolver: impl ConflictResolver, delete_first: bool) -> Probe {
    let a = lab.device_with(resolver, EngineOptions::default()).await;
    let other = lab.device().await;
    a.create("1", "tea").await;
    a.sync().await;
    other.sync().await;
    for step in [delete_first, !delete_first] {
        lab.pass(Duration::from_secs(1));
        if step {
            other.delete("1").await;
        } else {
            a.rename("1", "edited").await;
        }
    }
    other.sync().await;
    a
}

async fn settle(lab: &Lab, a: &Probe) {
    a.sync().await;
    a.sync().await;
    assert_eq!(
        a.titles().await,
        remote_titles(&lab.remote),
        "both sides are equal"
    );
    assert_eq!(a.pending().await, 0);
}

// RCS-22: the remote delete always won, the resolver was not asked, and the edit still went out.
#[tokio::test]
async fn a_remote_delete_against_a_local_edit_is_decided_by_the_resolver_on_both_sides() {
    let kept = titles([("1", "edited")]);
    for delete_first in [true, false] {
        let lab = Lab::new();
        let a = edited_and_deleted(&lab, ServerWins, delete_first).await;
        settle(&lab, &a).await;
        assert_eq!(a.titles().await, titles([]));
        let lab = Lab::new();
        let a = edited_and_deleted(&lab, ClientWins, delete_first).await;
        settle(&lab, &a).await;
        assert_eq!(a.titles().await, kept);
        let lab = Lab::new();
        let a = edited_and_deleted(&lab, FieldMerge::new(), delete_first).await;
        settle(&lab, &a).await;
        let lab = Lab::new();
        let a = edited_and_deleted(&lab, LastWriteWins, delete_first).await;
        settle(&lab, &a).await;
        let expected = if delete_first { kept.clone() } else { titles([]) };
        assert_eq!(
            a.titles().await,
            expected,
            "L4: a delete is weighed like an update"
        );
    }
}

// RCS-22: the user decides.
#[tokio::test]
async fn a_deferred_delete_conflict_keeps_the_edit_until_the_user_decides() {
    for (decision, expected) in [
        (Resolution::KeepLocal, titles([("1", "edited")])),
        (Resolution::TakeRemote, titles([])),
    ] {
        let lab = Lab::new();
        let a = edited_and_deleted(&lab, Manual, true).await;
        assert_eq!(a.sync().await.deferred, 1);
        assert_eq!(a.titles().await, titles([("1", "edited")]));
        assert_eq!(a.sync().await.deferred, 0, "it is asked once");
        let query = ConflictQuery {
            open: Some(true),
            ..ConflictQuery::default()
        };
        let open = a.engine().conflicts(&query).await.unwrap();
        assert_eq!(open.len(), 1);
        a.engine()
            .resolve_conflict(open[0].conflict_id, decision)
            .await
            .unwrap();
        settle(&lab, &a).await;
        assert_eq!(a.titles().await, expected);
    }
}

// RCS-22 the other way round: a local delete against a newer remote edit.
#[tokio::test]
async fn a_local_delete_against_a_remote_edit_goes_to_the_later_one() {
    for delete_last in [true, false] {
        let lab = Lab::new();
        let (a, b) = (lab.device().await, lab.device().await);
        a.create("1", "tea").await;
        a.sync().await;
        b.sync().await;
        for step in [delete_last, !delete_last] {
            lab.pass(Duration::from_secs(1));
            if step {
                b.rename("1", "edited").await;
            } else {
                a.delete("1").await;
            }
        }
        b.sync().await;
        let report = a.sync().await;
        let settlement = if delete_last {
            Settlement::KeptLocal
        } else {
            Settlement::TookRemote
        };
        assert_eq!(report.settled.get(&settlement), Some(&1));
        b.sync().await;
        let expected = if delete_last {
            titles([])
        } else {
            titles([("1", "edited")])
        };
        for device in [&a, &b] {
            assert_eq!(device.titles().await, expected);
        }
        assert_eq!(remote_titles(&lab.remote), expected);
    }
}

// L7: a record made again after its delete is no conflict, and has nothing of the old one.
#[tokio::test]
async fn a_deleted_record_can_be_made_again_on_any_device() {
    let lab = Lab::new();
    let devices = [
        lab.device_with(NeverAsked, EngineOptions::default()).await,
        lab.device_with(NeverAsked, EngineOptions::default()).await,
    ];
    for round in 0..3 {
        for (maker, other) in [(&devices[0], &devices[1]), (&devices[1], &devices[0])] {
            let title = format!("round {round}");
            maker.create("1", &title).await;
            maker.sync().await;
            other.sync().await;
            assert_eq!(other.titles().await["1"], title);
            other.delete("1").await;
            other.sync().await;
            maker.sync().await;
            assert_eq!(maker.titles().await, titles([]));
        }
    }
    assert_eq!(devices[0].pending().await + devices[1].pending().await, 0);
}

// L6: tombstones were left out of a first pull, although the client held an unsent record of the same id.
#[tokio::test]
async fn a_first_pull_delivers_the_tombstone_of_a_record_that_is_pending() {
    let lab = Lab::new();
    lab.remote.put(&key("1"), payload("1", "theirs"));
    lab.remote.delete(&key("1"));
    lab.pass(Duration::from_secs(1));
    let a = lab.device().await;
    a.create("1", "mine").await;
    assert!(
        a.todos
            .pull_only(&super::world::scope())
            .await
            .unwrap()
            .conflicts()
            <= 1
    );
    settle(&lab, &a).await;
    assert_eq!(a.titles().await, titles([("1", "mine")]), "the later write");
}

// RCS-07, trap 17: supabase#4905: a hard delete of someone else was never noticed.
#[tokio::test]
async fn a_row_that_vanishes_without_trace_is_found_by_a_sweep_or_a_snapshot() {
    let profiles: [fn(MemoryRemoteBuilder) -> MemoryRemoteBuilder; 2] = [
        |builder| builder.timestamp_profile(Duration::from_secs(1)),
        MemoryRemoteBuilder::snapshot_profile,
    ];
    for profile in profiles {
        let lab = Lab::over(profile);
        let a = lab
            .device_with(LastWriteWins, EngineOptions::default().with_page_size(2))
            .await;
        for id in ["1", "2", "3", "4", "5"] {
            lab.remote.put(&key(id), payload(id, "theirs"));
        }
        a.sync().await;
        lab.remote.vanish(&key("2"));
        lab.remote.vanish(&key("5"));
        lab.pass(Duration::from_secs(24 * 3_600));
        a.sync().await;
        assert_eq!(a.titles().await.len(), 3);
        assert_eq!(a.titles().await, remote_titles(&lab.remote));
    }
}

// Trap 1: a write that was committed behind the cursor of everybody.
#[tokio::test]
async fn a_change_behind_the_cursor_is_found_by_a_sweep() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    lab.remote.put(&key("1"), payload("1", "tea"));
    a.sync().await;
    let late = lab
        .remote
        .begin_late_commit(&key("1"), Some(payload("1", "late tea")));
    lab.pass(Duration::from_secs(10));
    lab.remote.put(&key("2"), payload("2", "milk"));
    a.sync().await;
    late.commit();
    a.pull_without_sweep().await;
    assert_eq!(a.titles().await, titles([("1", "tea"), ("2", "milk")]));
    lab.pass(Duration::from_secs(24 * 3_600));
    a.sync().await;
    assert_eq!(a.titles().await, titles([("1", "late tea"), ("2", "milk")]));
}

// P6: what a list does not have may be there all the same.
#[tokio::test]
async fn a_sweep_asks_for_a_record_that_was_not_listed_before_it_removes_it() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let options = EngineOptions::default()
        .with_page_size(2)
        .with_sweep_interval(Duration::ZERO);
    let a = lab.device_with(NeverAsked, options).await;
    for id in ["1", "2", "3", "4"] {
        lab.remote.put(&key(id), payload(id, "theirs"));
    }
    a.sync().await;
    let (gone, back) = (lab.remote.clone(), lab.remote.clone());
    a.hooks
        .once(super::hooks::Moment::BeforeListIds, move || async move {
            gone.vanish(&key("1"));
        });
    a.hooks
        .once(super::hooks::Moment::BeforeListIds, move || async move {
            back.put(&key("1"), payload("1", "back again"));
        });
    a.sync().await;
    assert_eq!(a.hooks.left(), 0);
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
}

// P6: an expired sign-in, or a page that failed, looks like an empty list.
#[tokio::test]
async fn an_interrupted_sweep_deletes_nothing() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let options = EngineOptions::default()
        .with_page_size(2)
        .with_sweep_interval(Duration::ZERO);
    let a = lab.device_with(NeverAsked, options).await;
    for id in ["1", "2", "3", "4", "5"] {
        lab.remote.put(&key(id), payload(id, "theirs"));
    }
    a.sync().await;
    for pages in 0..3 {
        for _ in 0..pages {
            a.hooks.pass(super::hooks::Moment::BeforeListIds);
        }
        let client = a.client.clone();
        a.hooks.once(super::hooks::Moment::BeforeListIds, || async move {
            client.expire_token()
        });
        a.failing_sync().await;
        a.client.sign_in();
        assert_eq!(a.titles().await.len(), 5);
    }
    a.sync().await;
    assert_eq!(a.titles().await.len(), 5);
}

// RCS-41, S4: a row that moved to another scope stayed in the first.
#[tokio::test]
async fn a_row_that_moves_between_scopes_leaves_one_and_arrives_in_the_other() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    let other = SyncScope::new("inbox").unwrap().with("user", "u2").unwrap();
    lab.remote.put(&key("1"), payload("1", "tea"));
    a.sync().await;
    lab.remote.move_to_scope(&key("1"), &other);
    a.sync().await;
    a.todos.synchronize(&other).await.unwrap();
    assert_eq!(a.titles().await, titles([]));
    assert_eq!(
        a.todos
            .count(&other, None, sync_core::CachePolicy::OfflineOnly)
            .await
            .unwrap(),
        1
    );
    assert!(lab.remote.push_log().is_empty(), "no delete is pushed for it");
}

// RCS-23: a stale page lifted the tombstone of a record that was deleted.
#[tokio::test]
async fn a_stale_state_does_not_bring_a_deleted_record_back() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    lab.remote.put(&key("1"), payload("1", "old"));
    a.sync().await;
    let stale = a.store.load_record(&key("1")).await.unwrap().base;
    a.delete("1").await;
    a.sync().await;
    a.hooks.answer_next_pull_with(key("1").id, stale);
    a.sync().await;
    assert_eq!(a.hooks.left(), 0);
    assert_eq!(a.titles().await, titles([]));
}
