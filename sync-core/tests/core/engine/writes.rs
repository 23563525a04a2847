//! Writes: what is refused, what is one transaction, and what reaches the remote.

use std::sync::Arc;

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use sync_core::{CachePolicy, ErrorKind, OpQuery, Payload, SyncEngine, SyncRecord, Write, query::Filter};

use super::world::{Device, Todo, key, remote_titles, scope, titles, todo};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "lists")]
struct List {
    #[sync(id)]
    id: String,
    name: String,
}

fn list(id: &str) -> List {
    List {
        id: id.into(),
        name: "groceries".into(),
    }
}

#[tokio::test]
async fn refused_writes_name_the_reason_and_change_nothing() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    device.create("1", "tea").await;
    let size = device.engine().approx_cache_size(None).await.unwrap();
    let (todos, scope) = (&device.todos, scope());
    let twice = todos
        .enqueue_create(&scope, &todo("1", "again"))
        .await
        .unwrap_err();
    assert_eq!((twice.kind(), twice.field()), (ErrorKind::Invalid, Some("id")));
    let missing = todos
        .enqueue_update(&scope, &todo("2", "milk"))
        .await
        .unwrap_err();
    assert_eq!(
        (missing.kind(), missing.field()),
        (ErrorKind::NotFound, Some("id"))
    );
    assert!(missing.to_string().contains("\"2\""), "{missing}");
    let missing = todos.enqueue_delete(&scope, &"2".to_owned()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let other_id = Write::update_raw(key("1"), Payload::encode(&todo("9", "tea")).unwrap());
    let wrong = device.engine().write(other_id).await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.field()), (ErrorKind::Invalid, Some("id")));
    let not_a_todo = Write::create_raw(key("3"), Payload::parse(r#"{"id":"3"}"#).unwrap());
    assert!(device.engine().write(not_a_todo).await.is_err());
    assert_eq!(device.titles().await, titles([("1", "tea")]));
    assert_eq!(device.pending().await, 1);
    assert_eq!(device.engine().approx_cache_size(None).await.unwrap(), size);
}

#[tokio::test]
async fn deleting_what_was_never_sent_leaves_nothing_to_send() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    let created = device
        .todos
        .enqueue_create(&scope(), &todo("1", "tea"))
        .await
        .unwrap();
    assert!(created.op_id.is_some());
    let deleted = device
        .todos
        .enqueue_delete(&scope(), &"1".to_owned())
        .await
        .unwrap();
    assert_eq!((deleted.op_id, device.pending().await), (None, 0));
}

#[tokio::test]
async fn update_where_and_delete_where_reach_the_remote() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    for (id, title) in [("1", "tea"), ("2", "toast"), ("3", "milk")] {
        device.create(id, title).await;
    }
    device.sync().await;
    let with_t = Filter::starts_with("title", "t");
    let updated = device
        .todos
        .update_where(&scope(), with_t.clone(), |todo| todo.done = true)
        .await
        .unwrap();
    assert_eq!((updated, device.pending().await), (2, 2));
    device.sync().await;
    let done = |id: &str| {
        remote.dump(&key(id).target)[&key(id).id]
            .decode::<Todo>()
            .unwrap()
            .done
    };
    assert_eq!([done("1"), done("2"), done("3")], [true, true, false]);
    assert_eq!(
        device
            .todos
            .delete_where(&scope(), Filter::eq("done", true))
            .await
            .unwrap(),
        2
    );
    device.sync().await;
    assert_eq!(remote_titles(&remote), titles([("3", "milk")]));
    assert_eq!(
        device.todos.delete_where(&scope(), with_t.clone()).await.unwrap(),
        0
    );
    let renamed = device
        .todos
        .update_where(&scope(), Filter::eq("id", "3"), |todo| todo.id = "4".into())
        .await;
    assert_eq!(renamed.unwrap_err().field(), Some("id"));
    assert_eq!(device.pending().await, 0);
}

#[tokio::test]
async fn an_update_of_many_does_not_undo_a_write_made_meanwhile() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    device.create("1", "tea").await;
    device.create("2", "milk").await;
    let updated = device
        .todos
        .update_where(&scope(), Filter::eq("done", false), |todo| {
            if todo.title == "tea" {
                // Between the selection and the commit, another task renames the record.
                device.rename("1", "green tea").now_or_never().unwrap();
            }
            todo.done = true;
        })
        .await
        .unwrap();
    assert_eq!(updated, 2);
    assert_eq!(device.titles().await, titles([("1", "green tea"), ("2", "milk")]));
    let done = Filter::eq("done", true);
    let scope = scope();
    let count = device.todos.count(&scope, Some(&done), CachePolicy::OfflineOnly);
    assert_eq!(count.await.unwrap(), 2);
}

#[tokio::test]
async fn an_empty_batch_does_nothing() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    assert_eq!(device.engine().write_batch(Vec::new()).await.unwrap(), []);
    assert_eq!(device.pending().await, 0);
}

#[tokio::test]
async fn a_batch_over_two_record_types_is_one_transaction_here_and_there() {
    let remote = MemoryRemoteStore::new();
    let engine = SyncEngine::builder(Arc::new(MemoryLocalStore::new()), Arc::new(remote.clone()))
        .register::<Todo>()
        .register::<List>()
        .build()
        .await
        .unwrap();
    let (todos, lists) = (engine.of::<Todo>().unwrap(), engine.of::<List>().unwrap());
    let scope = scope();
    let bad = vec![
        Write::create(&scope, &list("l1")).unwrap(),
        Write::create(&scope, &todo("1", "tea")).unwrap(),
        Write::update(&scope, &todo("missing", "milk")).unwrap(),
    ];
    let error = engine.write_batch(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        lists.count(&scope, None, CachePolicy::OfflineOnly).await.unwrap(),
        0
    );
    assert_eq!(engine.count_ops(None).await.unwrap().total(), 0);

    let good = vec![
        Write::create(&scope, &list("l1")).unwrap(),
        Write::create(&scope, &todo("1", "tea")).unwrap(),
        Write::update(&scope, &todo("1", "green tea")).unwrap(),
    ];
    let written = engine.write_batch(good).await.unwrap();
    assert_eq!(written.len(), 3);
    let ops = engine.pending_ops(&OpQuery::default()).await.unwrap();
    assert_eq!(
        ops.len(),
        2,
        "the later write of one record joins the earlier one"
    );
    assert!(ops[0].group.is_some() && ops[0].group == ops[1].group);
    engine.synchronize(&scope).await.unwrap();
    let batches = remote.push_log();
    assert!(batches.len() == 1 && batches[0].atomic && batches[0].ops.len() == 2);
    assert_eq!(
        todos.count(&scope, None, CachePolicy::OfflineOnly).await.unwrap(),
        1
    );
}

#[tokio::test]
async fn a_thousand_writes_arrive_in_order_and_once() {
    let remote = MemoryRemoteStore::new();
    let device = Device::new(&remote).await;
    for n in 0..1_000 {
        device.create(&format!("{n:04}"), "tea").await;
    }
    let report = device.sync().await;
    assert_eq!(
        (report.pushed, report.duplicates, device.pending().await),
        (1_000, 0, 0)
    );
    assert!(report.requests <= 12, "{} requests", report.requests);
    let sent: Vec<_> = remote
        .push_log()
        .into_iter()
        .flat_map(|batch| batch.ops)
        .map(|op| op.key.id.to_string())
        .collect();
    assert!(sent.is_sorted() && sent.len() == 1_000);
}
