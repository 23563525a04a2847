//! What single writes send, and what becomes of them: cases 2 to 5, 7, 17 to 20, 26, 28 and 33 to 37 of the notes.

use std::sync::Arc;

use adapter_appwrite::Table;
use adapter_memory::MemoryLocalStore;
use appwrite_stand_in::{Fault, Profile, RequestMatch};
use serde_json::json;
use sync_core::{
    ErrorKind, OpState, ParkReason, Payload, RemoteStoreExt, Result,
    resolve::{Conflict, ConflictResolver, FieldMerge, Resolution},
};
use sync_testkit::effects::TestEffects;

use crate::world::{DATABASE, Device, Todo, World, columns, todo};

/// The reason why the only pending operation is parked.
async fn parked(device: &Device) -> (String, String, Option<String>) {
    let pending = device.pending().await;
    let [op] = &pending[..] else {
        panic!("one operation is expected: {pending:?}")
    };
    match &op.state {
        OpState::Parked(ParkReason::Rejected { code, message, field }) => {
            (code.clone(), message.clone(), field.clone())
        }
        other => panic!("not parked: {other:?}"),
    }
}

/// Case 2.
#[tokio::test]
async fn ids_that_the_server_refuses_or_takes_for_others_are_refused_before_they_are_sent() {
    let world = World::start().await;
    let device = world.device("alice").await;
    for id in ["Ab".to_owned(), "_x".to_owned(), "a".repeat(37)] {
        device.create(&todo(&id, "tea")).await;
        device.sync().await;
        let (code, _, field) = parked(&device).await;
        assert_eq!((code.as_str(), field.as_deref()), ("invalid_id", Some("id")));
        device
            .engine
            .discard_op(device.pending().await[0].op_id)
            .await
            .unwrap();
    }
    assert!(world.writes().is_empty());
}

/// Case 3.
#[tokio::test]
async fn an_update_on_the_current_state_applies_and_on_an_older_one_is_a_conflict() {
    let world = World::start().await;
    let (alice, bob) = (world.device("alice").await, world.device("bob").await);
    alice.create(&todo("t1", "tea")).await;
    alice.sync().await;
    bob.sync().await;
    alice.update(&todo("t1", "milk")).await;
    assert_eq!(alice.sync().await.conflicts(), 0);
    bob.update(&todo("t1", "rum")).await;
    assert_eq!(bob.sync().await.conflicts(), 1);
    alice.sync().await;
    assert_eq!(alice.title("t1").await, bob.title("t1").await);
    let refused = world.server.requests();
    assert!(refused.iter().any(|logged| logged.status == Some(409)));
}

/// Cases 4 and 5.
#[tokio::test]
async fn a_lost_answer_is_resolved_by_reading_the_row_and_nothing_is_written_twice() {
    for with_op_column in [true, false] {
        let world = World::start().await;
        world.server.create_table(DATABASE, &columns("plain"));
        let table = Table::new(DATABASE, "plain");
        let table = if with_op_column {
            table
        } else {
            table.without_op_column()
        };
        let device = world.device_on(table).await;
        for (method, title) in [("POST", "tea"), ("PATCH", "milk")] {
            world
                .server
                .fault(RequestMatch::method(method), Fault::DropAnswer);
            if method == "POST" {
                device.create(&todo("t1", title)).await;
            } else {
                device.update(&todo("t1", title)).await;
            }
            let report = device.sync().await;
            assert_eq!((report.pushed, report.conflicts()), (1, 0), "{method} {report:?}");
            assert!(device.pending().await.is_empty());
            assert_eq!(device.title("t1").await.as_deref(), Some(title));
        }
        let writes = world.writes();
        assert_eq!(writes.len(), 2, "{writes:?}");
    }
}

#[tokio::test]
async fn when_reading_fails_too_the_operation_stays_and_is_settled_by_the_next_sync() {
    let world = World::start().await;
    let device = world.device("alice").await;
    device.create(&todo("t1", "tea")).await;
    world
        .server
        .fault(RequestMatch::method("POST"), Fault::DropAnswer);
    world
        .server
        .fault_times(RequestMatch::method("GET"), 0, 3, Fault::DropRequest);
    device.try_sync().await.unwrap_err();
    assert_eq!(device.pending().await.len(), 1);
    world.server.clear_faults();
    let report = device.sync().await;
    assert_eq!((report.pushed, report.duplicates, report.conflicts()), (1, 1, 0));
    assert_eq!(world.cell("t1", "title"), json!("tea"));
}

