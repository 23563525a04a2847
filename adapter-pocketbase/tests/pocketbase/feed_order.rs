//! Numbers are in the order of commits, whoever writes.

use serde_json::{Value, json};

use crate::feed_fixture::{
    Fed, Reader, create_in_batch, delete_in_batch, id, list, patch_in_batch, send_batch, todos,
};

const WRITERS: usize = 8;
const ROUNDS: usize = 30;

/// One of eight who write at once: single creates, changes and deletes, and batches of all of them.
async fn write(fed: &Fed, writer: usize) {
    let mut created = Vec::new();
    for round in 0..ROUNDS {
        let record = id(writer * 100_000 + round * 100);
        fed.create(json!({"id": record, "title": "single", "owner": "ada"}))
            .await;
        created.push(record);
        if round % 3 == 0 {
            let records = (1..20).map(|number| id(writer * 100_000 + round * 100 + number));
            let requests = records
                .clone()
                .map(|id| create_in_batch("todos", json!({"id": id, "title": "batch", "owner": "bob"})));
            send_batch(fed.admin(), requests.collect())
                .await
                .success()
                .unwrap();
            created.extend(records);
        }
        if round % 4 == 1 {
            let batch = vec![
                patch_in_batch("todos", &created[0], json!({"count": round})),
                patch_in_batch("todos", &created[created.len() / 2], json!({"count": round})),
                delete_in_batch("todos", &created.pop().unwrap()),
            ];
            send_batch(fed.admin(), batch).await.success().unwrap();
        }
        if round % 5 == 2 {
            fed.patch(&created[1], json!({"title": "changed"}))
                .await
                .success()
                .unwrap();
            fed.delete(&created.pop().unwrap()).await.success().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_eight_writers_misses_nothing() {
    let Some(fed) = Fed::start().await else { return };
    let mut reader = Reader::default();
    let writers = futures::future::join_all((0..WRITERS).map(|writer| write(&fed, writer)));
    let mut writers = std::pin::pin!(writers);
    let mut reads = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut writers => break,
            () = reader.read(&fed) => reads += 1,
        }
    }
    // One that was cut short took no position, so the reader can go on from where it is.
    reader.read(&fed).await;
    reader.assert_exact(&fed).await;
    assert!(reads > 3, "the reader read {reads} times meanwhile");
    let counter = fed.meta().await["seq"].as_i64().unwrap();
    let marks = fed
        .admin()
        .sql("SELECT COUNT(*) FROM sync_todos_marks")
        .await
        .unwrap();
    assert_eq!(
        marks[0][0],
        (counter + 1).to_string(),
        "each number has its mark, and so has the beginning"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_rolled_back_leaves_no_trace() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    let before = fed.meta().await;
    let batch = vec![
        create_in_batch("todos", json!({"id": id(2), "owner": "ada", "sync_op": "op-2"})),
        delete_in_batch("todos", &id(1)),
        delete_in_batch("todos", &id(9)),
    ];
    assert_eq!(fed.batch(batch).await.status, 400);
    let after = fed.meta().await;
    assert_eq!(
        (&after["seq"], &after["nonce"]),
        (&before["seq"], &before["nonce"])
    );
    assert_eq!(fed.gone().await, Vec::<Value>::new());
    assert_eq!(
        list(fed.admin(), "sync_todos_ops", "", "id").await,
        Vec::<Value>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cascades_truncation_and_raw_sql_are_seen() {
    let mut child = todos();
    let lists = json!({"name": "lists", "id": "pbc_lists000000", "type": "base", "fields": [{"name": "title", "type": "text"}]});
    child["fields"].as_array_mut().unwrap().push(json!(
        {"name": "list", "type": "relation", "collectionId": "pbc_lists000000", "cascadeDelete": true, "maxSelect": 1}
    ));
    let options = adapter_pocketbase::feed::FeedOptions::new("todos")
        .unwrap()
        .with_scope_field("list")
        .unwrap();
    let Some(fed) = Fed::start_with(&json!([lists, child]), options).await else {
        return;
    };
    for list in ["listaaaaaaaaaaa", "listbbbbbbbbbbb"] {
        fed.admin().create("lists", &json!({"id": list})).await.unwrap();
    }
    for number in 0..6 {
        let list = if number < 4 {
            "listaaaaaaaaaaa"
        } else {
            "listbbbbbbbbbbb"
        };
        fed.create(json!({"id": id(number), "list": list})).await;
    }
    let mut reader = Reader::default();
    reader.read(&fed).await;
    assert_eq!(reader.records.len(), 6);

    fed.admin()
        .sql("UPDATE todos SET title = 'by SQL' WHERE list = 'listaaaaaaaaaaa'")
        .await
        .unwrap();
    reader.read(&fed).await;
    reader.assert_exact(&fed).await;
    assert_eq!(reader.records[&id(3)]["title"], "by SQL");

    let path = "/api/collections/lists/records/listaaaaaaaaaaa";
    fed.admin()
        .send("DELETE", path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    let gone = fed.gone().await;
    assert_eq!(gone.len(), 4, "the children went with their parent");
    assert!(
        gone.iter().all(|row| row["list"] == "listaaaaaaaaaaa"),
        "tombstones keep their scope: {gone:?}"
    );
    reader.read(&fed).await;
    reader.assert_exact(&fed).await;

    let path = "/api/collections/todos/truncate";
    fed.admin()
        .send("DELETE", path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    reader.read(&fed).await;
    reader.assert_exact(&fed).await;
    assert_eq!(reader.records.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_carry_the_fields_they_were_told_to() {
    let options = adapter_pocketbase::feed::FeedOptions::new("todos")
        .unwrap()
        .with_copied_field("title")
        .unwrap();
    let Some(fed) = Fed::start_with(&json!([todos()]), options).await else {
        return;
    };
    fed.create(json!({"id": id(1), "title": "its own id"})).await;
    fed.patch(&id(1), json!({"title": "another"}))
        .await
        .success()
        .unwrap();
    assert_eq!(fed.gone().await, Vec::<Value>::new(), "it is no scope field");
    fed.delete(&id(1)).await.success().unwrap();
    assert_eq!(fed.gone().await[0]["title"], "another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_changes_its_scope_leaves_a_tombstone_behind() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    fed.patch(&id(1), json!({"owner": "bob"}))
        .await
        .success()
        .unwrap();
    let gone = fed.gone().await;
    assert_eq!(gone.len(), 1);
    assert_eq!(
        (&gone[0]["record"], &gone[0]["owner"], &gone[0]["why"]),
        (&json!(id(1)), &json!("ada"), &json!("left"))
    );
    let seq = gone[0]["seq"].as_i64().unwrap();
    assert!(
        seq > 1 && seq != fed.rev(&id(1)).await,
        "the exit has a number of its own: {seq}"
    );

    fed.patch(&id(1), json!({"owner": "ada"}))
        .await
        .success()
        .unwrap();
    let gone = fed.gone().await;
    assert_eq!(
        gone.len(),
        1,
        "the tombstone goes when the record comes back: {gone:?}"
    );
    assert_eq!(gone[0]["owner"], "bob");
    fed.delete(&id(1)).await.success().unwrap();
    let owners: Vec<_> = fed
        .gone()
        .await
        .iter()
        .map(|row| (row["owner"].clone(), row["why"].clone()))
        .collect();
    assert_eq!(
        owners,
        [(json!("bob"), json!("left")), (json!("ada"), json!("deleted"))]
    );
}
