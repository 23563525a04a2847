//! What the engine says about itself while it works.

use adapter_memory::{
    MemoryRemoteStore,
    faults::{Call, Fault},
};
use futures::{FutureExt, StreamExt};
use sync_core::{
    Activity, CacheLimits, EngineOptions, ErrorKind, OpKind, OpStateKind, Payload, SyncError, SyncEvent,
    resolve::LastWriteWins,
};

use super::{
    link::Traffic,
    time::{millis, pass, seconds},
    timed::{TimedDevice, timed_remote},
    world::{Device, key, scope, todo},
};

fn put(remote: &MemoryRemoteStore, id: &str) {
    remote.put(&key(id), Payload::encode(&todo(id, "tea")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_activity_goes_from_pushing_over_pulling_to_idle() {
    let remote = timed_remote();
    let options = EngineOptions::default().with_push_batch(1).with_page_size(1);
    let device = TimedDevice::with(&remote, LastWriteWins, options).await;
    put(&remote, "a");
    put(&remote, "b");
    device.create("1", "tea").await;
    device.create("2", "milk").await;
    device.link.set(Traffic::Takes(millis(10)));
    let mut statuses = device.engine().watch_status();
    let synchronized = device.sync();
    let watched = async {
        let mut seen: Vec<String> = Vec::new();
        while let Some(status) = statuses.next().await {
            let text = format!("{:?}", status.scope(scope().key()).activity);
            if seen.last() != Some(&text) {
                seen.push(text);
            }
            if status.scope(scope().key()).last_success.is_some() {
                return seen;
            }
        }
        seen
    };
    let (report, seen) = tokio::join!(synchronized, watched);
    let told = seen.join(", ");
    assert!(seen[0] == "Idle" && seen.last().unwrap() == "Idle", "{told}");
    let place = |text: &str| {
        seen.iter()
            .position(|seen| seen == text)
            .unwrap_or_else(|| panic!("{text}: {told}"))
    };
    assert!(
        place("Pushing { sent: 0 }") < place("Pushing { sent: 1 }"),
        "{told}"
    );
    assert!(
        place("Pushing { sent: 1 }") < place("Pulling { received: 1 }"),
        "{told}"
    );
    assert!(
        place("Pulling { received: 1 }") < place("Pulling { received: 2 }"),
        "{told}"
    );
    assert_eq!((report.pushed, report.pulled), (2, 2));
    assert!(report.duration >= millis(40), "{:?}", report.duration);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_the_next_attempt_and_forgotten_after_a_success() {
    let device = TimedDevice::new(&timed_remote()).await;
    device.link.set(Traffic::Refused);
    device.create("1", "tea").await;
    device.todos.synchronize(&scope()).await.unwrap_err();
    let status = device.engine().status();
    let told = status.scope(scope().key());
    assert!(matches!(told.activity, Activity::BackingOff { .. }) && told.last_success.is_none());
    assert_eq!(told.last_error.unwrap().kind(), ErrorKind::Unreachable);
    let next = device
        .todos
        .explain(&scope(), &"1".to_owned())
        .await
        .unwrap()
        .next_attempt_at();
    assert!(matches!(told.activity, Activity::BackingOff { until } if next == Some(until)));
    device.link.set(Traffic::Flows);
    device.sync().await;
    let told = device.engine().status().scope(scope().key());
    assert!(matches!(told.activity, Activity::Idle) && told.last_error.is_none());
    assert!(told.last_success.is_some());
}

#[tokio::test(start_paused = true)]
async fn refreshing_the_status_counts_what_is_pending_now() {
    let device = TimedDevice::new(&timed_remote()).await;
    device.create("1", "tea").await;
    assert_eq!(
        device.engine().status().operations.total(),
        0,
        "as of the last sync"
    );
    let status = device.engine().refresh_status().await.unwrap();
    assert_eq!(
        (
            status.operations.of(OpStateKind::Queued),
            status.operations.total()
        ),
        (1, 1)
    );
    device.time.connectivity.set(false);
    assert!(!device.engine().refresh_status().await.unwrap().online);
    device.sync().await;
    assert_eq!(device.engine().status().operations.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_story_of_a_write_and_of_a_pull() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let mut events = device.engine().events();
    let mut told = || {
        let mut told = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            told.push(match event {
                SyncEvent::Enqueued {
                    kind: OpKind::Create, ..
                } => "enqueued".to_owned(),
                SyncEvent::Started(_) => "started".into(),
                SyncEvent::Pushed { key, .. } => format!("pushed {}", key.id),
                SyncEvent::Pulled { changed, .. } => format!("pulled {changed}"),
                SyncEvent::Finished { report, .. } => format!("finished {}", report.requests),
                SyncEvent::Failed { error, .. } => format!("failed: {}", error.kind()),
                SyncEvent::Evicted { records, .. } => format!("evicted {records}"),
                SyncEvent::Resyncing { .. } => "resyncing".into(),
                other => format!("{other:?}"),
            });
        }
        told
    };
    device.create("1", "tea").await;
    put(&remote, "2");
    device.sync().await;
    assert_eq!(
        told(),
        ["enqueued", "started", "pushed 1", "pulled 1", "finished 2"]
    );
    let lost = SyncError::new(ErrorKind::Server, "oops");
    remote.faults().script(Call::Pull, Fault::FailBefore(lost));
    device.todos.synchronize(&scope()).await.unwrap_err();
    assert_eq!(told(), ["started", "failed: server failure"]);
    device.todos.full_resync(&scope()).await.unwrap();
    assert_eq!(told(), ["started", "resyncing", "finished 1"]);
    device
        .engine()
        .set_cache_limits(&CacheLimits::default().with_max_bytes(0))
        .await
        .unwrap();
    assert_eq!(told(), ["evicted 2"]);
}

#[tokio::test]
async fn a_slow_receiver_of_events_is_told_how_many_it_missed() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    let mut events = device.engine().events();
    for n in 0..1_500 {
        device.create(&format!("{n}"), "tea").await;
    }
    let first = events.next().await.unwrap();
    let SyncEvent::Missed(missed) = first else {
        panic!("{first:?}");
    };
    assert!((1..1_500).contains(&missed), "{missed}");
    let left = usize::try_from(1_500 - missed).unwrap();
    let received: Vec<_> = events.by_ref().take(left).collect().await;
    assert!(
        received
            .iter()
            .all(|event| matches!(event, SyncEvent::Enqueued { .. }))
    );
    assert!(
        events.next().now_or_never().is_none(),
        "the others are exactly those that it missed"
    );
}

#[tokio::test(start_paused = true)]
async fn an_explanation_tells_of_a_record_that_nobody_knows_and_of_one_in_doubt() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let unknown = device.todos.explain(&scope(), &"9".to_owned()).await.unwrap();
    assert!(
        unknown.to_string().contains("seen by the app: nothing"),
        "{unknown}"
    );
    assert_eq!(unknown.next_attempt_at(), None);
    device.create("1", "tea").await;
    let lost = SyncError::new(ErrorKind::Timeout, "the answer was lost");
    remote.faults().script(Call::Push, Fault::FailAfter(lost));
    device.todos.synchronize(&scope()).await.unwrap_err();
    let text = device
        .todos
        .explain(&scope(), &"1".to_owned())
        .await
        .unwrap()
        .to_string();
    assert!(
        text.contains("was sent, the answer is outstanding; sent 1 time"),
        "{text}"
    );
    pass(seconds(1)).await;
    device.sync().await;
    let known = device.todos.explain(&scope(), &"1".to_owned()).await.unwrap();
    assert!(
        known.record.ops.is_empty() && known.to_string().contains("confirmed by the remote: {"),
        "{known}"
    );
}
