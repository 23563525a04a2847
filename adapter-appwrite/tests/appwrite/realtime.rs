//! Realtime as a poke: cases 29 to 32 of the notes.

use std::{sync::Arc, time::Duration};

use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential};
use appwrite_stand_in::RealtimeFault;
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use sync_core::{CollectionName, Effects, ErrorKind, Poke, RemoteStore, SyncScope, Timer};
use sync_http::{ReqwestTransport, TlsWebSocketConnector, WebSocketOptions};
use sync_testkit::effects::TestEffects;

use crate::world::{DATABASE, Device, World, todo};

/// Short pauses are over at once, and long ones, which are deadlines, never: the test needs no time to pass.
#[derive(Debug)]
struct Impatient;

#[async_trait]
impl Timer for Impatient {
    async fn sleep(&self, duration: Duration) {
        if duration > Duration::from_secs(5) {
            futures::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }
}

fn listening(world: &World, credential: Credential) -> AppwriteRemoteStore {
    let effects = Effects {
        timer: Arc::new(Impatient),
        ..TestEffects::tokio(6).effects()
    };
    let transport = ReqwestTransport::new(Arc::clone(&effects.timer)).unwrap();
    let sockets = TlsWebSocketConnector::new(effects.clone(), WebSocketOptions::default()).unwrap();
    let config = AppwriteConfig::new(
        &world.server.endpoint(),
        world.server.project(),
        credential,
        effects,
    )
    .unwrap()
    .transport(Arc::new(transport))
    .sockets(Arc::new(sockets));
    let config = ["todos", "notes"].iter().fold(config, |config, name| {
        let table = adapter_appwrite::Table::new(DATABASE, *name);
        config.table("inbox", name, table).unwrap()
    });
    AppwriteRemoteStore::new(config).unwrap()
}

struct Listener {
    device: Device,
    pokes: BoxStream<'static, Poke>,
}

impl Listener {
    async fn start(world: &World) -> Self {
        let remote = listening(world, world.session("bob"));
        let mut pokes = remote.subscribe(&World::scope()).await.unwrap();
        assert_eq!(pokes.next().await, Some(Poke::Subscribed));
        let device = Device::open(TestEffects::tokio(8), Arc::new(remote)).await;
        device.sync().await;
        Self { device, pokes }
    }

