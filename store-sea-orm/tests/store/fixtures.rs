//! Stores for the suites, and small change sets.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::LocalStore;
use sync_testkit::local_suite::LocalFixture;
use tempfile::TempDir;

/// SQLite stores in memory.
pub(crate) struct Memory;

#[async_trait]
impl LocalFixture for Memory {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        Arc::new(SeaOrmLocalStore::open(OpenOptions::memory()).await.unwrap())
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store.close().await.unwrap();
        self.fresh().await
    }
}

/// SQLite stores in files of one folder.
pub(crate) struct Files {
    folder: TempDir,
    made: AtomicU32,
    stores: std::sync::Mutex<Vec<(Arc<dyn LocalStore>, String)>>,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            made: AtomicU32::new(0),
            stores: Default::default(),
        }
    }

    async fn open(&self, name: String) -> Arc<dyn LocalStore> {
        let path = self.folder.path().join(&name);
        let store: Arc<dyn LocalStore> =
            Arc::new(SeaOrmLocalStore::open(OpenOptions::file(path)).await.unwrap());
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
