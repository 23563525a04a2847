//! Runs the common steps with the crate `appwrite`: `appwrite-sdk-run <description of the stand-in> <script>`.

use std::collections::BTreeMap;

use appwrite::Client;
use appwrite::error::AppwriteError;
use appwrite::query::Query;
use appwrite::services::TablesDB;
use serde_json::{Value, json};

fn read(file: &str) -> Value {
    let text = std::fs::read_to_string(file).expect("the file can be read");
    serde_json::from_str(&text).expect("the file is JSON")
}

fn text(args: &Value, name: &str) -> String {
    args[name].as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A query of the script, made by the crate's own builders.
fn query(parts: &Value) -> String {
    let attribute = parts[1].as_str().unwrap_or_default();
    let number = u32::try_from(parts[1].as_u64().unwrap_or(0)).expect("a small number");
    let made = match parts[0].as_str().expect("a query has a method") {
        "equal" => Query::equal(attribute, parts[2].clone()),
        "greaterThan" => Query::greater_than(attribute, parts[2].clone()),
        "startsWith" => Query::starts_with(attribute, parts[2].as_str().unwrap_or_default()),
        "orderAsc" => Query::order_asc(attribute),
        "orderDesc" => Query::order_desc(attribute),
        "limit" => Query::limit(number),
        other => panic!("the script uses {other}, which is unknown here"),
    };
    made.to_string()
}

/// A row of the crate as JSON with the names of the wire.
fn row(row: &appwrite::models::Row) -> Value {
    let mut fields = json!({
        "$id": row.id,
        "$databaseId": row.database_id,
        "$tableId": row.table_id,
        "$updatedAt": row.updated_at,
    });
    for (key, value) in &row.data {
        fields[key] = value.clone();
    }
    fields
}

fn rows(list: &appwrite::models::RowList) -> Value {
    json!({"total": list.total, "rows": list.rows.iter().map(row).collect::<Vec<_>>()})
}

fn transaction(found: &appwrite::models::Transaction) -> Value {
    json!({"$id": found.id, "status": found.status, "operations": found.operations})
}

async fn call(tables: &TablesDB, name: &str, args: &Value) -> Result<Value, AppwriteError> {
    let table = args["tableId"].as_str().unwrap_or("notes");
    let id = text(args, "rowId");
    let data = args["data"].clone();
    let queries = Some(list(&args["queries"]).iter().map(query).collect());
    let transaction_id = text(args, "transactionId");
    Ok(match name {
        "createRow" => row(&tables.create_row("db1", table, id, data, None, None).await?),
        "getRow" => row(&tables.get_row("db1", table, id, None, None).await?),
        "updateRow" => row(&tables
            .update_row("db1", table, id, Some(data), None, None)
            .await?),
        "upsertRow" => row(&tables
            .upsert_row("db1", table, id, Some(data), None, None)
            .await?),
        "incrementRowColumn" => {
            let (column, step) = (text(args, "column"), args["value"].as_f64());
            row(&tables
                .increment_row_column("db1", table, id, column, step, None, None)
                .await?)
        }
        "deleteRow" => {
            tables.delete_row("db1", table, id, None).await?;
            Value::Null
        }
        "listRows" => rows(&tables.list_rows("db1", table, queries, None, None, None).await?),
        "upsertRows" => rows(
            &tables
                .upsert_rows("db1", table, list(&args["rows"]), None)
                .await?,
        ),
        "deleteRows" => rows(&tables.delete_rows("db1", table, queries, None).await?),
        "createTransaction" => transaction(&tables.create_transaction(args["ttl"].as_i64()).await?),
        "createOperations" => {
            let operations = Some(list(&args["operations"]));
            transaction(&tables.create_operations(transaction_id, operations).await?)
        }
        "updateTransaction" => {
            let commit = args["commit"].as_bool();
            transaction(&tables.update_transaction(transaction_id, commit, None).await?)
        }
        other => panic!("the script calls {other}, which is unknown here"),
    })
}

#[tokio::main]
async fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (server, script) = (read(&files[0]), read(&files[1]));
    let client = Client::new()
        .set_endpoint(text(&server, "endpoint"))
        .set_project(text(&server, "project"))
        .set_key(text(&server, "key"));
    let tables = TablesDB::new(&client);
    let mut saved: BTreeMap<String, Value> = BTreeMap::new();
    let steps = list(&script["steps"]);
    for step in &steps {
        let name = step["name"].as_str().unwrap_or_default();
        let mut args = step["args"].clone();
        if let Some(saved) = args["transactionId"].as_str().and_then(|id| saved.get(&id[1..])) {
            args["transactionId"] = saved.clone();
        }
        let answer = match call(&tables, step["call"].as_str().unwrap_or_default(), &args).await {
            Ok(answer) => {
                assert!(step["error"].is_null(), "{name}: was not refused");
                answer
            }
            Err(error) => {
                assert_eq!(
                    json!([error.code, error.error_type]),
                    step["error"],
                    "{name}: {error}"
                );
                continue;
            }
        };
        for (field, value) in step["expect"].as_object().into_iter().flatten() {
            let same = match (answer[field].as_f64(), value.as_f64()) {
                (Some(answer), Some(value)) => answer == value,
                _ => answer[field] == *value,
            };
            assert!(same, "{name}: {field} is {}", answer[field]);
        }
        if !step["rows"].is_null() {
            let ids: Vec<Value> = list(&answer["rows"])
                .iter()
                .map(|row| row["$id"].clone())
                .collect();
            assert_eq!(json!(ids), step["rows"], "{name}");
        }
        if let Some(save) = step["save"].as_str() {
            saved.insert(save.to_owned(), answer["$id"].clone());
        }
    }
    println!("appwrite (Rust): {} steps", steps.len());
}
