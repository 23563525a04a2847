//! The local store of one client, with the faults of the step.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, ErrorKind, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncError,
    SyncScope, Target, TargetState, Timestamp,
    query::{Filter, QuerySpec},
};
use uuid::Uuid;

use super::{
    script::{Point, Script},
    vocabulary::Fault,
};

/// A [`LocalStore`] that passes everything on to another, if the step lets it.
#[derive(Clone, Debug)]
pub(super) struct ScriptedStore {
    pub(super) inner: Arc<dyn LocalStore>,
    pub(super) script: Script,
}

/// Whether a commit brings pulled rows, or is a local write.
fn applies(changes: &ChangeSet) -> bool {
    let brings_rows = !(changes.confirmed.is_empty()
        && changes.records.is_empty()
        && changes.marks.is_empty()
        && changes.removals.is_empty()
        && changes.quarantine.is_empty());
    let pulled = changes.fence.is_some() && !changes.targets.is_empty();
    let written = changes.fence.is_none() && !changes.ops.is_empty();
    brings_rows && pulled || written
}

#[async_trait]
impl LocalStore for ScriptedStore {
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

    async fn commit(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        if self.script.has_fault(None, &Fault::StoreBusy) {
            return Err(SyncError::new(ErrorKind::Busy, "the store is locked"));
        }
        if self.script.has_fault(None, &Fault::DiskFull) {
            return Err(SyncError::new(ErrorKind::Full, "the disk is full"));
        }
        if changes.fence.is_none() {
            self.script.stamp(&mut changes);
        }
        if !applies(&changes) {
            return self.inner.commit(changes).await;
        }
        // A transaction that a process ends in the middle of is as good as one that it did not begin.
        self.script.reach(Point::MidApply).await;
        let outcome = self.inner.commit(changes).await?;
        self.script.reach(Point::AfterApply).await;
        Ok(outcome)
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        self.inner.acquire_lease(name, holder, now, time).await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        self.inner.release_lease(fence).await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        self.inner.changes()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
