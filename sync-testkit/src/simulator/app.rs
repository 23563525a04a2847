//! What a simulation needs of the app on a device: its client, and what users do with it.

use async_trait::async_trait;
use sync_core::{
    CacheLimits, ConflictQuery, Freshness, Imported, LocalRecord, OpQuery, OpStateKind, Payload, PendingOp,
    ReadOptions, RecordKey, Result, SyncEngine, SyncScope, Target, TargetState, Write, query::QuerySpec,
    resolve::Resolution,
};

use super::plan::How;

/// One record as the user wants it.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) key: RecordKey,
    /// Whether the user sees the record already.
    pub(crate) is_there: bool,
    /// What it is to be; `None` = gone.
    pub(crate) payload: Option<Payload>,
}

/// What a read tells.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) records: Vec<LocalRecord>,
    pub(crate) state: TargetState,
    pub(crate) freshness: Freshness,
}

/// An operation that was given up, and what the client says that it gave up.
pub(crate) type GivenUp = (PendingOp, Vec<PendingOp>);

/// The client of one process: the engine, or what stands in its place.
#[async_trait]
pub(crate) trait App: Send + Sync {
    /// Writes records, together if there are several.
    async fn write(&self, wishes: Vec<Wish>) -> Result<()>;

    async fn synchronize(&self, scope: &SyncScope, how: How) -> Result<()>;

    async fn query(&self, target: &Target, spec: &QuerySpec, options: &ReadOptions) -> Result<Answer>;

    /// Sends everything that was set aside again.
    async fn retry(&self) -> Result<()>;

    /// Gives up one of the pending operations, if there is any.
    async fn discard(&self, nth: usize) -> Result<Option<GivenUp>>;

    /// Decides the conflict that was found last.
    async fn resolve(&self, keep: bool) -> Result<()>;

    async fn clear(&self, scope: &SyncScope, discard: bool) -> Result<()>;

    /// Gives up what is cached. Tells how many records that were.
    async fn evict(&self) -> Result<u64>;

    /// Exports the queue of a scope, and imports it again. Tells the lines, and what became of them.
    async fn reimport(&self, scope: &SyncScope) -> Result<Option<(String, Imported)>>;

    /// Ends in good order.
    fn stop(&self);
}

#[async_trait]
impl App for SyncEngine {
    async fn write(&self, mut wishes: Vec<Wish>) -> Result<()> {
        let write = |wish: Wish| match wish.payload {
            Some(payload) if wish.is_there => Write::update_raw(wish.key, payload),
            Some(payload) => Write::create_raw(wish.key, payload),
            None => Write::delete_raw(wish.key),
        };
        match (wishes.pop(), wishes.is_empty()) {
            (Some(wish), true) => self.write(write(wish)).await.map(drop),
            (last, _) => {
                let writes = wishes.into_iter().chain(last).map(write);
                self.write_batch(writes.collect()).await.map(drop)
            }
        }
    }

    async fn synchronize(&self, scope: &SyncScope, how: How) -> Result<()> {
        match how {
            How::Both => self.synchronize(scope).await,
            How::Push => self.push_only(scope).await,
            How::Pull => self.pull_only(scope).await,
            How::Full => self.full_resync(scope).await,
            How::Sweep => self.sweep(scope).await,
        }
        .map(drop)
    }

    async fn query(&self, target: &Target, spec: &QuerySpec, options: &ReadOptions) -> Result<Answer> {
        let answer = self.query(target, spec, options).await?;
        Ok(Answer {
            records: answer.records,
            state: answer.state,
            freshness: answer.freshness,
        })
    }

    async fn retry(&self) -> Result<()> {
        let query = OpQuery {
            states: vec![OpStateKind::Parked],
            ..OpQuery::default()
        };
        for op in self.pending_ops(&query).await? {
            self.retry_op(op.op_id).await?;
        }
        Ok(())
    }

    async fn discard(&self, nth: usize) -> Result<Option<GivenUp>> {
        let pending = self.pending_ops(&OpQuery::default()).await?;
        if pending.is_empty() {
            return Ok(None);
        }
        let op = pending[nth % pending.len()].clone();
        let answered = self.discard_op(op.op_id).await?;
        Ok(Some((op, answered)))
    }

    async fn resolve(&self, keep: bool) -> Result<()> {
        let query = ConflictQuery {
            open: Some(true),
            ..ConflictQuery::default()
        };
        let open = self.conflicts(&query).await?;
        if let Some(conflict) = open.first() {
            let choice = if keep {
                Resolution::KeepLocal
            } else {
                Resolution::TakeRemote
            };
            self.resolve_conflict(conflict.conflict_id, choice).await?;
        }
        Ok(())
    }

    async fn clear(&self, scope: &SyncScope, discard: bool) -> Result<()> {
        self.clear(scope, discard).await.map(drop)
    }

    async fn evict(&self) -> Result<u64> {
        let none = CacheLimits::default().with_max_bytes(0);
        let evicted = self.set_cache_limits(&none).await?;
        self.set_cache_limits(&CacheLimits::default()).await?;
        Ok(evicted)
    }

    async fn reimport(&self, scope: &SyncScope) -> Result<Option<(String, Imported)>> {
        let lines = self.export_ops(Some(scope)).await?;
        let imported = self.import_ops(&lines).await?;
        Ok(Some((lines, imported)))
    }

    fn stop(&self) {
        self.stop();
    }
}
