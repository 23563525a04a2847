//! A local store in memory.

mod commit;
mod leases;
mod queries;
mod queue;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, ErrorKind, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncError,
    Target, TargetState, Timestamp,
    query::{Filter, QuerySpec},
};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use uuid::Uuid;

use state::State;

const NAME: &str = "memory";

/// How many notices a receiver may lag behind before it gets [`StoreChange::Anything`] in their place.
const NOTICE_CAPACITY: usize = 256;

/// A [`LocalStore`] in memory: the reference implementation of the contract.
///
/// Guarantees:
/// - Clones are one store, and cheap to make. [`MemoryLocalStore::reopen`] gives a handle that shares the data
///   and nothing else, as another process, or the same one after a crash, would have.
/// - Every call takes effect at once when it is first polled, and never waits. It needs no async runtime.
/// - Equal histories give equal answers: nothing depends on hashing, threads or the time of day.
/// - A change set that contradicts itself (a wrong `pending`, an operation appended twice, a confirmation that a
///   record is missing) is refused as `Internal`, so that tests find the defect where it is.
/// - Replacing or removing an operation that is not in the queue does nothing.
///
/// The data is gone when the last handle is: use it for tests, and where the remote may be asked again at each
/// start.
///
/// ```
/// use sync_core::{ChangeSet, LocalStore, Timestamp};
/// # futures::executor::block_on(async {
/// let store = adapter_memory::MemoryLocalStore::new();
/// let mut changes = ChangeSet::at(Timestamp::EPOCH);
/// changes.settings.push(("theme".into(), Some("dark".into())));
/// store.commit(changes).await?;
/// store.close().await?;
/// assert_eq!(store.reopen().load_setting("theme").await?.as_deref(), Some("dark"));
/// # Ok::<(), sync_core::SyncError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryLocalStore {
    shared: Arc<Shared>,
    /// Whether this handle was closed. Each [`MemoryLocalStore::reopen`] has its own.
    closed: Arc<watch::Sender<bool>>,
}

struct Shared {
    state: Mutex<State>,
    notices: broadcast::Sender<StoreChange>,
}

impl MemoryLocalStore {
    /// An empty store.
    pub fn new() -> Self {
        let shared = Shared {
            state: Mutex::default(),
            notices: broadcast::Sender::new(NOTICE_CAPACITY),
        };
        Self {
            shared: Arc::new(shared),
            closed: Arc::new(watch::Sender::new(false)),
        }
    }

    /// An open handle on the same data, whatever became of this one: what a restart or another process finds.
    ///
    /// To play a crash, drop every future and task that uses the store, and go on with a reopened handle.
    /// Leases are kept, as they are in a file: a lease of the one who crashed ends by its time.
    pub fn reopen(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            closed: Arc::new(watch::Sender::new(false)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless this handle was closed.
    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        if *self.closed.borrow() {
            let error = SyncError::new(ErrorKind::Stopped, "the store was closed");
            return Err(error.with_operation(operation).with_adapter(NAME));
        }
        Ok(self.state())
    }
}

impl Default for MemoryLocalStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryLocalStore")
            .field(
                "records",
                &state.rows.values().map(|rows| rows.len()).sum::<usize>(),
            )
            .field("operations", &state.queue.count(None).total())
            .field("closed", &*self.closed.borrow())
            .finish()
    }
}

#[async_trait]
impl LocalStore for MemoryLocalStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            name: NAME.to_owned(),
            durable: false,
        }
    }

    async fn register(&self, schemas: &[CollectionSchema]) -> Result<()> {
        let mut state = self.open("register")?;
        state
            .schemas
            .extend(schemas.iter().map(|schema| (schema.name.clone(), schema.clone())));
        Ok(())
    }

    async fn load_clock(&self) -> Result<Option<Stamp>> {
        Ok(self.open("load_clock")?.clock)
    }

    async fn load_setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.open("load_setting")?.settings.get(name).cloned())
    }

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        let state = self.open("load_records")?;
        Ok(keys.iter().map(|key| state.record(key)).collect())
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        Ok(self.open("load_summaries")?.summaries(target, ids))
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        let found = self.open("query")?.query(target, spec);
        found.map_err(|error| {
            error
                .with_operation("query")
                .with_scope(&target.scope)
                .with_adapter(NAME)
        })
    }

    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        let counted = self.open("count")?.count(target, filter);
        counted.map_err(|error| {
            error
                .with_operation("count")
                .with_scope(&target.scope)
                .with_adapter(NAME)
        })
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        let stored = self.open("load_target")?.targets.get(target).cloned();
        Ok(stored.unwrap_or_else(|| TargetState::new(target.clone())))
    }

    async fn list_targets(&self) -> Result<Vec<Target>> {
        let state = self.open("list_targets")?;
        let targets: std::collections::BTreeSet<&Target> =
            state.targets.keys().chain(state.rows.keys()).collect();
        Ok(targets.into_iter().cloned().collect())
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        Ok(self.open("load_ops")?.queue.select(query))
    }

    async fn load_ops_with_records(&self, query: &OpQuery) -> Result<Vec<RecordState>> {
        let state = self.open("load_ops")?;
        let ops = state.queue.select(query);
        Ok(ops.iter().map(|op| state.record(&op.key)).collect())
    }

    async fn count_ops(&self, scope: Option<&sync_core::SyncScope>) -> Result<OpCounts> {
        Ok(self.open("count_ops")?.queue.count(scope))
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        Ok(self.open("load_conflicts")?.conflicts(query))
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        Ok(self.open("load_quarantine")?.quarantine(target, limit))
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        Ok(self
            .open("load_unmarked")?
            .unmarked(target, generation, after, limit))
    }

    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>> {
        Ok(self.open("load_eviction_candidates")?.eviction_candidates(query))
    }

    async fn approx_size(&self, target: Option<&Target>) -> Result<u64> {
        Ok(self.open("approx_size")?.approx_size(target))
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        let (outcome, notices) = self.open("commit")?.commit(changes)?;
        // The lock is free again here: a receiver that reads at once does not wait for this commit.
        for notice in notices {
            // An error only says that nobody listens.
            let _ = self.shared.notices.send(notice);
        }
        Ok(outcome)
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        Ok(self
            .open("acquire_lease")?
            .leases
            .acquire(name, holder, now, time))
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        self.open("release_lease")?.leases.release(fence);
        Ok(())
    }

    /// The stream tells of commits through every handle on the data, and ends when this handle is closed.
    fn changes(&self) -> BoxStream<'static, StoreChange> {
        let notices = stream::unfold(self.shared.notices.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                Err(RecvError::Lagged(_)) => Some((StoreChange::Anything, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        let mut closed = self.closed.subscribe();
        let end = async move {
            // An error says that the handle is gone, which ends the stream as well.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        notices.take_until(Box::pin(end)).boxed()
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        Ok(())
    }
}
