//! Reads under the four policies: who is asked, what is answered, and what the answer says about itself.

use adapter_memory::MemoryRemoteStore;
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, ErrorKind, Freshness, Incomplete, Payload, ReadOptions, SyncEngine, SyncRecord, Timestamp,
    query::{Filter, QuerySpec},
};

use super::{
    link::Traffic,
    time::{millis, pass, seconds},
    timed::{TimedDevice, timed_remote},
    world::{key, remote_titles, scope, target, titles, todo},
};

fn put(remote: &MemoryRemoteStore, id: &str, title: &str) {
    remote.put(&key(id), Payload::encode(&todo(id, title)).unwrap());
}

fn reason(freshness: &Freshness) -> Option<ErrorKind> {
    match freshness {
        Freshness::Stale(error) => Some(error.kind()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn offline_only_never_asks_the_remote() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    let options = ReadOptions::from(CachePolicy::OfflineOnly).with_remote_eval();
    for _ in 0..2 {
        let answer = device.read(options.clone()).await.unwrap();
        assert!(answer.items.is_empty() && matches!(answer.freshness, Freshness::AsStored));
        assert_eq!(answer.incomplete, Some(Incomplete::NeverPulled));
        assert_eq!(answer.as_of, None);
        pass(seconds(60)).await;
    }
    assert_eq!(device.link.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn local_first_answers_at_once_and_refreshes_once_in_the_background() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.link.set(Traffic::Hangs);
    for _ in 0..10 {
        let answer = device.read(CachePolicy::LocalFirst).await.unwrap();
        assert!(answer.items.is_empty() && !answer.is_stale());
        pass(millis(100)).await;
    }
    assert_eq!(
        device.link.calls(),
        1,
        "one refresh is under way, the others wait for it"
    );
    device.link.set(Traffic::Flows);
    pass(seconds(60)).await;
    assert_eq!(device.link.calls(), 2, "those that waited share one refresh");
    assert_eq!(device.titles().await, titles([("1", "tea")]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_background_refresh_is_told_by_the_status() {
    let device = TimedDevice::new(&timed_remote()).await;
    device.link.set(Traffic::Refused);
    let answer = device.read(CachePolicy::LocalFirst).await.unwrap();
    assert!(!answer.is_stale());
    pass(seconds(1)).await;
    let status = device.engine().status();
    let error = status
        .scope(scope().key())
        .last_error
        .expect("the refresh failed");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        status.why_not_moving()[0].contains("unreachable"),
        "{:?}",
        status.why_not_moving()
    );
}

#[tokio::test(start_paused = true)]
async fn remote_first_answers_from_the_store_when_the_remote_is_away_and_says_why() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    let answer = device.read(CachePolicy::RemoteFirst).await.unwrap();
    assert!(matches!(answer.freshness, Freshness::Fresh) && answer.is_complete());
    assert_eq!(answer.items.len(), 1);
    let as_of = answer.as_of.expect("it was pulled");

    put(&remote, "2", "milk");
    device.link.set(Traffic::Refused);
    pass(seconds(5)).await;
    let answer = device.read(CachePolicy::RemoteFirst).await.unwrap();
    assert_eq!(reason(&answer.freshness), Some(ErrorKind::Unreachable));
    assert_eq!(answer.items, [todo("1", "tea")]);
    assert_eq!(
        answer.as_of,
        Some(as_of),
        "as of the last pull that went to the end"
    );
    assert!(answer.is_complete(), "it had everything as of then");

    device.link.set(Traffic::Flows);
    let answer = device.read(CachePolicy::RemoteFirst).await.unwrap();
    assert_eq!(answer.items.len(), 2);
    assert!(answer.as_of > Some(as_of) && !answer.is_stale());
}

#[tokio::test(start_paused = true)]
async fn online_only_fails_when_the_remote_is_away() {
    let device = TimedDevice::new(&timed_remote()).await;
    device.create("1", "tea").await;
    device.link.set(Traffic::Refused);
    let error = device.read(CachePolicy::OnlineOnly).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    for policy in [CachePolicy::OnlineOnly, CachePolicy::RemoteFirst] {
        let count = device.todos.count(&scope(), None, policy).await;
        let found = device.todos.get(&scope(), &"1".to_owned(), policy).await;
        let fails = policy == CachePolicy::OnlineOnly;
        assert_eq!((count.is_err(), found.is_err()), (fails, fails), "{policy:?}");
    }
    device.link.set(Traffic::Flows);
    let answer = device.read(CachePolicy::OnlineOnly).await.unwrap();
    assert!(answer.pending.is_empty(), "the read pushed what was pending");
}

#[tokio::test(start_paused = true)]
async fn a_read_keeps_its_deadline_while_the_sync_goes_on() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.link.set(Traffic::Hangs);
    let began = tokio::time::Instant::now();
    let options = ReadOptions::default().with_deadline(seconds(3));
    let answer = device.read(options.clone()).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(reason(&answer.freshness), Some(ErrorKind::Timeout));
    let options = ReadOptions::from(CachePolicy::OnlineOnly).with_deadline(seconds(3));
    let read = device.read(options);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed().as_secs(), 6);
    device.link.set(Traffic::Flows);
    // The call that hangs ends at its own deadline, and the sync that was asked for meanwhile follows.
    pass(seconds(30)).await;
    assert_eq!(device.titles().await, titles([("1", "tea")]));
}

#[tokio::test(start_paused = true)]
async fn max_age_spares_a_recent_sync_and_no_other() {
    let remote = timed_remote();
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    put(&remote, "1", "tea");
    let before = device.link.calls();
    for policy in [
        CachePolicy::RemoteFirst,
        CachePolicy::LocalFirst,
        CachePolicy::OnlineOnly,
    ] {
        let options = ReadOptions::from(policy).with_max_age(seconds(60));
        pass(seconds(10)).await;
        let read = device.read(options);
        let answer = read.await.unwrap();
        assert!(answer.items.is_empty() && matches!(answer.freshness, Freshness::Fresh));
    }
    assert_eq!(device.link.calls(), before);
    pass(seconds(31)).await;
    let options = ReadOptions::default().with_max_age(seconds(60));
    let read = device.read(options);
    assert_eq!(read.await.unwrap().items.len(), 1, "61 seconds are too old");
}

#[tokio::test(start_paused = true)]
async fn a_remote_search_merges_its_hits_like_pulled_records() {
    let remote = timed_remote();
    for (id, title) in [("1", "tea"), ("2", "milk"), ("3", "tar"), ("4", "tin")] {
        put(&remote, id, title);
    }
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    device.rename("1", "tea, green").await;
    device.delete("4").await;
    device.link.set(Traffic::Flows);
    remote.delete(&key("3"));
    device.todos.pull_only(&scope()).await.unwrap();
    put(&remote, "5", "tuna");
    let pulls = device.link.calls_of("pull");

    let spec = QuerySpec::new().filter(Filter::starts_with("title", "t"));
    let options = ReadOptions::default().with_remote_eval();
    let answer = device.todos.read_with(&scope(), &spec, options).await.unwrap();
    let found: Vec<_> = answer.items.iter().map(|todo| todo.title.as_str()).collect();
    assert_eq!(
        found,
        ["tea, green", "tuna"],
        "edits and deletes that are pending stay"
    );
    assert_eq!(answer.pending, ["1".to_owned()].into());
    assert!(matches!(answer.freshness, Freshness::Fresh));
    assert_eq!(
        (device.link.calls_of("search"), device.link.calls_of("pull")),
        (1, pulls)
    );
    assert_eq!(device.pending().await, 2, "a search pushes nothing");
    device.sync().await;
    let expected = titles([("1", "tea, green"), ("2", "milk"), ("5", "tuna")]);
    assert_eq!(device.titles().await, expected);
    assert_eq!(remote_titles(&remote), expected);
}

#[tokio::test(start_paused = true)]
async fn a_search_does_not_bring_back_what_is_known_to_be_deleted() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    let backup = remote.backup();
    remote.delete(&key("1"));
    device.sync().await;
    // The search is answered by a replica that lags behind.
    remote.restore(&backup);
    let options = ReadOptions::default().with_remote_eval();
    let answer = device.read(options).await.unwrap();
    assert!(answer.items.is_empty(), "{answer:?}");
}

// Simulator, seeds 6369 and 9129.
#[tokio::test(start_paused = true)]
async fn a_search_does_not_take_out_of_quarantine_what_is_still_broken() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    let backup = remote.backup();
    remote.put_malformed(&target(), Some(&key("1").id), "{");
    device.sync().await;
    // The search is answered by a replica that lags behind.
    remote.restore(&backup);
    device
        .read(ReadOptions::default().with_remote_eval())
        .await
        .unwrap();
    assert_eq!(device.engine().quarantine(None, 10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_the_remote_cannot_evaluate_becomes_a_sync() {
    let remote = MemoryRemoteStore::builder()
        .adjust(|can| can.search = sync_core::SearchSupport::Partial)
        .build();
    put(&remote, "1", "tea");
    put(&remote, "2", "milk");
    let device = TimedDevice::new(&remote).await;
    let options = ReadOptions::default().with_remote_eval();
    let spec = QuerySpec::new().filter(Filter::contains("title", "e"));
    let answer = device.todos.read_with(&scope(), &spec, options).await.unwrap();
    assert_eq!(answer.items, [todo("1", "tea")]);
    assert!(answer.is_complete() && matches!(answer.freshness, Freshness::Fresh));
    assert_eq!(
        (device.link.calls_of("search"), device.link.calls_of("pull")),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_evicted_scope_is_incomplete_until_the_next_read_that_asks_the_remote() {
    let remote = timed_remote();
    put(&remote, "1", "tea");
    put(&remote, "2", "milk");
    let device = TimedDevice::new(&remote).await;
    device.sync().await;
    let limits = sync_core::CacheLimits::default().with_max_bytes(0);
    assert_eq!(device.engine().set_cache_limits(&limits).await.unwrap(), 2);
    let answer = device.read(CachePolicy::OfflineOnly).await.unwrap();
    assert_eq!(answer.incomplete, Some(Incomplete::Evicted));
    assert!(answer.items.is_empty() && !answer.is_complete());
    let options = ReadOptions::default().with_max_age(seconds(3_600));
    let answer = device.read(options).await.unwrap();
    assert!(answer.is_complete(), "an incomplete scope is never recent enough");
    assert_eq!(answer.items.len(), 2);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "notes")]
struct Note {
    #[sync(id)]
    id: i64,
    rank: i64,
    #[sync(deleted_at)]
    #[serde(default)]
    deleted_at: Option<Timestamp>,
}

#[tokio::test(start_paused = true)]
async fn get_first_and_count_agree_and_hide_records_marked_as_deleted() {
    let link = super::link::Link::to(&timed_remote());
    let engine = SyncEngine::builder(
        std::sync::Arc::new(adapter_memory::MemoryLocalStore::new()),
        std::sync::Arc::new(link),
    )
    .register::<Note>()
    .build()
    .await
    .unwrap();
    let notes = engine.of::<Note>().unwrap();
    let note = |id, rank, deleted| Note {
        id,
        rank,
        deleted_at: deleted,
    };
    for (id, rank) in [(1, 30), (2, 20), (3, 10)] {
        notes
            .enqueue_create(&scope(), &note(id, rank, None))
            .await
            .unwrap();
    }
    let gone = note(3, 10, Some(Timestamp::EPOCH));
    notes.enqueue_update(&scope(), &gone).await.unwrap();
    let by_rank = QuerySpec::new().order_by(Note::rank().asc());
    let policy = CachePolicy::OfflineOnly;
    assert_eq!(
        notes.first(&scope(), &by_rank, policy).await.unwrap(),
        Some(note(2, 20, None))
    );
    assert_eq!(
        notes.get(&scope(), &1, policy).await.unwrap(),
        Some(note(1, 30, None))
    );
    assert_eq!(
        notes.get(&scope(), &3, policy).await.unwrap(),
        None,
        "marked as deleted"
    );
    assert_eq!(notes.get(&scope(), &9, policy).await.unwrap(), None);
    assert_eq!(notes.count(&scope(), None, policy).await.unwrap(), 2);
    let many = Filter::gt("rank", 25);
    assert_eq!(notes.count(&scope(), Some(&many), policy).await.unwrap(), 1);
    let none = QuerySpec::new().filter(Filter::gt("rank", 99));
    assert_eq!(notes.first(&scope(), &none, policy).await.unwrap(), None);
    engine.synchronize(&scope()).await.unwrap();
    assert_eq!(
        notes.read(&scope(), policy).await.unwrap().items.len(),
        2,
        "also once confirmed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_of_an_unknown_type_or_a_bad_query_says_what_is_wrong() {
    let device = TimedDevice::new(&timed_remote()).await;
    let error = device.engine().of::<Note>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("notes"), "{error}");
    let spec = QuerySpec::new().filter(Filter::eq("", 1));
    let error = device
        .todos
        .read_with(&scope(), &spec, CachePolicy::RemoteFirst)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        device.link.calls(),
        0,
        "a bad query is refused before anything is asked"
    );
    device.engine().stop();
    let error = device.read(CachePolicy::OfflineOnly).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped);
    assert_eq!(target().collection.as_str(), "todos");
}
