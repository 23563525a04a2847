//! Cases 1 to 7: every record arrives, whoever writes meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use adapter_pocketbase::{PocketBaseConfig, PocketBaseRemoteStore, Profile};
use async_trait::async_trait;
use serde_json::json;
use sync_core::{PullRequest, RemoteStore, RemoteStoreExt, SyncPoint, resolve::LastWriteWins};
use sync_http::{HttpRequest, HttpResponse, HttpStream, Transport, TransportError};

use crate::{
    feed_fixture::{create_in_batch, send_batch},
    load::{Load, race_of},
    world::{Device, World, id, in_both_profiles, reqwest, todos_mapping},
};

in_both_profiles!(
    case_01_a_first_pull_delivers_every_record_once_with_pages_of_any_size,
    case_02_nothing_of_eight_writers_is_missing,
    case_03_nothing_of_one_writer_is_missing,
    case_04_nothing_of_singles_beside_batches_and_deletes_is_missing,
    case_05_records_of_the_same_millisecond_are_all_seen,
    case_06_a_sync_point_outlives_the_process,
    case_07_no_time_is_sent_in_another_form_than_the_servers,
    a_sync_without_news_takes_few_requests,
);

async fn fill(world: &World, count: u64) {
    for start in (0..count).step_by(500) {
        let numbers = start..count.min(start + 500);
        let requests = numbers.map(|number| {
            let record = json!({"id": id(number), "title": "old", "count": number, "owner": world.ada.id});
            create_in_batch("todos", record)
        });
        send_batch(world.admin(), requests.collect())
            .await
            .success()
            .unwrap();
    }
}

async fn case_01_a_first_pull_delivers_every_record_once_with_pages_of_any_size(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    fill(&world, 2_500).await;
    let remote = world.remote(&world.ada).await;
    for page_size in [5_000, 1_000, 500, 7] {
        let pages = remote
            .pull_all(&world.target(&world.ada), None, page_size)
            .await
            .unwrap();
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        for change in pages.iter().flat_map(|page| &page.changes) {
            *times.entry(change.id.to_string()).or_default() += 1;
        }
        assert_eq!(times.len(), 2_500, "pages of {page_size}");
        assert!(times.values().all(|times| *times == 1), "pages of {page_size}");
    }
}

/// Lets a load run while a device synchronizes, and compares when everybody is done.
async fn nothing_is_missing(profile: Profile, load: Load) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    let written = race_of(world.admin(), load, &world.ada.id, async || {
        device.sync().await;
    })
    .await;
    device.settle(profile).await;
    let here: BTreeSet<String> = device.ids().await.into_iter().collect();
    let missing = written.live.difference(&here).count();
    let extra = here.difference(&written.live).count();
    assert_eq!(
        (missing, extra),
        (0, 0),
        "missing and extra of {}",
        written.live.len()
    );
}

async fn case_02_nothing_of_eight_writers_is_missing(profile: Profile) {
    nothing_is_missing(profile, Load::EightSingleWriters).await;
}

async fn case_03_nothing_of_one_writer_is_missing(profile: Profile) {
    nothing_is_missing(profile, Load::OneSingleWriter).await;
}

async fn case_04_nothing_of_singles_beside_batches_and_deletes_is_missing(profile: Profile) {
    nothing_is_missing(profile, Load::WithDeletes).await;
}

async fn case_05_records_of_the_same_millisecond_are_all_seen(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    world.admin().enable_batches(1_500, 30).await.unwrap();
    let requests =
        (0..1_500).map(|number| create_in_batch("todos", json!({"id": id(number), "owner": world.ada.id})));
    send_batch(world.admin(), requests.collect())
        .await
        .success()
        .unwrap();
    let rows = world
        .admin()
        .sql("SELECT COUNT(DISTINCT updated) FROM todos")
        .await
        .unwrap();
    let moments: u32 = rows[0][0].as_str().unwrap().parse().unwrap();
    assert!(moments < 1_000, "{moments} moments for 1,500 records are no trap");
    let remote = world.remote(&world.ada).await;
    let pages = remote
        .pull_all(&world.target(&world.ada), None, 100)
        .await
        .unwrap();
    let ids: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.changes)
        .map(|change| &change.id)
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(
        (ids.len(), distinct.len()),
        (1_500, 1_500),
        "applied, and distinct"
    );
}

async fn case_06_a_sync_point_outlives_the_process(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    fill(&world, 30).await;
    let target = world.target(&world.ada);
    let first = world.remote(&world.ada).await;
    let pages = first.pull_all(&target, None, 10).await.unwrap();
    let kept = pages.last().unwrap().next.as_str().to_owned();
    drop(first);
    world.foreign_create(&id(1_000), "new").await;

    let second = world.remote(&world.ada).await;
    let pages = second
        .pull_all(&target, Some(SyncPoint::new(kept)), 10)
        .await
        .unwrap();
    let ids: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.changes)
        .map(|change| change.id.to_string())
        .collect();
    assert!(ids.contains(&id(1_000)), "{ids:?}");
    // A plain server's answers overlap by time, and all of this happened within the overlap.
    if profile == Profile::Feed {
        assert_eq!(ids, [id(1_000)], "nothing is fetched again");
    }
}

/// Keeps every address that was asked.
#[derive(Debug)]
struct Recorder {
    inner: Arc<dyn Transport>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let query = request
            .url
            .query_pairs()
            .map(|(name, value)| format!("{name}={value}"));
        let asked = format!("{} {}", request.url.path(), query.collect::<Vec<_>>().join(" "));
        self.asked.lock().unwrap().push(asked);
        self.inner.send(request).await
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        self.inner.open(request).await
    }
}

/// A remote whose requests are written down.
async fn recorded(world: &World) -> (Arc<Recorder>, Arc<PocketBaseRemoteStore>) {
    let recorder = Arc::new(Recorder {
        inner: reqwest(),
        asked: Mutex::default(),
    });
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let remote = world.connect(config, recorder.clone(), &world.ada.token).await;
    (recorder, remote.unwrap())
}

async fn a_sync_without_news_takes_few_requests(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    fill(&world, 30).await;
    let (recorder, remote) = recorded(&world).await;
    let device = Device::open(remote, world.target(&world.ada), LastWriteWins).await;
    device.sync().await;
    device.sync().await;
    recorder.asked.lock().unwrap().clear();
    device.sync().await;
    let asked = recorder.asked.lock().unwrap().clone();
    assert!(asked.len() <= 2, "{asked:#?}");
    assert!(!asked.is_empty());
}

async fn case_07_no_time_is_sent_in_another_form_than_the_servers(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    fill(&world, 30).await;
    let (recorder, remote) = recorded(&world).await;
    let mut request = PullRequest {
        target: world.target(&world.ada),
        since: None,
        page_size: 7,
        holds_nothing: false,
    };
    for _ in 0..8 {
        request.since = Some(remote.pull(request.clone()).await.unwrap().next);
    }
    let asked = recorder.asked.lock().unwrap().clone();
    let moment = |text: &str, between: char| {
        text.as_bytes().windows(20).any(|window| {
            window[4] == b'-' && window[7] == b'-' && window[10] == between as u8 && window[13] == b':'
        })
    };
    assert!(!asked.iter().any(|asked| moment(asked, 'T')), "{asked:#?}");
    if profile == Profile::Plain {
        assert!(
            asked.iter().any(|asked| moment(asked, ' ')),
            "the trap needs a time: {asked:#?}"
        );
    }
}
