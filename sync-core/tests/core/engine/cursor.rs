//! Pulling: nothing is skipped, pages and sync points commit together, and a lost history is noticed.

use std::time::Duration;

use adapter_memory::faults::{Call, Fault};
use futures::StreamExt;
use sync_core::{
    EngineOptions, ErrorKind, LocalStore, LocalStoreExt, OpQuery, Payload, RecordId, RemoteState,
    RemoteStore, StoreChange, SyncError, resolve::LastWriteWins,
};

use super::{
    hooks::Moment,
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, scope, target, titles},
};

fn pages_of(size: u32) -> EngineOptions {
    EngineOptions::default().with_page_size(size).with_commit_rows(1)
}

fn busy() -> SyncError {
    SyncError::new(ErrorKind::Busy, "the store is locked")
}

fn fill(lab: &Lab, ids: std::ops::Range<usize>) {
    for n in ids {
        let id = format!("r{n:03}");
        lab.remote.put(&key(&id), payload(&id, "theirs"));
    }
}

// RCS-08, RCS-09, traps 3 and 4: rows with one time at the edge of a page; a silent cap taken for the end.
#[tokio::test]
async fn rows_of_one_time_and_short_pages_are_all_delivered() {
    for size in 1..6 {
        let lab = Lab::over(|builder| {
            builder
                .timestamp_profile(Duration::ZERO)
                .adjust(|can| can.max_page = 4)
        });
        let a = lab.device_with(NeverAsked, pages_of(size)).await;
        fill(&lab, 0..11);
        for cap in [1, 3, 2] {
            a.faults().script(Call::Pull, Fault::PageCap(cap));
        }
        a.sync().await;
        assert_eq!(a.titles().await.len(), 11, "pages of {size}");
        // More rows of the same time, after the sync point was stored.
        fill(&lab, 11..15);
        a.pull_without_sweep().await;
        assert_eq!(a.titles().await.len(), 15, "pages of {size}");
    }
}

// Trap 1: airbyte#9668, #85918: a row that commits late lies behind the cursor for ever.
#[tokio::test]
async fn a_late_commit_behind_the_cursor_is_found() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(5)));
    let a = lab.device().await;
    a.sync().await;
    let within = lab
        .remote
        .begin_late_commit(&key("within"), Some(payload("within", "late")));
    lab.pass(Duration::from_secs(3));
    fill(&lab, 0..1);
    a.sync().await;
    within.commit();
    a.pull_without_sweep().await;
    assert_eq!(a.titles().await.len(), 2, "read back by the overlap");
    let beyond = lab
        .remote
        .begin_late_commit(&key("beyond"), Some(payload("beyond", "later")));
    lab.pass(Duration::from_secs(60));
    fill(&lab, 1..2);
    a.sync().await;
    beyond.commit();
    a.pull_without_sweep().await;
    assert_eq!(a.titles().await.len(), 3, "a cursor alone cannot find it");
    lab.pass(Duration::from_secs(24 * 3_600));
    a.sync().await;
    assert_eq!(
        a.titles().await,
        remote_titles(&lab.remote),
        "the sweep does, within its interval"
    );
}

// Trap 5: rxdb#5571: the cursor was stored, its rows were not.
#[tokio::test]
async fn whichever_commit_of_a_pull_fails_no_row_is_lost() {
    let mut failed = 0;
    for n in 0..40 {
        let lab = Lab::new();
        let a = lab.device_with(NeverAsked, pages_of(2)).await;
        fill(&lab, 0..3);
        a.sync().await;
        fill(&lab, 3..10);
        lab.remote.delete(&key("r001"));
        for _ in 0..n {
            a.hooks.pass(Moment::BeforeSyncCommit);
        }
        a.hooks.fail(Moment::BeforeSyncCommit, busy());
        failed += usize::from(a.todos.synchronize(&scope()).await.is_err());
        a.hooks.clear();
        let restarted = lab.open(a.store.reopen(), NeverAsked, pages_of(3)).await;
        restarted.pull_without_sweep().await;
        assert_eq!(restarted.titles().await, remote_titles(&lab.remote), "commit {n}");
    }
    assert!(failed >= 4, "a commit for each page: {failed}");
}

// Trap 31: WatermelonDB#948: a first sync that was interrupted began from zero each time.
#[tokio::test]
async fn what_came_before_a_failing_page_is_kept_and_not_fetched_again() {
    let lab = Lab::new();
    let a = lab
        .device_with(NeverAsked, EngineOptions::default().with_page_size(2))
        .await;
    fill(&lab, 0..9);
    for _ in 0..3 {
        a.faults().script(Call::Pull, Fault::Pass);
    }
    a.faults().script(
        Call::Pull,
        Fault::FailBefore(SyncError::new(ErrorKind::Unreachable, "gone")),
    );
    assert_eq!(a.failing_sync().await.kind(), ErrorKind::Unreachable);
    assert_eq!(a.titles().await.len(), 6);
    let report = a.sync().await;
    assert_eq!((report.pulled, report.requests), (3, 2));
    assert_eq!(a.titles().await.len(), 9);
}

