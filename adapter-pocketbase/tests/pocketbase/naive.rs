//! The cursor that every client for PocketBase uses, `updated > last`, and what it loses.
//!
//! The same loads that the adapter's own tests run, read by a double that is wrong on purpose: a test that the
//! adapter passes and the double passes as well would prove nothing.

use std::collections::BTreeSet;

use pocketbase_server::{Admin, Server};
use serde_json::{Value, json};

use crate::{
    feed_fixture::{create_in_batch, list, plain, send_batch, todos},
    load::{Load, race},
};

/// Reads what changed after the last time it saw, page by page.
#[derive(Debug, Default)]
struct NaiveReader {
    last: (String, String),
    seen: BTreeSet<String>,
}

impl NaiveReader {
    async fn read(&mut self, admin: &Admin) {
        loop {
            let (time, id) = &self.last;
            let filter = format!("updated >= '{time}' && (updated > '{time}' || id > '{id}')");
            let page = list(admin, "todos", &filter, "updated,id").await;
            let full = page.len() == 1_000;
            for row in page {
                let text = |name: &str| row[name].as_str().unwrap().to_owned();
                self.last = (text("updated"), text("id"));
                self.seen.insert(text("id"));
            }
            if !full {
                return;
            }
        }
    }
}

/// How many of the records that a load makes the naive reader never sees.
async fn lost(server: &Server, load: Load) -> usize {
    let mut reader = NaiveReader::default();
    let written = race(server.admin(), load, async || {
        reader.read(server.admin()).await;
    })
    .await;
    // Everything is committed now, and still it does not come.
    reader.read(server.admin()).await;
    written.live.difference(&reader.seen).count()
}

async fn todos_server() -> Option<Server> {
    let mut collection = todos();
    collection["indexes"] = json!(["CREATE INDEX idx_todos_updated ON todos (updated, id)"]);
    plain(&Value::from(vec![collection])).await
}

/// How often a load is tried. Each loses records unless the machine happens to interleave all writes well.
const TRIES: u32 = 6;

async fn assert_loses(load: Load, writers: &str) {
    for _ in 0..TRIES {
        let Some(server) = todos_server().await else {
            return;
        };
        let lost = lost(&server, load).await;
        if lost > 0 {
            println!("the naive reader lost {lost} records of {writers}");
            return;
        }
    }
    panic!("the load is no trap: the naive reader saw everything, {TRIES} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_by_time_loses_records_of_one_writer() {
    assert_loses(Load::OneSingleWriter, "one writer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_by_time_loses_records_of_eight_writers() {
    assert_loses(Load::EightSingleWriters, "eight writers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_by_time_loses_records_of_singles_beside_batches() {
    assert_loses(Load::SinglesAndBatches, "singles beside batches").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_by_time_keeps_what_was_deleted() {
    let Some(server) = todos_server().await else {
        return;
    };
    let ids: Vec<String> = (0..10).map(|number| format!("gone{number:011}")).collect();
    let made = ids
        .iter()
        .map(|id| create_in_batch("todos", json!({"id": id})))
        .collect();
    send_batch(server.admin(), made).await.success().unwrap();
    let mut reader = NaiveReader::default();
    reader.read(server.admin()).await;
    let path = format!("/api/collections/todos/records/{}", ids[3]);
    server
        .admin()
        .send("DELETE", &path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    reader.read(server.admin()).await;
    assert!(reader.seen.contains(&ids[3]), "nothing tells it of the delete");
}
