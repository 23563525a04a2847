//! A store that notes what it held after each commit, and where the disk was then.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sync_core::{
    ChangeSet, CommitOutcome, Fence, LeaseAnswer, LocalStore, RecordKey, Result, Timestamp, WorkOut,
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
    sync_testkit::delegate_local_store!(
        inner: info, register, load_clock, load_setting, load_records, load_summaries, query, count,
        load_target, list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked,
        load_eviction_candidates, approx_size, changes, close
    );

    async fn update(&self, keys: &[RecordKey], work: WorkOut) -> Result<Option<CommitOutcome>> {
        self.recorder.note(self.inner.update(keys, work)).await
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
}