/// Case 7.
#[tokio::test]
async fn a_delete_of_an_older_state_is_a_conflict_and_of_a_row_that_is_gone_a_success() {
    let world = World::start().await;
    let device = world.device("alice").await;
    for id in ["t1", "t2"] {
        device.create(&todo(id, "tea")).await;
    }
    device.sync().await;
    world.put("t1", json!({"title": "changed meanwhile"}));
    world.erase("t2");
    device.delete("t1").await;
    device.delete("t2").await;
    let report = device.sync().await;
    assert_eq!(report.conflicts(), 1, "{report:?}");
    assert!(device.pending().await.is_empty());
    assert_eq!(device.get("t2").await, None);
}

/// Case 17.
#[tokio::test]
async fn writers_of_different_columns_both_keep_what_they_wrote() {
    let world = World::start().await;
    let effects = TestEffects::tokio(9);
    let remote = Arc::new(world.remote("bob"));
    let alice = world.device("alice").await;
    let store = Arc::new(MemoryLocalStore::new());
    let bob = Device::reopen(effects, remote, store, FieldMerge::new()).await;
    alice.create(&todo("t1", "tea")).await;
    alice.sync().await;
    bob.sync().await;
    alice
        .update(&Todo {
            count: Some(3),
            ..todo("t1", "tea")
        })
        .await;
    alice.sync().await;
    bob.update(&todo("t1", "milk")).await;
    bob.sync().await;
    assert_eq!(
        (world.cell("t1", "title"), world.cell("t1", "count")),
        (json!("milk"), json!(3))
    );
    let patched = world.writes();
    let last: serde_json::Value = serde_json::from_slice(&patched.last().unwrap().request.body).unwrap();
    assert!(
        last["data"].get("count").is_none(),
        "only what changed is sent: {last}"
    );
}

/// Case 19.
#[tokio::test]
async fn a_violated_unique_index_parks_the_operation_and_leaves_the_other_row_alone() {
    let world = World::start().await;
    world
        .server
        .create_table(DATABASE, &columns("singular").unique(&["title"]));
    let device = world.device_on(Table::new(DATABASE, "singular")).await;
    device.create(&todo("t1", "tea")).await;
    device.create(&todo("t2", "milk")).await;
    device.sync().await;
    device.create(&todo("t3", "tea")).await;
    assert_eq!(device.sync().await.parked, 1);
    assert_eq!(parked(&device).await.0, "row_unique_constraint_violation");
    device
        .engine
        .discard_op(device.pending().await[0].op_id)
        .await
        .unwrap();
    device.update(&todo("t2", "tea")).await;
    assert_eq!(device.sync().await.parked, 1);
    assert_eq!(parked(&device).await.0, "row_unique_constraint_violation");
    let titles: Vec<_> = world
        .server
        .rows(DATABASE, "singular")
        .iter()
        .map(|row| row["title"].clone())
        .collect();
    assert_eq!(titles, [json!("tea"), json!("milk")]);
}

/// Case 20.
#[tokio::test]
async fn a_text_that_the_server_would_execute_is_never_sent() {
    let world = World::start().await;
    let device = world.device("alice").await;
    device.create(&todo("t1", "base")).await;
    device.sync().await;
    let operator = r#"{"method":"increment","values":[1]}"#;
    device.update(&todo("t1", operator)).await;
    device.sync().await;
    let (code, _, field) = parked(&device).await;
    assert_eq!(
        (code.as_str(), field.as_deref()),
        ("operator_text", Some("title"))
    );
    assert_eq!(world.cell("t1", "title"), json!("base"));
    // Written by someone else, it is a text like any other, and does not keep other columns from being written.
    world.put("t2", json!({"title": operator}));
    device.sync().await;
    assert_eq!(device.title("t2").await.as_deref(), Some(operator));
    device
        .update(&Todo {
            count: Some(1),
            ..todo("t2", operator)
        })
        .await;
    device.sync().await;
    assert_eq!(
        (world.cell("t2", "title"), world.cell("t2", "count")),
        (json!(operator), json!(1))
    );
}

