//! What else is done in a scope while it is being synchronized.

use adapter_memory::MemoryRemoteStore;
use sync_core::{CacheLimits, Freshness, Payload, ReadOptions};

use super::{
    link::Traffic,
    time::{millis, pass},
    timed::{TimedDevice, timed_remote},
    world::{key, remote_titles, scope, todo},
};

fn fill(remote: &MemoryRemoteStore) {
    for n in 0..20 {
        let id = format!("{n:02}");
        remote.put(&key(&id), Payload::encode(&todo(&id, "tea")).unwrap());
    }
}

/// A device whose sync of twenty records takes a second, in pages of two.
async fn slow_device(remote: &MemoryRemoteStore) -> TimedDevice {
    fill(remote);
    let options = sync_core::EngineOptions::default()
        .with_page_size(2)
        .with_commit_rows(2);
    let device = TimedDevice::with(remote, sync_core::resolve::LastWriteWins, options).await;
    device.link.set(Traffic::Takes(millis(100)));
    device
}

#[tokio::test(start_paused = true)]
async fn a_search_disturbs_no_synchronization() {
    let remote = timed_remote();
    let device = slow_device(&remote).await;
    let search = async {
        pass(millis(250)).await;
        device.read(ReadOptions::default().with_remote_eval()).await
    };
    let (synchronized, found) = tokio::join!(async { device.todos.synchronize(&scope()).await }, search);
    synchronized.unwrap();
    let found = found.unwrap();
    assert!(matches!(found.freshness, Freshness::Fresh), "{found:?}");
    assert_eq!(found.items.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn clearing_waits_for_the_synchronization_and_hides_nothing_that_is_missing() {
    let remote = timed_remote();
    let device = slow_device(&remote).await;
    let clear = async {
        pass(millis(250)).await;
        device.engine().clear(&scope(), false).await
    };
    let (synchronized, cleared) = tokio::join!(async { device.todos.synchronize(&scope()).await }, clear);
    synchronized.unwrap();
    assert_eq!(cleared.unwrap().records, 20);
    device.sync().await;
    assert_eq!(device.titles().await, remote_titles(&remote));
}

#[tokio::test(start_paused = true)]
async fn eviction_waits_for_the_synchronization_and_hides_nothing_that_is_missing() {
    let remote = timed_remote();
    let device = slow_device(&remote).await;
    let evict = async {
        pass(millis(250)).await;
        device
            .engine()
            .set_cache_limits(&CacheLimits::default().with_max_bytes(0))
            .await
    };
    let (synchronized, evicted) = tokio::join!(async { device.todos.synchronize(&scope()).await }, evict);
    synchronized.unwrap();
    assert!(evicted.unwrap() > 0);
    device.sync().await;
    assert_eq!(device.titles().await, remote_titles(&remote));
}
