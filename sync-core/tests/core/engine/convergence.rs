//! Devices and the remote end equal.

use std::time::Duration;

use adapter_memory::{
    MemoryRemoteStore,
    faults::{Call, Fault},
};
use futures::StreamExt;
use sync_core::{
    EngineOptions, ErrorKind, Settlement, SyncError, SyncEvent,
    resolve::{ClientWins, LastWriteWins},
};

use super::world::{Device, remote_titles, titles};

#[tokio::test]
async fn edits_of_two_devices_meet() {
    let remote = MemoryRemoteStore::new();
    let (a, b) = (Device::new(&remote).await, Device::new(&remote).await);
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    b.create("3", "bread").await;
    assert_eq!(a.sync().await.pushed, 2);
    let report = b.sync().await;
    assert_eq!(
        (report.pushed, report.pulled),
        (1, 2),
        "its own write that comes back is no change"
    );
    a.sync().await;
    a.rename("1", "green tea").await;
    a.delete("2").await;
    b.rename("3", "rye bread").await;
    for device in [&a, &b, &a] {
        device.sync().await;
    }
    let expected = titles([("1", "green tea"), ("3", "rye bread")]);
    assert_eq!(a.titles().await, expected);
    assert_eq!(b.titles().await, expected);
    assert_eq!(remote_titles(&remote), expected);
    assert_eq!((a.pending().await, b.pending().await), (0, 0));
    let quiet = a.sync().await;
    assert_eq!((quiet.pushed, quiet.pulled, quiet.requests), (0, 0, 1));
}

#[tokio::test]
async fn the_later_write_wins_a_conflict_on_both_devices() {
    let remote = MemoryRemoteStore::new();
    let (a, b) = (Device::new(&remote).await, Device::new(&remote).await);
    a.create("1", "tea").await;
    a.sync().await;
    b.sync().await;
    a.rename("1", "earlier").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    b.rename("1", "later").await;
    a.sync().await;
    let report = b.sync().await;
    assert_eq!(report.settled.get(&Settlement::KeptLocal), Some(&1));
    a.sync().await;
    let expected = titles([("1", "later")]);
    assert_eq!(a.titles().await, expected);
    assert_eq!(b.titles().await, expected);
    assert_eq!(remote_titles(&remote), expected);
}

#[tokio::test]
async fn lost_answers_are_resolved_and_not_repeated() {
    let remote = MemoryRemoteStore::new();
    let a = Device::new(&remote).await;
    a.create("1", "tea").await;
    remote.faults().script(
        Call::Push,
        Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "lost")),
    );
    assert!(a.todos.synchronize(&super::world::scope()).await.is_err());
    a.rename("1", "green tea").await;
    let report = a.sync().await;
    assert_eq!((report.pushed, report.duplicates, report.conflicts()), (2, 1, 0));
    assert_eq!(remote_titles(&remote), titles([("1", "green tea")]));
    assert_eq!(a.pending().await, 0);
}

#[tokio::test]
async fn weak_remotes_converge_as_well() {
    for remote in [
        MemoryRemoteStore::builder()
            .timestamp_profile(Duration::from_secs(10))
            .build(),
        MemoryRemoteStore::builder().snapshot_profile().build(),
    ] {
        let a = Device::with(&remote, ClientWins, EngineOptions::default().with_page_size(2)).await;
        let options = EngineOptions::default()
            .with_page_size(3)
            .with_sweep_interval(Duration::ZERO);
        let b = Device::with(&remote, LastWriteWins, options).await;
        for n in 0..7 {
            a.create(&format!("a{n}"), "from a").await;
            b.create(&format!("b{n}"), "from b").await;
        }
        for device in [&a, &b, &a] {
            device.sync().await;
        }
        a.delete("b3").await;
        a.rename("a1", "changed").await;
        a.sync().await;
        b.sync().await;
        assert_eq!(b.titles().await, remote_titles(&remote), "{remote:?}");
        assert_eq!(b.titles().await.len(), 13);
        assert_eq!(a.titles().await, remote_titles(&remote));
    }
}

#[tokio::test]
async fn a_failed_sync_tells_what_it_did_before() {
    let remote = MemoryRemoteStore::new();
    let a = Device::new(&remote).await;
    a.create("1", "tea").await;
    let mut events = a.engine().events();
    let failure = SyncError::new(ErrorKind::Unreachable, "gone");
    remote.faults().script(Call::Pull, Fault::FailBefore(failure));
    assert!(a.todos.synchronize(&super::world::scope()).await.is_err());
    let report = loop {
        if let Some(SyncEvent::Failed { report, .. }) = events.next().await {
            break report;
        }
    };
    assert_eq!((report.pushed, report.requests), (1, 2));
}