/// Case 26.
#[tokio::test]
async fn a_missing_permission_parks_one_operation_and_the_others_go_on() {
    let world = World::start().await;
    world.server.create_table(
        DATABASE,
        &columns("guarded")
            .row_security()
            .permissions(&["create(\"users\")"]),
    );
    let rows = format!("/v1/tablesdb/{DATABASE}/tables/guarded/rows");
    let shared = json!({"rowId": "t1", "data": {"title": "read only"}, "permissions": ["read(\"users\")"]});
    assert_eq!(world.server.as_key("POST", &rows, &shared).status, 201);
    let table = Table::new(DATABASE, "guarded").permissions(adapter_appwrite::RowPermissions::Owner);
    let device = world.device_on(table).await;
    device.sync().await;
    assert_eq!(device.title("t1").await.as_deref(), Some("read only"));
    device.update(&todo("t1", "mine")).await;
    device.create(&todo("t2", "my own")).await;
    let report = device.sync().await;
    assert_eq!((report.pushed, report.parked), (1, 1), "{report:?}");
    assert_eq!(parked(&device).await.0, "user_unauthorized");
    device.update(&todo("t2", "my own, changed")).await;
    assert_eq!(device.sync().await.pushed, 1);
    let row = world.server.row(DATABASE, "guarded", "t2").unwrap();
    assert_eq!(row["title"], json!("my own, changed"));
    assert_eq!(
        row["$permissions"],
        json!([
            "read(\"user:alice\")",
            "update(\"user:alice\")",
            "delete(\"user:alice\")"
        ])
    );
}

/// Case 28.
#[tokio::test]
async fn a_row_that_does_not_fit_parks_the_operation_with_the_servers_message() {
    let world = World::start().await;
    let device = world.device("alice").await;
    let long = Todo {
        note: Some("x".repeat(1_001)),
        ..todo("t1", "tea")
    };
    device.create(&long).await;
    device.sync().await;
    let (code, message, field) = parked(&device).await;
    assert_eq!(
        (code.as_str(), field.as_deref()),
        ("row_invalid_structure", Some("note"))
    );
    assert!(message.contains("1000 chars"), "{message}");
}

/// Case 33.
#[tokio::test]
async fn the_default_that_the_server_puts_for_null_is_what_the_device_then_shows() {
    let world = World::start().await;
    let spec = appwrite_stand_in::TableSpec::new("defaulted");
    use appwrite_stand_in::{Column, ColumnKind};
    let spec = ["title", "note"]
        .iter()
        .fold(spec, |spec, name| {
            spec.column(Column::optional(name, ColumnKind::Text { size: 50 }))
        })
        .column(Column::optional("done", ColumnKind::Boolean))
        .column(Column::optional("count", ColumnKind::Integer).default(7))
        .column(Column::optional("due", ColumnKind::Datetime))
        .column(Column::optional("deleted", ColumnKind::Boolean).default(false))
        .column(Column::optional("op_id", ColumnKind::Text { size: 36 }));
    world.server.create_table(DATABASE, &spec);
    let device = world.device_on(Table::new(DATABASE, "defaulted")).await;
    device.create(&todo("t1", "tea")).await;
    device.sync().await;
    assert_eq!(device.get("t1").await.unwrap().count, Some(7));
    device
        .update(&Todo {
            count: None,
            ..todo("t1", "tea")
        })
        .await;
    device.sync().await;
    assert_eq!(device.get("t1").await.unwrap().count, Some(7));
    assert_eq!(device.sync().await.pushed, 0, "nothing is left to say");
}

/// Case 34.
#[tokio::test]
async fn a_time_finer_than_a_millisecond_is_cut_once_and_not_pushed_again() {
    let world = World::start().await;
    let device = world.device("alice").await;
    let fine = Todo {
        due: Some("2026-01-02T03:04:05.678901Z".to_owned()),
        ..todo("t1", "tea")
    };
    device.create(&fine).await;
    device.sync().await;
    let kept = device.get("t1").await.unwrap();
    assert_eq!(kept.due.as_deref(), Some("2026-01-02T03:04:05.678+00:00"));
    let before = world.writes().len();
    for _ in 0..3 {
        assert_eq!(device.sync().await.pushed, 0);
    }
    assert_eq!(world.writes().len(), before);
}

/// Case 35.
#[tokio::test]
async fn both_forms_of_the_sequence_are_understood() {
    for profile in [Profile::V1_8_1, Profile::V1_9_6] {
        let world = World::start_as(profile).await;
        for number in 0..60 {
            world.put(&format!("t{number}"), json!({"title": "tea"}));
        }
        let device = world.device_with("alice", |config| config).await;
        device.sync().await;
        device.scan().await;
        assert_eq!(device.all().await.len(), 60);
    }
}

