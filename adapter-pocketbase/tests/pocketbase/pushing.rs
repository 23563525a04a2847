//! Cases 8 to 13, 16, 21, 26, 27 and 40: every operation takes effect once, or is reported by itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adapter_pocketbase::{CollectionMapping, FieldKind, PocketBaseConfig, Profile};
use serde_json::{Value, json};
use sync_core::{
    CollectionName, CollectionSchema, LocalStore, OpState, ParkReason, Payload, RecordId, RecordKey,
    SyncEngine, TokioTimer, Write, resolve::LastWriteWins,
};
use sync_http::testing::{FaultProxy, ProxyFault};

use crate::world::{
    Device, TODO_FIELDS, World, id, in_both_profiles, options, owned_todos, payload, reqwest,
};

in_both_profiles!(
    case_08_a_create_whose_answer_is_lost_makes_one_record,
    case_09_a_batch_whose_answer_is_lost_is_done_once,
    case_10_an_id_that_is_taken_is_a_conflict_and_no_success,
    case_11_one_refused_operation_keeps_no_other_from_applying,
    case_12_every_limit_of_batches_is_lived_with,
    case_12_batches_that_are_switched_off_meanwhile_are_lived_with,
    case_13_rate_limits_slow_down_and_lose_nothing,
    case_16_what_a_rule_denies_is_reported_and_the_rest_goes_on,
    case_21_deleting_what_is_gone_is_done,
    case_26_parents_go_before_their_children_and_a_refused_one_holds_them,
    case_27_a_unique_field_that_is_taken_is_reported_by_its_name,
    case_40_a_large_record_is_sent_and_one_too_large_is_reported,
);

pub(crate) async fn proxy(world: &World) -> FaultProxy {
    let address: SocketAddr = world.server.url().trim_start_matches("http://").parse().unwrap();
    FaultProxy::start(address, Arc::new(TokioTimer)).await.unwrap()
}

pub(crate) async fn device_behind(world: &World, proxy: &FaultProxy) -> Device {
    let remote = world.remote_through(&proxy.url(), &world.ada).await;
    Device::open(remote, world.target(&world.ada), LastWriteWins).await
}

async fn case_08_a_create_whose_answer_is_lost_makes_one_record(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let proxy = proxy(&world).await;
    let device = device_behind(&world, &proxy).await;
    device.create(&id(1), "once").await;
    proxy.next_call("POST", "/api/batch", ProxyFault::DropAnswer);
    device.sync_until_sent().await;
    assert_eq!(proxy.faults_left(), 0, "the fault was played");
    assert_eq!(world.count().await, 1);
    assert_eq!(device.view(&id(1)).await["title"], "once");
    assert_eq!(device.sync().await.pushed, 0);
}

async fn case_09_a_batch_whose_answer_is_lost_is_done_once(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let proxy = proxy(&world).await;
    let device = device_behind(&world, &proxy).await;
    for number in 0..50 {
        device.create(&id(number), "made").await;
    }
    proxy.next_call("POST", "/api/batch", ProxyFault::DropAnswer);
    device.sync_until_sent().await;
    assert_eq!(proxy.faults_left(), 0, "the fault was played");
    assert_eq!(world.count().await, 50);

    for number in 0..25 {
        device.update(&id(number), json!({"count": 2})).await;
    }
    for number in 25..50 {
        device.delete(&id(number)).await;
    }
    proxy.next_call("POST", "/api/batch", ProxyFault::DropAnswer);
    device.sync_until_sent().await;
    assert_eq!(proxy.faults_left(), 0, "the fault was played");
    assert_eq!(world.count().await, 25);
    for number in 0..25 {
        assert_eq!(world.record(&id(number)).await["count"], 2);
    }
}

async fn case_10_an_id_that_is_taken_is_a_conflict_and_no_success(profile: Profile) {
    // The server's code for a taken id depends on the pattern of ids.
    let mut custom = owned_todos();
    custom["fields"].as_array_mut().unwrap().push(json!({
        "name": "id", "type": "text", "primaryKey": true, "required": true, "system": true,
        "min": 1, "max": 64, "pattern": "^[A-Za-z0-9_-]+$",
    }));
    for collection in [owned_todos(), custom] {
        let Some(world) = World::start_with(profile, json!([collection])).await else {
            return;
        };
        let device = world.device(&world.ada).await;
        device.create(&id(1), "mine").await;
        world.foreign_create(&id(1), "theirs").await;
        device.sync_until_sent().await;
        device.sync().await;
        let here = device.view(&id(1)).await;
        assert_eq!(
            here["title"],
            world.record(&id(1)).await["title"],
            "both sides agree"
        );
        let conflicts = device.engine.conflicts(&Default::default()).await.unwrap();
        assert_eq!(conflicts.len(), 1, "it was settled as a conflict");
        assert_eq!(world.count().await, 1);
    }
}

