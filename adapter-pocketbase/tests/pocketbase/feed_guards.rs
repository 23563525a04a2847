//! Writes on old states are refused, and so are repetitions.

use serde_json::{Value, json};

use crate::feed_fixture::{Fed, create_in_batch, delete_in_batch, id, list, patch_in_batch};

const OPS: &str = "sync_todos_ops";

/// The version that an operation made; `None` if the log does not know it.
async fn logged(fed: &Fed, op: &str) -> Option<i64> {
    let path = format!("/api/collections/{OPS}/records/{op}");
    let answer = fed.admin().send("GET", &path, None).await.unwrap();
    answer.json().ok()?["seq"].as_i64()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_old_version_is_refused() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "title": "first", "owner": "ada"}))
        .await;
    fed.patch(&id(1), json!({"title": "second"}))
        .await
        .success()
        .unwrap();
    let old = fed.patch(&id(1), json!({"title": "mine", "sync_base": 1})).await;
    assert_eq!(old.status, 400, "{}", old.text);
    let current = fed.rev(&id(1)).await;
    let sound = fed
        .patch(&id(1), json!({"title": "mine", "sync_base": current}))
        .await;
    assert_eq!(sound.status, 200, "{}", sound.text);
    let record = fed.record(&id(1)).await;
    assert_eq!(
        (&record["title"], &record["sync_base"]),
        (&json!("mine"), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_brings_a_stale_row_along_is_refused() {
    let Some(fed) = Fed::start().await else { return };
    let made = fed
        .create(json!({"id": id(1), "title": "first", "owner": "ada"}))
        .await;
    assert_eq!(
        made["sync_rev"], 0,
        "the answer to a write is older than its triggers"
    );
    fed.patch(&id(1), json!({"title": "second"}))
        .await
        .success()
        .unwrap();
    // As PocketBase does for a writer that read the row before the last write.
    let stale = fed
        .admin()
        .sql(&format!(
            "UPDATE todos SET title = 'stale', sync_rev = 1 WHERE id = '{}'",
            id(1)
        ))
        .await;
    assert!(stale.unwrap_err().to_string().contains("sync_conflict"));
    assert_eq!(fed.record(&id(1)).await["title"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_is_reverted_by_eight_who_write_at_once() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "count": 0, "owner": "ada"})).await;
    let increments = (0..8).map(|_| async {
        let mut done = 0;
        while done < 10 {
            let seen = fed.record(&id(1)).await;
            let change = json!({"count": seen["count"].as_i64().unwrap() + 1, "sync_base": seen["sync_rev"]});
            // Single requests: the guard makes them sound, too.
            if fed.patch(&id(1), change).await.status == 200 {
                done += 1;
            }
        }
    });
    futures::future::join_all(increments).await;
    assert_eq!(fed.record(&id(1)).await["count"], 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_logged_with_its_version_and_takes_effect_once() {
    let Some(fed) = Fed::start().await else { return };
    let create = create_in_batch(
        "todos",
        json!({"id": id(1), "title": "first", "owner": "ada", "sync_op": "op-1", "sync_stamp": "stamp-1"}),
    );
    let update = patch_in_batch(
        "todos",
        &id(1),
        json!({"title": "second", "sync_op": "op-2", "sync_stamp": "stamp-2"}),
    );
    fed.batch(vec![create.clone()]).await.success().unwrap();
    assert_eq!(fed.record(&id(1)).await["sync_stamp"], "stamp-1");
    fed.batch(vec![update.clone()]).await.success().unwrap();
    assert_eq!(
        (logged(&fed, "op-1").await, logged(&fed, "op-2").await),
        (Some(1), Some(2))
    );
    let record = fed.record(&id(1)).await;
    assert_eq!(
        (&record["sync_op"], &record["sync_stamp"]),
        (&json!(""), &json!("stamp-2"))
    );

    for again in [create, update] {
        let answer = fed.batch(vec![again]).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    assert_eq!(fed.rev(&id(1)).await, 2);
    fed.patch(&id(1), json!({"title": "by another app"}))
        .await
        .success()
        .unwrap();
    assert_eq!(
        fed.record(&id(1)).await["sync_stamp"],
        "",
        "a foreign write has no stamp of ours"
    );
}

fn intent(op: &str, record: &str, base: i64) -> Value {
    create_in_batch(
        OPS,
        json!({"id": op, "record": record, "base": base, "stamp": "stamp", "owner": "ada"}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_conditional_and_takes_effect_once() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    fed.patch(&id(1), json!({"title": "changed"}))
        .await
        .success()
        .unwrap();
    let refused = fed
        .batch(vec![intent("op-1", &id(1), 1), delete_in_batch("todos", &id(1))])
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(fed.rev(&id(1)).await, 2);

    let batch = vec![intent("op-1", &id(1), 2), delete_in_batch("todos", &id(1))];
    fed.batch(batch.clone()).await.success().unwrap();
    let gone = fed.gone().await;
    assert_eq!((&gone[0]["seq"], &gone[0]["stamp"]), (&json!(3), &json!("stamp")));
    assert_eq!(logged(&fed, "op-1").await, Some(3));

    fed.create(json!({"id": id(1), "title": "second life", "owner": "ada"}))
        .await;
    let again = fed.batch(batch).await;
    assert_eq!(again.status, 400, "{}", again.text);
    assert_eq!(fed.record(&id(1)).await["title"], "second life");
    fed.delete(&id(1)).await.success().unwrap();
    assert_eq!(
        fed.gone().await[0]["stamp"],
        "",
        "a foreign delete has no stamp of ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_over_a_tombstone_needs_to_know_it() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    fed.delete(&id(1)).await.success().unwrap();
    let create = |op: &str, base: i64, owner: &str| {
        create_in_batch(
            "todos",
            json!({"id": id(1), "owner": owner, "sync_op": op, "sync_base": base}),
        )
    };
    let unaware = fed.batch(vec![create("op-1", 0, "ada")]).await;
    assert_eq!(unaware.status, 400, "{}", unaware.text);
    let mistaken = fed.batch(vec![create("op-1", 1, "ada")]).await;
    assert_eq!(mistaken.status, 400, "{}", mistaken.text);
    fed.batch(vec![create("op-1", 2, "ada")]).await.success().unwrap();
    assert_eq!(fed.gone().await, Vec::<Value>::new());
    assert_eq!(fed.rev(&id(1)).await, 3);

    fed.delete(&id(1)).await.success().unwrap();
    fed.batch(vec![create("op-2", 0, "bob")]).await.success().unwrap();
    assert_eq!(
        list(fed.admin(), "sync_todos_gone", "", "seq").await.len(),
        1,
        "the tombstone is of another scope"
    );
}
