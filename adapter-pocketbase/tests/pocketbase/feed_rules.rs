//! Who may see what of the feed.

use adapter_pocketbase::feed::FeedOptions;
use serde_json::{Value, json};

use crate::feed_fixture::{Fed, create_in_batch, delete_in_batch, id, todos};

const OWN: &str = "@request.auth.id != '' && owner = @request.auth.id";

/// A feed of a collection in which users see their own, and two users with their tokens.
async fn owned() -> Option<(Fed, [(String, String); 2])> {
    let mut collection = todos();
    for rule in ["listRule", "viewRule", "createRule", "updateRule", "deleteRule"] {
        collection[rule] = OWN.into();
    }
    let options = FeedOptions::new("todos")
        .unwrap()
        .with_scope_field("owner")
        .unwrap();
    let fed = Fed::start_with(&json!([collection]), options).await?;
    let mut users = Vec::new();
    for name in ["ada", "bob"] {
        let email = format!("{name}@example.com");
        let id = fed.admin().create_user(&email, "a-long-password").await.unwrap();
        users.push((
            id,
            fed.admin()
                .token_of("users", &email, "a-long-password")
                .await
                .unwrap(),
        ));
    }
    Some((fed, users.try_into().unwrap()))
}

async fn seen(fed: &Fed, token: &str, collection: &str) -> usize {
    let path = format!("/api/collections/{collection}/records");
    let answer = fed.admin().send_as(token, "GET", &path, None).await.unwrap();
    let answer: Value = answer.json().unwrap();
    answer["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_and_operations_are_seen_by_who_sees_the_records() {
    let Some((fed, [ada, bob])) = owned().await else {
        return;
    };
    for number in 1..=2 {
        fed.create(json!({"id": id(number), "owner": ada.0, "sync_op": format!("op-{number}")}))
            .await;
    }
    fed.delete(&id(1)).await.success().unwrap();
    for (collection, rows) in [("todos", 1), ("sync_todos_gone", 1), ("sync_todos_ops", 2)] {
        assert_eq!(
            seen(&fed, &ada.1, collection).await,
            rows,
            "{collection}, its owner"
        );
        assert_eq!(seen(&fed, &bob.1, collection).await, 0, "{collection}, another");
        assert_eq!(seen(&fed, "", collection).await, 0, "{collection}, a guest");
    }
    // Moved to bob, it is gone for ada.
    fed.patch(&id(2), json!({"owner": bob.0}))
        .await
        .success()
        .unwrap();
    assert_eq!(seen(&fed, &ada.1, "sync_todos_gone").await, 2);
    assert_eq!(seen(&fed, &bob.1, "sync_todos_gone").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_is_read_with_a_sign_in_only() {
    let Some((fed, [ada, _])) = owned().await else {
        return;
    };
    let meta = "/api/collections/sync_todos_meta/records/meta";
    for (token, status) in [(ada.1.as_str(), 200), ("", 404), ("not-a-token", 404)] {
        let answer = fed.admin().send_as(token, "GET", meta, None).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let answer = fed
        .admin()
        .send_as(&ada.1, "GET", "/api/collections/sync_todos_marks/records", None)
        .await
        .unwrap();
    assert_eq!(
        answer.status, 403,
        "marks are asked for one by one: {}",
        answer.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_deletes_with_an_intent_and_can_forge_none() {
    let Some((fed, [ada, bob])) = owned().await else {
        return;
    };
    fed.create(json!({"id": id(1), "owner": ada.0})).await;
    let batch = |owner: &str, seq: i64| {
        let intent = json!({"id": "op-1", "record": id(1), "base": 1, "owner": owner, "seq": seq});
        json!({"requests": [create_in_batch("sync_todos_ops", intent), delete_in_batch("todos", &id(1))]})
    };
    for (token, owner, seq) in [(&bob.1, &bob.0, 0), (&bob.1, &ada.0, 0), (&ada.1, &ada.0, 7)] {
        let answer = fed
            .admin()
            .send_as(token, "POST", "/api/batch", Some(&batch(owner, seq)))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(fed.rev(&id(1)).await, 1);
    }
    let answer = fed
        .admin()
        .send_as(&ada.1, "POST", "/api/batch", Some(&batch(&ada.0, 0)))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(fed.gone().await.len(), 1);
}
