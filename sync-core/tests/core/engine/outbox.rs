//! The tools for the queue: nothing the user wrote is lost, whatever is done with it.

use adapter_memory::{MemoryRemoteStore, Rejection};
use sync_core::{
    EngineOptions, ErrorKind, OpId, OpQuery, OpState, OpStateKind, ParkReason, Payload, PendingOp,
    Settlement, resolve::Manual,
};

use super::world::{Device, key, remote_titles, scope, titles, todo};

async fn ops(device: &Device) -> Vec<PendingOp> {
    device.engine().pending_ops(&OpQuery::default()).await.unwrap()
}

/// A device with one confirmed record, and an edit of it that the remote refused.
async fn with_parked(remote: &MemoryRemoteStore) -> (Device, OpId) {
    let device = Device::new(remote).await;
    device.create("1", "tea").await;
    device.sync().await;
    remote.set_validator(|op| {
        let payload = op.payload.as_ref()?;
        let refused = payload.as_str().contains("poison");
        refused.then(|| Rejection::new("bad_title", "that title is not nice").with_field("title"))
    });
    device.rename("1", "poison").await;
    let report = device.sync().await;
    assert_eq!((report.parked, report.pushed), (1, 0));
    let op_id = ops(&device).await[0].op_id;
    (device, op_id)
}

#[tokio::test]
async fn a_parked_operation_is_seen_in_status_and_explanation_and_keeps_nobody_waiting() {
    let remote = MemoryRemoteStore::new();
    let (device, op_id) = with_parked(&remote).await;
    device.create("2", "milk").await;
    assert_eq!(
        device.sync().await.pushed,
        1,
        "operations on other records do not wait"
    );
    let counts = device.engine().count_ops(Some(&scope())).await.unwrap();
    assert_eq!((counts.of(OpStateKind::Parked), counts.total()), (1, 1));
    let reasons = device.engine().status().why_not_moving();
    assert_eq!(reasons, ["1 operation was refused and waits for you"]);
    let explained = device.todos.explain(&scope(), &"1".to_owned()).await.unwrap();
    let text = explained.to_string();
    for part in [
        "poison",
        "tea",
        "bad_title",
        "that title is not nice",
        &op_id.to_string(),
        "next attempt: none",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let parked = OpQuery {
        states: vec![OpStateKind::Parked],
        ..OpQuery::default()
    };
    let listed = device.engine().pending_ops(&parked).await.unwrap();
    let OpState::Parked(ParkReason::Rejected { code, field, .. }) = &listed[0].state else {
        panic!("{listed:?}");
    };
    assert_eq!((code.as_str(), field.as_deref()), ("bad_title", Some("title")));
}

#[tokio::test]
async fn a_retried_operation_is_sent_again() {
    let remote = MemoryRemoteStore::new();
    let (device, op_id) = with_parked(&remote).await;
    assert_eq!(
        device.sync().await.requests,
        1,
        "a parked operation is not sent by itself"
    );
    device.engine().retry_op(op_id).await.unwrap();
    assert_eq!(device.sync().await.parked, 1, "it is refused again");
    remote.set_validator(|_| None);
    device.engine().retry_op(op_id).await.unwrap();
    device.sync().await;
    assert_eq!(remote_titles(&remote), titles([("1", "poison")]));
    let error = device.engine().retry_op(op_id).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::NotFound, Some("op_id"))
    );
}