// Trap 35: realm-js#3548; C9: the cursor is refused, nothing that was not sent is lost.
#[tokio::test]
async fn an_expired_cursor_leads_to_a_resync_that_keeps_the_queue() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, pages_of(2)).await;
    fill(&lab, 0..5);
    a.sync().await;
    a.create("mine", "unsent").await;
    a.faults().script(
        Call::Push,
        Fault::FailBefore(SyncError::new(ErrorKind::Server, "down")),
    );
    a.faults().script(Call::Pull, Fault::ExpireCursor);
    let report = a.sync().await;
    assert!(report.resynced);
    assert_eq!(a.titles().await.len(), 6);
    lab.pass_pauses();
    assert_eq!(a.sync().await.pushed, 1);
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
}

// Trap 35: a backup is restored; what was there before it returns, what came after it is gone.
#[tokio::test]
async fn a_restored_backup_is_noticed_and_the_queue_is_kept() {
    let lab = Lab::new();
    let a = lab.device().await;
    fill(&lab, 0..3);
    let backup = lab.remote.backup();
    fill(&lab, 3..5);
    lab.remote.put(&key("r000"), payload("r000", "newer"));
    a.sync().await;
    a.create("mine", "unsent").await;
    lab.remote.restore(&backup);
    let report = a.sync().await;
    assert!(report.resynced);
    assert_eq!(report.pushed, 1);
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
    assert_eq!(a.titles().await.len(), 4);
    assert_eq!(
        a.titles().await["r000"],
        "theirs",
        "the older state counts after a restore"
    );
}

// C10: what the remote does not have any more goes, also what an interruption left half done.
#[tokio::test]
async fn a_full_resync_removes_ghosts_and_goes_on_after_an_interruption() {
    for list_ids in [true, false] {
        let lab = Lab::over(|builder| builder.adjust(|can| can.id_list = list_ids));
        let a = lab.device_with(NeverAsked, pages_of(2)).await;
        fill(&lab, 0..7);
        a.sync().await;
        lab.remote.vanish(&key("r001"));
        lab.remote.vanish(&key("r005"));
        a.create("mine", "unsent").await;
        a.hooks.pass(Moment::BeforePull);
        a.hooks
            .fail(Moment::BeforePull, SyncError::new(ErrorKind::Unreachable, "gone"));
        a.todos.full_resync(&scope()).await.unwrap_err();
        assert_eq!(
            a.titles().await.len(),
            8,
            "nothing goes before the pass is at its end"
        );
        let restarted = lab.open(a.store.reopen(), NeverAsked, pages_of(2)).await;
        restarted.sync().await;
        assert_eq!(
            restarted.titles().await,
            remote_titles(&lab.remote),
            "id list: {list_ids}"
        );
        assert_eq!(restarted.titles().await.len(), 6);
    }
}

// Trap 18: fast-note-sync-service#482: a client from before the horizon kept what was deleted.
#[tokio::test]
async fn a_device_from_before_the_tombstone_horizon_drops_what_was_deleted() {
    let lab = Lab::new();
    let (a, b) = (lab.device().await, lab.device().await);
    fill(&lab, 0..3);
    a.sync().await;
    b.sync().await;
    lab.remote.delete(&key("r001"));
    b.sync().await;
    lab.remote.prune_tombstones(lab.remote.head());
    a.rename("r002", "mine").await;
    let report = a.sync().await;
    assert!(report.resynced);
    assert_eq!(a.titles().await, titles([("r000", "theirs"), ("r002", "mine")]));
    assert!(
        !b.sync().await.resynced,
        "a cursor exactly at the horizon is good"
    );
}

// Trap 18: an edit of a record whose tombstone was collected did not bring it back in silence.
#[tokio::test]
async fn an_edit_of_a_record_whose_tombstone_was_collected_is_a_conflict() {
    let lab = Lab::new();
    let a = lab.device().await;
    fill(&lab, 0..1);
    a.sync().await;
    lab.remote.delete(&key("r000"));
    lab.remote.prune_tombstones(lab.remote.head());
    lab.pass(Duration::from_secs(1));
    a.rename("r000", "mine").await;
    let report = a.sync().await;
    assert_eq!(report.conflicts(), 1);
    a.sync().await;
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
    assert_eq!(a.pending().await, 0);
}

