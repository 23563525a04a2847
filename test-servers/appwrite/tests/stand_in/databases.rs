//! Making databases, tables, columns and indexes over the wire, as an operator does.

use appwrite_stand_in::{Profile, StandIn};
use serde_json::{Value, json};

use crate::network::{Answer, send};

const DATABASE: &str = "/v1/tablesdb/shop";
const TABLE: &str = "/v1/tablesdb/shop/tables/orders";

async fn post(server: &StandIn, key: &str, path: &str, body: Value) -> Answer {
    send(server, key, "POST", path, &body).await
}

/// A server whose clock stands still, with an empty table.
async fn server() -> (StandIn, String) {
    let server = StandIn::start(Profile::V1_9_6).await.unwrap();
    server.freeze_clock(server.now());
    let key = server.create_key();
    let database = add_database(&server, &key, "shop").await;
    assert_eq!(
        (database.status(), &database.json()["name"]),
        (201, &json!("Shop"))
    );
    let tables = format!("{DATABASE}/tables");
    let table = post(
        &server,
        &key,
        &tables,
        json!({"tableId": "orders", "name": "Orders"}),
    )
    .await;
    assert_eq!(table.status(), 201);
    (server, key)
}

async fn add_database(server: &StandIn, key: &str, id: &str) -> Answer {
    post(
        server,
        key,
        "/v1/tablesdb",
        json!({"databaseId": id, "name": "Shop"}),
    )
    .await
}

async fn add_column(server: &StandIn, key: &str) -> Answer {
    let path = format!("{TABLE}/columns/string");
    post(
        server,
        key,
        &path,
        json!({"key": "what", "size": 20, "required": false}),
    )
    .await
}

async fn add_index(server: &StandIn, key: &str) -> Answer {
    let path = format!("{TABLE}/indexes");
    post(
        server,
        key,
        &path,
        json!({"key": "by_what", "type": "key", "columns": ["what"]}),
    )
    .await
}

async fn add_row(server: &StandIn, key: &str) -> Answer {
    let path = format!("{TABLE}/rows");
    post(server, key, &path, json!({"rowId": "a", "data": {"what": "tea"}})).await
}

async fn get(server: &StandIn, key: &str, path: &str) -> Value {
    send(server, key, "GET", path, &Value::Null).await.json()
}

#[tokio::test]
async fn a_column_can_be_used_some_time_after_it_was_asked_for() {
    let (server, key) = server().await;

    let asked = add_column(&server, &key).await;
    let building = get(&server, &key, &format!("{TABLE}/columns")).await;
    let early_row = add_row(&server, &key).await;
    let early_index = add_index(&server, &key).await;
    server.advance_clock(std::time::Duration::from_millis(15));
    let built = get(&server, &key, &format!("{TABLE}/columns")).await;
    let row = add_row(&server, &key).await;

    assert_eq!(
        (asked.status(), &asked.json()["status"]),
        (202, &json!("processing"))
    );
    assert_eq!(
        (&building["total"], &building["columns"][0]["status"]),
        (&json!(1), &json!("processing"))
    );
    assert_eq!(early_row.json()["type"], "row_invalid_structure");
    assert_eq!(early_index.json()["type"], "column_not_available");
    assert_eq!(built["columns"][0]["status"], "available");
    assert!(built["columns"][0]["$updatedAt"].as_str() > built["columns"][0]["$createdAt"].as_str());
    assert_eq!((row.status(), &row.json()["what"]), (201, &json!("tea")));
}

#[tokio::test]
async fn an_index_is_built_after_it_was_asked_for() {
    let (server, key) = server().await;
    let unknown = add_index(&server, &key).await;
    add_column(&server, &key).await;
    server.advance_clock(std::time::Duration::from_secs(1));
    let path = format!("{TABLE}/indexes/by_what");

    let asked = add_index(&server, &key).await;
    let building = get(&server, &key, &path).await;
    server.advance_clock(std::time::Duration::from_millis(15));
    let built = get(&server, &key, &path).await;

    assert_eq!(unknown.json()["type"], "column_unknown");
    assert_eq!(
        (asked.status(), &asked.json()["status"]),
        (202, &json!("processing"))
    );
    assert_eq!(building["status"], "processing");
    assert_eq!(built["status"], "available");
}

#[tokio::test]
async fn what_is_there_is_not_made_again_and_only_a_key_may_make_it() {
    let (server, key) = server().await;
    add_column(&server, &key).await;

    let database = add_database(&server, &key, "shop").await;
    let table = post(
        &server,
        &key,
        &format!("{DATABASE}/tables"),
        json!({"tableId": "orders"}),
    )
    .await;
    let column = add_column(&server, &key).await;
    let bad = add_database(&server, &key, "_shop").await;
    let guest = server.with_machine(|machine| {
        let request =
            appwrite_stand_in::Request::new("DELETE", DATABASE).header("x-appwrite-project", "proj1");
        machine.answer(&request).status
    });

    assert_eq!(
        (database.status(), &database.json()["type"]),
        (409, &json!("database_already_exists"))
    );
    assert_eq!(
        (table.status(), &table.json()["type"]),
        (409, &json!("table_already_exists"))
    );
    assert_eq!(
        (column.status(), &column.json()["type"]),
        (409, &json!("column_already_exists"))
    );
    assert_eq!(
        (bad.status(), &bad.json()["type"]),
        (400, &json!("general_argument_invalid"))
    );
    assert_eq!(guest, 401);
}

#[tokio::test]
async fn a_database_goes_with_all_its_tables() {
    let (server, key) = server().await;

    let removed = send(&server, &key, "DELETE", DATABASE, &Value::Null).await;
    let again = send(&server, &key, "DELETE", DATABASE, &Value::Null).await;
    let rows = get(&server, &key, &format!("{TABLE}/rows")).await;

    assert_eq!(removed.status(), 204);
    assert_eq!(
        (again.status(), &again.json()["type"]),
        (404, &json!("database_not_found"))
    );
    assert_eq!(rows["type"], "database_not_found");
}
