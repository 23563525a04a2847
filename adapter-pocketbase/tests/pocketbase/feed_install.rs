//! Installing the feed, over the API and as a migration; taking it away.

use adapter_pocketbase::feed::{FeedOptions, FeedReport, migration, setup, uninstall};
use serde_json::{Value, json};
use sync_core::ErrorKind;

use crate::feed_fixture::{Fed, Reader, id, list, operator, plain, todos};

#[tokio::test(flavor = "multi_thread")]
async fn records_from_before_the_feed_are_numbered() {
    let Some(server) = plain(&json!([todos()])).await else {
        return;
    };
    for number in 0..25 {
        let record = json!({"id": id(number), "title": "old", "owner": "ada"});
        server.admin().create("todos", &record).await.unwrap();
    }
    let operator = operator(&server).await;
    let options = FeedOptions::new("todos")
        .unwrap()
        .with_scope_field("owner")
        .unwrap();
    let report = setup(&operator, &options).await.unwrap();
    assert_eq!(
        report,
        FeedReport {
            was_there: false,
            numbered: 25
        }
    );
    let fed = Fed {
        server,
        operator,
        options,
    };
    let mut reader = Reader::default();
    reader.read(&fed).await;
    assert_eq!(reader.records.len(), 25);
    reader.assert_exact(&fed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_up_twice_changes_nothing() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "owner": "ada"})).await;
    fed.create(json!({"id": id(2), "owner": "ada"})).await;
    fed.delete(&id(2)).await;
    let (before, meta) = (schema(&fed).await, fed.meta().await);
    let report = setup(&fed.operator, &fed.options).await.unwrap();
    assert_eq!(
        report,
        FeedReport {
            was_there: true,
            numbered: 0
        }
    );
    assert_eq!(schema(&fed).await, before);
    let after = fed.meta().await;
    for field in ["epoch", "seq", "nonce", "version"] {
        assert_eq!(after[field], meta[field], "{field}");
    }
    assert_eq!(fed.gone().await.len(), 1);
}

