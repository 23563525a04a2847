//! The background driver in virtual time: when it synchronizes, when it waits, and when it ends.

use std::sync::Arc;

use adapter_memory::{
    MemoryLocalStore, MemoryRemoteStore, Rejection,
    faults::{Call, Fault},
};
use sync_core::{
    Activity, BackgroundOptions, BackgroundSync, Clock, CollectionName, CollectionSchema, ConflictQuery,
    EngineOptions, ErrorKind, LocalStore, OpQuery, OpStateKind, Payload, RetryClass, SyncEngine, SyncError,
    Write,
    resolve::{LastWriteWins, Manual, Resolution},
};

use super::{
    link::Traffic,
    time::{TimedEffects, millis, pass, seconds},
    timed::{TimedDevice, timed_remote},
    world::{Device, key, remote_titles, scope, titles, todo},
};

fn quiet() -> BackgroundOptions {
    BackgroundOptions::default()
        .with_interval(seconds(24 * 3_600))
        .without_realtime()
}

fn start(device: &TimedDevice, options: BackgroundOptions) -> BackgroundSync {
    device.engine().start_background(&scope(), options).unwrap()
}

fn put(remote: &MemoryRemoteStore, id: &str, title: &str) {
    remote.put(&key(id), Payload::encode(&todo(id, title)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn it_synchronizes_at_the_start_and_on_every_interval() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet().with_interval(seconds(60)));
    pass(millis(1)).await;
    assert_eq!(device.titles().await, titles([("1", "tea")]));
    put(&remote, "2", "milk");
    pass(seconds(50)).await;
    assert_eq!(device.link.calls(), 1, "the interval has not passed");
    pass(seconds(17)).await;
    assert_eq!(device.titles().await.len(), 2);
    pass(seconds(3_600)).await;
    let pulls = device.link.calls();
    assert!((55..=70).contains(&pulls), "{pulls} pulls in an hour of minutes");
}

#[tokio::test(start_paused = true)]
async fn without_a_sync_at_the_start_it_still_sends_what_was_pending() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    device.create("1", "tea").await;
    let _running = start(&device, quiet().without_sync_at_start());
    assert_eq!(device.link.calls(), 0);
    pass(seconds(1)).await;
    assert_eq!(remote_titles(&remote).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_writes_make_few_pushes() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet().with_debounce(millis(200)));
    pass(seconds(1)).await;
    let before = device.link.calls();
    for n in 0..50 {
        device.create(&format!("{n}"), "tea").await;
        pass(millis(1)).await;
    }
    assert_eq!(device.link.calls(), before, "they are debounced");
    pass(seconds(1)).await;
    assert_eq!(device.link.calls(), before + 1);
    assert_eq!(remote_titles(&remote).len(), 50);
    pass(seconds(600)).await;
    assert_eq!(device.link.calls(), before + 1, "and nothing more happens");
}

#[tokio::test(start_paused = true)]
async fn a_write_during_a_push_is_pushed_as_well() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet());
    pass(seconds(1)).await;
    device.link.set(Traffic::Takes(seconds(2)));
    device.create("1", "tea").await;
    pass(seconds(1)).await;
    device.create("2", "milk").await;
    device.rename("1", "green tea").await;
    pass(seconds(10)).await;
    let expected = titles([("1", "green tea"), ("2", "milk")]);
    assert_eq!((remote_titles(&remote), device.pending().await), (expected, 0));
}

