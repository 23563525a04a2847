//! One client: its store, its engine, and what the app around them does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use sync_core::{
    AlwaysOnline, CollectionName, CollectionSchema, Effects, EngineOptions, ErrorKind, LocalStore,
    RandomSource, RecordId, RecordKey, RemoteStore, Result, Spawner, SyncEngine, SyncError, SyncScope,
    Target,
};
use tokio::task::JoinHandle;

use super::{
    ground::ScriptedGround,
    link::Link,
    resolvers::ScopedResolver,
    script::Script,
    server::Server,
    store::ScriptedStore,
    stores::StoreOpener,
    subject::Subject,
    time::{ClientClock, TraceTimer, WorldTime},
    vocabulary::{At, Config, DEFAULT_SCOPE, Step, Strategy},
};
use crate::{
    effects::SeededRandom,
    naive::{
        WrongStore,
        client::{Limits, NaiveClient},
    },
};

/// The one collection of every trace.
const COLLECTION: &str = "items";

/// The most operations that a naive client keeps which drops the oldest.
const MOST_QUEUED: usize = 100;

/// A trace has fewer steps.
const MOST_STEPS: u64 = 1 << 24;

/// The pause of the world between two steps, longer than every pause of an engine.
pub(super) const BETWEEN_STEPS: Duration = Duration::from_millis(200);

/// A client that outlives its engines.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) script: Script,
    pub(super) clock: ClientClock,
    world: WorldTime,
    link: Link,
    /// What stands in the engine's place, if it is not the engine that is tried.
    naive: Option<NaiveClient>,
    subject: Subject,
    opener: StoreOpener,
    config: Config,
    /// Greater for clients that push earlier: on a tie, what was stored first stays.
    node: u64,
    incarnations: AtomicU64,
    running: Mutex<Option<Running>>,
    scopes: Mutex<BTreeMap<SyncScope, Keeping>>,
    /// Refused operations that the app gave up.
    given_up: Mutex<Vec<RecordKey>>,
}

/// What a client is made in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) server: &'a Server,
    pub(super) time: &'a WorldTime,
    pub(super) config: &'a Config,
    pub(super) subject: Subject,
}

/// Whether a client keeps a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// It pushes and pulls it.
    Yes,
    /// It pushes what is pending, and forgets it then.
    Leaving,
}

/// An engine over the open store, and its tasks.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) engine: SyncEngine,
    pub(super) store: Arc<dyn LocalStore>,
    tasks: Tasks,
}

/// The tasks of one engine.
#[derive(Clone, Debug)]
struct Tasks {
    runtime: tokio::runtime::Handle,
    handles: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Tasks {
    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Handle::current(),
            handles: Arc::default(),
        }
    }

    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<JoinHandle<()>> {
        self.handles().pop()
    }
}

impl Running {
    /// Waits until the engine's tasks have ended.
    pub(super) async fn ended(&self) {
        while let Some(task) = self.tasks.next() {
            // A task that was aborted has ended as well.
            let _ = task.await;
        }
    }
}

impl Spawner for Tasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let handle = self.runtime.spawn(task);
        self.handles().push(handle);
    }
}

/// The first number is the node of the engine's clock.
#[derive(Debug)]
struct NodeFirst {
    node: Mutex<Option<u64>>,
    others: SeededRandom,
}

impl RandomSource for NodeFirst {
    fn next_u64(&self) -> u64 {
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        node.unwrap_or_else(|| self.others.next_u64())
    }
}

