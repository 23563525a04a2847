//! The engine: one local store, one remote, any number of record types.

mod apply;
mod backoff;
mod batch;
mod builder;
mod conflicts;
mod driver;
mod events;
mod explain;
mod flights;
mod lease;
mod limits;
mod options;
mod outbox;
mod pauses;
mod pull;
mod push;
mod reads;
mod report;
mod run;
mod status;
mod sweep;
mod watching;
mod window;
mod writes;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{broadcast, watch};

use crate::{
    capability::Capabilities,
    effects::Effects,
    error::{ErrorKind, Result, SyncError},
    machine::Surroundings,
    record::{CollectionSchema, SyncRecord},
    remote::RemoteStore,
    resolve::ConflictResolver,
    scope::{CollectionName, SyncScope, Target},
    stamp::HybridClock,
    store::{ConflictQuery, LocalStore},
    time::Timestamp,
};

pub use builder::SyncEngineBuilder;
pub use driver::{BackgroundOptions, BackgroundSync};
pub use events::SyncEvent;
pub use explain::Explanation;
pub use limits::{CacheLimits, Cleared};
pub use options::EngineOptions;
pub use outbox::{ExportedOp, Imported};
pub use reads::RawAnswer;
pub use report::SyncReport;
pub(crate) use report::SyncRequest;
pub use status::{Activity, ScopeStatus, SyncStatus};
pub(crate) use writes::CHANGED_MEANWHILE;
pub use writes::{Write, Written};

use flights::{Flights, Ticket};
use pauses::Pauses;

/// Keeps records of any number of types in one local store, in step with one remote.
///
/// A cheap handle: clones share the engine. Typed access to one record type is
/// [`SimpleSyncOrchestrator`](crate::SimpleSyncOrchestrator), from [`SyncEngine::of`].
///
/// ```
/// use std::sync::Arc;
///
/// use adapter_memory::{MemoryLocalStore, MemoryRemoteStore, Rejection};
/// use sync_core::{
///     CacheLimits, CollectionName, CollectionSchema, ErrorKind, OpQuery, Payload, RecordId, RecordKey, SyncEngine,
///     SyncScope, Target, Write, resolve::LastWriteWins,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sync_core::SyncError> {
/// let remote = MemoryRemoteStore::new();
/// remote.set_validator(|op| {
///     let bad = op.payload.as_ref()?.as_str().contains("poison");
///     bad.then(|| Rejection::new("bad_name", "that name is not nice"))
/// });
/// let engine = SyncEngine::builder(Arc::new(MemoryLocalStore::new()), Arc::new(remote))
///     .register_schema(CollectionSchema::untyped("plants", "id")?, LastWriteWins)
///     .build()
///     .await?;
/// let scope = SyncScope::new("garden")?;
/// let plants = Target::new(CollectionName::new("plants")?, scope.clone());
/// let write = |id: &str, name: &str| -> Result<Write, sync_core::SyncError> {
///     let key = RecordKey::new(plants.clone(), RecordId::new(id)?);
///     Ok(Write::create_raw(key, Payload::parse(format!(r#"{{"id":"{id}","name":"{name}"}}"#))?))
/// };
///
/// // Several writes, one transaction.
/// engine.write_batch(vec![write("1", "rose")?, write("2", "fern")?]).await?;
/// engine.write(write("3", "poison ivy")?).await?;
/// let report = engine.synchronize(&scope).await?;
/// assert_eq!((report.pushed, report.parked), (2, 1));
///
/// // What was refused waits for the user, and holds up nobody else.
/// assert_eq!(engine.status().why_not_moving(), ["1 operation was refused and waits for you"]);
/// let refused = engine.pending_ops(&OpQuery::default()).await?.remove(0);
/// println!("{}", engine.explain(&refused.key).await?);
/// assert_eq!(engine.clear(&scope, false).await.unwrap_err().kind(), ErrorKind::PendingOps);
/// let backup = engine.export_ops(None).await?;
/// engine.discard_op(refused.op_id).await?;
/// assert_eq!(engine.import_ops(&backup).await?.written.len(), 1);
///
/// // Confirmed records may leave to save room; what is pending never does.
/// let limits = CacheLimits::default().with_max_bytes(0);
/// assert_eq!(engine.set_cache_limits(&limits).await?, 2);
/// assert_eq!(engine.count_ops(None).await?.total(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Every method of the engine can be dropped at any await. A dropped write has happened as a whole or not at
/// all, and the store tells which. Synchronizations run in tasks of their own: dropping a call that waits for
/// one does not stop it, and no lock is held by the dropped future.
#[derive(Clone)]
pub struct SyncEngine {
    pub(crate) inner: Arc<Inner>,
}

