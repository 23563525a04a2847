//! The counter's history: what a restored backup, pruning and long absence do to it.

use std::time::Duration;

use adapter_pocketbase::feed::{FeedOptions, prune};
use serde_json::json;

use crate::feed_fixture::{Fed, id, todos};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_ahead_of_a_restored_backup_is_found_out_even_when_the_counter_has_overtaken_it() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    let kept = fed.meta().await;
    fed.server.back_up("before.zip").await.unwrap();
    for number in 2..5 {
        fed.create(json!({"id": id(number), "owner": "ada"})).await;
    }
    let ahead = fed.meta().await;
    assert!(fed.remembers(&ahead).await);

    fed.server.restore("before.zip").await.unwrap();
    assert_eq!(fed.meta().await["seq"], 1);
    assert!(!fed.remembers(&ahead).await);
    assert!(fed.remembers(&kept).await, "a client that was not ahead goes on");
    for number in 10..20 {
        fed.create(json!({"id": id(number), "owner": "ada"})).await;
    }
    assert!(fed.meta().await["seq"].as_i64() > ahead["seq"].as_i64());
    assert!(
        !fed.remembers(&ahead).await,
        "the number is there again, its mark is not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_killed_server() {
    let Some(mut fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    fed.create(json!({"id": id(2), "owner": "ada"})).await;
    fed.delete(&id(2)).await.success().unwrap();
    let before = fed.meta().await;
    fed.server.kill();
    fed.server.restart().await.unwrap();
    let after = fed.meta().await;
    for field in ["epoch", "seq", "nonce"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(fed.gone().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_says_how_far_it_went_and_gives_no_number_out_again() {
    let Some(fed) = Fed::start().await else { return };
    for number in 1..=3 {
        fed.create(json!({"id": id(number), "owner": "ada"})).await;
        fed.delete(&id(number)).await.success().unwrap();
    }
    assert_eq!(fed.meta().await["floor"], 0);
    prune(&fed.operator, &fed.options, Duration::from_secs(3_600))
        .await
        .unwrap();
    assert_eq!(fed.gone().await.len(), 3, "nothing is that old");
    // The tombstones are made older than the clock can make them.
    let aged = "UPDATE sync_todos_gone SET at = '2001-01-01 00:00:00.000Z' WHERE seq < 6";
    fed.admin().sql(aged).await.unwrap();
    prune(&fed.operator, &fed.options, Duration::from_secs(3_600))
        .await
        .unwrap();
    let left: Vec<_> = fed.gone().await.iter().map(|row| row["seq"].clone()).collect();
    assert_eq!(left, [json!(6)]);
    assert_eq!(fed.meta().await["floor"], 4);
    prune(&fed.operator, &fed.options, Duration::ZERO).await.unwrap();
    fed.create(json!({"id": id(4), "owner": "ada"})).await;
    assert_eq!(fed.rev(&id(4)).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_kept_as_long_as_the_options_say() {
    let options = FeedOptions::new("todos").unwrap().with_history(10);
    let Some(fed) = Fed::start_with(&json!([todos()]), options).await else {
        return;
    };
    let first = fed.meta().await;
    for number in 0..15 {
        fed.create(json!({"id": id(number), "sync_op": format!("op-{number}")}))
            .await;
    }
    assert!(!fed.remembers(&first).await);
    let count = fed
        .admin()
        .sql("SELECT (SELECT COUNT(*) FROM sync_todos_marks), (SELECT COUNT(*) FROM sync_todos_ops)")
        .await
        .unwrap();
    assert_eq!(count, [[json!("11"), json!("11")]]);
}
