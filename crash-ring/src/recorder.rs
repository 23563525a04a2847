//! A store that notes what it held after each commit, and where the disk was then.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncScope,
    Target, TargetState, Timestamp,
    query::{Filter, QuerySpec},
};
use uuid::Uuid;

use crate::{
    disk::Disk,
    dump::{self, Dump},
    world::{Moment, World},
};

/// One transaction of the store.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// The position of the disk when it was acknowledged.
    pub(crate) end: usize,
    /// What the tables hold after it.
    pub(crate) dump: Arc<Dump>,
    /// The remote when it began.
    pub(crate) remote: Moment,
}

/// Notes commits. Clones share the notes.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    disk: Disk,
    world: World,
    commits: Arc<Mutex<Vec<Commit>>>,
}

impl Recorder {
    pub(crate) fn new(disk: &Disk, world: &World) -> Self {
        Self {
            disk: disk.clone(),
            world: world.clone(),
            commits: Arc::default(),
        }
    }

    /// The store, with its commits noted.
    pub(crate) fn over(self, inner: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        Arc::new(RecordedStore {
            inner,
            recorder: self,
        })
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Commit>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Vec<Commit> {
        std::mem::take(&mut *self.notes())
    }

    async fn note<T>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let remote = self.world.moment();
        let outcome = write.await?;
        let end = self.disk.position();
        let (dump, _) = dump::read(&self.disk).await?;
        self.notes().push(Commit {
            end,
            dump: Arc::new(dump),
            remote,
        });
        Ok(outcome)
    }
}

#[derive(Debug)]
struct RecordedStore {
    inner: Arc<dyn LocalStore>,
    recorder: Recorder,
}

#[async_trait]
impl LocalStore for RecordedStore {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn register(&self, schemas: &[CollectionSchema]) -> Result<()> {
        self.inner.register(schemas).await
    }

    async fn load_clock(&self) -> Result<Option<Stamp>> {
        self.inner.load_clock().await
    }

    async fn load_setting(&self, name: &str) -> Result<Option<String>> {
        self.inner.load_setting(name).await
    }

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        self.inner.load_records(keys).await
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        self.inner.load_summaries(target, ids).await
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        self.inner.query(target, spec).await
    }

    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        self.inner.count(target, filter).await
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        self.inner.load_target(target).await
    }

    async fn list_targets(&self) -> Result<Vec<Target>> {
        self.inner.list_targets().await
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        self.inner.load_ops(query).await
    }

    async fn count_ops(&self, scope: Option<&SyncScope>) -> Result<OpCounts> {
        self.inner.count_ops(scope).await
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        self.inner.load_conflicts(query).await
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        self.inner.load_quarantine(target, limit).await
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        self.inner.load_unmarked(target, generation, after, limit).await
    }

    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>> {
        self.inner.load_eviction_candidates(query).await
    }

    async fn approx_size(&self, target: Option<&Target>) -> Result<u64> {
        self.inner.approx_size(target).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        self.recorder.note(self.inner.commit(changes)).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        let acquire = self.inner.acquire_lease(name, holder, now, time);
        self.recorder.note(acquire).await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        self.recorder.note(self.inner.release_lease(fence)).await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        self.inner.changes()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