async fn case_11_one_refused_operation_keeps_no_other_from_applying(profile: Profile) {
    let Some(world) = World::start_with(profile, json!([with_short_titles(owned_todos())])).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    for number in 0..50 {
        let title = if number == 17 {
            "far too long a title"
        } else {
            "fits"
        };
        device.create(&id(number), title).await;
    }
    device.sync().await;
    assert_eq!(world.count().await, 49);
    let ops = device.ops().await;
    assert_eq!(ops.len(), 1, "{ops:?}");
    assert_eq!(ops[0].key.id.as_str(), id(17));
    assert_refused(&ops[0].state, Some("title"), "validation_max_text_constraint");
}

fn with_short_titles(mut collection: Value) -> Value {
    collection["fields"][0]["max"] = 10.into();
    collection
}

#[track_caller]
fn assert_refused(state: &OpState, expected_field: Option<&str>, expected_code: &str) {
    let OpState::Parked(ParkReason::Rejected { code, field, .. }) = state else {
        panic!("not refused: {state:?}");
    };
    assert_eq!((field.as_deref(), code.as_str()), (expected_field, expected_code));
}

async fn case_12_every_limit_of_batches_is_lived_with(profile: Profile) {
    let limits = [
        json!({"enabled": false, "maxRequests": 50, "timeout": 3}),
        json!({"enabled": true, "maxRequests": 10, "timeout": 3}),
        json!({"enabled": true, "maxRequests": 50, "timeout": 3, "maxBodySize": 3_000}),
        json!({"enabled": true, "maxRequests": 50_000, "timeout": 1}),
    ];
    let Some(world) = World::start(profile).await else {
        return;
    };
    for (round, limit) in (0..).zip(limits) {
        world
            .admin()
            .change_settings(&json!({ "batch": limit }))
            .await
            .unwrap();
        let device = world.device(&world.ada).await;
        let count = if round == 3 { 2_000 } else { 60 };
        let writes = (0..count).map(|number| {
            let id = id(round * 10_000 + number);
            Write::create_raw(device.key(&id), payload(&id, "made", 1))
        });
        for write in writes {
            device.engine.write(write).await.unwrap();
        }
        device.delete(&id(round * 10_000)).await;
        device.sync_until_sent().await;
        for number in [1, count / 2] {
            device
                .update(&id(round * 10_000 + number), json!({"title": "changed"}))
                .await;
        }
        device.delete(&id(round * 10_000 + 2)).await;
        device.sync_until_sent().await;
        let path = format!(
            "title = 'changed' AND id >= '{}' AND id < '{}'",
            id(round * 10_000),
            id((round + 1) * 10_000)
        );
        let rows = world
            .admin()
            .sql(&format!("SELECT COUNT(*) FROM todos WHERE {path}"))
            .await
            .unwrap();
        assert_eq!(rows[0][0], "2", "{limit}");
    }
    assert_eq!(world.count().await, 3 * 58 + 1_998);
}

async fn case_12_batches_that_are_switched_off_meanwhile_are_lived_with(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let proxy = proxy(&world).await;
    let device = device_behind(&world, &proxy).await;
    for number in 0..20 {
        device.create(&id(number), "made").await;
    }
    device.sync_until_sent().await;
    let off = json!({"batch": {"enabled": false, "maxRequests": 50, "timeout": 3}});
    world.admin().change_settings(&off).await.unwrap();
    for number in 0..10 {
        device.update(&id(number), json!({"title": "changed"})).await;
    }
    for number in 10..15 {
        device.delete(&id(number)).await;
    }
    let together = [20, 21].map(|number| {
        let id = id(number);
        Write::create_raw(device.key(&id), payload(&id, "together", 1))
    });
    device.engine.write_batch(together.into()).await.unwrap();
    device.sync().await;
    assert_eq!(device.ops().await.len(), 0, "all in one synchronization");
    assert_eq!(world.count().await, 17);
    assert_eq!(world.record(&id(3)).await["title"], "changed");
    assert_eq!(world.record(&id(21)).await["title"], "together");

    let tried = || {
        let requests = proxy.requests();
        requests
            .iter()
            .filter(|request| request.path.starts_with("/api/batch"))
            .count()
    };
    let before = tried();
    device.create(&id(30), "later").await;
    device.sync_until_sent().await;
    assert_eq!(tried(), before, "it need not be told again");
    assert_eq!(world.count().await, 18);
}

