//! A local store and a remote around the real ones, which let a test act, or make them fail, at one exact moment.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use sync_core::{
    Capabilities, ChangeSet, CommitOutcome, ConflictQuery, ConflictRecord, Delta, ErrorKind, Fence, IdPage,
    LeaseAnswer, LocalRecord, LocalStore, OpQuery, PendingOp, PullRequest, PushBatch, PushOutcome,
    QuarantinedRow, RecordId, RecordKey, RecordState, RecordSummary, RemoteChange, RemoteState, RemoteStore,
    Result, SearchPage, SyncError, Target, TargetState, Timestamp, query::QuerySpec,
};
use uuid::Uuid;

/// When something happens, seen from one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    BeforePush,
    AfterPush,
    BeforePull,
    AfterPull,
    BeforeGet,
    BeforeListIds,
    AfterSearch,
    /// Before a commit that brings pulled records.
    BeforePageCommit,
    /// Before any commit of a synchronization.
    BeforeSyncCommit,
}

type Act = Box<dyn FnOnce() -> BoxFuture<'static, Option<SyncError>> + Send>;

/// What a test wants to happen. Clones share the list.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    plans: Arc<Mutex<VecDeque<(Moment, Act)>>>,
    /// Pushes with an operation on this record fail as a whole.
    pub(crate) poison: Arc<Mutex<Option<(RecordId, ErrorKind)>>>,
    /// The next page also tells this.
    stale: Arc<Mutex<Option<RemoteChange>>>,
    sweeps_forbidden: Arc<AtomicBool>,
    /// How many rows a store was asked for or to write.
    rows: Arc<AtomicU64>,
    /// How many ids were asked about for summaries.
    asked: Arc<AtomicU64>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.left()).finish()
    }
}

