//! Pulls of many pages: the next ones are fetched while those before are stored, and what comes first is taken to be new.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sync_core::{
    EngineOptions, ErrorKind, LocalStore, RemoteState, SyncError, Tombstone,
    resolve::{ClientWins, ConflictResolver},
};

use super::{
    hooks::{Moment, pause},
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, scope, target},
};

/// A new device that commits two pages of two records together.
async fn device(lab: &Lab, resolver: impl ConflictResolver) -> Probe {
    let options = EngineOptions::default().with_page_size(2).with_commit_rows(4);
    lab.device_with(resolver, options).await
}

fn fill(lab: &Lab, records: u32) {
    for number in 0..records {
        let id = format!("{number:02}");
        lab.remote.put(&key(&id), payload(&id, "theirs"));
    }
}

#[tokio::test]
async fn while_pages_are_stored_as_many_are_fetched_and_no_more() {
    let lab = Lab::new();
    fill(&lab, 40);
    let a = device(&lab, NeverAsked).await;
    let fetched = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let fetched = Arc::clone(&fetched);
        a.hooks.once(Moment::AfterPull, move || async move {
            fetched.fetch_add(1, Ordering::SeqCst);
        });
    }
    let seen = Arc::new(AtomicUsize::new(0));
    let (now, then) = (Arc::clone(&fetched), Arc::clone(&seen));
    a.hooks.once(Moment::BeforePageCommit, move || async move {
        for _ in 0..1_000 {
            pause().await;
        }
        then.store(now.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    a.sync().await;
    assert_eq!(
        seen.load(Ordering::SeqCst),
        4,
        "two pages that are stored, and two more"
    );
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
}

#[tokio::test]
async fn what_follows_pages_that_could_not_be_stored_is_not_stored_either() {
    for stored_before in 0..3 {
        let lab = Lab::new();
        fill(&lab, 20);
        let a = device(&lab, NeverAsked).await;
        for _ in 0..stored_before {
            a.hooks.pass(Moment::BeforePageCommit);
        }
        let busy = SyncError::new(ErrorKind::Busy, "locked");
        a.hooks.fail(Moment::BeforePageCommit, busy);
        assert_eq!(a.failing_sync().await.kind(), ErrorKind::Busy);
        assert_eq!(a.hooks.left(), 0);
        assert_eq!(a.titles().await.len(), 4 * stored_before);
        let reached = a.store.load_target(&target()).await.unwrap().sync_point;
        assert_eq!(reached.is_some(), stored_before > 0, "{reached:?}");
        lab.pass_pauses();
        // By the cursor alone: a sweep would find what it passed over.
        a.pull_without_sweep().await;
        assert_eq!(a.titles().await, remote_titles(&lab.remote));
    }
}

#[tokio::test]
async fn a_record_made_here_during_a_first_pull_is_not_overwritten_by_the_page_that_brings_it() {
    // Before its page is fetched, while the page waits, and right before its commit.
    for moment in [Moment::BeforePull, Moment::AfterPull, Moment::BeforePageCommit] {
        for passed in 0..4 {
            let lab = Lab::new();
            fill(&lab, 20);
            let a = Arc::new(device(&lab, ClientWins).await);
            for _ in 0..passed {
                a.hooks.pass(moment);
            }
            let writer = Arc::clone(&a);
            a.hooks.once(moment, move || async move {
                writer.create("07", "mine").await;
            });
            a.pull_without_sweep().await;
            let left = a.hooks.left();
            a.hooks.clear();
            if left > 0 || a.pending().await == 0 {
                // The pull was over, or the record was here already, so that it could not be made.
                continue;
            }
            assert_eq!(a.titles().await["07"], "mine", "{moment:?} {passed}");
            a.sync().await;
            assert_eq!(remote_titles(&lab.remote)["07"], "mine", "{moment:?} {passed}");
            assert_eq!(
                a.titles().await,
                remote_titles(&lab.remote),
                "{moment:?} {passed}"
            );
        }
    }
}

#[tokio::test]
async fn a_record_that_a_first_pull_tells_twice_is_as_it_was_told_last() {
    let lab = Lab::new();
    fill(&lab, 20);
    let a = device(&lab, NeverAsked).await;
    // With the third page, when what the first two told is stored.
    a.hooks.pass(Moment::AfterPull);
    a.hooks.pass(Moment::AfterPull);
    let hooks = a.hooks.clone();
    a.hooks.once(Moment::AfterPull, move || async move {
        hooks.answer_next_pull_with(key("02").id, RemoteState::Deleted(Tombstone::default()));
    });
    let report = a.todos.pull_only(&scope()).await.unwrap();
    let mut expected = remote_titles(&lab.remote);
    expected.remove("02");
    assert_eq!(a.titles().await, expected);
    assert_eq!((report.pulled, report.deleted), (21, 1));
}

#[tokio::test]
async fn a_first_pull_looks_nothing_up_that_it_brings() {
    let lab = Lab::new();
    fill(&lab, 40);
    let a = device(&lab, NeverAsked).await;
    a.sync().await;
    assert_eq!(a.titles().await.len(), 40);
    assert_eq!(a.hooks.take_asked(), 0);
    // What comes to a store that has records is looked up.
    fill(&lab, 3);
    a.sync().await;
    assert_eq!(a.hooks.take_asked(), 3);
}