async fn case_13_rate_limits_slow_down_and_lose_nothing(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    let rules = json!([
        {"label": "*:create", "maxRequests": 20, "duration": 2},
        {"label": "/api/batch", "maxRequests": 3, "duration": 1},
        {"label": "/api/", "maxRequests": 300, "duration": 10},
    ]);
    let limits = json!({"rateLimits": {"enabled": true, "rules": rules}});
    world.admin().change_settings(&limits).await.unwrap();
    for number in 0..60 {
        device.create(&id(number), "made").await;
    }
    let begun = std::time::Instant::now();
    device.sync_until_sent_every(Duration::from_millis(300)).await;
    assert_eq!(world.count().await, 60);
    assert!(begun.elapsed() > Duration::from_secs(2), "the limits did bite");
    assert_eq!(device.ids().await.len(), 60);
}

async fn case_16_what_a_rule_denies_is_reported_and_the_rest_goes_on(profile: Profile) {
    let mut collection = owned_todos();
    collection["createRule"] = "@request.auth.id != '' && title != 'forbidden'".into();
    collection["updateRule"] = "owner = @request.auth.id && title != 'locked'".into();
    let Some(world) = World::start_with(profile, json!([collection])).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    world.foreign_create(&id(1), "locked").await;
    world.foreign_create(&id(2), "open").await;
    device.sync().await;
    device.create(&id(3), "forbidden").await;
    device.update(&id(1), json!({"title": "unlocked"})).await;
    device.update(&id(2), json!({"title": "changed"})).await;
    device.create(&id(4), "allowed").await;
    device.sync().await;
    let mut refused: Vec<_> = device
        .ops()
        .await
        .iter()
        .map(|op| op.key.id.to_string())
        .collect();
    refused.sort();
    assert_eq!(refused, [id(1), id(3)], "{:?}", device.ops().await);
    assert!(
        device
            .ops()
            .await
            .iter()
            .all(|op| matches!(op.state, OpState::Parked(_)))
    );
    assert_eq!(world.record(&id(2)).await["title"], "changed");
    assert_eq!(world.record(&id(4)).await["title"], "allowed");

    // A rule that is null is for superusers only.
    let closed = json!({"createRule": null});
    let path = "/api/collections/todos";
    world
        .admin()
        .send("PATCH", path, Some(&closed))
        .await
        .unwrap()
        .success()
        .unwrap();
    device.create(&id(5), "too late").await;
    device.sync().await;
    let ops = device.ops().await;
    assert_eq!(ops.len(), 3, "{ops:?}");
    assert!(
        ops.iter().all(|op| matches!(op.state, OpState::Parked(_))),
        "{ops:?}"
    );
}

async fn case_21_deleting_what_is_gone_is_done(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    for number in 0..4 {
        device.create(&id(number), "made").await;
    }
    device.sync().await;
    world.foreign_delete(&id(1)).await;
    for number in 0..3 {
        device.delete(&id(number)).await;
    }
    device.sync_until_sent().await;
    assert_eq!(world.count().await, 1);
    assert_eq!(device.ids().await, [id(3)]);
}

