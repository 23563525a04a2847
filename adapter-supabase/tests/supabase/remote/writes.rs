//! Pushes: outcomes of single operations, values, and what is sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sync_core::{
    ChangedFields, OpKind, PushOutcome, RecordId, RecordKey, RemoteState, RemoteStore, RemoteStoreExt,
    RemoteVersion, Timestamp,
};

use super::world::{World, apply, batch, code, create, id, key, op, page, target};

on_each_stack!(
    case_25_one_operation_that_breaks_a_check_leaves_the_others,
    case_26_a_foreign_key_is_refused_for_its_own_operation,
    case_27_an_unknown_field_is_refused_by_its_name,
    case_28_values_at_the_edges_arrive_as_they_were_sent,
    case_44_null_arguments_are_never_sent,
    an_operation_that_is_refused_keeps_an_atomic_batch_from_applying,
    a_base_that_is_no_version_of_the_feed_meets_nothing,
    a_stamp_comes_back_with_its_record_and_not_with_a_direct_write,
    batches_above_the_limit_are_sent_in_parts,
);

async fn case_25_one_operation_that_breaks_a_check_leaves_the_others(world: &World) {
    let remote = world.remote(&world.ada).await;
    let ops = vec![
        create(1, json!({"title": "good"})),
        create(2, json!({"title": "x".repeat(200)})),
        create(3, json!({"title": "good too"})),
        create(4, json!({"title": "a\u{0}b"})),
        op(OpKind::Delete, key(5), None),
    ];
    let outcomes = remote.push(batch(ops)).await.unwrap();
    let codes: Vec<&str> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["applied", "23514", "applied", "22P05", "missing"]);
    assert!(matches!(&outcomes[3], PushOutcome::Rejected { field: Some(field), .. } if field == "title"));
    assert_eq!(world.number("select count(*) from public.todo").await, 2);
}

async fn case_26_a_foreign_key_is_refused_for_its_own_operation(world: &World) {
    let remote = world.remote(&world.ada).await;
    apply(&remote, create(1, json!({"title": "parent"}))).await;
    let note = |name: &str, todo: u64| {
        let key = RecordKey::new(target("note", "s"), RecordId::new(name).unwrap());
        let record = json!({"id": name, "todo": id(todo), "text": "of it"});
        op(OpKind::Create, key, Some(record))
    };
    let ops = vec![note("a", 1), note("b", 9), note("c", 1)];
    let outcomes = remote.push(batch(ops)).await.unwrap();
    assert_eq!(
        outcomes.iter().map(code).collect::<Vec<_>>(),
        ["applied", "23503", "applied"]
    );
}

async fn case_27_an_unknown_field_is_refused_by_its_name(world: &World) {
    let remote = world.remote(&world.ada).await;
    let ops = vec![create(1, json!({"title": "x", "colour": "red"}))];
    let outcomes = remote.push(batch(ops)).await.unwrap();
    assert!(
        matches!(&outcomes[0], PushOutcome::Rejected { code, field: Some(field), .. } if code == "unknown_field" && field == "colour"),
        "{outcomes:?}"
    );
}

async fn case_28_values_at_the_edges_arrive_as_they_were_sent(world: &World) {
    let remote = world.remote(&world.ada).await;
    let sent = json!({
        "title": "\u{1F980} e\u{301} \"q\" \\ \n", "done": true, "amount": i64::MIN, "tags": ["a,b", "{}", ""],
        "meta": {"deep": [1, null, {"x": "\u{10FFFF}"}], "big": i64::MAX}, "due": "2026-01-01T10:00:00+00:00",
    });
    apply(&remote, create(1, sent.clone())).await;
    let live = remote.get_one(&key(1)).await.unwrap();
    let got = live.payload().unwrap().to_object().unwrap();
    for (field, value) in sent.as_object().unwrap() {
        assert_eq!(&got[field], value, "{field}");
    }
    assert_eq!(got["price"], Value::Null, "what was not sent is null");

    // Digits beyond what a double holds, which only the text keeps.
    let mut digits = create(2, json!({"title": "x"}));
    let text = format!(
        r#"{{"id":"{}","title":"x","price":12345678901234567890.123456789}}"#,
        id(2)
    );
    digits.payload = Some(sync_core::Payload::parse(text).unwrap());
    apply(&remote, digits).await;
    let page = remote.pull(page(None, 10)).await.unwrap();
    let texts: Vec<&str> = page
        .changes
        .iter()
        .map(|change| change.state.payload().unwrap().as_str())
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("12345678901234567890.123456789")),
        "{texts:?}"
    );

    // A time with an offset is the same time; how it is stored is told with the outcome.
    let shifted = create(3, json!({"title": "x", "due": "2026-01-01T12:00:00+02:00"}));
    let outcomes = remote.push(batch(vec![shifted])).await.unwrap();
    let PushOutcome::Applied {
        record: Some(stored),
        server_time: Some(at),
        ..
    } = &outcomes[0]
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(stored.to_object().unwrap()["due"], "2026-01-01T10:00:00+00:00");
    assert!(*at > Timestamp::from_micros(0));

    // Null is written as null; a field that is not among those changed stays.
    let mut partly = op(
        OpKind::Update,
        key(1),
        Some(json!({"id": id(1), "title": "y", "due": null, "amount": 7})),
    );
    partly.changed = ChangedFields::Only(BTreeSet::from(["due".to_owned()]));
    apply(&remote, partly).await;
    let live = remote.get_one(&key(1)).await.unwrap();
    let got = live.payload().unwrap().to_object().unwrap();
    assert_eq!((&got["due"], &got["amount"]), (&Value::Null, &json!(i64::MIN)));
}

