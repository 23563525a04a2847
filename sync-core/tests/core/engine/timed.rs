//! A device in virtual time, behind a link that can be cut.

use std::{ops::Deref, sync::Arc};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use sync_core::{
    EngineOptions, ReadAnswer, ReadOptions, SyncEngine,
    resolve::{ConflictResolver, LastWriteWins},
};

use super::{
    link::Link,
    time::TimedEffects,
    world::{Device, Todo, scope},
};

/// A device, its link, and its time.
pub(crate) struct TimedDevice {
    pub(crate) device: Device,
    pub(crate) link: Link,
    pub(crate) time: TimedEffects,
}

impl Deref for TimedDevice {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

impl TimedDevice {
    pub(crate) async fn new(remote: &MemoryRemoteStore) -> Self {
        Self::with(remote, LastWriteWins, EngineOptions::default()).await
    }

    pub(crate) async fn with(
        remote: &MemoryRemoteStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Self {
        Self::over(MemoryLocalStore::new(), remote, resolver, options).await
    }

    /// A device over a store that is there already.
    pub(crate) async fn over(
        store: MemoryLocalStore,
        remote: &MemoryRemoteStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Self {
        let link = Link::to(remote);
        let time = TimedEffects::new(7);
        let engine = SyncEngine::builder(Arc::new(store.clone()), Arc::new(link.clone()))
            .register_with::<Todo>(resolver)
            .options(options)
            .effects(time.effects.clone())
            .build()
            .await
            .unwrap();
        let todos = engine.of().unwrap();
        Self {
            device: Device { store, todos },
            link,
            time,
        }
    }
}

impl TimedDevice {
    /// A read of everything.
    pub(crate) async fn read(
        &self,
        options: impl Into<ReadOptions>,
    ) -> sync_core::Result<ReadAnswer<Todo, String>> {
        self.todos.read(&scope(), options).await
    }
}

/// A remote on the device's time.
pub(crate) fn timed_remote() -> MemoryRemoteStore {
    MemoryRemoteStore::builder()
        .clock(Arc::new(super::time::TokioClock::new()))
        .build()
}