// RCS-38, trap 6: one row that cannot be read failed every sync for ever.
#[tokio::test]
async fn malformed_rows_are_set_aside_and_taken_when_they_are_mended() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, pages_of(1)).await;
    fill(&lab, 0..3);
    let bad = RecordId::new("r001").unwrap();
    a.sync().await;
    lab.remote.put_malformed(&target(), Some(&bad), "no object");
    lab.remote.put_malformed(&target(), None, "not even an id");
    lab.remote.put(
        &key("r002"),
        Payload::parse(r#"{"id":"r002","title":7}"#).unwrap(),
    );
    fill(&lab, 3..5);
    let report = a.sync().await;
    assert_eq!((report.quarantined, report.pulled), (3, 2));
    let quarantine = a.engine().quarantine(None, 10).await.unwrap();
    assert_eq!(quarantine.len(), 3);
    assert!(quarantine.iter().any(|row| row.row.raw == "no object"));
    assert_eq!(a.titles().await.len(), 5, "the last good states stay");
    lab.remote.put(&key("r001"), payload("r001", "mended"));
    lab.remote.put(&key("r002"), payload("r002", "mended"));
    a.sync().await;
    assert_eq!(a.titles().await["r001"], "mended");
    assert_eq!(a.engine().quarantine(None, 10).await.unwrap().len(), 1);
}

// R5, C7: a sync without news woke every list on the screen.
#[tokio::test]
async fn a_pull_without_news_tells_no_change() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    fill(&lab, 0..3);
    a.sync().await;
    let mut changes = a.store.changes();
    for _ in 0..3 {
        a.sync().await;
    }
    a.create("2", "milk").await;
    let first = changes.next().await.unwrap();
    let told = |change: &StoreChange| match change {
        StoreChange::Records { ids, .. } => ids.clone() == Some(vec![RecordId::new("2").unwrap()]),
        StoreChange::Enqueued(_) => true,
        _ => false,
    };
    assert!(told(&first), "the syncs before told nothing: {first:?}");
}

// RCS-05: a row written offline long ago, and pushed late, was never delivered.
#[tokio::test]
async fn a_write_that_was_made_long_before_its_push_reaches_the_others() {
    for timestamps in [true, false] {
        let lab = Lab::over(|builder| match timestamps {
            true => builder.timestamp_profile(Duration::from_secs(1)),
            false => builder,
        });
        let (a, b) = (lab.device().await, lab.device().await);
        a.create("1", "written offline").await;
        lab.pass(Duration::from_secs(7_200));
        fill(&lab, 0..2);
        b.sync().await;
        lab.pass(Duration::from_secs(7_200));
        a.sync().await;
        b.pull_without_sweep().await;
        assert_eq!(b.titles().await["1"], "written offline");
    }
}

// RCS-04, trap 23: a device whose clock is wrong by days.
#[tokio::test]
async fn a_wrong_clock_skips_nothing_and_blocks_nothing() {
    for skew in [-5 * 86_400_000_000_i64, 5 * 86_400_000_000] {
        let lab = Lab::new();
        let a = lab.device_with(LastWriteWins, pages_of(2)).await;
        lab.remote.set_clock_skew(skew);
        fill(&lab, 0..3);
        a.create("mine", "own").await;
        a.sync().await;
        fill(&lab, 3..5);
        a.rename("r001", "mine").await;
        a.sync().await;
        assert_eq!(a.titles().await, remote_titles(&lab.remote));
        assert_eq!(a.titles().await.len(), 6);
        let left = a.engine().pending_ops(&OpQuery::default()).await.unwrap();
        assert!(left.is_empty());
    }
}

/// A device that pulls a page in which record 1 stands twice: as it was, and as `latest`, written meanwhile.
async fn after_a_page_that_tells_a_record_twice(lab: &Lab, latest: Payload) -> Probe {
    let device = lab.device_with(NeverAsked, EngineOptions::default()).await;
    lab.remote.put(&key("1"), payload("1", "as it was"));
    let (remote, hooks) = (lab.remote.clone(), device.hooks.clone());
    device.hooks.once(Moment::AfterPull, move || async move {
        remote.put(&key("1"), latest);
        let now = remote.get(&target(), &[key("1").id]).await.unwrap().remove(0);
        hooks.answer_next_pull_with(key("1").id, now);
    });
    device.sync().await;
    device
}

#[tokio::test]
async fn of_two_states_of_a_record_in_one_page_the_last_counts() {
    let lab = Lab::new();
    let device = after_a_page_that_tells_a_record_twice(&lab, payload("1", "latest")).await;
    assert_eq!(device.titles().await, titles([("1", "latest")]));
}

#[tokio::test]
async fn a_state_that_cannot_be_understood_is_not_covered_by_an_older_one_of_the_page() {
    let lab = Lab::new();
    let strange = Payload::parse(r#"{"id":"1","title":7,"done":false}"#).unwrap();
    let device = after_a_page_that_tells_a_record_twice(&lab, strange).await;
    assert_eq!(device.engine().quarantine(None, 10).await.unwrap().len(), 1);
    assert_eq!(device.titles().await, titles([]), "it is no longer as it was");
}

#[tokio::test]
async fn a_device_with_a_pending_operation_is_told_of_deletes_in_its_first_pull() {
    let lab = Lab::new();
    let device = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    lab.remote.delete(&key("1"));
    device.create("1", "mine").await;
    device.todos.pull_only(&scope()).await.unwrap();
    let base = device.store.load_record(&key("1")).await.unwrap().base;
    assert!(matches!(base, RemoteState::Deleted(_)), "{base:?}");
}
