//! Stores for the suites, and small change sets.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore, SqliteDriver};
use sync_core::{
    ChangeSet, ChangedFields, CollectionName, Confirmation, ConfirmedPage, LocalStore, OpChange, OpId,
    OpKind, OpState, Payload, PendingOp, RecordId, RecordKey, RecordWrite, RemoteState, RemoteVersion, Stamp,
    SyncScope, Target, Timestamp, Versioned, query::QuerySpec,
};
use sync_testkit::local_suite::LocalFixture;
use tempfile::TempDir;

/// SQLite stores in memory.
#[derive(Clone, Copy)]
pub(crate) struct Memory(pub(crate) SqliteDriver);

#[async_trait]
impl LocalFixture for Memory {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        Arc::new(
            SeaOrmLocalStore::open(OpenOptions::memory().sqlite_driver(self.0))
                .await
                .unwrap(),
        )
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store.close().await.unwrap();
        self.fresh().await
    }
}

/// SQLite stores in files of one folder.
pub(crate) struct Files {
    driver: SqliteDriver,
    folder: TempDir,
    made: AtomicU32,
    stores: std::sync::Mutex<Vec<(Arc<dyn LocalStore>, String)>>,
}

impl Files {
    pub(crate) fn new(driver: SqliteDriver) -> Self {
        Self {
            driver,
            folder: TempDir::new().unwrap(),
            made: AtomicU32::new(0),
            stores: Default::default(),
        }
    }

    async fn open(&self, name: String) -> Arc<dyn LocalStore> {
        let path = self.folder.path().join(&name);
        let options = OpenOptions::file(path).sqlite_driver(self.driver);
        let store: Arc<dyn LocalStore> = Arc::new(SeaOrmLocalStore::open(options).await.unwrap());
        self.stores.lock().unwrap().push((store.clone(), name));
        store
    }
}

#[async_trait]
impl LocalFixture for Files {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.open(format!("{number}.db")).await
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store.close().await.unwrap();
        let name = {
            let stores = self.stores.lock().unwrap();
            let found = stores.iter().find(|(known, _)| Arc::ptr_eq(known, &store));
            found.expect("a store of this fixture").1.clone()
        };
        self.open(name).await
    }
}

/// The target of small tests.
pub(crate) fn todos() -> Target {
    Target::new(
        CollectionName::new("todos").unwrap(),
        SyncScope::new("tests").unwrap(),
    )
}

/// The record `id` of [`todos`].
pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new(todos(), RecordId::new(id).unwrap())
}

/// A change set that confirms these records with these JSON texts.
pub(crate) fn confirm<'a>(records: impl IntoIterator<Item = (&'a str, &'a str)>) -> ChangeSet {
    let records = records
        .into_iter()
        .map(|(id, json)| Confirmation {
            id: RecordId::new(id).unwrap(),
            state: RemoteState::Live(Versioned::new(
                Payload::parse(json).unwrap(),
                RemoteVersion::opaque(format!("v-{json}")),
            )),
        })
        .collect();
    ChangeSet {
        confirmed: vec![ConfirmedPage {
            only_new: false,
            target: todos(),
            records,
            schema_version: 1,
            mark: 0,
        }],
        ..ChangeSet::at(Timestamp::from_millis(1_000))
    }
}

/// A change set that writes a record with one operation, as an app's write does.
pub(crate) fn enqueue(id: &str, number: u128, json: &str) -> ChangeSet {
    let payload = Payload::parse(json).unwrap();
    let op = PendingOp {
        op_id: OpId::from_uuid(uuid::Uuid::from_u128(number)),
        seq: 0,
        key: key(id),
        kind: OpKind::Create,
        payload: Some(payload.clone()),
        changed: ChangedFields::All,
        base: None,
        stamp: Stamp::new(1, 0, 1),
        enqueued_at: Timestamp::EPOCH,
        schema_version: 1,
        group: None,
        state: OpState::Queued,
        attempts: 0,
        next_attempt_at: Timestamp::EPOCH,
        last_failure: None,
    };
    let record = RecordWrite {
        key: key(id),
        read_revision: 0,
        view: Some(payload),
        keeps_view: false,
        schema_version: 1,
        base: RemoteState::Missing,
        pending: 1,
        mark: 0,
    };
    ChangeSet {
        records: vec![record],
        ops: vec![OpChange::Append(op)],
        ..ChangeSet::at(Timestamp::EPOCH)
    }
}

/// The ids and texts of all records of [`todos`].
pub(crate) async fn contents(store: &SeaOrmLocalStore) -> Vec<(String, String)> {
    let records = store.query(&todos(), &QuerySpec::new()).await.unwrap();
    records
        .into_iter()
        .map(|record| (record.id.to_string(), record.payload.as_str().to_owned()))
        .collect()
}
