//! A remote, virtual time, and devices whose stores and connections can be disturbed.

use std::{sync::Arc, time::Duration};

use adapter_memory::{MemoryLocalStore, MemoryRemoteBuilder, MemoryRemoteStore, faults::Faults};
use sync_core::{
    Clock, Effects, EngineOptions, ErrorKind, LocalStore, OpQuery, Payload, PendingOp, RecordId, RemoteStore,
    SyncEngine,
    resolve::{Conflict, ConflictResolver, LastWriteWins, Resolution},
};
use sync_testkit::effects::TestEffects;

use super::{
    hooks::{HookedRemote, HookedStore, Hooks},
    steps::Steps,
    world::{Device, Todo, todo},
};

/// One backend and one time for several devices.
pub(crate) struct Lab {
    pub(crate) time: TestEffects,
    pub(crate) remote: MemoryRemoteStore,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::over(|builder| builder)
    }

    /// A lab whose backend is not the strongest.
    pub(crate) fn over(adjust: impl FnOnce(MemoryRemoteBuilder) -> MemoryRemoteBuilder) -> Self {
        Self::with(TestEffects::tokio(7), adjust)
    }

    /// A lab whose tasks are moved step by step.
    pub(crate) fn stepping(steps: &Steps) -> Self {
        Self::stepping_over(steps, |builder| builder)
    }

    /// As [`Lab::stepping`], with a backend that is not the strongest.
    pub(crate) fn stepping_over(
        steps: &Steps,
        adjust: impl FnOnce(MemoryRemoteBuilder) -> MemoryRemoteBuilder,
    ) -> Self {
        Self::with(TestEffects::with_spawner(7, Arc::new(steps.clone())), adjust)
    }

    fn with(time: TestEffects, adjust: impl FnOnce(MemoryRemoteBuilder) -> MemoryRemoteBuilder) -> Self {
        let builder = MemoryRemoteStore::builder().clock(Arc::new(time.clock.clone()));
        Self {
            remote: adjust(builder).build(),
            time,
        }
    }

    /// A device with a connection of its own.
    pub(crate) async fn device(&self) -> Probe {
        self.device_with(LastWriteWins, EngineOptions::default()).await
    }

    pub(crate) async fn device_with(&self, resolver: impl ConflictResolver, options: EngineOptions) -> Probe {
        self.open(MemoryLocalStore::new(), resolver, options).await
    }

    /// A device over a store that is there already, as after a restart.
    pub(crate) async fn open(
        &self,
        store: MemoryLocalStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Probe {
        self.open_with(self.time.effects(), store, resolver, options)
            .await
    }

    /// A device whose tasks are moved apart from those of the others.
    pub(crate) async fn open_on(&self, steps: &Steps, store: MemoryLocalStore) -> Probe {
        let effects = Effects {
            spawner: Arc::new(steps.clone()),
            ..self.time.effects()
        };
        self.open_with(effects, store, LastWriteWins, EngineOptions::default())
            .await
    }

    async fn open_with(
        &self,
        effects: Effects,
        store: MemoryLocalStore,
        resolver: impl ConflictResolver,
        options: EngineOptions,
    ) -> Probe {
        let hooks = Hooks::default();
        let client = self.remote.another_client();
        let local = HookedStore {
            store: store.clone(),
            hooks: hooks.clone(),
        };
        let remote = HookedRemote {
            remote: client.clone(),
            hooks: hooks.clone(),
        };
        let engine = engine(Arc::new(local), Arc::new(remote), effects, resolver, options).await;
        Probe {
            device: Device {
                store,
                todos: engine.of().unwrap(),
            },
            client,
            hooks,
        }
    }

    /// Lets time pass, so that pauses after failures end.
    pub(crate) fn pass(&self, time: Duration) {
        self.time.clock.advance(time);
    }

    /// Lets enough time pass for every pause to end.
    pub(crate) fn pass_pauses(&self) {
        self.pass(Duration::from_secs(900));
    }

    /// Runs the future to its end, with a little time between its steps.
    pub(crate) fn run_as_time_passes<F: Future>(&self, steps: &Steps, future: F) -> F::Output {
        let mut future = Box::pin(future);
        for _ in 0..1_000 {
            if let Some(output) = steps.run_for(20, &mut future) {
                return output;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("it waits for ever");
    }

    pub(crate) fn now(&self) -> sync_core::Timestamp {
        self.time.clock.now()
    }
}

pub(crate) async fn engine(
    store: Arc<dyn LocalStore>,
    remote: Arc<dyn RemoteStore>,
    effects: Effects,
    resolver: impl ConflictResolver,
    options: EngineOptions,
) -> SyncEngine {
    SyncEngine::builder(store, remote)
        .register_with::<Todo>(resolver)
        .options(options)
        .effects(effects)
        .build()
        .await
        .unwrap()
}

/// A device with the means to disturb it.
pub(crate) struct Probe {
    pub(crate) device: Device,
    pub(crate) client: MemoryRemoteStore,
    pub(crate) hooks: Hooks,
}

impl std::ops::Deref for Probe {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

impl Probe {
    pub(crate) fn faults(&self) -> Faults {
        self.client.faults()
    }

    /// Every push with an operation on this record fails as a whole.
    pub(crate) fn fail_pushes_with(&self, id: &str, kind: ErrorKind) {
        *self.hooks.poison.lock().unwrap() = Some((RecordId::new(id).unwrap(), kind));
    }

    pub(crate) async fn ops(&self) -> Vec<PendingOp> {
        self.engine().pending_ops(&OpQuery::default()).await.unwrap()
    }

    /// Pulls by the cursor alone.
    pub(crate) async fn pull_without_sweep(&self) {
        self.hooks.forbid_sweeps(true);
        let _ = self.todos.pull_only(&super::world::scope()).await;
        self.hooks.forbid_sweeps(false);
    }

    /// The error that a sync ends with.
    pub(crate) async fn failing_sync(&self) -> sync_core::SyncError {
        self.todos.synchronize(&super::world::scope()).await.unwrap_err()
    }
}

pub(crate) fn payload(id: &str, title: &str) -> Payload {
    Payload::encode(&todo(id, title)).unwrap()
}

/// For traces in which nothing is concurrent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeverAsked;

impl ConflictResolver for NeverAsked {
    fn name(&self) -> &str {
        "never_asked"
    }

    fn resolve(&self, conflict: &Conflict) -> sync_core::Result<Resolution> {
        panic!("asked about {conflict:?}, where nothing is concurrent");
    }
}