impl Device {
    /// A client with an empty store. `rank` tells the order in which clients push first.
    pub(super) async fn new(name: &str, rank: u64, around: Around<'_>, opener: StoreOpener) -> Result<Self> {
        let Around {
            server,
            time: world,
            config,
            subject,
        } = around;
        let script = Script::default();
        let scope = SyncScope::new(DEFAULT_SCOPE)?;
        let link = Link {
            server: server.clone(),
            client: name.to_owned(),
            script: script.clone(),
            max_rows: config.server_max_rows,
        };
        let clock = ClientClock::new(world);
        let node = (u64::MAX >> 1) - rank;
        let mistake = match subject {
            Subject::Naive(mistake) => Some(Some(mistake)),
            Subject::Measure => Some(None),
            _ => None,
        };
        let limits = Limits {
            page: config.page_size.unwrap_or(500),
            batch: config.push_batch.unwrap_or(100) as usize,
            queue: MOST_QUEUED,
        };
        let collections = vec![CollectionName::new(COLLECTION)?];
        let naive = mistake.map(|mistake| {
            let ground = ScriptedGround {
                script: script.clone(),
                clock: clock.clone(),
            };
            let remote = Arc::new(link.clone());
            NaiveClient::new(
                mistake,
                remote,
                Arc::new(ground),
                collections,
                node,
                limits,
                Arc::default(),
            )
            .merging_fields(matches!(config.resolver, Strategy::FieldMerge { .. }))
        });
        let device = Self {
            name: name.to_owned(),
            link,
            naive,
            subject,
            script,
            clock,
            world: world.clone(),
            opener,
            config: config.clone(),
            node,
            incarnations: AtomicU64::new(0),
            running: Mutex::new(None),
            scopes: Mutex::new([(scope, Keeping::Yes)].into()),
            given_up: Mutex::default(),
        };
        device.open().await?;
        Ok(device)
    }

    /// Opens the store and starts an engine on it.
    pub(super) async fn open(&self) -> Result<()> {
        if let Some(naive) = &self.naive {
            naive.restart();
            return Ok(());
        }
        let mut inner = self.opener.open().await?;
        if let Subject::EngineOnStore(mistake) = self.subject {
            inner = Arc::new(WrongStore::new(inner, mistake));
        }
        let running = self.start(inner).await?;
        *self.slot() = Some(running);
        Ok(())
    }

    /// Another engine over the same open store, as of another process.
    pub(super) async fn second_engine(&self) -> Result<Running> {
        let store = self.running()?.store;
        self.start(store).await
    }

    async fn start(&self, inner: Arc<dyn LocalStore>) -> Result<Running> {
        let incarnation = self.incarnations.fetch_add(1, Ordering::Relaxed);
        let tasks = Tasks::new();
        let seed = self.node.wrapping_mul(31).wrapping_add(incarnation);
        let effects = Effects {
            clock: Arc::new(self.clock.clone()),
            timer: Arc::new(TraceTimer(self.world.clone())),
            random: Arc::new(NodeFirst {
                node: Mutex::new(Some(self.node)),
                others: SeededRandom::new(seed),
            }),
            spawner: Arc::new(tasks.clone()),
            connectivity: Arc::new(AlwaysOnline),
        };
        let store = ScriptedStore {
            inner: inner.clone(),
            script: self.script.clone(),
        };
        let remote: Arc<dyn RemoteStore> = Arc::new(self.link.clone());
        let engine = SyncEngine::builder(Arc::new(store), remote)
            .register_schema(
                CollectionSchema::untyped(COLLECTION, "id")?,
                ScopedResolver::new(&self.config),
            )
            .options(self.options())
            .effects(effects)
            .build()
            .await?;
        Ok(Running {
            engine,
            store: inner,
            tasks,
        })
    }

    fn options(&self) -> EngineOptions {
        // Pauses are shorter than the pause between two steps, and a lease that a crash left runs out soon.
        let mut options = EngineOptions::default()
            .with_retry(Duration::from_millis(50), Duration::from_millis(100))
            .with_commit_rows(1);
        options.call_deadline = Duration::from_secs(2);
        options.lease_time = Duration::from_secs(5);
        options.max_clock_ahead = self
            .world
            .units(u64::try_from(options.max_clock_ahead.as_millis()).unwrap_or(0));
        if let Some(changes) = self.config.page_size {
            options = options.with_page_size(changes);
        }
        if let Some(operations) = self.config.push_batch {
            options = options.with_push_batch(operations);
        }
        options
    }

