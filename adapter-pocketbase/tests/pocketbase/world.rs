//! A server in one of the two profiles, users, and devices with engines.

use std::{sync::Arc, time::Duration};

use adapter_memory::MemoryLocalStore;
use adapter_pocketbase::{
    CollectionMapping, FieldKind, PocketBaseConfig, PocketBaseRemoteStore, Profile,
    feed::{FeedOptions, setup},
};
use pocketbase_server::{Admin, Answer, Server};
use serde_json::{Value, json};
use sync_core::{
    CachePolicy, CollectionName, CollectionSchema, Effects, EngineOptions, ErrorKind, LocalStore, OpCounts,
    Payload, PendingOp, ReadOptions, RecordId, RecordKey, RemoteStore, RemoteVersion, Result, SyncEngine,
    SyncReport, SyncScope, Target, TokioTimer, Write,
    query::QuerySpec,
    resolve::{ConflictResolver, LastWriteWins},
};
use sync_http::{Credentials, FixedToken, ReqwestTransport, Secret, TokenSource, Transport};

use crate::feed_fixture::{operator, plain};

/// Runs each case in both profiles, as a test of its own.
macro_rules! in_both_profiles {
    ($($case:ident),* $(,)?) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(adapter_pocketbase::Profile::Plain).await;
            })*
        }
        mod feed {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(adapter_pocketbase::Profile::Feed).await;
            })*
        }
    };
}
pub(crate) use in_both_profiles;

const OWN: &str = "@request.auth.id != '' && owner = @request.auth.id";
pub(crate) const PASSWORD: &str = "a-long-password";

/// A user of the server.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) token: String,
}

/// A server with the collection `todos`, in which users see and change their own.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ada: User,
    pub(crate) bob: User,
}