/// Case 36.
#[tokio::test]
async fn a_page_instead_of_json_is_a_configuration_error() {
    let world = World::start().await;
    let device = world.device("alice").await;
    world
        .server
        .fault(RequestMatch::any().path("/rows"), Fault::Page { status: 404 });
    let error = device.try_sync().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Configuration, Some("endpoint"))
    );
}

/// Adds what each side added.
#[derive(Debug)]
struct AddUp;

impl ConflictResolver for AddUp {
    fn name(&self) -> &str {
        "add_up"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        let count = |side: &Option<Payload>| -> Result<i64> {
            let fields = side
                .as_ref()
                .map(Payload::to_object)
                .transpose()?
                .unwrap_or_default();
            Ok(fields
                .get("count")
                .and_then(serde_json::Value::as_i64)
                .unwrap_or(0))
        };
        let sum = count(&conflict.remote)? + count(&conflict.local)? - count(&conflict.base)?;
        let mut merged = conflict.remote.as_ref().unwrap().to_object()?;
        merged.insert("count".to_owned(), sum.into());
        Ok(Resolution::Merged(Payload::from_object(&merged)))
    }
}

/// Case 37. Counters are merged by the device; nothing is ever sent as an increment.
#[tokio::test]
async fn two_increments_made_offline_are_two_and_a_lost_answer_does_not_double_one() {
    let world = World::start().await;
    let mut devices = Vec::new();
    for user in ["alice", "bob"] {
        let remote = Arc::new(world.remote(user));
        let store = Arc::new(MemoryLocalStore::new());
        devices.push(Device::reopen(TestEffects::tokio(4), remote, store, AddUp).await);
    }
    let [alice, bob] = &devices[..] else {
        unreachable!()
    };
    alice
        .create(&Todo {
            count: Some(10),
            ..todo("t1", "visits")
        })
        .await;
    alice.sync().await;
    bob.sync().await;
    for device in [alice, bob] {
        device
            .update(&Todo {
                count: Some(11),
                ..todo("t1", "visits")
            })
            .await;
    }
    world
        .server
        .fault(RequestMatch::method("PATCH"), Fault::DropAnswer);
    alice.sync().await;
    world
        .server
        .fault_times(RequestMatch::method("PATCH"), 1, 1, Fault::DropAnswer);
    bob.sync().await;
    bob.sync().await;
    alice.sync().await;
    assert_eq!(world.cell("t1", "count"), json!(12));
    assert_eq!(alice.get("t1").await, bob.get("t1").await);
    assert!(
        world
            .writes()
            .iter()
            .all(|logged| !logged.request.path.contains("increment"))
    );
}

/// Case 18.
#[tokio::test]
async fn nothing_is_ever_asked_in_a_form_that_loses_or_overwrites() {
    let world = World::start().await;
    let (alice, bob) = (world.device("alice").await, world.device("bob").await);
    for number in 0..12 {
        alice.create(&todo(&format!("t{number}"), "tea")).await;
    }
    alice.sync().await;
    bob.sync().await;
    bob.update(&todo("t1", "milk")).await;
    bob.delete("t2").await;
    bob.sync().await;
    alice.scan().await;
    alice.remote.get_one(&World::key("t1")).await.unwrap();
    let spec = sync_core::query::QuerySpec::new().limit(3).offset(1);
    alice.remote.search(&World::target(), &spec).await.unwrap();
    for logged in world.server.requests() {
        let request = &logged.request;
        assert!(
            ["GET", "POST", "PATCH"].contains(&request.method.as_str()),
            "{request:?}"
        );
        for (name, value) in &request.query {
            assert!(!["ttl", "transactionId"].contains(&name.as_str()), "{request:?}");
            assert!(name != "total" || value == "0", "{request:?}");
            assert!(
                !value.contains("cursorAfter") && !value.contains("\"offset\""),
                "{request:?}"
            );
        }
        if request.method == "PATCH" && request.path.contains("/rows/") {
            assert!(
                request.headers.contains_key("x-appwrite-timestamp"),
                "{request:?}"
            );
        }
        if request.method == "GET" && request.path.ends_with("/rows") {
            assert!(
                request.query.iter().any(|(name, _)| name == "total"),
                "{request:?}"
            );
        }
    }
    let [op] = &world
        .writes()
        .into_iter()
        .filter(|logged| logged.request.path.ends_with("/rows/t2"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one write of t2 alone")
    };
    assert_eq!(op.request.method, "PATCH", "a delete marks the row");
}