/// Everything in the database but PocketBase's own, as SQL.
async fn schema(fed: &Fed) -> Vec<Vec<Value>> {
    fed.admin()
        .sql("SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'sync%' OR tbl_name = 'todos' ORDER BY type, name")
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_installs_the_same_and_can_be_reverted() {
    let Some(fed) = Fed::start().await else { return };
    let Some(mut server) = plain(&json!([todos()])).await else {
        return;
    };
    server
        .admin()
        .create("todos", &json!({"id": id(1), "owner": "ada"}))
        .await
        .unwrap();
    let options = fed.options.clone().with_read_rule(Some(String::new()));
    let text = migration(&options, &[]).unwrap();
    std::fs::create_dir_all(server.migrations()).unwrap();
    std::fs::write(server.migrations().join("1700000000_sync_todos.js"), text).unwrap();
    server.restart().await.unwrap();

    let mut migrated = Fed {
        operator: operator(&server).await,
        server,
        options,
    };
    assert_eq!(schema(&migrated).await, schema(&fed).await);
    assert_eq!(
        migrated.rev(&id(1)).await,
        1,
        "the record from before is numbered"
    );
    migrated.create(json!({"id": id(2), "owner": "ada"})).await;
    assert_eq!(migrated.rev(&id(2)).await, 2);
    let report = setup(&migrated.operator, &migrated.options).await.unwrap();
    assert!(report.was_there, "the API finds what the migration made");
    assert_eq!(schema(&migrated).await, schema(&fed).await);

    migrated.server.kill();
    migrated.server.run(&["migrate", "down", "1"]).await.unwrap();
    std::fs::remove_file(migrated.server.migrations().join("1700000000_sync_todos.js")).unwrap();
    migrated.server.restart().await.unwrap();
    assert_eq!(migrated.record(&id(2)).await.get("sync_rev"), None);
    assert_eq!(feed_parts(&migrated).await, Vec::<Vec<Value>>::new());
}

/// What the database has of a feed.
async fn feed_parts(fed: &Fed) -> Vec<Vec<Value>> {
    fed.admin()
        .sql("SELECT name FROM sqlite_master WHERE name LIKE 'sync%'")
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_the_feed_away_leaves_the_records() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "title": "kept", "owner": "ada"}))
        .await;
    let epoch = fed.meta().await["epoch"].clone();
    uninstall(&fed.operator, &fed.options).await.unwrap();
    let record = fed.record(&id(1)).await;
    assert_eq!(record["title"], "kept");
    assert_eq!(record.get("sync_rev"), None, "{record}");
    assert_eq!(feed_parts(&fed).await, Vec::<Vec<Value>>::new());
    fed.patch(&id(1), json!({"title": "changed"}))
        .await
        .success()
        .unwrap();

    setup(&fed.operator, &fed.options).await.unwrap();
    assert_ne!(fed.meta().await["epoch"], epoch, "a new feed is a new epoch");
    assert_eq!(fed.rev(&id(1)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_said() {
    let Some(server) = plain(&json!([
        todos(),
        {"name": "taken", "type": "base", "fields": [{"name": "sync_rev", "type": "text"}]},
        {"name": "looked_at", "type": "view", "viewQuery": "SELECT id FROM todos"},
    ]))
    .await
    else {
        return;
    };
    let operator = operator(&server).await;
    for (options, part) in [
        (
            FeedOptions::new("nothing").unwrap(),
            "there is no collection `nothing`",
        ),
        (FeedOptions::new("taken").unwrap(), "sync_rev"),
        (FeedOptions::new("looked_at").unwrap(), "is a view"),
        (
            FeedOptions::new("todos")
                .unwrap()
                .with_scope_field("team")
                .unwrap(),
            "no field `team`",
        ),
    ] {
        let error = setup(&operator, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_tombstones_cannot_have_is_refused_before_anything_is_made() {
    let mut collection = todos();
    collection["listRule"] = "title != 'secret'".into();
    let Some(server) = plain(&json!([collection])).await else {
        return;
    };
    let operator = operator(&server).await;
    let options = FeedOptions::new("todos")
        .unwrap()
        .with_scope_field("owner")
        .unwrap();
    let error = setup(&operator, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let made = server
        .admin()
        .sql("SELECT name FROM sqlite_master WHERE name LIKE 'sync%'")
        .await
        .unwrap();
    assert_eq!(made, Vec::<Vec<Value>>::new());
    let options = options.with_read_rule(Some("@request.auth.id != ''".to_owned()));
    setup(&operator, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_collection_with_a_new_field_keeps_its_feed() {
    let Some(fed) = Fed::start().await else { return };
    fed.create(json!({"id": id(1), "title": "before", "owner": "ada"}))
        .await;
    let change = json!({"name": "tasks"});
    fed.admin()
        .send("PATCH", "/api/collections/todos", Some(&change))
        .await
        .unwrap()
        .success()
        .unwrap();
    let added = json!([{"name": "tasks", "type": "base", "fields": [{"name": "colour", "type": "text"}]}]);
    fed.admin().import(&added).await.unwrap();

    let record = json!({"id": id(2), "title": "after", "owner": "ada", "colour": "red"});
    fed.admin().create("tasks", &record).await.unwrap();
    let path = format!("/api/collections/tasks/records/{}", id(1));
    fed.admin()
        .send("PATCH", &path, Some(&json!({"colour": "blue"})))
        .await
        .unwrap()
        .success()
        .unwrap();
    let rows = list(fed.admin(), "tasks", "sync_rev > 1", "sync_rev").await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (&row["sync_rev"], &row["colour"]))
        .collect();
    assert_eq!(told, [(&json!(2), &json!("red")), (&json!(3), &json!("blue"))]);
    fed.admin()
        .send("DELETE", &path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    let gone = fed.gone().await;
    assert_eq!((&gone[0]["record"], &gone[0]["seq"]), (&json!(id(1)), &json!(4)));

    let again = FeedOptions::new("tasks")
        .unwrap()
        .with_prefix("sync_todos")
        .unwrap()
        .with_scope_field("owner")
        .unwrap();
    let report = setup(&fed.operator, &again).await.unwrap();
    assert!(report.was_there, "the feed is found under its old name");
    assert_eq!(fed.meta().await["seq"], 4);
}
