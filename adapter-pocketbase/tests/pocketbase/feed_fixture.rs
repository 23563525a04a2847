//! A server with a feed, a client that reads it in plain HTTP, and short ways to write.

use std::{collections::BTreeMap, sync::Arc};

use adapter_pocketbase::feed::{FeedNames, FeedOptions, Operator, setup};
use pocketbase_server::{Admin, Answer, Server};
use serde_json::{Value, json};
use sync_core::TokioTimer;
use sync_http::{ReqwestTransport, Secret};

/// A server whose collection `todos` has a feed with the scope field `owner`.
pub(crate) struct Fed {
    pub(crate) server: Server,
    pub(crate) operator: Operator,
    pub(crate) options: FeedOptions,
}

/// The collection that tests write to: open to everybody, so that the feed alone decides.
pub(crate) fn todos() -> Value {
    json!({
        "name": "todos", "type": "base",
        "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
        "fields": [
            {"name": "title", "type": "text"},
            {"name": "count", "type": "number"},
            {"name": "owner", "type": "text"},
            {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
        ],
    })
}

pub(crate) async fn operator(server: &Server) -> Operator {
    let transport = Arc::new(ReqwestTransport::new(Arc::new(TokioTimer)).unwrap());
    let (email, password) = server.superuser();
    Operator::sign_in(transport, server.url(), email, &Secret::new(password))
        .await
        .unwrap()
}

/// A server with batches and the collections, without a feed.
pub(crate) async fn plain(collections: &Value) -> Option<Server> {
    let server = Server::for_tests().await?;
    server.admin().enable_batches(1_000, 30).await.unwrap();
    server.admin().import(collections).await.unwrap();
    Some(server)
}

impl Fed {
    pub(crate) async fn start() -> Option<Self> {
        let options = FeedOptions::new("todos")
            .unwrap()
            .with_scope_field("owner")
            .unwrap();
        Self::start_with(&json!([todos()]), options).await
    }

    pub(crate) async fn start_with(collections: &Value, options: FeedOptions) -> Option<Self> {
        let server = plain(collections).await?;
        let operator = operator(&server).await;
        setup(&operator, &options).await.unwrap();
        Some(Self {
            server,
            operator,
            options,
        })
    }

    pub(crate) fn admin(&self) -> &Admin {
        self.server.admin()
    }

    pub(crate) fn names(&self) -> &FeedNames {
        self.options.names()
    }

    pub(crate) async fn create(&self, record: Value) -> Value {
        self.admin().create("todos", &record).await.unwrap()
    }

    pub(crate) async fn patch(&self, id: &str, fields: Value) -> Answer {
        let path = format!("/api/collections/todos/records/{id}");
        self.admin().send("PATCH", &path, Some(&fields)).await.unwrap()
    }

    pub(crate) async fn delete(&self, id: &str) -> Answer {
        let path = format!("/api/collections/todos/records/{id}");
        self.admin().send("DELETE", &path, None).await.unwrap()
    }

    /// The record as it is now; null if it is not there.
    pub(crate) async fn record(&self, id: &str) -> Value {
        let path = format!("/api/collections/todos/records/{id}");
        let answer = self.admin().send("GET", &path, None).await.unwrap();
        answer.json().unwrap_or_default()
    }

    pub(crate) async fn rev(&self, id: &str) -> i64 {
        self.record(id).await["sync_rev"].as_i64().unwrap()
    }

    pub(crate) async fn batch(&self, requests: Vec<Value>) -> Answer {
        send_batch(self.admin(), requests).await
    }

    pub(crate) async fn meta(&self) -> Value {
        let path = format!("/api/collections/{}/records/meta", self.names().meta());
        self.admin()
            .send("GET", &path, None)
            .await
            .unwrap()
            .json()
            .unwrap()
    }

    /// The tombstones in their order.
    pub(crate) async fn gone(&self) -> Vec<Value> {
        list(self.admin(), &self.names().gone(), "", "seq").await
    }

    /// Whether the point of history that this record of the view tells is still in the history.
    pub(crate) async fn remembers(&self, meta: &Value) -> bool {
        let mark = format!(
            "{:013}-{}",
            meta["seq"].as_i64().unwrap(),
            meta["nonce"].as_str().unwrap()
        );
        let path = format!("/api/collections/{}/records/{mark}", self.names().marks());
        self.admin().send("GET", &path, None).await.unwrap().status == 200
    }
}

pub(crate) async fn send_batch(admin: &Admin, requests: Vec<Value>) -> Answer {
    let body = json!({ "requests": requests });
    admin.send("POST", "/api/batch", Some(&body)).await.unwrap()
}

pub(crate) fn create_in_batch(collection: &str, record: Value) -> Value {
    json!({"method": "POST", "url": format!("/api/collections/{collection}/records"), "body": record})
}

pub(crate) fn patch_in_batch(collection: &str, id: &str, fields: Value) -> Value {
    json!({"method": "PATCH", "url": format!("/api/collections/{collection}/records/{id}"), "body": fields})
}

pub(crate) fn delete_in_batch(collection: &str, id: &str) -> Value {
    json!({"method": "DELETE", "url": format!("/api/collections/{collection}/records/{id}"), "body": {}})
}

/// At most 1,000 rows of a collection.
pub(crate) async fn list(admin: &Admin, collection: &str, filter: &str, sort: &str) -> Vec<Value> {
    let filter = filter.replace('>', "%3E").replace('&', "%26").replace(' ', "%20");
    let path =
        format!("/api/collections/{collection}/records?perPage=1000&skipTotal=1&sort={sort}&filter={filter}");
    let answer = admin.send("GET", &path, None).await.unwrap().json().unwrap();
    answer["items"].as_array().unwrap().clone()
}

/// The id of the record `number`.
pub(crate) fn id(number: usize) -> String {
    format!("r{number:014}")
}

/// What a client knows that reads changes by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) position: i64,
    pub(crate) records: BTreeMap<String, Value>,
}

