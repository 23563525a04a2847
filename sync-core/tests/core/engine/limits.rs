//! What the store gives up to stay small, and what it never gives up.

use adapter_memory::MemoryRemoteStore;
use sync_core::{
    CacheLimits, CachePolicy, EngineOptions, ErrorKind, Incomplete, Payload, RecordKey, SyncScope, Target,
    resolve::Manual,
};

use super::{
    time::{pass, seconds},
    timed::{TimedDevice, timed_remote},
    world::{key, remote_titles, scope, target, titles, todo},
};

fn other_scope() -> SyncScope {
    SyncScope::new("inbox").unwrap().with("user", "u2").unwrap()
}

fn put(remote: &MemoryRemoteStore, scope: &SyncScope, id: &str, title: &str) {
    let target = Target::new(target().collection, scope.clone());
    let key = RecordKey::new(target, key(id).id);
    remote.put(&key, Payload::encode(&todo(id, title)).unwrap());
}

async fn count(device: &TimedDevice, scope: &SyncScope) -> u64 {
    device
        .todos
        .count(scope, None, CachePolicy::OfflineOnly)
        .await
        .unwrap()
}

async fn incomplete(device: &TimedDevice, scope: &SyncScope) -> Option<Incomplete> {
    device
        .todos
        .read(scope, CachePolicy::OfflineOnly)
        .await
        .unwrap()
        .incomplete
}

#[tokio::test(start_paused = true)]
async fn a_size_limit_gives_up_the_longest_unchanged_and_never_what_is_pending() {
    let remote = timed_remote();
    for n in 0..10 {
        put(&remote, &scope(), &format!("{n}"), "tea");
    }
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    pass(seconds(60)).await;
    put(&remote, &scope(), "new", "milk");
    device.sync().await;
    device.rename("3", "mine").await;
    let size = device.engine().approx_cache_size(None).await.unwrap();
    let limits = CacheLimits::default().with_max_bytes(size / 2);
    let evicted = device.engine().set_cache_limits(&limits).await.unwrap();
    assert!(device.engine().approx_cache_size(None).await.unwrap() <= size / 2);
    assert!((3..9).contains(&evicted), "{evicted} of 11");
    let left = device.titles().await;
    assert!(left.contains_key("new") && left["3"] == "mine", "{left:?}");
    assert_eq!(device.engine().cache_limits().await.unwrap(), limits);
    // A limit that cannot hold leaves exactly what is pending.
    device
        .engine()
        .set_cache_limits(&CacheLimits::default().with_max_bytes(0))
        .await
        .unwrap();
    assert_eq!(device.titles().await, titles([("3", "mine")]));
    assert_eq!(incomplete(&device, &scope()).await, Some(Incomplete::Evicted));
    device.sync().await;
    assert_eq!(
        (device.titles().await.len(), incomplete(&device, &scope()).await),
        (11, None)
    );
    assert_eq!(remote_titles(&remote)["3"], "mine");
}

#[tokio::test(start_paused = true)]
async fn records_older_than_the_limit_are_given_up_and_younger_ones_stay() {
    let remote = timed_remote();
    put(&remote, &scope(), "old", "tea");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    pass(seconds(100)).await;
    put(&remote, &scope(), "young", "milk");
    device.sync().await;
    device
        .engine()
        .set_cache_limits(&CacheLimits::default().with_max_age(seconds(200)))
        .await
        .unwrap();
    assert_eq!(device.titles().await.len(), 2);
    pass(seconds(101)).await;
    assert_eq!(device.engine().enforce_cache_limits().await.unwrap(), 1);
    assert_eq!(device.titles().await, titles([("young", "milk")]));
}