async fn case_44_null_arguments_are_never_sent(world: &World) {
    let remote = world.remote(&world.ada).await;
    apply(&remote, create(1, json!({"title": "x"}))).await;
    let first = remote.pull(page(None, 10)).await.unwrap();
    remote.pull(page(Some(&first.next), 10)).await.unwrap();
    remote.get_one(&key(1)).await.unwrap();
    remote.list_ids(&target("todo", "s"), None, 10).await.unwrap();
    remote.server_time().await.unwrap();
    let mut calls = 0;
    for request in world
        .stack
        .requests()
        .iter()
        .filter(|request| request.path.contains("/rpc/"))
    {
        let arguments: Value = serde_json::from_str(&request.body).unwrap();
        let ops = arguments["p_ops"].as_array().cloned().unwrap_or_default();
        for object in [arguments].iter().chain(&ops) {
            assert!(
                object.as_object().unwrap().values().all(|value| !value.is_null()),
                "{object}"
            );
        }
        calls += 1;
    }
    assert!(calls >= 6, "{calls}");
}

async fn an_operation_that_is_refused_keeps_an_atomic_batch_from_applying(world: &World) {
    let remote = world.remote(&world.ada).await;
    for bad in ["x".repeat(200), "a\u{0}b".to_owned()] {
        let mut atomic = batch(vec![
            create(1, json!({"title": "good"})),
            create(2, json!({"title": bad})),
        ]);
        atomic.atomic = true;
        let outcomes = remote.push(atomic).await.unwrap();
        assert!(
            matches!(
                &outcomes[..],
                [PushOutcome::Retry { .. }, PushOutcome::Rejected { .. }]
            ),
            "{outcomes:?}"
        );
        assert_eq!(world.number("select count(*) from public.todo").await, 0);
    }
}

async fn a_base_that_is_no_version_of_the_feed_meets_nothing(world: &World) {
    let remote = world.remote(&world.ada).await;
    apply(&remote, create(1, json!({"title": "x"}))).await;
    let mut update = op(OpKind::Update, key(1), Some(json!({"id": id(1), "title": "y"})));
    update.base = Some(RemoteVersion::opaque("2026-01-01T10:00:00+00:00"));
    let outcomes = remote.push(batch(vec![update])).await.unwrap();
    assert!(
        matches!(
            &outcomes[0],
            PushOutcome::Conflict {
                current: RemoteState::Live(_)
            }
        ),
        "{outcomes:?}"
    );
}

async fn a_stamp_comes_back_with_its_record_and_not_with_a_direct_write(world: &World) {
    let remote = world.remote(&world.ada).await;
    let made = create(1, json!({"title": "x"}));
    let stamp = made.stamp;
    apply(&remote, made).await;
    assert_eq!(remote.get_one(&key(1)).await.unwrap().stamp(), Some(stamp));
    world.run("update public.todo set title = 'direct'").await;
    let direct = remote.get_one(&key(1)).await.unwrap();
    assert_eq!((direct.stamp(), direct.server_time().is_some()), (None, true));
}

async fn batches_above_the_limit_are_sent_in_parts(world: &World) {
    let remote = world.remote(&world.ada).await;
    let ops: Vec<_> = (1..=230)
        .map(|number| create(number, json!({"title": "many"})))
        .collect();
    world.stack.forget_requests();
    let outcomes = remote.push(batch(ops)).await.unwrap();
    assert!(outcomes.len() == 230 && outcomes.iter().all(|outcome| code(outcome) == "applied"));
    assert_eq!(world.stack.requests().len(), 3);
}
