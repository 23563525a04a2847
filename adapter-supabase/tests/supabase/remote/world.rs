//! A project with the feed, two users, and devices with engines.

use std::{sync::Arc, time::Duration};

use adapter_memory::MemoryLocalStore;
use adapter_supabase::{
    ApiKey, SupabaseAuth, SupabaseConfig, SupabaseRemoteStore,
    migration::{FeedMigration, FeedTable, ScopeRule},
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{
    CachePolicy, ChangedFields, CollectionName, CollectionSchema, Effects, EngineOptions, ErrorKind,
    LocalStore, OpCounts, OpId, OpKind, Payload, PendingOp, PullRequest, PushBatch, PushOp, PushOutcome,
    ReadOptions, RecordId, RecordKey, RemoteStore, RemoteVersion, Stamp, SyncEngine, SyncPoint, SyncReport,
    SyncScope, Target, TokioTimer, Write, query::QuerySpec, resolve::LastWriteWins,
};
use sync_http::{Credentials, FixedToken, ReqwestTransport, TokenSource, Transport};

const APP: &str = include_str!("app.sql");
const POLICIES: &str = include_str!("policies.sql");
pub(crate) const PASSWORD: &str = "a-long-password";

/// A project in which ada may write the teams `s` and `t`, and bob may read `s`.
pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) ada: String,
    pub(crate) bob: String,
}

pub(crate) fn scope(team: &str) -> SyncScope {
    SyncScope::new("app").unwrap().with("team", team).unwrap()
}

pub(crate) fn target(collection: &str, team: &str) -> Target {
    Target::new(CollectionName::new(collection).unwrap(), scope(team))
}

/// The same id in every run, as PostgreSQL writes it.
pub(crate) fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) fn key(number: u64) -> RecordKey {
    RecordKey::new(target("todo", "s"), RecordId::new(id(number)).unwrap())
}

pub(crate) fn payload(record: &Value) -> Payload {
    Payload::parse(record.to_string()).unwrap()
}

pub(crate) fn reqwest() -> Arc<dyn Transport> {
    Arc::new(ReqwestTransport::new(Arc::new(TokioTimer)).unwrap())
}

/// The migration of the tests' project.
pub(crate) fn migration() -> FeedMigration {
    let columns = ["title", "done", "amount", "price", "tags", "meta", "due"];
    FeedMigration::new()
        .table(
            FeedTable::new("todo", ScopeRule::column("scope"))
                .columns(columns)
                .read_only(["updated_at"]),
        )
        .table(FeedTable::new("note", ScopeRule::column("scope")).columns(["todo", "text"]))
}

impl World {
    pub(crate) async fn on(version: PostgresVersion) -> Option<Self> {
        let migration = migration().to_sql().unwrap();
        let stack = Stack::for_tests(version, &[APP, &migration, POLICIES]).await?;
        let ada = stack.add_user("ada@example.com", PASSWORD).await.unwrap();
        let bob = stack.add_user("bob@example.com", PASSWORD).await.unwrap();
        let world = Self { stack, ada, bob };
        let (s, t) = (scope("s"), scope("t"));
        world
            .run(&format!(
                "insert into sync.member values ('{s}', '{0}', true), ('{t}', '{0}', true), ('{s}', '{1}', false)",
                world.ada,
                world.bob,
                s = s.key(),
                t = t.key()
            ))
            .await;
        Some(world)
    }

    /// Runs statements as the owner.
    pub(crate) async fn run(&self, sql: &str) {
        self.stack.run_sql(sql).await.unwrap();
    }

    /// One number as the owner sees it.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(self.stack.pool())
            .await
            .unwrap()
    }

    /// Somebody else makes todos with these numbers, in one statement.
    pub(crate) async fn make(&self, numbers: std::ops::RangeInclusive<u64>) {
        let (first, last) = (numbers.start(), numbers.end());
        self.run(&format!(
            "insert into public.todo (id, scope, title)
             select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{}', 'made ' || n
             from generate_series({first}, {last}) n",
            scope("s").key()
        ))
        .await;
    }

    pub(crate) fn config(&self) -> SupabaseConfig {
        let key = ApiKey::new(self.stack.publishable_key());
        SupabaseConfig::new(&self.stack.url(), key, Effects::tokio()).unwrap()
    }

    pub(crate) fn token(&self, user: &str) -> Arc<dyn TokenSource> {
        let credentials = Credentials::from_jwt(self.stack.access_token(user));
        Arc::new(FixedToken::new(credentials))
    }

    pub(crate) async fn remote_with(&self, tokens: Arc<dyn TokenSource>) -> Arc<SupabaseRemoteStore> {
        let remote = SupabaseRemoteStore::connect(self.config().signed_in(tokens)).await;
        Arc::new(remote.unwrap())
    }

    /// The remote as a user sees it.
    pub(crate) async fn remote(&self, user: &str) -> Arc<SupabaseRemoteStore> {
        self.remote_with(self.token(user)).await
    }

    pub(crate) fn auth(&self, effects: &Effects) -> SupabaseAuth {
        let key = ApiKey::new(self.stack.publishable_key());
        SupabaseAuth::new(&self.stack.url(), key, reqwest(), effects).unwrap()
    }

    /// A device of a user, with an empty store.
    pub(crate) async fn device(&self, user: &str, team: &str) -> Device {
        Device::open(self.remote(user).await, team).await
    }
}