#[tokio::test(start_paused = true)]
async fn a_scope_can_have_an_age_limit_of_its_own() {
    let remote = timed_remote();
    for scope in [scope(), other_scope()] {
        put(&remote, &scope, "1", "tea");
    }
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    device.todos.synchronize(&other_scope()).await.unwrap();
    let limits = CacheLimits::default()
        .with_max_age(seconds(1_000))
        .with_scope_max_age(&other_scope(), seconds(10));
    device.engine().set_cache_limits(&limits).await.unwrap();
    assert_eq!(device.engine().cache_limits().await.unwrap(), limits);
    pass(seconds(11)).await;
    assert_eq!(device.engine().enforce_cache_limits().await.unwrap(), 1);
    assert_eq!(
        (
            count(&device, &scope()).await,
            count(&device, &other_scope()).await
        ),
        (1, 0)
    );
    pass(seconds(1_000)).await;
    assert_eq!(device.engine().enforce_cache_limits().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn tombstones_are_kept_until_their_age_has_passed() {
    let remote = timed_remote();
    put(&remote, &scope(), "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    remote.delete(&key("1"));
    device.sync().await;
    let limits = CacheLimits::default().with_tombstone_age(seconds(3_600));
    let before = device.engine().approx_cache_size(None).await.unwrap();
    device.engine().set_cache_limits(&limits).await.unwrap();
    let known = device.todos.explain(&scope(), &"1".to_owned()).await.unwrap();
    assert!(known.record.base.version().is_some(), "it remembers the delete");
    pass(seconds(3_601)).await;
    device.engine().enforce_cache_limits().await.unwrap();
    let known = device.todos.explain(&scope(), &"1".to_owned()).await.unwrap();
    assert!(known.record.base.version().is_none());
    assert!(device.engine().approx_cache_size(None).await.unwrap() < before);
    assert_eq!(
        incomplete(&device, &scope()).await,
        None,
        "no record was lost with it"
    );
}

#[tokio::test(start_paused = true)]
async fn clearing_refuses_while_operations_are_pending_and_returns_what_it_discards() {
    let remote = timed_remote();
    put(&remote, &scope(), "1", "tea");
    put(&remote, &scope(), "2", "milk");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    device.rename("1", "mine").await;
    device.create("3", "salt").await;
    let error = device.engine().clear(&scope(), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PendingOps);
    assert!(error.to_string().contains("2 operations"), "{error}");
    assert_eq!(
        (device.titles().await.len(), device.pending().await),
        (3, 2),
        "nothing was touched"
    );
    let cleared = device.engine().clear(&scope(), true).await.unwrap();
    let mut discarded: Vec<_> = cleared.discarded.iter().map(|op| op.key.id.to_string()).collect();
    discarded.sort();
    assert_eq!(
        (discarded, cleared.records),
        (vec!["1".to_owned(), "3".into()], 2)
    );
    assert_eq!((device.titles().await.len(), device.pending().await), (0, 0));
    assert_eq!(incomplete(&device, &scope()).await, Some(Incomplete::Cleared));
    device.sync().await;
    assert_eq!(device.titles().await, titles([("1", "tea"), ("2", "milk")]));
    assert_eq!(
        device.engine().clear(&scope(), false).await.unwrap().records,
        2,
        "without operations it may"
    );
}

#[tokio::test(start_paused = true)]
async fn clearing_settles_open_conflicts_as_discarded() {
    let remote = timed_remote();
    put(&remote, &scope(), "1", "tea");
    let device = TimedDevice::with(&remote, Manual, EngineOptions::default()).await;
    device.sync().await;
    device.rename("1", "mine").await;
    put(&remote, &scope(), "1", "theirs");
    assert_eq!(device.sync().await.deferred, 1);
    assert_eq!(
        device
            .engine()
            .clear(&scope(), true)
            .await
            .unwrap()
            .discarded
            .len(),
        1
    );
    let status = device.engine().refresh_status().await.unwrap();
    assert_eq!((status.open_conflicts, status.operations.total()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn clearing_and_eviction_touch_no_other_scope() {
    let remote = timed_remote();
    for scope in [scope(), other_scope()] {
        put(&remote, &scope, "1", "the same id");
    }
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    device.todos.synchronize(&other_scope()).await.unwrap();
    device.engine().clear(&scope(), false).await.unwrap();
    assert_eq!(
        (
            count(&device, &scope()).await,
            count(&device, &other_scope()).await
        ),
        (0, 1)
    );
    assert_eq!(incomplete(&device, &other_scope()).await, None);
    pass(seconds(100)).await;
    device.sync().await;
    // The other scope is older now, so it alone goes.
    device
        .engine()
        .set_cache_limits(&CacheLimits::default().with_max_age(seconds(50)))
        .await
        .unwrap();
    assert_eq!(
        (
            count(&device, &scope()).await,
            count(&device, &other_scope()).await
        ),
        (1, 0)
    );
    assert_eq!(incomplete(&device, &scope()).await, None);
    assert_eq!(
        incomplete(&device, &other_scope()).await,
        Some(Incomplete::Evicted)
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_lease_of_another_process_ends_and_leaves_the_status_idle() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    let name = format!("sync:{}", scope());
    let now = sync_core::Clock::now(&*device.time.clock);
    let store: &dyn sync_core::LocalStore = &device.store;
    store
        .acquire_lease(&name, uuid::Uuid::from_u128(7), now, seconds(10))
        .await
        .unwrap();
    let scope = scope();
    let clear = device.engine().clear(&scope, false);
    let look = async {
        pass(seconds(1)).await;
        device.engine().status().why_not_moving()
    };
    let (cleared, reasons) = tokio::join!(clear, look);
    cleared.unwrap();
    assert!(reasons[0].contains("another process"), "{reasons:?}");
    assert!(device.engine().status().why_not_moving().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_lease_behind_and_its_work_goes_on() {
    let remote = timed_remote();
    put(&remote, &scope(), "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    let now = sync_core::Clock::now(&*device.time.clock);
    let store: &dyn sync_core::LocalStore = &device.store;
    let name = format!("sync:{}", scope());
    let other = uuid::Uuid::from_u128(7);
    store.acquire_lease(&name, other, now, seconds(10)).await.unwrap();
    let limits = CacheLimits::default().with_max_bytes(0);
    let dropped = tokio::time::timeout(seconds(1), device.engine().set_cache_limits(&limits)).await;
    assert!(dropped.is_err() && count(&device, &scope()).await == 1);
    pass(seconds(20)).await;
    assert_eq!(
        (count(&device, &scope()).await, device.time.tasks.running()),
        (0, 0)
    );
    device.sync().await;
    assert_eq!(count(&device, &scope()).await, 1);
}
