//! Conflicts that wait for the user: listed, decided once, and kept as history.

use adapter_memory::MemoryRemoteStore;
use futures::{FutureExt, StreamExt};
use sync_core::{
    CachePolicy, ConflictQuery, ConflictRecord, EngineOptions, ErrorKind, Payload, Settlement, SyncEvent,
    resolve::{ClientWins, LastWriteWins, Manual, Resolution},
};
use uuid::Uuid;

use super::{
    hooks::Moment,
    lab::Lab,
    world::{Device, Todo, key, remote_titles, scope, titles, todo},
};

fn payload(id: &str, title: &str) -> Payload {
    Payload::encode(&todo(id, title)).unwrap()
}

fn title(payload: Option<&Payload>) -> Option<String> {
    payload.map(|payload| payload.decode::<Todo>().unwrap().title)
}

/// A device with an open conflict: "tea" here became "mine", and there "theirs".
async fn with_conflict(remote: &MemoryRemoteStore) -> (Device, ConflictRecord) {
    let device = Device::with(remote, Manual, EngineOptions::default()).await;
    device.create("1", "tea").await;
    device.sync().await;
    device.rename("1", "mine").await;
    remote.put(&key("1"), payload("1", "theirs"));
    let report = device.sync().await;
    assert_eq!((report.deferred, report.pushed), (1, 0));
    let open = conflicts(&device, Some(true)).await.remove(0);
    (device, open)
}

async fn conflicts(device: &Device, open: Option<bool>) -> Vec<ConflictRecord> {
    let query = ConflictQuery {
        open,
        ..ConflictQuery::default()
    };
    device.engine().conflicts(&query).await.unwrap()
}

#[tokio::test]
async fn an_open_conflict_shows_both_sides_and_holds_up_nobody_else() {
    let remote = MemoryRemoteStore::new();
    let (device, open) = with_conflict(&remote).await;
    assert!(open.is_open() && open.key == key("1"));
    assert_eq!(title(open.base.as_ref()).as_deref(), Some("tea"));
    assert_eq!(title(open.local.as_ref()).as_deref(), Some("mine"));
    assert_eq!(title(open.remote.payload()).as_deref(), Some("theirs"));
    assert_eq!(
        device.titles().await,
        titles([("1", "mine")]),
        "the app goes on with its own value"
    );
    device.create("2", "milk").await;
    assert_eq!(device.sync().await.pushed, 1);
    let status = device.engine().status();
    assert_eq!(status.open_conflicts, 1);
    assert_eq!(
        status.why_not_moving(),
        ["1 operation waits for you to resolve a conflict"]
    );
    let answer = device
        .todos
        .read(&scope(), CachePolicy::OfflineOnly)
        .await
        .unwrap();
    assert_eq!(answer.pending, ["1".to_owned()].into());
    // Both sides go on; the record of the conflict follows.
    device.rename("1", "mine too").await;
    remote.put(&key("1"), payload("1", "theirs too"));
    device.sync().await;
    let now = conflicts(&device, None).await;
    assert_eq!((now.len(), now[0].conflict_id), (1, open.conflict_id));
    assert_eq!(title(now[0].local.as_ref()).as_deref(), Some("mine too"));
    assert_eq!(title(now[0].remote.payload()).as_deref(), Some("theirs too"));
}

#[tokio::test]
async fn each_decision_ends_on_both_sides() {
    let merged = Resolution::Merged(payload("1", "ours"));
    for (resolution, winner, settlement) in [
        (Resolution::KeepLocal, "mine", Settlement::KeptLocal),
        (Resolution::TakeRemote, "theirs", Settlement::TookRemote),
        (merged, "ours", Settlement::Merged),
    ] {
        let remote = MemoryRemoteStore::new();
        let (device, open) = with_conflict(&remote).await;
        let mut events = device.engine().events();
        let settled = device
            .engine()
            .resolve_conflict(open.conflict_id, resolution)
            .await
            .unwrap();
        assert_eq!((settled.settlement, settled.is_open()), (Some(settlement), false));
        let told = events.next().now_or_never().flatten();
        assert!(
            matches!(&told, Some(SyncEvent::Conflict(record)) if **record == settled),
            "{told:?}"
        );
        assert_eq!(device.titles().await, titles([("1", winner)]));
        device.sync().await;
        assert_eq!(
            (remote_titles(&remote), device.pending().await),
            (titles([("1", winner)]), 0)
        );
        assert_eq!(device.engine().status().open_conflicts, 0);
        let history = conflicts(&device, Some(false)).await;
        assert_eq!(history, [settled], "what lost is kept in the history");
        assert_eq!(title(history[0].local.as_ref()).as_deref(), Some("mine"));
        assert_eq!(title(history[0].remote.payload()).as_deref(), Some("theirs"));
    }
}

