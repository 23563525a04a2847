//! The local store of a simulated process: pauses, faults and the end of the process between any two calls.

use std::{future::pending, sync::Arc, time::Duration};

use adapter_memory::MemoryLocalStore;
use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, ErrorKind, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncError,
    Target, TargetState, Timestamp,
    query::{Filter, QuerySpec},
};
use uuid::Uuid;

use super::{
    commits::CommitSketch,
    coverage::Branch,
    executor::{Owner, Pause},
    fault_kind::FaultKind,
    shared::Shared,
};

/// The store of one process of one device.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) store: MemoryLocalStore,
    pub(crate) shared: Arc<Shared>,
    pub(crate) device: usize,
    pub(crate) owner: Owner,
}

/// What else happens to one call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    /// The process ends after the call has had its effect.
    EndsAfter,
}

impl Disk {
    async fn enter(&self, commit: bool) -> Result<Fate> {
        Pause::new().await;
        if commit {
            // What was read for it grows old meanwhile.
            for _ in 0..self.shared.executor.polls() % 13 {
                Pause::new().await;
            }
        }
        let struck = {
            let mut weather = self.shared.weather();
            let faults = &mut weather.devices[self.device].store;
            match faults.front_mut() {
                None => None,
                Some((FaultKind::StoreFull, _)) if !commit => None,
                Some((_, calls)) if *calls > 1 => {
                    *calls -= 2;
                    None
                }
                Some(_) => faults.pop_front(),
            }
        };
        let Some((kind, odd)) = struck else {
            return Ok(Fate::Passes);
        };
        self.shared.struck(kind);
        self.shared.note(format_args!(
            "device {} process {}: {kind}",
            self.device, self.owner
        ));
        match kind {
            FaultKind::StoreBusy => Err(SyncError::new(ErrorKind::Busy, "the store is locked")),
            FaultKind::StoreFull => Err(SyncError::new(ErrorKind::Full, "the disk is full")),
            _ if odd == 1 => Ok(Fate::EndsAfter),
            _ => self.end().await,
        }
    }

    /// A write begins. Tells whether the process is to end when it has had its effect.
    pub(crate) async fn enter_write(&self) -> Result<bool> {
        Ok(self.enter(true).await? == Fate::EndsAfter)
    }

    /// What users were about to write comes in between.
    pub(crate) async fn let_users_write(&self) {
        const TURNS: u32 = 24;
        let gates = std::mem::take(&mut self.shared.weather().devices[self.device].gates);
        if gates.is_empty() {
            return;
        }
        drop(gates);
        for _ in 0..TURNS {
            Pause::new().await;
        }
    }

    /// The process gets no further.
    pub(crate) async fn end<T>(&self) -> T {
        self.shared.doom(self.owner);
        pending().await
    }

    /// Commits, and judges what comes of it. `fenced` tells whether that is a synchronization's.
    pub(crate) async fn commit_judged(&self, changes: ChangeSet, fenced: bool) -> Result<CommitOutcome> {
        let sketch = CommitSketch::new(&changes, fenced);
        // The memory store answers at once: nothing happens between these three calls.
        let before = self.store.load_records(&sketch.keys).await?;
        let points = sketch.points_before(&self.store).await?;
        let answer = self.store.commit(changes).await;
        match &answer {
            Ok(CommitOutcome::Committed) => {
                let after = self.store.load_records(&sketch.keys).await?;
                sketch.check(&self.shared, (self.device, self.owner), &before, &after, points);
            }
            Ok(CommitOutcome::Stale(_)) => self.shared.seen(Branch::StaleCommit),
            Err(error) if error.kind() == ErrorKind::LeaseLost => self.shared.seen(Branch::LeaseLost),
            Err(error) if error.kind() == ErrorKind::Internal => {
                self.shared
                    .violation(|| format!("device {}: the store refused {error:?}", self.device));
            }
            Err(_) => {}
        }
        answer
    }

    async fn leave<T>(&self, fate: Fate, answer: Result<T>) -> Result<T> {
        match fate {
            Fate::Passes => answer,
            Fate::EndsAfter => self.end().await,
        }
    }
}

/// A call that changes nothing.
macro_rules! reading {
    ($disk:ident, $($call:tt)+) => {{
        let fate = $disk.enter(false).await?;
        let answer = $disk.store.$($call)+.await;
        $disk.leave(fate, answer).await
    }};
}

#[async_trait]
impl LocalStore for Disk {
    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    async fn register(&self, schemas: &[CollectionSchema]) -> Result<()> {
        self.store.register(schemas).await
    }

    async fn load_clock(&self) -> Result<Option<Stamp>> {
        self.store.load_clock().await
    }

    async fn load_setting(&self, name: &str) -> Result<Option<String>> {
        reading!(self, load_setting(name))
    }

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        reading!(self, load_records(keys))
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        reading!(self, load_summaries(target, ids))
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        reading!(self, query(target, spec))
    }

    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        reading!(self, count(target, filter))
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        reading!(self, load_target(target))
    }

    async fn list_targets(&self) -> Result<Vec<Target>> {
        reading!(self, list_targets())
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        if let (Some(scope), true) = (&query.scope, query.due_by.is_some()) {
            self.shared.ledger().looks_at_queue(self.owner, scope);
        }
        reading!(self, load_ops(query))
    }

    async fn count_ops(&self, scope: Option<&sync_core::SyncScope>) -> Result<OpCounts> {
        reading!(self, count_ops(scope))
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        reading!(self, load_conflicts(query))
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        reading!(self, load_quarantine(target, limit))
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        reading!(self, load_unmarked(target, generation, after, limit))
    }

    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>> {
        reading!(self, load_eviction_candidates(query))
    }

    async fn approx_size(&self, target: Option<&Target>) -> Result<u64> {
        reading!(self, approx_size(target))
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        if changes.fence.is_some() && !(changes.records.is_empty() && changes.confirmed.is_empty()) {
            self.let_users_write().await;
        }
        let fate = self.enter(true).await?;
        let fenced = changes.fence.is_some();
        let answer = self.commit_judged(changes, fenced).await;
        self.leave(fate, answer).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        let fate = self.enter(true).await?;
        let answer = self.store.acquire_lease(name, holder, now, time).await;
        match &answer {
            Ok(LeaseAnswer::Granted(_)) => {
                if let Some(scope) = name.strip_prefix("sync:") {
                    self.shared.ledger().held.begin(self.owner, scope, holder);
                }
            }
            Ok(LeaseAnswer::Held { .. }) => self.shared.seen(Branch::LeaseHeld),
            Err(_) => {}
        }
        self.leave(fate, answer).await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        let fate = self.enter(true).await?;
        let answer = self.store.release_lease(fence).await;
        self.leave(fate, answer).await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        self.store.changes()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
