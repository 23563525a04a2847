//! A store that an older version of the app wrote, opened by a newer one.

use std::sync::Arc;

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, ErrorKind, JsonObject, OpQuery, OpState, ParkReason, Payload, RecordId,
    SimpleSyncOrchestrator, SyncEngine, SyncRecord,
    query::{Filter, QuerySpec},
};

use super::world::{Device, key, scope, todo};

/// The to-do of the next version of the app: `title` is called `text`, and there is a priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos", schema_version = 2, upgrade = to_version_2)]
struct NewTodo {
    #[sync(id)]
    id: String,
    text: String,
    priority: u8,
    done: bool,
}

fn to_version_2(mut fields: JsonObject, from_version: u32) -> Result<JsonObject, String> {
    assert_eq!(from_version, 1);
    // A record of the new shape comes back from the remote with the version of the store.
    if let Some(title) = fields.remove("title") {
        if title == "bad" {
            return Err("a bad title has no place in version 2".to_owned());
        }
        fields.insert("text".to_owned(), title);
    }
    fields.entry("priority").or_insert_with(|| 3.into());
    Ok(fields)
}

fn new_todo(id: &str, text: &str) -> NewTodo {
    NewTodo {
        id: id.into(),
        text: text.into(),
        priority: 3,
        done: false,
    }
}

async fn next_version(
    store: &MemoryLocalStore,
    remote: &MemoryRemoteStore,
) -> SimpleSyncOrchestrator<NewTodo> {
    SyncEngine::builder(Arc::new(store.reopen()), Arc::new(remote.clone()))
        .register::<NewTodo>()
        .build()
        .await
        .unwrap()
        .of()
        .unwrap()
}

#[tokio::test]
async fn records_and_pending_operations_of_the_older_version_are_upgraded() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    device.sync().await;
    device.create("2", "milk").await;
    device.rename("1", "green tea").await;

    let todos = next_version(&device.store, &remote).await;
    let answer = todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
    assert_eq!(answer.items, [new_todo("1", "green tea"), new_todo("2", "milk")]);
    assert_eq!((answer.pending.len(), answer.undecodable.len()), (2, 0));
    let one = todos
        .get(&scope(), &"1".to_owned(), CachePolicy::OfflineOnly)
        .await
        .unwrap();
    assert_eq!(one, Some(new_todo("1", "green tea")));

    let report = todos.synchronize(&scope()).await.unwrap();
    assert_eq!((report.pushed, report.parked), (2, 0));
    let sent = remote.dump(&key("1").target);
    for (id, text) in [("1", "green tea"), ("2", "milk")] {
        let there: NewTodo = sent[&RecordId::new(id).unwrap()].decode().unwrap();
        assert_eq!(there, new_todo(id, text), "what is sent has the new shape");
    }
}

#[tokio::test]
async fn a_write_of_the_newer_version_joins_one_of_the_older() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    let todos = next_version(&device.store, &remote).await;
    let changed = todos
        .update_where(&scope(), Filter::eq("id", "1"), |todo| todo.priority = 1)
        .await
        .unwrap();
    assert_eq!(changed, 1);
    todos.synchronize(&scope()).await.unwrap();
    let there: NewTodo = remote.dump(&key("1").target)[&key("1").id].decode().unwrap();
    assert_eq!((there.text.as_str(), there.priority), ("tea", 1));
}

#[tokio::test]
async fn what_cannot_be_upgraded_is_parked_reported_and_not_fatal() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    for (id, title) in [("1", "tea"), ("2", "bad"), ("3", "milk")] {
        device.create(id, title).await;
    }
    let todos = next_version(&device.store, &remote).await;
    let answer = todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
    assert_eq!(answer.items, [new_todo("1", "tea"), new_todo("3", "milk")]);
    assert_eq!(
        (answer.undecodable.len(), answer.undecodable[0].id.as_str()),
        (1, "2")
    );
    let why = answer.undecodable[0].error.to_string();
    assert!(why.contains("a bad title has no place"), "{why}");
    let error = todos
        .get(&scope(), &"2".to_owned(), CachePolicy::OfflineOnly)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);

    let report = todos.synchronize(&scope()).await.unwrap();
    assert_eq!((report.pushed, report.parked), (2, 1));
    let ops = todos.engine().pending_ops(&OpQuery::default()).await.unwrap();
    let OpState::Parked(ParkReason::SchemaUpgrade { message }) = &ops[0].state else {
        panic!("{ops:?}");
    };
    assert!(message.contains("a bad title"), "{message}");
    assert!(
        ops[0].payload.as_ref().unwrap().as_str().contains("bad"),
        "the payload is kept as it was"
    );
    // The user mends it.
    let mended = Payload::encode(&new_todo("2", "good")).unwrap();
    todos.engine().edit_op(ops[0].op_id, mended).await.unwrap();
    todos.synchronize(&scope()).await.unwrap();
    let answer = todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
    assert_eq!(
        (answer.items.len(), answer.pending.len(), answer.undecodable.len()),
        (3, 0, 0)
    );
}

#[tokio::test]
async fn an_export_of_the_older_version_is_upgraded_when_it_is_imported() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    device.create("2", "bad").await;
    let lines = device.engine().export_ops(None).await.unwrap();
    let todos = next_version(&MemoryLocalStore::new(), &remote).await;
    let imported = todos.engine().import_ops(&lines).await.unwrap();
    assert_eq!((imported.written.len(), imported.left_out.len()), (1, 1));
    assert_eq!(imported.left_out[0].0, 2);
    let answer = todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
    assert_eq!(answer.items, [new_todo("1", "tea")]);
}

#[tokio::test]
async fn records_that_do_not_decode_are_reported_and_the_others_read() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    device.sync().await;
    // What the remote calls a to-do and is none never gets in.
    remote.put(&key("2"), Payload::parse(r#"{"id":"2"}"#).unwrap());
    remote.put_malformed(&key("3").target, Some(&key("3").id), "not even json");
    let report = device.sync().await;
    assert_eq!(report.quarantined, 2);
    let answer = device
        .todos
        .read(&scope(), CachePolicy::OfflineOnly)
        .await
        .unwrap();
    assert_eq!(
        (answer.items, answer.undecodable.len()),
        (vec![todo("1", "tea")], 0)
    );
    let quarantine = device
        .engine()
        .quarantine(Some(&key("1").target), 10)
        .await
        .unwrap();
    assert_eq!(quarantine.len(), 2);
    assert!(quarantine.iter().any(|row| row.row.raw == "not even json"));
    // Mended at the remote, it leaves the quarantine.
    remote.put(&key("2"), Payload::encode(&todo("2", "milk")).unwrap());
    remote.put(&key("3"), Payload::encode(&todo("3", "bread")).unwrap());
    device.sync().await;
    assert_eq!(device.titles().await.len(), 3);
    assert!(device.engine().quarantine(None, 10).await.unwrap().is_empty());
    let by_title = QuerySpec::new().order_by(NewTodo::id().desc());
    let first = device
        .todos
        .first(&scope(), &by_title, CachePolicy::OfflineOnly)
        .await
        .unwrap();
    assert_eq!(first, Some(todo("3", "bread")));
}