/// One page.
pub(crate) fn page(since: Option<&SyncPoint>, page_size: u32) -> PullRequest {
    PullRequest {
        target: target("todo", "s"),
        since: since.cloned(),
        page_size,
        holds_nothing: false,
    }
}

/// An operation, for tests below the engine.
pub(crate) fn op(kind: OpKind, key: RecordKey, record: Option<Value>) -> PushOp {
    PushOp {
        op_id: OpId::from_uuid(uuid::Uuid::now_v7()),
        key,
        kind,
        payload: record.as_ref().map(payload),
        changed: ChangedFields::All,
        base: None,
        stamp: Stamp::new(1_700_000_000_000, 0, 1),
        schema_version: 1,
    }
}

pub(crate) fn create(number: u64, mut record: Value) -> PushOp {
    record["id"] = json!(id(number));
    op(OpKind::Create, key(number), Some(record))
}

pub(crate) fn batch(ops: Vec<PushOp>) -> PushBatch {
    PushBatch {
        scope: scope("s"),
        ops,
        atomic: false,
    }
}

/// Pushes one operation that must apply, and gives its version.
pub(crate) async fn apply(remote: &SupabaseRemoteStore, op: PushOp) -> RemoteVersion {
    match remote.push(batch(vec![op])).await.unwrap().remove(0) {
        PushOutcome::Applied { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

/// The code of a rejection; the name of any other outcome.
pub(crate) fn code(outcome: &PushOutcome) -> &str {
    match outcome {
        PushOutcome::Rejected { code, .. } => code,
        other => other.name(),
    }
}

/// An engine over a store in memory, for the collection `todo` of one team.
pub(crate) struct Device {
    pub(crate) engine: SyncEngine,
    pub(crate) target: Target,
}

impl Device {
    pub(crate) async fn open(remote: Arc<dyn RemoteStore>, team: &str) -> Self {
        let store: Arc<dyn LocalStore> = Arc::new(MemoryLocalStore::new());
        let options = EngineOptions::default()
            .with_retry(Duration::from_millis(10), Duration::from_millis(100))
            .with_page_size(100);
        let engine = SyncEngine::builder(store, remote)
            .register_schema(CollectionSchema::untyped("todo", "id").unwrap(), LastWriteWins)
            .options(options)
            .build()
            .await
            .unwrap();
        Self {
            engine,
            target: target("todo", team),
        }
    }

    pub(crate) fn scope(&self) -> &SyncScope {
        &self.target.scope
    }

    pub(crate) fn key(&self, number: u64) -> RecordKey {
        RecordKey::new(self.target.clone(), RecordId::new(id(number)).unwrap())
    }

    pub(crate) async fn create(&self, number: u64, title: &str) {
        let record = json!({"id": id(number), "title": title, "done": false});
        let write = Write::create_raw(self.key(number), payload(&record));
        self.engine.write(write).await.unwrap();
    }

    /// Sets the title of a record that the device has; `false` if it has not.
    pub(crate) async fn retitle(&self, number: u64, title: &str) -> bool {
        let mut record = self.view(number).await;
        if record.is_null() {
            return false;
        }
        record["title"] = json!(title);
        let write = Write::update_raw(self.key(number), payload(&record));
        self.engine.write(write).await.is_ok()
    }

    pub(crate) async fn delete(&self, number: u64) {
        // What the device does not have cannot be deleted on it.
        let _ = self.engine.write(Write::delete_raw(self.key(number))).await;
    }

    /// Synchronizes once; it must succeed.
    pub(crate) async fn sync(&self) -> Arc<SyncReport> {
        self.engine.synchronize(self.scope()).await.unwrap()
    }

    /// The kind of the error with which one sync ends.
    pub(crate) async fn refused_sync(&self) -> ErrorKind {
        self.engine.synchronize(self.scope()).await.unwrap_err().kind()
    }

    /// Synchronizes until nothing is pending, over failures that pass by themselves.
    pub(crate) async fn sync_until_sent(&self) {
        let mut last = None;
        for _ in 0..400 {
            match self.engine.synchronize(self.scope()).await {
                Ok(_) if self.pending().await.total() == 0 => return,
                Ok(_) => {}
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("still pending: {:?}, {last:?}", self.ops().await);
    }

    pub(crate) async fn pending(&self) -> OpCounts {
        self.engine.count_ops(Some(self.scope())).await.unwrap()
    }

    pub(crate) async fn ops(&self) -> Vec<PendingOp> {
        self.engine.pending_ops(&Default::default()).await.unwrap()
    }

    /// What the app sees; null if there is no such record.
    pub(crate) async fn view(&self, number: u64) -> Value {
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let answer = self.engine.get(&self.key(number), &options).await.unwrap();
        let record = answer.records.first();
        record.map_or(Value::Null, |record| {
            serde_json::from_str(record.payload.as_str()).unwrap()
        })
    }

    /// The ids and titles of all records that the app sees.
    pub(crate) async fn titles(&self) -> Vec<(String, String)> {
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let answer = self
            .engine
            .query(&self.target, &QuerySpec::new(), &options)
            .await
            .unwrap();
        let mut titles = Vec::new();
        for record in &answer.records {
            let content: Value = serde_json::from_str(record.payload.as_str()).unwrap();
            titles.push((
                record.id.to_string(),
                content["title"].as_str().unwrap().to_owned(),
            ));
        }
        titles.sort();
        titles
    }
}