impl Hooks {
    fn list(&self) -> MutexGuard<'_, VecDeque<(Moment, Act)>> {
        self.plans.lock().unwrap()
    }

    /// Runs `act` at the next such moment that has nothing planned yet.
    pub(crate) fn once<F>(&self, moment: Moment, act: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let act: Act = Box::new(|| {
            let acting = act();
            Box::pin(async move {
                acting.await;
                None
            })
        });
        self.list().push_back((moment, act));
    }

    /// Lets such a moment pass.
    pub(crate) fn pass(&self, moment: Moment) {
        self.once(moment, || async {});
    }

    /// Lets the call fail there.
    pub(crate) fn fail(&self, moment: Moment, error: SyncError) {
        let act: Act = Box::new(|| Box::pin(async { Some(error) }));
        self.list().push_back((moment, act));
    }

    /// Adds the state of a record to the next page.
    pub(crate) fn answer_next_pull_with(&self, id: RecordId, state: RemoteState) {
        *self.stale.lock().unwrap() = Some(RemoteChange { id, state });
    }

    pub(crate) fn forbid_sweeps(&self, forbid: bool) {
        self.sweeps_forbidden.store(forbid, Ordering::SeqCst);
    }

    /// How many rows (records, summaries, operations, ids) the store answered or wrote since the last call.
    pub(crate) fn take_rows(&self) -> u64 {
        self.rows.swap(0, Ordering::SeqCst)
    }

    /// About how many ids the store was asked for summaries since the last call.
    pub(crate) fn take_asked(&self) -> u64 {
        self.asked.swap(0, Ordering::SeqCst)
    }

    fn count_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::SeqCst);
    }

    /// Forgets what did not come to pass.
    pub(crate) fn clear(&self) {
        self.list().clear();
    }

    /// How many plans did not come to pass.
    pub(crate) fn left(&self) -> usize {
        self.list().len()
    }

    async fn reach(&self, moment: Moment) -> Result<()> {
        let act = {
            let mut list = self.list();
            let at = list.iter().position(|(planned, _)| *planned == moment);
            at.and_then(|at| list.remove(at))
        };
        match act {
            Some((_, act)) => act().await.map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}

/// Gives up its turn once, so that a test can stop there.
pub(crate) fn pause() -> impl Future<Output = ()> + Send {
    let mut paused = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// A remote that pauses before and after each effect.
#[derive(Clone, Debug)]
pub(crate) struct HookedRemote<R> {
    pub(crate) remote: R,
    pub(crate) hooks: Hooks,
}

#[async_trait]
impl<R: RemoteStore> RemoteStore for HookedRemote<R> {
    fn name(&self) -> &str {
        self.remote.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.remote.capabilities()
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        self.hooks.reach(Moment::BeforePull).await?;
        pause().await;
        let mut page = self.remote.pull(request).await;
        pause().await;
        self.hooks.reach(Moment::AfterPull).await?;
        if let Ok(page) = &mut page {
            page.changes.extend(self.hooks.stale.lock().unwrap().take());
        }
        page
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.hooks.reach(Moment::BeforePush).await?;
        let poison = self.hooks.poison.lock().unwrap().clone();
        if let Some((id, kind)) = poison.filter(|(id, _)| batch.ops.iter().any(|op| op.key.id == *id)) {
            return Err(SyncError::new(kind, format!("the server cannot take {id:?}")));
        }
        pause().await;
        let answer = self.remote.push(batch).await;
        pause().await;
        self.hooks.reach(Moment::AfterPush).await?;
        answer
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.hooks.reach(Moment::BeforeGet).await?;
        pause().await;
        let answer = self.remote.get(target, ids).await;
        pause().await;
        answer
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.hooks.reach(Moment::BeforeListIds).await?;
        if self.hooks.sweeps_forbidden.load(Ordering::SeqCst) {
            return Err(SyncError::new(ErrorKind::Unreachable, "no sweep now"));
        }
        pause().await;
        let answer = self.remote.list_ids(target, after, limit).await;
        pause().await;
        answer
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        pause().await;
        let answer = self.remote.search(target, spec).await;
        pause().await;
        self.hooks.reach(Moment::AfterSearch).await?;
        answer
    }
}

/// A store that pauses before and after each effect.
#[derive(Clone, Debug)]
pub(crate) struct HookedStore<S> {
    pub(crate) store: S,
    pub(crate) hooks: Hooks,
}

/// Runs a call on the inner store between two pauses.
async fn between<T>(call: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>) -> Result<T> {
    pause().await;
    let answer = call.await;
    pause().await;
    answer
}

#[async_trait]
impl<S: LocalStore> LocalStore for HookedStore<S> {
    sync_testkit::delegate_local_store!(
        store: info, register, load_clock, load_setting, count, list_targets, count_ops,
        load_eviction_candidates, approx_size, changes, close
    );

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        let rows = between(self.store.load_records(keys)).await?;
        self.hooks.count_rows(rows.len());
        Ok(rows)
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        self.hooks.asked.fetch_add(ids.len() as u64, Ordering::SeqCst);
        let rows = between(self.store.load_summaries(target, ids)).await?;
        self.hooks.count_rows(rows.len());
        Ok(rows)
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        let rows = between(self.store.query(target, spec)).await?;
        self.hooks.count_rows(rows.len());
        Ok(rows)
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        between(self.store.load_target(target)).await
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        let rows = between(self.store.load_ops(query)).await?;
        self.hooks.count_rows(rows.len());
        Ok(rows)
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        between(self.store.load_conflicts(query)).await
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        self.store.load_quarantine(target, limit).await
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        let rows = between(self.store.load_unmarked(target, generation, after, limit)).await?;
        self.hooks.count_rows(rows.len());
        Ok(rows)
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        let confirmed = changes.confirmed.iter().map(|page| page.records.len());
        let marked = changes.marks.iter().map(|(_, ids, _)| ids.len());
        let written = [
            changes.records.len(),
            changes.touches.len(),
            changes.removals.len(),
            changes.ops.len(),
        ];
        self.hooks
            .count_rows(confirmed.chain(marked).chain(written).sum());
        if !changes.confirmed.is_empty() {
            self.hooks.reach(Moment::BeforePageCommit).await?;
        }
        if changes.fence.is_some() {
            self.hooks.reach(Moment::BeforeSyncCommit).await?;
        }
        between(self.store.commit(changes)).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        between(self.store.acquire_lease(name, holder, now, time)).await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        between(self.store.release_lease(fence)).await
    }
}
