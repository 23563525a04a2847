//! The memory implementations, and wrong doubles around them, as fixtures.

use std::sync::{Arc, Mutex};

use adapter_memory::{Backup, MemoryLocalStore, MemoryRemoteBuilder, MemoryRemoteStore};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sync_core::{DeleteVisibility, LocalStore, Payload, RecordKey, RemoteStore, Target};
use sync_testkit::{
    local_suite::LocalFixture,
    naive::{RemoteMistake, StoreMistake, WrongRemote, WrongStore},
    remote_suite::RemoteFixture,
};

/// Memory stores, right or with a mistake.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) mistake: Option<StoreMistake>,
}

impl Memory {
    fn spoil(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        match self.mistake {
            Some(mistake) => Arc::new(WrongStore::new(store, mistake)),
            None => store,
        }
    }
}

#[async_trait]
impl LocalFixture for Memory {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        self.spoil(Arc::new(MemoryLocalStore::new()))
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store
    }
}

/// Memory remotes of one profile, right or with a mistake, with every hook.
pub(crate) struct MemoryRemotes {
    profile: fn() -> MemoryRemoteBuilder,
    mistake: Option<RemoteMistake>,
    backend: Mutex<Option<(MemoryRemoteStore, Backup)>>,
}

impl MemoryRemotes {
    pub(crate) fn new(profile: fn() -> MemoryRemoteBuilder) -> Self {
        Self {
            profile,
            mistake: None,
            backend: Mutex::default(),
        }
    }

    pub(crate) fn with_mistake(mistake: RemoteMistake) -> Self {
        Self {
            mistake: Some(mistake),
            ..Self::new(MemoryRemoteStore::builder)
        }
    }

    /// The backend that `fresh` made last, which is the one of the case under way.
    fn backend(&self) -> MemoryRemoteStore {
        self.backend
            .lock()
            .expect("no holder of the lock panics")
            .as_ref()
            .expect("fresh comes first")
            .0
            .clone()
    }
}

#[async_trait]
impl RemoteFixture for MemoryRemotes {
    async fn fresh(&self) -> Arc<dyn RemoteStore> {
        let backend = (self.profile)().build();
        let empty = backend.backup();
        *self.backend.lock().expect("no holder of the lock panics") = Some((backend.clone(), empty));
        match self.mistake {
            Some(mistake) => Arc::new(WrongRemote::new(Arc::new(backend), mistake)),
            None => Arc::new(backend),
        }
    }

    async fn delete_without_trace(&self, remote: &dyn RemoteStore, key: &RecordKey) -> bool {
        // A backend that announces tombstones makes them itself, whoever deletes.
        if remote.capabilities().deletes == DeleteVisibility::Tombstones {
            self.backend().delete(key);
        } else {
            self.backend().vanish(key);
        }
        true
    }

    async fn restore_backup(&self, _: &dyn RemoteStore) -> bool {
        let backend = self.backend.lock().expect("no holder of the lock panics");
        let (store, empty) = backend.as_ref().expect("fresh comes first");
        store.restore(empty);
        true
    }

    async fn expire_sign_in(&self, _: &dyn RemoteStore) -> bool {
        self.backend().expire_token();
        true
    }

    async fn begin_late_write(
        &self,
        _: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        let late = self.backend().begin_late_commit(key, Some(record));
        Some(Box::pin(async move {
            late.commit();
        }))
    }

    async fn plant_malformed_row(&self, _: &dyn RemoteStore, target: &Target) -> bool {
        self.backend().put_malformed(target, None, "{\"title\":");
        true
    }
}