impl Reader {
    /// Reads what came since, up to the number the counter had at the beginning.
    pub(crate) async fn read(&mut self, fed: &Fed) {
        let meta = fed.meta().await;
        let end = meta["seq"].as_i64().unwrap();
        loop {
            let live = list(
                fed.admin(),
                "todos",
                &format!("sync_rev > {} && sync_rev <= {end}", self.position),
                "sync_rev",
            )
            .await;
            let gone = list(
                fed.admin(),
                &fed.names().gone(),
                &format!("seq > {} && seq <= {end}", self.position),
                "seq",
            )
            .await;
            let cut_short = live.len().max(gone.len()) == 1_000;
            let mut changes: Vec<(i64, String, Option<Value>)> = Vec::new();
            changes.extend(live.into_iter().map(|row| {
                let id = row["id"].as_str().unwrap().to_owned();
                (row["sync_rev"].as_i64().unwrap(), id, Some(row))
            }));
            changes.extend(gone.into_iter().map(|row| {
                let id = row["record"].as_str().unwrap().to_owned();
                (row["seq"].as_i64().unwrap(), id, None)
            }));
            changes.sort_by_key(|(seq, ..)| *seq);
            changes.truncate(1_000);
            for (seq, id, row) in changes {
                assert!(seq > self.position, "numbers are unique and rise");
                self.position = seq;
                match row {
                    Some(row) => self.records.insert(id, row),
                    None => self.records.remove(&id),
                };
            }
            if !cut_short {
                self.position = self.position.max(end);
                return;
            }
        }
    }

    /// Fails unless the reader knows exactly what is there now.
    pub(crate) async fn assert_exact(&self, fed: &Fed) {
        let rows = fed
            .admin()
            .sql("SELECT COUNT(*), COALESCE(SUM(sync_rev), 0) FROM todos")
            .await
            .unwrap();
        let number = |cell: &Value| cell.as_str().unwrap().parse::<i64>().unwrap();
        let revs: i64 = self
            .records
            .values()
            .map(|row| row["sync_rev"].as_i64().unwrap())
            .sum();
        assert_eq!(
            (self.records.len() as i64, revs),
            (number(&rows[0][0]), number(&rows[0][1])),
            "records, and the sum of their versions: read, and there"
        );
    }
}
