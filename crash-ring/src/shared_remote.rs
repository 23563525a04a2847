//! A remote that outlives the processes which use it: a log in a file, replayed by each of them.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adapter_memory::MemoryRemoteStore;
use async_trait::async_trait;
use futures::{FutureExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use sync_core::{
    Capabilities, ChangedFields, Clock, CollectionName, Delta, ErrorKind, IdPage, OpId, OpKind, Payload,
    Poke, PullRequest, PushBatch, PushOp, PushOutcome, RecordId, RecordKey, RemoteState, RemoteStore,
    RemoteVersion, Result, SearchPage, Stamp, SyncError, SyncScope, SystemClock, Target, Timestamp,
    query::QuerySpec,
};
use sync_testkit::effects::VirtualClock;

use crate::world::internal;

/// A push, as it stands in the log: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct LoggedPush {
    at: Timestamp,
    scope: SyncScope,
    atomic: bool,
    ops: Vec<LoggedOp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LoggedOp {
    op_id: OpId,
    collection: CollectionName,
    id: RecordId,
    kind: OpKind,
    payload: Option<Payload>,
    changed: ChangedFields,
    base: Option<RemoteVersion>,
    stamp: Stamp,
    schema_version: u32,
}

impl LoggedPush {
    fn new(batch: &PushBatch, at: Timestamp) -> Self {
        let ops = batch.ops.iter().map(|op| LoggedOp {
            op_id: op.op_id,
            collection: op.key.target.collection.clone(),
            id: op.key.id.clone(),
            kind: op.kind,
            payload: op.payload.clone(),
            changed: op.changed.clone(),
            base: op.base.clone(),
            stamp: op.stamp,
            schema_version: op.schema_version,
        });
        Self {
            at,
            scope: batch.scope.clone(),
            atomic: batch.atomic,
            ops: ops.collect(),
        }
    }

    fn into_batch(self) -> PushBatch {
        let scope = self.scope;
        let ops = self.ops.into_iter().map(|op| PushOp {
            op_id: op.op_id,
            key: RecordKey::new(Target::new(op.collection, scope.clone()), op.id),
            kind: op.kind,
            payload: op.payload,
            changed: op.changed,
            base: op.base,
            stamp: op.stamp,
            schema_version: op.schema_version,
        });
        PushBatch {
            ops: ops.collect(),
            atomic: self.atomic,
            scope,
        }
    }
}

/// A remote in a file. Every process that opens the file sees the same one.
///
/// A push is in the log before it takes effect, so that the end of the process in between is the loss of its answer.
#[derive(Clone, Debug)]
pub(crate) struct SharedRemote(Arc<Mutex<Replica>>);

#[derive(Debug)]
struct Replica {
    log: File,
    /// How much of the log has taken effect here.
    read: u64,
    remote: MemoryRemoteStore,
    clock: VirtualClock,
}

impl SharedRemote {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let log = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(internal)?;
        let clock = VirtualClock::new(Timestamp::EPOCH);
        let remote = MemoryRemoteStore::builder()
            .clock(Arc::new(clock.clone()))
            .build();
        Ok(Self(Arc::new(Mutex::new(Replica {
            log,
            read: 0,
            remote,
            clock,
        }))))
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        // What is in the log is replayed line by line, so a poisoned lock guards a sound replica.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The remote as the log has it now.
    pub(crate) fn current(&self) -> Result<MemoryRemoteStore> {
        let mut replica = self.replica();
        replica.locked(|replica| Ok(replica.remote.clone()))
    }
}

impl Replica {
    /// Works on the log while no other process does, after everything that stands in it.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.log.lock().map_err(internal)?;
        let outcome = self.catch_up().and_then(|()| work(self));
        self.log.unlock().map_err(internal)?;
        outcome
    }

    fn catch_up(&mut self) -> Result<()> {
        self.log.seek(SeekFrom::Start(self.read)).map_err(internal)?;
        let mut text = String::new();
        self.log.read_to_string(&mut text).map_err(internal)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            // Its writer was killed; the request was never sent.
            self.log.set_len(self.read + whole as u64).map_err(internal)?;
        }
        for line in text[..whole].lines() {
            let push: LoggedPush = serde_json::from_str(line).map_err(internal)?;
            self.apply(push)?;
        }
        self.read += whole as u64;
        Ok(())
    }

    fn apply(&self, push: LoggedPush) -> Result<Vec<PushOutcome>> {
        self.clock.set(push.at);
        answered(self.remote.push(push.into_batch()))
    }

    fn push(&mut self, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        let push = LoggedPush::new(batch, SystemClock::new().now());
        let mut line = serde_json::to_string(&push).map_err(internal)?;
        line.push('\n');
        self.log.write_all(line.as_bytes()).map_err(internal)?;
        self.read += line.len() as u64;
        self.apply(push)
    }
}

/// The remote in memory answers without waiting.
fn answered<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    call.now_or_never()
        .unwrap_or_else(|| Err(SyncError::new(ErrorKind::Internal, "the remote in memory waits")))
}

#[async_trait]
impl RemoteStore for SharedRemote {
    fn name(&self) -> &str {
        "shared"
    }

    fn capabilities(&self) -> Capabilities {
        self.replica().remote.capabilities()
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        answered(self.current()?.pull(request))
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.replica().locked(|replica| replica.push(&batch))
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        answered(self.current()?.get(target, ids))
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        answered(self.current()?.list_ids(target, after, limit))
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        answered(self.current()?.search(target, spec))
    }

    async fn server_time(&self) -> Result<Timestamp> {
        Ok(SystemClock::new().now())
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        let remote = self.current()?;
        remote.subscribe(scope).await
    }
}
