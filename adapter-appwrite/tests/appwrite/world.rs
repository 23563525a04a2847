//! A stand-in with tables and users, remotes that speak to it, and devices that work on it.

use std::{sync::Arc, time::Duration};

use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential, Table};
use adapter_memory::MemoryLocalStore;
use appwrite_stand_in::{Column, ColumnKind, LoggedRequest, Profile, StandIn, TableSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{
    CachePolicy, CollectionName, EngineOptions, OpQuery, PendingOp, RecordId, RecordKey, RemoteStore, Result,
    SimpleSyncOrchestrator, SyncEngine, SyncRecord, SyncReport, SyncScope, Target,
    resolve::{ConflictResolver, LastWriteWins},
};
use sync_http::{Credentials, FixedToken, ReqwestTransport};
use sync_testkit::effects::TestEffects;

pub(crate) const DATABASE: &str = "main";

/// The record that devices keep; its table has a column of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
pub(crate) struct Todo {
    #[sync(id)]
    pub(crate) id: String,
    pub(crate) title: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) done: Option<bool>,
    pub(crate) count: Option<i64>,
    pub(crate) due: Option<String>,
}

pub(crate) fn todo(id: &str, title: &str) -> Todo {
    Todo {
        id: id.to_owned(),
        title: Some(title.to_owned()),
        ..Todo::default()
    }
}

/// The columns of the conformance suite, and the adapter's own.
pub(crate) fn columns(table: &str) -> TableSpec {
    TableSpec::new(table)
        .column(Column::optional("title", ColumnKind::Text { size: 100_000 }))
        .column(Column::optional("note", ColumnKind::Text { size: 1_000 }))
        .column(Column::optional("done", ColumnKind::Boolean))
        .column(Column::optional("count", ColumnKind::Integer))
        .column(Column::optional("due", ColumnKind::Datetime))
        .column(Column::optional("deleted", ColumnKind::Boolean).default(false))
        .column(Column::optional("op_id", ColumnKind::Text { size: 36 }))
        .column(Column::optional("owner", ColumnKind::Text { size: 36 }))
}

/// A running server with the tables `todos` and `notes`, and the users `alice` and `bob`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: StandIn,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_as(Profile::V1_9_6).await
    }

    pub(crate) async fn start_as(profile: Profile) -> Self {
        let server = StandIn::start(profile).await.unwrap();
        // The real server does no two writes of a row within a millisecond; this one would.
        server.tick_on_write(true);
        for table in ["todos", "notes"] {
            server.create_table(DATABASE, &columns(table));
        }
        for user in ["alice", "bob"] {
            server.create_user(user);
        }
        Self { server }
    }

    /// The scope that devices share.
    pub(crate) fn scope() -> SyncScope {
        SyncScope::new("inbox").unwrap()
    }

    pub(crate) fn target() -> Target {
        Target::new(CollectionName::new("todos").unwrap(), Self::scope())
    }

    pub(crate) fn key(id: &str) -> RecordKey {
        RecordKey::new(Self::target(), RecordId::new(id).unwrap())
    }

    pub(crate) fn session(&self, user: &str) -> Credential {
        let secret = self.server.create_session(user);
        Credential::session(Arc::new(FixedToken::new(Credentials::new(secret))))
    }

    /// A configuration without tables.
    pub(crate) fn bare(&self, credential: Credential, effects: &TestEffects) -> AppwriteConfig {
        let effects = effects.effects();
        let transport = ReqwestTransport::new(Arc::clone(&effects.timer)).unwrap();
        AppwriteConfig::new(
            &self.server.endpoint(),
            self.server.project(),
            credential,
            effects,
        )
        .unwrap()
        .transport(Arc::new(transport))
    }

    /// The usual configuration: one scope that everybody shares.
    pub(crate) fn config(&self, credential: Credential, effects: &TestEffects) -> AppwriteConfig {
        self.bare(credential, effects)
            .table("inbox", "todos", Table::new(DATABASE, "todos"))
            .unwrap()
            .table("inbox", "notes", Table::new(DATABASE, "notes"))
            .unwrap()
    }

    pub(crate) fn remote(&self, user: &str) -> AppwriteRemoteStore {
        self.remote_with(self.session(user), |config| config)
    }

    pub(crate) fn remote_with(
        &self,
        credential: Credential,
        adjust: impl FnOnce(AppwriteConfig) -> AppwriteConfig,
    ) -> AppwriteRemoteStore {
        let config = self.config(credential, &TestEffects::tokio(1));
        AppwriteRemoteStore::new(adjust(config)).unwrap()
    }

    pub(crate) async fn device(&self, user: &str) -> Device {
        self.device_with(user, |config| config).await
    }

    pub(crate) async fn device_with(
        &self,
        user: &str,
        adjust: impl FnOnce(AppwriteConfig) -> AppwriteConfig,
    ) -> Device {
        let effects = TestEffects::tokio(seed(user));
        let config = adjust(self.config(self.session(user), &effects));
        let remote = AppwriteRemoteStore::new(config).unwrap();
        Device::open(effects, Arc::new(remote)).await
    }

    /// The row as the server holds it.
    pub(crate) fn row(&self, id: &str) -> Option<Value> {
        self.server.row(DATABASE, "todos", id)
    }

    /// A column of a row.
    pub(crate) fn cell(&self, id: &str, column: &str) -> Value {
        self.row(id).unwrap()[column].clone()
    }

    /// Someone with a key makes or changes a row, unseen by the log and by faults.
    pub(crate) fn put(&self, id: &str, data: Value) {
        let rows = format!("/v1/tablesdb/{DATABASE}/tables/todos/rows");
        let answer = if self.row(id).is_some() {
            self.server
                .as_key("PATCH", &format!("{rows}/{id}"), &json!({"data": data}))
        } else {
            self.server
                .as_key("POST", &rows, &json!({"rowId": id, "data": data}))
        };
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Someone with a key makes a hundred rows, `b00` to `b99`, which the server stamps alike.
    pub(crate) fn put_hundred(&self) {
        let row = |number| json!({"$id": format!("b{number:02}"), "title": "tea"});
        let rows: Vec<_> = (0..100).map(row).collect();
        let path = format!("/v1/tablesdb/{DATABASE}/tables/todos/rows");
        let answer = self.server.as_key("POST", &path, &json!({"rows": rows}));
        assert_eq!(answer.status, 201);
    }

    /// The ids of the rows, in the order of their creation.
    pub(crate) fn ids(&self) -> Vec<String> {
        let rows = self.server.rows(DATABASE, "todos");
        let id = |row: &Value| row["$id"].as_str().unwrap().to_owned();
        rows.iter().map(id).collect()
    }

    /// Whether the server asked for fewer requests.
    pub(crate) fn has_been_limited(&self) -> bool {
        let requests = self.server.requests();
        requests.iter().any(|logged| logged.status == Some(429))
    }

    /// A device of alice that keeps its records in another table.
    pub(crate) async fn device_on(&self, table: Table) -> Device {
        let effects = TestEffects::tokio(3);
        let config = self.bare(self.session("alice"), &effects);
        let config = config.table("inbox", "todos", table).unwrap();
        Device::open(effects, Arc::new(AppwriteRemoteStore::new(config).unwrap())).await
    }

    /// Someone with a key deletes a row for good.
    pub(crate) fn erase(&self, id: &str) {
        let path = format!("/v1/tablesdb/{DATABASE}/tables/todos/rows/{id}");
        assert_eq!(self.server.as_key("DELETE", &path, &Value::Null).status, 204);
    }

    /// The writes that came over the wire.
    pub(crate) fn writes(&self) -> Vec<LoggedRequest> {
        let is_write = |logged: &LoggedRequest| logged.request.method != "GET";
        self.server.requests().into_iter().filter(is_write).collect()
    }
}