    fn slot(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> Result<Running> {
        self.slot()
            .clone()
            .ok_or_else(|| SyncError::new(ErrorKind::Stopped, "the process has ended"))
    }

    /// What stands in the engine's place.
    pub(super) fn naive(&self) -> Option<&NaiveClient> {
        self.naive.as_ref()
    }

    pub(super) fn engine(&self) -> Result<SyncEngine> {
        self.running().map(|running| running.engine)
    }

    /// The process ends at once: no task gets any further.
    pub(super) fn kill(&self) {
        if let Some(running) = self.slot().take() {
            running.engine.stop();
            while let Some(task) = running.tasks.next() {
                task.abort();
            }
        }
    }

    /// The app ends in good order.
    pub(super) async fn close(&self) -> Result<()> {
        let running = self.slot().take();
        if let Some(running) = running {
            running.engine.stop();
            while let Some(task) = running.tasks.next() {
                task.abort();
            }
            running.store.close().await?;
        }
        Ok(())
    }

    /// Waits until the engine's tasks have ended.
    pub(super) async fn drain(&self) {
        if let Ok(running) = self.running() {
            running.ended().await;
        }
    }

    /// Begins a write at this moment: the clock shows it, and a stamp is given to the write.
    pub(super) fn begin_write(&self, step: &Step) {
        let shown = self.clock.hold(step.at);
        let exact = matches!(step.at, At::Stamp(_)) && !self.config.hybrid_clock;
        // Of equal stamps, the one that is sent first is the greater.
        let sent_at = step.sent_at.unwrap_or(MOST_STEPS).min(MOST_STEPS);
        let node = (MOST_STEPS - sent_at) << 32 | self.node & u64::from(u32::MAX);
        self.script.hold_stamp(exact.then_some((shown, node)));
    }

    /// Ends a write, however it ended.
    pub(super) fn end_write(&self) {
        self.clock.release();
        self.script.hold_stamp(None);
    }

    // --- scopes and keys ---

    fn scope_map(&self) -> MutexGuard<'_, BTreeMap<SyncScope, Keeping>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scopes the client keeps.
    pub(super) fn scopes(&self) -> BTreeMap<SyncScope, Keeping> {
        self.scope_map().clone()
    }

    pub(super) fn keep_scope(&self, scope: &SyncScope) {
        self.scope_map().insert(scope.clone(), Keeping::Yes);
    }

    /// Notes that a scope is used, unless it is being left.
    pub(super) fn touch_scope(&self, scope: &SyncScope) {
        self.scope_map().entry(scope.clone()).or_insert(Keeping::Yes);
    }

    pub(super) fn leave_scope(&self, scope: &SyncScope) {
        self.scope_map().insert(scope.clone(), Keeping::Leaving);
    }

    pub(super) fn forget_scope(&self, scope: &SyncScope) {
        self.scope_map().remove(scope);
    }

    /// The node of the client's clock.
    pub(super) fn node(&self) -> u64 {
        self.node
    }

    // --- operations that the app gave up ---

    pub(super) fn note_given_up(&self, key: &RecordKey, operations: u64) {
        self.given_up_keys().extend((0..operations).map(|_| key.clone()));
    }

    fn given_up_keys(&self) -> MutexGuard<'_, Vec<RecordKey>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user has seen them, and does not want them any more.
    pub(super) fn forget_given_up(&self, id: Option<&str>) {
        self.given_up_keys()
            .retain(|key| id.is_some_and(|id| key.id.as_str() != id));
    }

    pub(super) fn given_up(&self) -> u64 {
        self.given_up_keys().len() as u64
    }
}

/// The records of a scope.
pub(super) fn target(scope: &SyncScope) -> Result<Target> {
    Ok(Target::new(CollectionName::new(COLLECTION)?, scope.clone()))
}

/// One record.
pub(super) fn key(scope: &SyncScope, id: &str) -> Result<RecordKey> {
    Ok(RecordKey::new(target(scope)?, RecordId::new(id)?))
}