/// The collection `todos`: what the adapter needs of a plain server, and rules by owner.
pub(crate) fn owned_todos() -> Value {
    json!({
        "name": "todos", "type": "base",
        "listRule": OWN, "viewRule": OWN, "createRule": OWN, "updateRule": OWN, "deleteRule": OWN,
        "fields": [
            {"name": "title", "type": "text"},
            {"name": "note", "type": "text"},
            {"name": "count", "type": "number"},
            {"name": "done", "type": "bool"},
            {"name": "owner", "type": "text"},
            {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
        ],
        "indexes": ["CREATE INDEX idx_todos_updated ON todos (owner, updated, id)"],
    })
}

/// The fields of a record.
pub(crate) const TODO_FIELDS: [(&str, FieldKind); 4] = [
    ("title", FieldKind::Text),
    ("note", FieldKind::Text),
    ("count", FieldKind::Number),
    ("done", FieldKind::Bool),
];

/// How devices map `todos`.
pub(crate) fn todos_mapping() -> CollectionMapping {
    CollectionMapping::fields("todos", TODO_FIELDS).with_scope_field("user", "owner")
}

pub(crate) fn reqwest() -> Arc<dyn Transport> {
    Arc::new(ReqwestTransport::new(Arc::new(TokioTimer)).unwrap())
}

impl World {
    pub(crate) async fn start(profile: Profile) -> Option<Self> {
        Self::start_with(profile, json!([owned_todos()])).await
    }

    /// With these collections instead; `todos` gets the feed.
    pub(crate) async fn start_with(profile: Profile, collections: Value) -> Option<Self> {
        let server = plain(&collections).await?;
        if profile == Profile::Feed {
            let options = FeedOptions::new("todos")
                .unwrap()
                .with_scope_field("owner")
                .unwrap();
            setup(&operator(&server).await, &options).await.unwrap();
        }
        let mut users = Vec::new();
        for name in ["ada", "bob"] {
            let email = format!("{name}@example.com");
            let id = server.admin().create_user(&email, PASSWORD).await.unwrap();
            let token = server.admin().token_of("users", &email, PASSWORD).await.unwrap();
            users.push(User { id, email, token });
        }
        let [ada, bob] = users.try_into().unwrap();
        Some(Self { server, ada, bob })
    }

    pub(crate) fn admin(&self) -> &Admin {
        self.server.admin()
    }

    pub(crate) fn target(&self, user: &User) -> Target {
        let scope = SyncScope::new("app").unwrap().with("user", &user.id).unwrap();
        Target::new(CollectionName::new("todos").unwrap(), scope)
    }

    /// The remote as a user sees it, over a good network.
    pub(crate) async fn remote(&self, user: &User) -> Arc<PocketBaseRemoteStore> {
        let config = PocketBaseConfig::new(self.server.url())
            .unwrap()
            .with_collection(todos_mapping());
        self.connect(config, reqwest(), &user.token).await.unwrap()
    }

    /// The remote through another address of the server, such as a proxy's.
    pub(crate) async fn remote_through(&self, url: &str, user: &User) -> Arc<PocketBaseRemoteStore> {
        let config = PocketBaseConfig::new(url)
            .unwrap()
            .with_collection(todos_mapping());
        self.connect(config, reqwest(), &user.token).await.unwrap()
    }

    pub(crate) async fn connect(
        &self,
        config: PocketBaseConfig,
        transport: Arc<dyn Transport>,
        token: &str,
    ) -> Result<Arc<PocketBaseRemoteStore>> {
        let tokens = Arc::new(FixedToken::new(Credentials::from_jwt(Secret::new(token))));
        self.connect_with(config, transport, tokens).await
    }

    pub(crate) async fn connect_with(
        &self,
        config: PocketBaseConfig,
        transport: Arc<dyn Transport>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Arc<PocketBaseRemoteStore>> {
        let remote = PocketBaseRemoteStore::connect(config, transport, tokens, Effects::tokio()).await?;
        Ok(Arc::new(remote))
    }

    /// A device of the user, with an empty store.
    pub(crate) async fn device(&self, user: &User) -> Device {
        self.device_with(user, LastWriteWins).await
    }

    /// A device of the user that settles conflicts in its own way.
    pub(crate) async fn device_with(&self, user: &User, resolver: impl ConflictResolver) -> Device {
        Device::open(self.remote(user).await, self.target(user), resolver).await
    }

    /// The record at the server, in the name of its superuser; null if it is not there.
    pub(crate) async fn record(&self, id: &str) -> Value {
        let path = format!("/api/collections/todos/records/{id}");
        let answer = self.admin().send("GET", &path, None).await.unwrap();
        answer.json().unwrap_or_default()
    }

    /// Another app makes a record for ada.
    pub(crate) async fn foreign_create(&self, id: &str, title: &str) {
        let record = json!({"id": id, "title": title, "count": 1, "owner": self.ada.id});
        self.admin().create("todos", &record).await.unwrap();
    }

    /// Another app changes a record.
    pub(crate) async fn foreign_patch(&self, id: &str, fields: Value) -> Answer {
        let path = format!("/api/collections/todos/records/{id}");
        self.admin().send("PATCH", &path, Some(&fields)).await.unwrap()
    }

    /// Another app deletes a record for good.
    pub(crate) async fn foreign_delete(&self, id: &str) {
        let path = format!("/api/collections/todos/records/{id}");
        let answer = self.admin().send("DELETE", &path, None).await.unwrap();
        answer.success().unwrap();
    }

    /// How many records there are, in the name of the superuser.
    pub(crate) async fn count(&self) -> usize {
        let rows = self.admin().sql("SELECT COUNT(*) FROM todos").await.unwrap();
        rows[0][0].as_str().unwrap().parse().unwrap()
    }
}

/// A device: an engine over a store in memory.
pub(crate) struct Device {
    pub(crate) engine: SyncEngine,
    pub(crate) store: Arc<MemoryLocalStore>,
    pub(crate) target: Target,
}

/// The JSON of a record.
pub(crate) fn payload(id: &str, title: &str, count: i64) -> Payload {
    let record = json!({"id": id, "title": title, "note": "", "count": count, "done": false});
    Payload::parse(record.to_string()).unwrap()
}

/// The id of the record `number`, as PocketBase takes it.
pub(crate) fn id(number: u64) -> String {
    format!("r{number:014}")
}

pub(crate) fn options() -> EngineOptions {
    EngineOptions::default()
        .with_retry(Duration::from_millis(20), Duration::from_millis(200))
        .with_page_size(1_000)
}

impl Device {
    pub(crate) async fn open(
        remote: Arc<dyn RemoteStore>,
        target: Target,
        resolver: impl ConflictResolver,
    ) -> Self {
        Self::open_on(Arc::new(MemoryLocalStore::new()), remote, target, resolver).await
    }

    /// A device that goes on with what a store holds.
    pub(crate) async fn open_on(
        store: Arc<MemoryLocalStore>,
        remote: Arc<dyn RemoteStore>,
        target: Target,
        resolver: impl ConflictResolver,
    ) -> Self {
        let schema = CollectionSchema::untyped(target.collection.as_str(), "id").unwrap();
        let local: Arc<dyn LocalStore> = store.clone();
        let engine = SyncEngine::builder(local, remote)
            .register_schema(schema, resolver)
            .options(options())
            .build()
            .await
            .unwrap();
        Self {
            engine,
            store,
            target,
        }
    }

    pub(crate) fn scope(&self) -> &SyncScope {
        &self.target.scope
    }

    pub(crate) fn key(&self, id: &str) -> RecordKey {
        RecordKey::new(self.target.clone(), RecordId::new(id).unwrap())
    }

    pub(crate) async fn create(&self, id: &str, title: &str) {
        let write = Write::create_raw(self.key(id), payload(id, title, 1));
        self.engine.write(write).await.unwrap();
    }

    /// Changes fields of a record that the device has.
    pub(crate) async fn update(&self, id: &str, fields: Value) {
        let mut record = self.view(id).await;
        let changed = record.as_object_mut().unwrap();
        changed.extend(fields.as_object().unwrap().clone());
        let write = Write::update_raw(self.key(id), Payload::parse(record.to_string()).unwrap());
        self.engine.write(write).await.unwrap();
    }

    pub(crate) async fn delete(&self, id: &str) {
        self.engine.write(Write::delete_raw(self.key(id))).await.unwrap();
    }

    /// Synchronizes once; it must succeed.
    pub(crate) async fn sync(&self) -> Arc<SyncReport> {
        self.engine.synchronize(self.scope()).await.unwrap()
    }

    /// What ends a pass for certain in this profile: a sync against a feed, a sweep on top without one.
    pub(crate) async fn settle(&self, profile: Profile) {
        match profile {
            Profile::Feed => self.sync().await,
            Profile::Plain => self.engine.sweep(self.scope()).await.unwrap(),
        };
    }

    /// Synchronizes until nothing is pending that can be sent, over failures that pass by themselves.
    pub(crate) async fn sync_until_sent(&self) {
        self.sync_until_sent_every(Duration::from_millis(25)).await;
    }

    /// The same, with longer pauses.
    pub(crate) async fn sync_until_sent_every(&self, pause: Duration) {
        for _ in 0..200 {
            let result = self.engine.synchronize(self.scope()).await;
            let counts = self.pending().await;
            if result.is_ok() && counts.total() == 0 {
                return;
            }
            if let Err(error) = result {
                assert!(
                    error.kind() != ErrorKind::Internal && error.kind() != ErrorKind::Malformed,
                    "{error}"
                );
            }
            tokio::time::sleep(pause).await;
        }
        panic!("still pending: {:?}", self.ops().await);
    }

    pub(crate) async fn pending(&self) -> OpCounts {
        self.engine.count_ops(Some(self.scope())).await.unwrap()
    }

    pub(crate) async fn ops(&self) -> Vec<PendingOp> {
        self.engine.pending_ops(&Default::default()).await.unwrap()
    }

    /// What the app sees; null if there is no such record.
    pub(crate) async fn view(&self, id: &str) -> Value {
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let answer = self.engine.get(&self.key(id), &options).await.unwrap();
        match answer.records.first() {
            Some(record) => serde_json::from_str(record.payload.as_str()).unwrap(),
            None => Value::Null,
        }
    }

    /// The version of a record that the device knows the server to have.
    pub(crate) async fn store_version(&self, id: &str) -> Option<RemoteVersion> {
        let told = self.engine.explain(&self.key(id)).await.unwrap();
        told.record.base.version().cloned()
    }

    /// The ids of all records that the app sees.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        let answer = self
            .engine
            .query(&self.target, &QuerySpec::new(), &options)
            .await
            .unwrap();
        let mut ids: Vec<_> = answer
            .records
            .iter()
            .map(|record| record.id.to_string())
            .collect();
        ids.sort();
        ids
    }

    /// Waits until the app sees what it should; fails after ten seconds.
    pub(crate) async fn wait_until(&self, what: &str, seen: impl AsyncFn(&Device) -> bool) {
        for _ in 0..400 {
            if seen(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not within ten seconds: {what}");
    }
}
