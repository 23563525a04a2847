//! Cases 22 to 24 and 36: who writes at the same time as another.

use adapter_pocketbase::Profile;
use serde_json::json;
use sync_core::{
    ChangedFields, OpId, OpKind, Payload, PushBatch, PushOp, PushOutcome, RemoteStore, RemoteStoreExt, Stamp,
};

use crate::{
    feed_fixture::{patch_in_batch, send_batch},
    pushing::proxy,
    world::{Device, World, id, in_both_profiles, payload},
};

in_both_profiles!(
    case_22_two_edits_of_one_field_are_one_conflict,
    case_23_no_acknowledged_field_is_reverted,
    case_24_an_update_that_meets_a_delete_is_not_taken_for_done,
    case_36_what_did_not_change_does_not_go_back_and_forth,
);

async fn two_devices(world: &World) -> [Device; 2] {
    [world.device(&world.ada).await, world.device(&world.ada).await]
}

async fn case_22_two_edits_of_one_field_are_one_conflict(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let [a, b] = two_devices(&world).await;
    a.create(&id(1), "base").await;
    a.sync().await;
    b.sync().await;
    a.update(&id(1), json!({"title": "of a"})).await;
    b.update(&id(1), json!({"title": "of b"})).await;
    for _ in 0..2 {
        a.sync_until_sent().await;
        b.sync_until_sent().await;
    }
    let mut conflicts = 0;
    for device in [&a, &b] {
        conflicts += device.engine.conflicts(&Default::default()).await.unwrap().len();
    }
    assert_eq!(conflicts, 1);
    let there = world.record(&id(1)).await["title"].clone();
    assert_eq!(
        (&a.view(&id(1)).await["title"], &b.view(&id(1)).await["title"]),
        (&there, &there)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn case_22_increments_on_a_condition_are_all_counted() {
    let Some(world) = World::start(Profile::Feed).await else {
        return;
    };
    world.foreign_create(&id(1), "counter").await;
    let target = world.target(&world.ada);
    let key = sync_core::RecordKey::new(target.clone(), sync_core::RecordId::new(id(1)).unwrap());
    let increments = (0..8_u64).map(|writer| {
        let (world, key) = (&world, key.clone());
        async move {
            let remote = world.remote(&world.ada).await;
            let mut done = 0;
            let mut tries = 0;
            while done < 25 {
                tries += 1;
                let state = remote.get_one(&key).await.unwrap();
                let fields = state.payload().unwrap().to_object().unwrap();
                let next = fields["count"].as_i64().unwrap() + 1;
                let op = update(
                    &key,
                    writer * 1_000_000 + tries,
                    payload(&id(1), "counter", next),
                    state.version().cloned(),
                );
                match push_one(&*remote, op).await {
                    PushOutcome::Applied { .. } => done += 1,
                    PushOutcome::Conflict { .. } | PushOutcome::Retry { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    futures::future::join_all(increments).await;
    assert_eq!(world.record(&id(1)).await["count"], 201, "1, and 8 x 25");
}

fn update(
    key: &sync_core::RecordKey,
    number: u64,
    record: Payload,
    base: Option<sync_core::RemoteVersion>,
) -> PushOp {
    let uuid = format!("00000000-0000-7000-8000-{number:012x}");
    PushOp {
        op_id: uuid.parse::<OpId>().unwrap(),
        key: key.clone(),
        kind: OpKind::Update,
        payload: Some(record),
        changed: ChangedFields::All,
        base,
        stamp: Stamp::new(1_700_000_000_000 + number, 0, 1),
        schema_version: 1,
    }
}

fn only(op: PushOp, field: &str) -> PushOp {
    PushOp {
        changed: ChangedFields::Only([field.to_owned()].into()),
        ..op
    }
}

async fn push_one(remote: &dyn RemoteStore, op: PushOp) -> PushOutcome {
    let batch = PushBatch {
        scope: op.key.scope().clone(),
        ops: vec![op],
        atomic: false,
    };
    remote.push(batch).await.unwrap().remove(0)
}

/// Four who write only their own field, at the same moment, through the adapter.
async fn case_23_no_acknowledged_field_is_reverted(profile: Profile) {
    const ROUNDS: u64 = 25;
    let Some(world) = World::start(profile).await else {
        return;
    };
    world.foreign_create(&id(1), "t0").await;
    let key = sync_core::RecordKey::new(world.target(&world.ada), sync_core::RecordId::new(id(1)).unwrap());
    let writers = ["title", "note", "count", "done"].into_iter().enumerate().map(|(writer, field)| {
        let (world, key) = (&world, key.clone());
        async move {
            let remote = world.remote(&world.ada).await;
            for round in 1..=ROUNDS {
                let record = json!({"id": id(1), "title": format!("t{round}"), "note": format!("n{round}"),
                                    "count": round, "done": round % 2 == 1});
                let record = Payload::parse(record.to_string()).unwrap();
                for attempt in 0.. {
                    let number = (writer as u64 * 1_000 + round) * 1_000 + attempt;
                    let op = only(update(&key, number, record.clone(), None), field);
                    match push_one(&*remote, op).await {
                        PushOutcome::Applied { .. } => break,
                        PushOutcome::Conflict { .. } | PushOutcome::Retry { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
                let there = world.record(&id(1)).await[field].clone();
                let expected = serde_json::from_str::<serde_json::Value>(record.as_str()).unwrap()[field].clone();
                assert_eq!(there, expected, "{field} in round {round}: nobody else writes it");
            }
        }
    });
    futures::future::join_all(writers).await;
}

/// A writer that knows nothing of all this writes single PATCHes, which put back what they read before.
#[tokio::test(flavor = "multi_thread")]
async fn case_23_the_feed_keeps_an_unaware_writer_from_reverting() {
    let Some(world) = World::start(Profile::Feed).await else {
        return;
    };
    world.foreign_create(&id(1), "counter").await;
    let key = sync_core::RecordKey::new(world.target(&world.ada), sync_core::RecordId::new(id(1)).unwrap());
    let remote = world.remote(&world.ada).await;
    assert!(remote.capabilities().conditional_write);
    let foreign = async {
        for number in 0..150 {
            // Refused when it is stale; an app of that kind reads again.
            world
                .foreign_patch(&id(1), json!({"note": format!("n{number}")}))
                .await;
        }
    };
    let own = async {
        let mut accepted = 0;
        for number in 0..150 {
            let state = remote.get_one(&key).await.unwrap();
            let count = state.payload().unwrap().to_object().unwrap()["count"]
                .as_i64()
                .unwrap();
            let op = update(
                &key,
                number,
                payload(&id(1), "counter", count + 1),
                state.version().cloned(),
            );
            if let PushOutcome::Applied { .. } = push_one(&*remote, only(op, "count")).await {
                accepted += 1;
            }
        }
        accepted
    };
    let ((), accepted) = futures::future::join(foreign, own).await;
    assert!(accepted > 10, "{accepted} of 150 increments were accepted");
    assert_eq!(
        world.record(&id(1)).await["count"],
        1 + accepted,
        "each accepted increment is still there"
    );
}

async fn case_24_an_update_that_meets_a_delete_is_not_taken_for_done(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    world.foreign_create(&id(1), "theirs").await;
    let proxy = proxy(&world).await;
    let remote = world.remote_through(&proxy.url(), &world.ada).await;
    let device = Device::open(remote, world.target(&world.ada), sync_core::resolve::ServerWins).await;
    device.sync().await;
    device.update(&id(1), json!({"title": "mine"})).await;
    // The request is on its way while another deletes the record.
    proxy.next_call(
        "POST",
        "/api/batch",
        sync_http::testing::ProxyFault::Delay(std::time::Duration::from_millis(300)),
    );
    let delete = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        world.foreign_delete(&id(1)).await;
    };
    futures::future::join(device.sync_until_sent(), delete).await;
    device.settle(profile).await;
    assert_eq!(world.count().await, 0);
    assert_eq!(
        device.ids().await,
        Vec::<String>::new(),
        "the device does not hold it for synced"
    );
}

async fn case_36_what_did_not_change_does_not_go_back_and_forth(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let [a, b] = two_devices(&world).await;
    a.create(&id(1), "same").await;
    a.sync().await;
    b.sync().await;
    b.update(&id(1), json!({"title": "same"})).await;
    for _ in 0..3 {
        b.sync().await;
        a.sync().await;
    }
    let before = world.record(&id(1)).await["updated"].clone();
    let mut pushed = 0;
    for _ in 0..3 {
        pushed += a.sync().await.pushed + b.sync().await.pushed;
    }
    assert_eq!(pushed, 0, "nothing is pushed that nobody wrote");
    assert_eq!(world.record(&id(1)).await["updated"], before);
    // Another app's write without a change is no change for the devices either.
    send_batch(
        world.admin(),
        vec![patch_in_batch("todos", &id(1), json!({"title": "same"}))],
    )
    .await
    .success()
    .unwrap();
    for device in [&a, &b, &a, &b] {
        assert_eq!(device.sync().await.pushed, 0);
    }
}
