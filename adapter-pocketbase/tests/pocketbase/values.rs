//! Case 35: what arrives is what was sent, or it is refused before it is sent.

use adapter_pocketbase::{CollectionMapping, FieldKind, PocketBaseConfig, Profile};
use serde_json::{Value, json};
use sync_core::{OpState, ParkReason, Payload, Write, resolve::LastWriteWins};

use crate::world::{Device, World, id, in_both_profiles, owned_todos, reqwest};

in_both_profiles!(
    case_35_supported_values_are_equal_after_a_round_trip,
    case_35_what_the_server_would_change_is_refused_before_it_is_sent,
);

fn typed() -> Value {
    let mut collection = owned_todos();
    collection["fields"].as_array_mut().unwrap().extend([
        json!({"name": "data", "type": "json"}),
        json!({"name": "at", "type": "date"}),
        json!({"name": "tags", "type": "select", "maxSelect": 3, "values": ["a", "b", "c"]}),
        json!({"name": "maybe", "type": "text"}),
    ]);
    collection
}

async fn devices(world: &World) -> [Device; 2] {
    let fields = [
        ("title", FieldKind::Text),
        ("count", FieldKind::Number),
        ("done", FieldKind::Bool),
        ("data", FieldKind::Json),
        ("at", FieldKind::Time),
        ("tags", FieldKind::List),
        ("maybe", FieldKind::OptionalText),
    ];
    let open = async || {
        let mapping = CollectionMapping::fields("todos", fields).with_scope_field("user", "owner");
        let config = PocketBaseConfig::new(world.server.url())
            .unwrap()
            .with_collection(mapping);
        let remote = world.connect(config, reqwest(), &world.ada.token).await.unwrap();
        Device::open(remote, world.target(&world.ada), LastWriteWins).await
    };
    [open().await, open().await]
}

/// A record in which one field has this value.
fn with(number: u64, field: &str, value: Value) -> Value {
    let mut record = json!({
        "id": id(number), "title": "", "count": 0, "done": false, "data": null, "at": null, "tags": [], "maybe": null,
    });
    record[field] = value;
    record
}

async fn write(device: &Device, record: &Value) {
    let id = record["id"].as_str().unwrap();
    let payload = Payload::parse(record.to_string()).unwrap();
    device
        .engine
        .write(Write::create_raw(device.key(id), payload))
        .await
        .unwrap();
}

async fn case_35_supported_values_are_equal_after_a_round_trip(profile: Profile) {
    let Some(world) = World::start_with(profile, json!([typed()])).await else {
        return;
    };
    let [a, b] = devices(&world).await;
    let values = [
        (
            "title",
            json!("a text with an emoji \u{1F980} and an accent e\u{301}"),
        ),
        ("title", json!("nul \u{0} within")),
        ("title", json!("{\"a\":1}")),
        ("title", json!("2026-01-01T00:00:00Z")),
        ("count", json!(9_007_199_254_740_992_i64)),
        ("count", json!(-1.5)),
        ("done", json!(true)),
        ("data", json!({"b": 1, "a": [true, null, "x"]})),
        ("data", json!(17)),
        ("at", json!("2026-01-02T03:04:05.678Z")),
        ("tags", json!(["c", "a"])),
        ("maybe", json!("something")),
    ];
    let records: Vec<Value> = (1..)
        .zip(values)
        .map(|(number, (field, value))| with(number, field, value))
        .collect();
    for record in &records {
        write(&a, record).await;
    }
    a.sync_until_sent().await;
    b.sync().await;
    for record in &records {
        let id = record["id"].as_str().unwrap();
        assert_eq!(&b.view(id).await, record);
    }
    // Nothing looks changed after the round trip.
    assert_eq!(a.sync().await.pushed + b.sync().await.pushed, 0);
}

async fn case_35_what_the_server_would_change_is_refused_before_it_is_sent(profile: Profile) {
    let Some(world) = World::start_with(profile, json!([typed()])).await else {
        return;
    };
    let [device, _] = devices(&world).await;
    let values = [
        ("title", json!(null)),
        ("title", json!(5)),
        ("count", json!(null)),
        ("count", json!("abc")),
        ("count", json!(9_007_199_254_740_993_i64)),
        ("done", json!(null)),
        ("data", json!("5")),
        ("data", json!({"n": 9_007_199_254_740_993_i64})),
        ("at", json!("garbage")),
        ("at", json!("2026-01-02T03:04:05.678901Z")),
        ("tags", json!(["a", "a"])),
        ("maybe", json!("")),
        ("unknown", json!(1)),
    ];
    for (number, (field, value)) in (1..).zip(&values) {
        write(&device, &with(number, field, value.clone())).await;
    }
    device.sync().await;
    assert_eq!(world.count().await, 0);
    let ops = device.ops().await;
    assert_eq!(ops.len(), values.len());
    for (op, (name, value)) in ops.iter().zip(&values) {
        let OpState::Parked(ParkReason::Rejected { field, .. }) = &op.state else {
            panic!("{name} = {value}: {:?}", op.state);
        };
        assert_eq!(field.as_deref(), Some(*name), "{value}");
    }
}
