//! Devices and a remote to play with.

use std::{collections::BTreeMap, sync::Arc};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use serde::{Deserialize, Serialize};
use sync_core::{
    CachePolicy, CollectionName, EngineOptions, Payload, RecordId, RecordKey, SimpleSyncOrchestrator,
    SyncEngine, SyncRecord, SyncScope, Target,
    resolve::{ConflictResolver, LastWriteWins},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
#[sync(collection = "todos")]
pub(crate) struct Todo {
    #[sync(id)]
    pub(crate) id: String,
    pub(crate) title: String,
    #[sync(index)]
    pub(crate) done: bool,
}

pub(crate) fn todo(id: &str, title: &str) -> Todo {
    Todo {
        id: id.into(),
        title: title.into(),
        done: false,
    }
}

pub(crate) fn scope() -> SyncScope {
    SyncScope::new("inbox").unwrap().with("user", "u1").unwrap()
}

pub(crate) fn target() -> Target {
    Target::new(CollectionName::new("todos").unwrap(), scope())
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey::new(target(), RecordId::new(id).unwrap())
}

/// One device: a store of its own, and an engine over it.
pub(crate) struct Device {
    pub(crate) store: MemoryLocalStore,
    pub(crate) todos: SimpleSyncOrchestrator<Todo>,
}

impl Device {
    pub(crate) async fn new(remote: &MemoryRemoteStore) -> Self {
        Self::with(remote, LastWriteWins, EngineOptions::default()).await
    }

    pub(crate) async fn with(
        remote: &MemoryRemoteStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Self {
        Self::open(MemoryLocalStore::new(), remote, resolver, options).await
    }

    /// A device over a store that is there already, as after a restart.
    pub(crate) async fn open(
        store: MemoryLocalStore,
        remote: &MemoryRemoteStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Self {
        let engine = SyncEngine::builder(Arc::new(store.clone()), Arc::new(remote.clone()))
            .register_with::<Todo>(resolver)
            .options(options)
            .build()
            .await
            .unwrap();
        Self {
            store,
            todos: engine.of().unwrap(),
        }
    }

    pub(crate) fn engine(&self) -> &SyncEngine {
        self.todos.engine()
    }

    pub(crate) async fn create(&self, id: &str, title: &str) {
        self.todos
            .enqueue_create(&scope(), &todo(id, title))
            .await
            .unwrap();
    }

    pub(crate) async fn rename(&self, id: &str, title: &str) {
        self.todos
            .enqueue_update(&scope(), &todo(id, title))
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, id: &str) {
        self.todos.enqueue_delete(&scope(), &id.to_owned()).await.unwrap();
    }

    pub(crate) async fn sync(&self) -> Arc<sync_core::SyncReport> {
        self.todos.synchronize(&scope()).await.unwrap()
    }

    /// Titles by id, as the app sees them.
    pub(crate) async fn titles(&self) -> BTreeMap<String, String> {
        let answer = self.todos.read(&scope(), CachePolicy::OfflineOnly).await.unwrap();
        answer
            .items
            .into_iter()
            .map(|todo| (todo.id, todo.title))
            .collect()
    }

    pub(crate) async fn pending(&self) -> u64 {
        self.engine().count_ops(None).await.unwrap().total()
    }
}

/// Titles by id at the remote.
pub(crate) fn remote_titles(remote: &MemoryRemoteStore) -> BTreeMap<String, String> {
    let title = |payload: Payload| payload.decode::<Todo>().unwrap().title;
    remote
        .dump(&target())
        .into_iter()
        .map(|(id, payload)| (id.to_string(), title(payload)))
        .collect()
}

/// The titles that are expected.
pub(crate) fn titles<const N: usize>(expected: [(&str, &str); N]) -> BTreeMap<String, String> {
    expected
        .into_iter()
        .map(|(id, title)| (id.to_owned(), title.to_owned()))
        .collect()
}