/// A record type as the engine knows it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) schema: CollectionSchema,
    pub(crate) resolver: Arc<dyn ConflictResolver>,
    /// The place in the order of synchronization: parents before children.
    pub(crate) rank: usize,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn LocalStore>,
    pub(crate) remote: Arc<dyn RemoteStore>,
    pub(crate) capabilities: Capabilities,
    pub(crate) collections: BTreeMap<CollectionName, Registered>,
    pub(crate) options: EngineOptions,
    pub(crate) effects: Effects,
    pub(crate) clock: HybridClock,
    pub(crate) flights: Flights,
    pub(crate) pauses: Pauses,
    /// Server time minus local time, in microseconds.
    pub(crate) server_offset: AtomicI64,
    pub(crate) status: watch::Sender<Arc<SyncStatus>>,
    pub(crate) events: broadcast::Sender<SyncEvent>,
    /// Scopes with something new to send. Wakes background drivers of this engine; those of others hear of it
    /// from the store.
    pub(crate) nudges: broadcast::Sender<SyncScope>,
    pub(crate) stopped: watch::Sender<bool>,
}

impl fmt::Debug for SyncEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncEngine")
            .field("store", &self.inner.store.info().name)
            .field("remote", &self.inner.remote.name())
            .field("collections", &self.inner.collections.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl SyncEngine {
    /// Starts to build an engine over a store and a remote.
    pub fn builder(store: Arc<dyn LocalStore>, remote: Arc<dyn RemoteStore>) -> SyncEngineBuilder {
        SyncEngineBuilder::new(store, remote)
    }

    /// Typed access to the records of one type.
    ///
    /// # Errors
    /// `Configuration` if the type was not registered when the engine was built.
    pub fn of<T: SyncRecord>(&self) -> Result<crate::SimpleSyncOrchestrator<T>> {
        let name = CollectionName::new(T::COLLECTION)?;
        self.inner.registered(&name)?;
        Ok(crate::SimpleSyncOrchestrator::new(self.clone(), name))
    }

    /// What the remote can do and guarantee.
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Pushes pending operations, pulls changes, and repairs what the remote's kind of cursor needs repaired;
    /// every registered collection of the scope, parents before children.
    ///
    /// If a synchronization of the scope is under way, this one begins after it. Several requests that wait
    /// share one.
    ///
    /// # Errors
    /// What stopped it: a failing remote or store, a missing sign-in. Refused operations and conflicts are not
    /// errors; they are counted in the report.
    pub async fn synchronize(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.request(scope, SyncRequest::BOTH)?.wait().await
    }

    /// Pushes pending operations, without pulling.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn push_only(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.request(scope, SyncRequest::PUSH)?.wait().await
    }

    /// Pulls changes, without pushing.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn pull_only(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.request(scope, SyncRequest::PULL)?.wait().await
    }

    /// Pushes, then pulls everything again and removes records that the remote does not have any more. Pending
    /// operations are kept.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn full_resync(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.request(scope, SyncRequest::FULL)?.wait().await
    }

    /// Compares all ids with the remote, fetches what differs, and removes what the remote confirms to be gone.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`]; `Unsupported` if the remote cannot list ids.
    pub async fn sweep(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        if !self.inner.capabilities.id_list {
            return Err(SyncError::unsupported(
                "capabilities.id_list",
                "this remote cannot list its ids",
            ));
        }
        self.request(
            scope,
            SyncRequest {
                sweep: true,
                ..SyncRequest::BOTH
            },
        )?
        .wait()
        .await
    }

    pub(crate) fn request(&self, scope: &SyncScope, request: SyncRequest) -> Result<Ticket> {
        self.inner.check_running()?;
        Ok(Flights::request(&self.inner, scope, request))
    }

    /// The engine's state now.
    pub fn status(&self) -> Arc<SyncStatus> {
        self.inner.status.borrow().clone()
    }

    /// The engine's state now, and again whenever it changes.
    pub fn watch_status(&self) -> BoxStream<'static, Arc<SyncStatus>> {
        let mut receiver = self.inner.status.subscribe();
        receiver.mark_changed();
        stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let status = receiver.borrow_and_update().clone();
            Some((status, receiver))
        })
        .boxed()
    }

    /// Counts operations and conflicts anew for [`SyncEngine::status`].
    ///
    /// # Errors
    /// The store's.
    pub async fn refresh_status(&self) -> Result<Arc<SyncStatus>> {
        self.inner.refresh_counts().await?;
        Ok(self.status())
    }

    /// What happens from now on.
    pub fn events(&self) -> BoxStream<'static, SyncEvent> {
        stream::unfold(self.inner.events.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Some((SyncEvent::Missed(missed), receiver))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    /// Stops the engine: background tasks end, a synchronization under way ends at its next step, later calls
    /// fail with `Stopped`. The store stays open; the caller owns it. What was committed stays committed.
    pub fn stop(&self) {
        self.inner.stopped.send_replace(true);
        self.inner.update_status(|status| status.stopped = true);
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.effects.clock.now()
    }

    /// What is due by this time may be sent now: also what was never tried, however wrong the clock is.
    pub(crate) fn due_by(&self) -> Timestamp {
        self.now().max(Timestamp::EPOCH)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_stopped() {
            Err(SyncError::new(ErrorKind::Stopped, "the engine was stopped"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn registered(&self, collection: &CollectionName) -> Result<&Registered> {
        self.collections.get(collection).ok_or_else(|| {
            let message =
                format!("the record type {collection:?} was not registered; add it to the engine's builder");
            SyncError::new(ErrorKind::Configuration, message).with_field("collection")
        })
    }

    /// The targets of a scope, parents before children.
    pub(crate) fn targets(&self, scope: &SyncScope) -> Vec<Target> {
        let mut ranked: Vec<_> = self
            .collections
            .iter()
            .map(|(name, known)| (known.rank, name))
            .collect();
        ranked.sort();
        ranked
            .into_iter()
            .map(|(_, name)| Target::new(name.clone(), scope.clone()))
            .collect()
    }

    pub(crate) fn surroundings<'a>(&'a self, known: &'a Registered) -> Surroundings<'a> {
        Surroundings {
            effects: &self.effects,
            clock: &self.clock,
            resolver: &*known.resolver,
            now: self.now(),
            server_offset: self.server_offset.load(Ordering::Relaxed),
            remote_keeps_stamps: self.capabilities.stamps,
            remote_remembers_ops: self.capabilities.idempotent_push,
        }
    }

    /// Learns how far the server's clock is from ours.
    pub(crate) fn learn_server_time(&self, server: Option<Timestamp>) {
        if let Some(server) = server {
            let offset = server.as_micros().saturating_sub(self.now().as_micros());
            self.server_offset.store(offset, Ordering::Relaxed);
        }
    }

    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let options = &self.options;
        backoff::pause_after(
            failures,
            options.retry_base,
            options.retry_cap,
            &*self.effects.random,
        )
    }

    pub(crate) fn emit(&self, event: SyncEvent) {
        // No receiver is fine: events are for those who look.
        let _ = self.events.send(event);
    }

    pub(crate) fn update_status(&self, change: impl FnOnce(&mut SyncStatus)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }

    pub(crate) fn set_activity(&self, scope: &SyncScope, activity: Activity) {
        self.update_status(|status| {
            status.scopes.entry(scope.key().clone()).or_default().activity = activity;
        });
    }

    pub(crate) async fn refresh_counts(&self) -> Result<()> {
        let operations = self.store.count_ops(None).await?;
        let open = ConflictQuery {
            open: Some(true),
            ..ConflictQuery::default()
        };
        let open_conflicts = self.store.load_conflicts(&open).await?.len() as u64;
        let online = self.effects.connectivity.is_online();
        self.update_status(|status| {
            status.operations = operations;
            status.open_conflicts = open_conflicts;
            status.online = online;
        });
        Ok(())
    }
}