    /// Pulls at each poke until the record has the title.
    async fn until(&mut self, id: &str, title: &str) {
        while self.device.title(id).await.as_deref() != Some(title) {
            assert!(self.pokes.next().await.is_some(), "the subscription ended");
            self.device.sync().await;
        }
    }
}

#[tokio::test]
async fn a_poke_names_the_collection_and_leads_to_a_pull() {
    let world = World::start().await;
    let mut listener = Listener::start(&world).await;
    world.put("t1", json!({"title": "tea"}));
    let poke = listener.pokes.next().await;
    assert_eq!(
        poke,
        Some(Poke::Changed(Some(CollectionName::new("todos").unwrap())))
    );
    listener.device.sync().await;
    assert_eq!(listener.device.title("t1").await.as_deref(), Some("tea"));
}

/// Case 29.
#[tokio::test]
async fn doubled_and_reordered_events_and_silence_all_lead_to_the_same_state() {
    for fault in [
        RealtimeFault::Duplicate,
        RealtimeFault::Reorder,
        RealtimeFault::Silence,
    ] {
        let world = World::start().await;
        let mut listener = Listener::start(&world).await;
        world.server.set_realtime_fault(fault);
        for round in 0..4 {
            world.put("t1", json!({"title": format!("round {round}")}));
            world.put("t2", json!({"title": format!("round {round}")}));
        }
        if fault == RealtimeFault::Silence {
            // Nothing pokes; the engine pulls at its interval.
            listener.device.sync().await;
        } else {
            listener.until("t1", "round 3").await;
            listener.until("t2", "round 3").await;
        }
        for id in ["t1", "t2"] {
            assert_eq!(
                listener.device.title(id).await.as_deref(),
                Some("round 3"),
                "{fault:?}"
            );
        }
    }
}

/// Case 30.
#[tokio::test]
async fn an_event_with_an_old_date_does_not_set_a_record_back() {
    let world = World::start().await;
    world.put("t1", json!({"title": "visits", "count": 1}));
    let mut listener = Listener::start(&world).await;
    let increment = format!("/v1/tablesdb/{DATABASE}/tables/todos/rows/t1/count/increment");
    assert_eq!(
        world
            .server
            .as_key("PATCH", &increment, &json!({"value": 2}))
            .status,
        200
    );
    assert!(listener.pokes.next().await.is_some());
    listener.device.sync().await;
    assert_eq!(listener.device.get("t1").await.unwrap().count, Some(3));
    listener.device.update(&todo("t1", "visits, renamed")).await;
    let report = listener.device.sync().await;
    assert_eq!(
        (report.pushed, report.conflicts()),
        (1, 0),
        "the base is the row as it is: {report:?}"
    );
}

/// Case 31.
#[tokio::test]
async fn writes_whose_events_are_misnamed_or_missing_arrive_all_the_same() {
    let world = World::start().await;
    let mut listener = Listener::start(&world).await;
    let transactions = "/v1/tablesdb/transactions";
    let commit = |operations: Value| {
        let made = world.server.as_key("POST", transactions, &json!({"ttl": 60}));
        let appwrite_stand_in::Body::Json(made) = made.body else {
            panic!("a transaction is JSON")
        };
        let path = format!("{transactions}/{}", made["$id"].as_str().unwrap());
        let staged = world.server.as_key(
            "POST",
            &format!("{path}/operations"),
            &json!({"operations": operations}),
        );
        assert_eq!(staged.status, 201, "{staged:?}");
        assert_eq!(
            world
                .server
                .as_key("PATCH", &path, &json!({"commit": true}))
                .status,
            200
        );
    };
    commit(
        json!([{"databaseId": DATABASE, "tableId": "todos", "action": "upsert", "rowId": "t1",
        "data": {"$id": "t1", "title": "upserted"}}]),
    );
    listener.until("t1", "upserted").await;
    commit(
        json!([{"databaseId": DATABASE, "tableId": "todos", "action": "bulkCreate",
        "data": [{"$id": "t2", "title": "in bulk"}]}]),
    );
    listener.device.sync().await;
    assert_eq!(listener.device.title("t2").await.as_deref(), Some("in bulk"));
}

/// Case 32.
#[tokio::test]
async fn a_connection_cut_without_a_farewell_comes_back_and_what_was_missed_is_pulled() {
    let world = World::start().await;
    let mut listener = Listener::start(&world).await;
    for (round, with_frame) in [false, true].into_iter().enumerate() {
        world.server.close_realtime(with_frame);
        let title = format!("missed {round}");
        world.put("t1", json!({"title": title}));
        loop {
            match listener.pokes.next().await {
                Some(Poke::Subscribed) => break,
                Some(_) => {}
                None => panic!("the subscription ended"),
            }
        }
        listener.device.sync().await;
        assert_eq!(listener.device.title("t1").await, Some(title));
    }
    world.put("t1", json!({"title": "heard again"}));
    listener.until("t1", "heard again").await;
}

#[tokio::test]
async fn a_session_that_is_taken_for_a_guest_and_an_unknown_project_are_refused() {
    let world = World::start().await;
    let expired = listening(&world, world.session("alice"));
    world.server.end_sessions("alice");
    let refused = |error: sync_core::Result<BoxStream<'static, Poke>>| error.err().map(|error| error.kind());
    assert_eq!(
        refused(expired.subscribe(&World::scope()).await),
        Some(ErrorKind::Unauthenticated)
    );
    let unknown = SyncScope::new("unknown").unwrap();
    assert_eq!(
        refused(expired.subscribe(&unknown).await),
        Some(ErrorKind::Configuration)
    );
    let key = listening(&world, Credential::api_key(world.server.create_key()));
    assert_eq!(
        refused(key.subscribe(&World::scope()).await),
        Some(ErrorKind::Unsupported)
    );
    let guest = listening(&world, Credential::anonymous());
    assert_eq!(refused(guest.subscribe(&World::scope()).await), None);
}