#[tokio::test(start_paused = true)]
async fn it_waits_while_offline_and_synchronizes_when_the_network_returns() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    device.time.connectivity.set(false);
    let _running = start(&device, quiet().with_interval(seconds(60)));
    device.create("1", "tea").await;
    put(&remote, "2", "milk");
    pass(seconds(200)).await;
    assert_eq!(device.link.calls(), 0);
    let status = device.engine().refresh_status().await.unwrap();
    assert!(
        status
            .why_not_moving()
            .contains(&"the device is offline".to_owned())
    );
    device.time.connectivity.set(true);
    pass(millis(10)).await;
    assert_eq!(remote_titles(&remote).len(), 2);
    assert_eq!(device.titles().await.len(), 2);
    assert!(device.engine().status().online && device.engine().status().why_not_moving().is_empty());
    device.time.connectivity.set(false);
    pass(millis(10)).await;
    assert!(!device.engine().status().online, "the status follows at once");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_hint_that_the_device_is_offline_costs_time_and_nothing_else() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    device.time.connectivity.set(false);
    let _running = start(&device, quiet().with_interval(seconds(60)));
    device.create("1", "tea").await;
    pass(seconds(400)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_poke_from_another_device_leads_to_a_pull() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let other = Device::new(&remote.another_client()).await;
    let _running = start(
        &device,
        BackgroundOptions::default().with_interval(seconds(24 * 3_600)),
    );
    pass(seconds(5)).await;
    other.create("1", "tea").await;
    other.sync().await;
    pass(millis(500)).await;
    assert_eq!(device.titles().await, titles([("1", "tea")]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_lost_subscription_is_made_again_and_what_was_missed_is_pulled() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let lost = SyncError::new(ErrorKind::Unreachable, "no websocket today");
    for _ in 0..3 {
        remote
            .faults()
            .script(Call::Subscribe, Fault::FailBefore(lost.clone()));
    }
    let _running = start(
        &device,
        BackgroundOptions::default().with_interval(seconds(24 * 3_600)),
    );
    pass(millis(10)).await;
    put(&remote, "1", "tea");
    pass(seconds(30)).await;
    assert_eq!(device.titles().await.len(), 1, "the fourth subscription stands");
    assert_eq!(device.link.calls_of("subscribe"), 4);
    remote.disconnect_subscribers();
    put(&remote, "2", "milk");
    pass(seconds(30)).await;
    assert_eq!(device.titles().await.len(), 2);
    assert_eq!(device.link.calls_of("subscribe"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_always_ends_at_once_is_not_made_in_a_busy_loop() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, BackgroundOptions::default());
    for _ in 0..6_000 {
        remote.disconnect_subscribers();
        pass(millis(100)).await;
    }
    let (subscriptions, pulls) = (device.link.calls_of("subscribe"), device.link.calls_of("pull"));
    assert!(
        subscriptions < 40 && pulls < 80,
        "{subscriptions} subscriptions, {pulls} pulls"
    );
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_queue_drains_without_new_input() {
    let remote = timed_remote();
    let options = EngineOptions::default().with_retry(seconds(1), seconds(60));
    let device = TimedDevice::with(&remote, LastWriteWins, options).await;
    device.link.set(Traffic::Refused);
    let _running = start(&device, quiet());
    device.create("1", "tea").await;
    pass(seconds(1)).await;
    let mut before = device.link.calls();
    for minute in 0..30 {
        pass(seconds(60)).await;
        let made = device.link.calls() - before;
        before = device.link.calls();
        let most = if minute == 0 { 30 } else { 20 };
        assert!(made <= most, "{made} requests in minute {minute} of the outage");
    }
    let status = device.engine().status();
    let now = device.time.clock.now();
    let scope_status = status.scope(scope().key());
    assert!(
        matches!(scope_status.activity, Activity::BackingOff { until } if until > now),
        "{scope_status:?}"
    );
    device.link.set(Traffic::Flows);
    pass(seconds(61)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (1, 0));
    let status = device.engine().status();
    assert!(status.why_not_moving().is_empty() && status.scope(scope().key()).last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_to_be_retried_alone_is_sent_again_without_new_input() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    for _ in 0..4 {
        remote.faults().script(Call::Push, Fault::RetryOps([0].into()));
    }
    let _running = start(&device, quiet());
    pass(seconds(1)).await;
    device.create("1", "tea").await;
    pass(seconds(1)).await;
    assert_eq!(device.pending().await, 1);
    pass(seconds(60)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (1, 0));
    assert!(device.link.calls() < 20, "{} calls", device.link.calls());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_remote_is_left_at_the_deadline_and_asked_again() {
    let remote = timed_remote();
    let options = EngineOptions::default().with_call_deadline(seconds(10));
    let device = TimedDevice::with(&remote, LastWriteWins, options).await;
    device.link.set(Traffic::Hangs);
    let _running = start(&device, quiet());
    device.create("1", "tea").await;
    pass(seconds(300)).await;
    let calls = device.link.calls();
    assert!((3..40).contains(&calls), "{calls}");
    device.link.set(Traffic::Flows);
    pass(seconds(311)).await;
    assert_eq!(remote_titles(&remote).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_honoured_even_if_the_user_goes_on_writing() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet());
    pass(seconds(1)).await;
    let limited =
        SyncError::new(ErrorKind::RateLimited, "slow down").with_retry(RetryClass::After(seconds(120)));
    remote.faults().script(Call::Push, Fault::FailBefore(limited));
    device.create("0", "tea").await;
    pass(seconds(1)).await;
    let before = device.link.calls();
    for n in 1..100 {
        device.create(&format!("{n}"), "tea").await;
        pass(seconds(1)).await;
    }
    assert_eq!(device.link.calls(), before, "not before the pause has passed");
    pass(seconds(30)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (100, 0));
}

// Simulator, seeds 3885 and 6734: clearing and evicting waited for another process, and the status forgot the pause.
#[tokio::test(start_paused = true)]
async fn a_retry_after_is_honoured_whatever_else_waits_for_the_scope() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet());
    pass(seconds(1)).await;
    let limited =
        SyncError::new(ErrorKind::RateLimited, "slow down").with_retry(RetryClass::After(seconds(120)));
    remote.faults().script(Call::Push, Fault::FailBefore(limited));
    device.create("0", "tea").await;
    pass(seconds(1)).await;
    let before = device.link.calls();
    let (name, other) = (format!("sync:{}", scope()), uuid::Uuid::from_u128(7));
    let now = device.time.clock.now();
    device
        .store
        .acquire_lease(&name, other, now, seconds(10))
        .await
        .unwrap();
    let refused = device.engine().clear(&scope(), false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PendingOps);
    device.create("1", "milk").await;
    pass(seconds(60)).await;
    assert_eq!(device.link.calls(), before, "not before the pause has passed");
    pass(seconds(60)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn frequent_writes_do_not_put_off_the_pull() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet().with_interval(seconds(60)));
    pass(seconds(1)).await;
    put(&remote, "of another", "tea");
    for n in 0..80 {
        device.create(&format!("{n}"), "tea").await;
        pass(seconds(1)).await;
    }
    assert_eq!(device.titles().await.len(), 81);
}

#[tokio::test(start_paused = true)]
async fn an_expired_sign_in_parks_the_queue_and_burns_no_attempts() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, quiet().with_interval(seconds(60)));
    pass(seconds(1)).await;
    remote.expire_token();
    let written = device
        .todos
        .enqueue_create(&scope(), &todo("1", "tea"))
        .await
        .unwrap();
    let before = device.link.calls();
    pass(seconds(600)).await;
    assert!(
        device.link.calls() - before <= 15,
        "{}",
        device.link.calls() - before
    );
    let status = device.engine().status();
    assert!(matches!(
        status.scope(scope().key()).activity,
        Activity::NeedsSignIn
    ));
    assert!(
        status.why_not_moving()[0].contains("sign-in"),
        "{:?}",
        status.why_not_moving()
    );
    let ops = device.engine().pending_ops(&OpQuery::default()).await.unwrap();
    assert_eq!(
        (ops.len(), ops[0].attempts, Some(ops[0].op_id)),
        (1, 0, written.op_id)
    );
    remote.sign_in();
    pass(seconds(70)).await;
    assert_eq!((remote_titles(&remote).len(), device.pending().await), (1, 0));
    assert!(device.engine().status().why_not_moving().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_operation_of_a_type_that_is_not_registered_any_more_does_not_keep_it_awake() {
    let remote = timed_remote();
    let store = MemoryLocalStore::new();
    let schema = CollectionSchema::untyped("drafts", "id").unwrap();
    let old = SyncEngine::builder(Arc::new(store.clone()), Arc::new(remote.clone()))
        .register_schema(schema, LastWriteWins)
        .effects(TimedEffects::new(8).effects)
        .build()
        .await
        .unwrap();
    let draft = Payload::parse(r#"{"id":"1"}"#).unwrap();
    let mut draft_key = key("1");
    draft_key.target.collection = CollectionName::new("drafts").unwrap();
    old.write(Write::create_raw(draft_key, draft)).await.unwrap();
    let device = TimedDevice::over(store, &remote, LastWriteWins, EngineOptions::default()).await;
    let _running = start(&device, quiet().with_interval(seconds(3_600)));
    pass(seconds(3_600)).await;
    assert!(
        device.link.calls() < 40,
        "{} calls in an hour",
        device.link.calls()
    );
    assert_eq!(device.pending().await, 1, "and it is kept");
}

#[tokio::test(start_paused = true)]
async fn what_the_user_sends_again_or_decides_goes_out_soon() {
    let remote = timed_remote();
    let device = TimedDevice::with(&remote, Manual, EngineOptions::default()).await;
    device.create("1", "tea").await;
    device.create("2", "milk").await;
    device.sync().await;
    let _running = start(&device, quiet());
    pass(seconds(1)).await;
    remote.set_validator(|op| {
        let refused = op.payload.as_ref()?.as_str().contains("poison");
        refused.then(|| Rejection::new("bad_title", "not nice"))
    });
    device.rename("1", "poison").await;
    put(&remote, "2", "theirs");
    device.rename("2", "mine").await;
    pass(seconds(5)).await;
    let ops = device.engine().pending_ops(&OpQuery::default()).await.unwrap();
    let states: Vec<_> = ops.iter().map(|op| op.state.kind()).collect();
    assert_eq!(states, [OpStateKind::Parked, OpStateKind::Deferred]);

    remote.set_validator(|_| None);
    device.engine().retry_op(ops[0].op_id).await.unwrap();
    pass(seconds(1)).await;
    assert_eq!(remote_titles(&remote)["1"], "poison");
    let open = device
        .engine()
        .conflicts(&ConflictQuery::default())
        .await
        .unwrap();
    let keep = Resolution::KeepLocal;
    device
        .engine()
        .resolve_conflict(open[0].conflict_id, keep)
        .await
        .unwrap();
    pass(seconds(1)).await;
    assert_eq!(remote_titles(&remote)["2"], "mine");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_every_task() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let running = start(&device, BackgroundOptions::default());
    pass(seconds(1)).await;
    assert_eq!(device.time.tasks.running(), 2, "the driver and the subscription");
    device.create("1", "tea").await;
    pass(millis(10)).await;
    drop(running);
    pass(millis(1)).await;
    assert_eq!(device.time.tasks.running(), 0);
    let before = device.link.calls();
    device.create("2", "milk").await;
    pass(seconds(3_600)).await;
    assert_eq!((device.link.calls(), device.pending().await), (before, 2));
}

#[tokio::test(start_paused = true)]
async fn stopping_the_engine_ends_every_task_and_refuses_further_calls() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    let _running = start(&device, BackgroundOptions::default());
    pass(seconds(1)).await;
    device.link.set(Traffic::Takes(seconds(5)));
    device.create("1", "tea").await;
    pass(seconds(1)).await;
    device.engine().stop();
    pass(seconds(6)).await;
    assert_eq!(device.time.tasks.running(), 0);
    let before = device.link.calls();
    pass(seconds(600)).await;
    assert_eq!(device.link.calls(), before);
    let stopped = |error: SyncError| error.kind() == ErrorKind::Stopped;
    assert!(stopped(
        device.engine().start_background(&scope(), quiet()).unwrap_err()
    ));
    assert!(stopped(device.todos.synchronize(&scope()).await.unwrap_err()));
    assert!(stopped(
        device
            .todos
            .enqueue_create(&scope(), &todo("2", "x"))
            .await
            .unwrap_err()
    ));
    let status = device.engine().status();
    assert!(status.stopped && status.why_not_moving()[0].contains("stopped"));
    // What was acknowledged is there for the next engine over the store.
    let next = TimedDevice::over(
        device.store.clone(),
        &remote,
        LastWriteWins,
        EngineOptions::default(),
    )
    .await;
    pass(seconds(60)).await;
    next.sync().await;
    assert_eq!((remote_titles(&remote).len(), next.pending().await), (1, 0));
}