fn seed(user: &str) -> u64 {
    user.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte))
}

/// A client with a store of its own.
pub(crate) struct Device {
    pub(crate) todos: SimpleSyncOrchestrator<Todo>,
    pub(crate) engine: SyncEngine,
    pub(crate) effects: TestEffects,
    pub(crate) remote: Arc<dyn RemoteStore>,
}

impl Device {
    pub(crate) async fn open(effects: TestEffects, remote: Arc<dyn RemoteStore>) -> Self {
        Self::reopen(effects, remote, Arc::new(MemoryLocalStore::new()), LastWriteWins).await
    }

    pub(crate) async fn reopen(
        effects: TestEffects,
        remote: Arc<dyn RemoteStore>,
        store: Arc<MemoryLocalStore>,
        resolver: impl ConflictResolver,
    ) -> Self {
        let engine = SyncEngine::builder(store, Arc::clone(&remote))
            .register_with::<Todo>(resolver)
            .options(EngineOptions::default().with_retry(Duration::from_millis(1), Duration::from_millis(1)))
            .effects(effects.effects())
            .build()
            .await
            .unwrap();
        Self {
            todos: engine.of::<Todo>().unwrap(),
            engine,
            effects,
            remote,
        }
    }

    pub(crate) async fn sync(&self) -> Arc<SyncReport> {
        self.try_sync().await.unwrap()
    }

    /// Synchronizes after any pause that an earlier failure asked for.
    pub(crate) async fn try_sync(&self) -> Result<Arc<SyncReport>> {
        self.effects.clock.advance(Duration::from_millis(10));
        self.engine.synchronize(&World::scope()).await
    }

    /// Synchronizes and scans ids.
    pub(crate) async fn scan(&self) -> Arc<SyncReport> {
        self.effects.clock.advance(Duration::from_millis(10));
        self.engine.sweep(&World::scope()).await.unwrap()
    }

    pub(crate) async fn create(&self, record: &Todo) {
        self.todos.enqueue_create(&World::scope(), record).await.unwrap();
    }

    pub(crate) async fn update(&self, record: &Todo) {
        self.todos.enqueue_update(&World::scope(), record).await.unwrap();
    }

    pub(crate) async fn delete(&self, id: &str) {
        self.todos
            .enqueue_delete(&World::scope(), &id.to_owned())
            .await
            .unwrap();
    }

    /// What the device shows of a record.
    pub(crate) async fn get(&self, id: &str) -> Option<Todo> {
        self.todos
            .get(&World::scope(), &id.to_owned(), CachePolicy::OfflineOnly)
            .await
            .unwrap()
    }

    pub(crate) async fn title(&self, id: &str) -> Option<String> {
        self.get(id).await.and_then(|record| record.title)
    }

    /// Everything the device shows, by id.
    pub(crate) async fn all(&self) -> Vec<Todo> {
        self.todos
            .read(&World::scope(), CachePolicy::OfflineOnly)
            .await
            .unwrap()
            .items
    }

    pub(crate) async fn pending(&self) -> Vec<PendingOp> {
        self.engine.pending_ops(&OpQuery::default()).await.unwrap()
    }
}