#[tokio::test]
async fn an_edited_operation_is_mended_and_sent() {
    let remote = MemoryRemoteStore::new();
    let (device, op_id) = with_parked(&remote).await;
    let mended = Payload::encode(&todo("1", "coffee")).unwrap();
    let written = device.engine().edit_op(op_id, mended.clone()).await.unwrap();
    assert!(
        written.op_id.is_some_and(|new| new != op_id),
        "the remote may remember the old identity"
    );
    device.sync().await;
    assert_eq!(
        (remote_titles(&remote), device.pending().await),
        (titles([("1", "coffee")]), 0)
    );
    let error = device.engine().edit_op(op_id, mended).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_discarded_operation_is_returned_and_the_confirmed_state_comes_back() {
    let remote = MemoryRemoteStore::new();
    let (device, op_id) = with_parked(&remote).await;
    let discarded = device.engine().discard_op(op_id).await.unwrap();
    assert_eq!(discarded.len(), 1);
    assert!(discarded[0].payload.as_ref().unwrap().as_str().contains("poison"));
    assert_eq!(
        (device.titles().await, device.pending().await),
        (titles([("1", "tea")]), 0)
    );
    let error = device.engine().discard_op(op_id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    device.create("2", "milk").await;
    let created = ops(&device).await[0].op_id;
    device.engine().discard_op(created).await.unwrap();
    assert_eq!(
        device.titles().await,
        titles([("1", "tea")]),
        "a discarded create leaves no record"
    );
    device.sync().await;
    assert_eq!(remote_titles(&remote), titles([("1", "tea")]));
}

#[tokio::test]
async fn discarding_an_operation_settles_its_open_conflict_with_it() {
    let remote = MemoryRemoteStore::new();
    let device = Device::with(&remote, Manual, EngineOptions::default()).await;
    device.create("1", "tea").await;
    device.sync().await;
    device.rename("1", "mine").await;
    remote.put(&key("1"), Payload::encode(&todo("1", "theirs")).unwrap());
    assert_eq!(device.sync().await.deferred, 1);
    let op_id = ops(&device).await[0].op_id;
    device.engine().discard_op(op_id).await.unwrap();
    let history = device.engine().conflicts(&Default::default()).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].settlement, Some(Settlement::Discarded));
    assert!(
        history[0].local.as_ref().unwrap().as_str().contains("mine"),
        "the history keeps it"
    );
    assert_eq!(device.titles().await, titles([("1", "theirs")]));
}

#[tokio::test]
async fn an_export_is_imported_on_another_store() {
    let remote = MemoryRemoteStore::new();
    let a = Device::new(&remote).await;
    for (id, title) in [("1", "tea"), ("2", "milk"), ("3", "bread")] {
        a.create(id, title).await;
    }
    a.sync().await;
    a.rename("1", "green tea").await;
    a.delete("2").await;
    a.create("4", "salt").await;
    let lines = a.engine().export_ops(Some(&scope())).await.unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(a.engine().export_ops(None).await.unwrap(), lines);

    let b = Device::new(&remote).await;
    b.sync().await;
    b.todos
        .update_where(&scope(), sync_core::query::Filter::eq("id", "1"), |todo| {
            todo.done = true
        })
        .await
        .unwrap();
    let imported = b.engine().import_ops(&lines).await.unwrap();
    assert_eq!((imported.written.len(), imported.left_out.len()), (3, 0));
    let again = b.engine().import_ops(&lines).await.unwrap();
    assert_eq!(again.left_out.len(), 0, "{again:?}");
    b.sync().await;
    let expected = titles([("1", "green tea"), ("3", "bread"), ("4", "salt")]);
    assert_eq!(remote_titles(&remote), expected);
    let one = remote.dump(&key("1").target)[&key("1").id].clone();
    assert!(
        one.as_str().contains("true"),
        "only the exported field was changed: {}",
        one.as_str()
    );

    // Onto an empty store: updates become creates, deletes of what is not there are left out.
    let c = Device::new(&MemoryRemoteStore::new()).await;
    let imported = c.engine().import_ops(&lines).await.unwrap();
    assert_eq!((imported.written.len(), imported.left_out.len()), (2, 1));
    assert_eq!(
        (imported.left_out[0].0, imported.left_out[0].1.kind()),
        (2, ErrorKind::NotFound)
    );
}

#[tokio::test]
async fn bad_lines_of_an_import_are_reported_by_number_and_the_others_imported() {
    let device = Device::new(&MemoryRemoteStore::new()).await;
    device.create("1", "tea").await;
    let good = device.engine().export_ops(None).await.unwrap();
    let line = good.trim_end();
    let unknown = line.replace("\"todos\"", "\"unheard_of\"");
    let newer = line.replace("\"schema_version\":1", "\"schema_version\":7");
    assert!(unknown != line && newer != line);
    let lines = format!("not json\n\n{line}\n{unknown}\n{newer}\n{{}}\n");
    let fresh = Device::new(&MemoryRemoteStore::new()).await;
    let imported = fresh.engine().import_ops(&lines).await.unwrap();
    assert_eq!(imported.written.len(), 1);
    let left_out: Vec<_> = imported
        .left_out
        .iter()
        .map(|(line, error)| (*line, error.kind()))
        .collect();
    let expected = [
        (1, ErrorKind::Malformed),
        (4, ErrorKind::Configuration),
        (5, ErrorKind::NewerSchema),
        (6, ErrorKind::Malformed),
    ];
    assert_eq!(left_out, expected);
    fresh.engine().stop();
    let stopped = fresh.engine().import_ops(line).await.unwrap_err();
    assert_eq!(
        stopped.kind(),
        ErrorKind::Stopped,
        "an error of the engine is not one of the line"
    );
}