async fn case_26_parents_go_before_their_children_and_a_refused_one_holds_them(profile: Profile) {
    let collections = json!([
        {"name": "lists", "id": "pbc_lists000000", "type": "base",
         "listRule": "", "viewRule": "", "createRule": "title != 'forbidden'", "updateRule": "", "deleteRule": "",
         "fields": [{"name": "title", "type": "text"},
                    {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true}]},
        {"name": "todos", "type": "base",
         "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
         "fields": [{"name": "title", "type": "text"}, {"name": "owner", "type": "text"},
                    {"name": "list", "type": "relation", "collectionId": "pbc_lists000000", "required": true, "maxSelect": 1},
                    {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true}]},
    ]);
    let Some(world) = World::start_with(profile, collections).await else {
        return;
    };
    if profile == Profile::Feed {
        let lists = adapter_pocketbase::feed::FeedOptions::new("lists").unwrap();
        let operator = crate::feed_fixture::operator(&world.server).await;
        adapter_pocketbase::feed::setup(&operator, &lists).await.unwrap();
    }
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(CollectionMapping::fields("lists", [("title", FieldKind::Text)]))
        .with_collection(CollectionMapping::fields(
            "todos",
            [("title", FieldKind::Text), ("list", FieldKind::Text)],
        ));
    let remote = world.connect(config, reqwest(), &world.ada.token).await.unwrap();
    let scope = sync_core::SyncScope::new("app").unwrap();
    let key = |collection: &str, id: &str| {
        let target = sync_core::Target::new(CollectionName::new(collection).unwrap(), scope.clone());
        RecordKey::new(target, RecordId::new(id).unwrap())
    };
    let store: Arc<dyn LocalStore> = Arc::new(adapter_memory::MemoryLocalStore::new());
    let engine = SyncEngine::builder(store, remote)
        .register_schema(CollectionSchema::untyped("lists", "id").unwrap(), LastWriteWins)
        .register_schema(
            CollectionSchema::untyped("todos", "id")
                .unwrap()
                .with_parent("list", "lists")
                .unwrap(),
            LastWriteWins,
        )
        .options(options())
        .build()
        .await
        .unwrap();
    let record = |value: Value| Payload::parse(value.to_string()).unwrap();
    for (child, parent, title) in [(11, 1, "allowed"), (12, 2, "forbidden")] {
        // The child is written first, and must not be sent first.
        let (child, parent) = (id(child), id(parent));
        let todo = json!({"id": child, "title": "a todo", "list": parent});
        let list = json!({"id": parent, "title": title});
        engine
            .write(Write::create_raw(key("todos", &child), record(todo)))
            .await
            .unwrap();
        engine
            .write(Write::create_raw(key("lists", &parent), record(list)))
            .await
            .unwrap();
    }
    engine.synchronize(&scope).await.unwrap();
    assert_eq!(world.record(&id(11)).await["list"], id(1));
    let ops = engine.pending_ops(&Default::default()).await.unwrap();
    assert_eq!(ops.len(), 2, "the refused parent and its child: {ops:?}");
    assert!(
        ops.iter()
            .any(|op| op.key.id.as_str() == id(2) && matches!(op.state, OpState::Parked(_)))
    );
    assert!(
        ops.iter().any(|op| op.key.id.as_str() == id(12)),
        "the child is kept"
    );
}

async fn case_27_a_unique_field_that_is_taken_is_reported_by_its_name(profile: Profile) {
    let mut collection = owned_todos();
    collection["indexes"] = json!([
        "CREATE INDEX idx_todos_updated ON todos (owner, updated, id)",
        "CREATE UNIQUE INDEX idx_todos_title ON todos (title)",
    ]);
    let Some(world) = World::start_with(profile, json!([collection])).await else {
        return;
    };
    world.foreign_create(&id(1), "taken").await;
    let device = world.device(&world.ada).await;
    device.create(&id(2), "taken").await;
    device.create(&id(3), "free").await;
    device.sync().await;
    let ops = device.ops().await;
    assert_eq!(ops.len(), 1, "{ops:?}");
    assert_refused(&ops[0].state, Some("title"), "validation_not_unique");
    assert_eq!(world.record(&id(3)).await["title"], "free");
}

async fn case_40_a_large_record_is_sent_and_one_too_large_is_reported(profile: Profile) {
    let mut collection = owned_todos();
    let field = json!({"name": "data", "type": "json", "maxSize": 1_000_000});
    collection["fields"].as_array_mut().unwrap().push(field);
    let Some(world) = World::start_with(profile, json!([collection])).await else {
        return;
    };
    let fields = TODO_FIELDS.into_iter().chain([("data", FieldKind::Json)]);
    let mapping = CollectionMapping::fields("todos", fields).with_scope_field("user", "owner");
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(mapping);
    let remote = world.connect(config, reqwest(), &world.ada.token).await.unwrap();
    let device = Device::open(remote, world.target(&world.ada), LastWriteWins).await;
    for (number, size) in [(1, 900_000), (2, 1_100_000)] {
        let mut record: Value = serde_json::from_str(payload(&id(number), "large", 1).as_str()).unwrap();
        record["data"] = json!({"text": "x".repeat(size)});
        let write = Write::create_raw(
            device.key(&id(number)),
            Payload::parse(record.to_string()).unwrap(),
        );
        device.engine.write(write).await.unwrap();
    }
    device.sync().await;
    let stored = world.record(&id(1)).await;
    assert_eq!(stored["data"]["text"].as_str().unwrap().len(), 900_000);
    let ops = device.ops().await;
    assert_eq!(
        ops.len(),
        1,
        "{:?}",
        ops.iter().map(|op| &op.state).collect::<Vec<_>>()
    );
    assert_refused(&ops[0].state, Some("data"), "validation_json_size_limit");
}