#[tokio::test]
async fn a_conflict_is_decided_once_and_only_with_a_sound_value() {
    let (device, open) = with_conflict(&MemoryRemoteStore::new()).await;
    let id = open.conflict_id;
    let decide = async |id, resolution| device.engine().resolve_conflict(id, resolution).await;
    let another_record = Resolution::Merged(payload("2", "ours"));
    let error = decide(id, another_record).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("id")));
    let not_a_todo = Resolution::Merged(Payload::parse(r#"{"id":"1"}"#).unwrap());
    assert!(decide(id, not_a_todo).await.is_err());
    let error = decide(id, Resolution::Defer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = decide(Uuid::from_u128(1), Resolution::KeepLocal)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::NotFound, Some("conflict_id"))
    );
    assert_eq!(
        conflicts(&device, Some(true)).await,
        [open],
        "nothing was changed by all that"
    );
    decide(id, Resolution::KeepLocal).await.unwrap();
    let twice = decide(id, Resolution::TakeRemote).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::NotFound);
    assert_eq!(device.titles().await, titles([("1", "mine")]));
}

#[tokio::test]
async fn an_open_conflict_survives_a_restart() {
    let remote = MemoryRemoteStore::new();
    let (device, open) = with_conflict(&remote).await;
    device.engine().stop();
    let store = device.store.reopen();
    let again = Device::open(store, &remote, Manual, EngineOptions::default()).await;
    again.sync().await;
    again
        .engine()
        .resolve_conflict(open.conflict_id, Resolution::KeepLocal)
        .await
        .unwrap();
    again.sync().await;
    assert_eq!(remote_titles(&remote), titles([("1", "mine")]));
}

#[tokio::test]
async fn conflicts_that_settle_themselves_are_history_as_well() {
    let remote = MemoryRemoteStore::new();
    let device = Device::with(&remote, LastWriteWins, EngineOptions::default()).await;
    device.create("1", "tea").await;
    device.sync().await;
    device.rename("1", "mine").await;
    // The clock of the other writer reads the operating system's time too, and comes later.
    remote.put(&key("1"), payload("1", "theirs"));
    let report = device.sync().await;
    assert_eq!(report.conflicts(), 1);
    let history = conflicts(&device, Some(false)).await;
    assert_eq!(history.len(), 1);
    assert!(history[0].settled_at.is_some() && conflicts(&device, Some(true)).await.is_empty());
    assert_eq!(title(history[0].local.as_ref()).as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_record_that_others_write_before_every_push_is_left_for_the_next_synchronization() {
    let lab = Lab::new();
    let mut options = EngineOptions::default();
    options.max_conflict_rounds = 3;
    let device = lab.device_with(ClientWins, options).await;
    device.create("1", "tea").await;
    device.sync().await;
    device.rename("1", "mine").await;
    for round in 0..10 {
        let remote = lab.remote.clone();
        device.hooks.once(Moment::BeforePush, move || async move {
            remote.put(&key("1"), payload("1", &format!("theirs {round}")));
        });
    }
    device.sync().await;
    assert_eq!(device.hooks.left(), 7, "three pushes met a foreign write");
    assert_eq!(device.pending().await, 1, "the write is kept");
    device.hooks.clear();
    device.sync().await;
    assert_eq!(
        (remote_titles(&lab.remote), device.pending().await),
        (titles([("1", "mine")]), 0)
    );
}
