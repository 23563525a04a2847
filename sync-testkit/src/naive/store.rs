//! A local store with one mistake.

use std::{mem::take, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    ChangeSet, CommitOutcome, Fence, LeaseAnswer, LocalRecord, LocalStore, OpChange, Payload, PendingOp,
    RecordKey, RecordState, RecordWrite, RemoteState, Result, StoreChange, StoreInfo, Target, Timestamp,
    query::{FieldPath, QuerySpec},
};
use uuid::Uuid;

use crate::case::give_way;

/// What a [`WrongStore`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreMistake {
    /// The sync point, the settings and the clock are committed before the rest, in a transaction of their own.
    CommitsInTwoHalves,
    /// The rows of records are committed first, and the operations that carry them to the remote in a transaction of
    /// their own, as code does that writes and enqueues one after the other.
    CommitsRowsBeforeOperations,
    /// Revisions are not compared: the last write wins, whatever its writer had read.
    IgnoresGuards,
    /// Everyone who asks for a lease gets it, and no fence is checked.
    ForgetsLeases,
    /// Payloads are parsed and rendered again on their way in.
    RewritesPayloads,
    /// Ascending orders put nulls last, as PostgreSQL does unless told otherwise.
    SortsNullsLast,
    /// Listeners are told that nothing ever changes.
    TellsNoChanges,
}

/// A local store that passes everything on to another, but for one mistake.
#[derive(Clone, Debug)]
pub struct WrongStore {
    inner: Arc<dyn LocalStore>,
    mistake: StoreMistake,
}

impl WrongStore {
    /// `inner` with a mistake.
    pub fn new(inner: Arc<dyn LocalStore>, mistake: StoreMistake) -> Self {
        Self { inner, mistake }
    }

    /// The store that does it right.
    pub fn inner(&self) -> &Arc<dyn LocalStore> {
        &self.inner
    }

    async fn commit_in_two_halves(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        let first = ChangeSet {
            targets: take(&mut changes.targets),
            settings: take(&mut changes.settings),
            clock: changes.clock.take(),
            ..ChangeSet::at(changes.now)
        };
        self.inner.commit(first).await?;
        self.inner.commit(changes).await
    }

    async fn commit_rows_before_operations(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        let carries = |change: &OpChange| matches!(change, OpChange::Append(_) | OpChange::Replace(_));
        let (ops, rest): (Vec<_>, Vec<_>) = take(&mut changes.ops).into_iter().partition(carries);
        if ops.is_empty() {
            return self.inner.commit(ChangeSet { ops: rest, ..changes }).await;
        }
        let mut second = ChangeSet {
            records: changes.records.clone(),
            ops,
            unblock: take(&mut changes.unblock),
            clock: changes.clock.take(),
            ..ChangeSet::at(changes.now)
        };
        changes.ops = rest;
        // Each half says how many operations there are when it is done, so that no store can tell that it is one.
        for (write, state) in changes
            .records
            .iter_mut()
            .zip(self.states(&second.records).await?)
        {
            let removed = |op: &&PendingOp| changes.ops.contains(&OpChange::Remove(op.op_id));
            let left = state.ops.len() - state.ops.iter().filter(removed).count();
            write.pending = u32::try_from(left).unwrap_or(u32::MAX);
        }
        let stale = self.inner.commit(changes).await?;
        if stale != CommitOutcome::Committed {
            return Ok(stale);
        }
        give_way().await;
        let states = self.states(&second.records).await?;
        for (write, state) in second.records.iter_mut().zip(states) {
            write.read_revision = state.revision;
        }
        self.inner.commit(second).await
    }

    /// What the store has of the records that are written.
    async fn states(&self, writes: &[RecordWrite]) -> Result<Vec<RecordState>> {
        let keys: Vec<RecordKey> = writes.iter().map(|write| write.key.clone()).collect();
        self.inner.load_records(&keys).await
    }

    async fn commit_without_guards(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        changes.guards.clear();
        let states = self.states(&changes.records).await?;
        for (write, state) in changes.records.iter_mut().zip(states) {
            write.read_revision = state.revision;
        }
        self.inner.commit(changes).await
    }
}

fn rewrite(payload: &mut Payload) -> Result<()> {
    *payload = Payload::from_object(&payload.to_object()?);
    Ok(())
}

fn rewrite_payloads(changes: &mut ChangeSet) -> Result<()> {
    for write in &mut changes.records {
        write.view.as_mut().map(rewrite).transpose()?;
    }
    for confirmation in changes.confirmed.iter_mut().flat_map(|page| &mut page.records) {
        if let RemoteState::Live(live) = &mut confirmation.state {
            rewrite(&mut live.record)?;
        }
    }
    Ok(())
}

fn nulls_last(mut records: Vec<LocalRecord>, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
    let Some(order) = spec.order_by.first().filter(|order| !order.descending) else {
        return Ok(records);
    };
    let path = FieldPath::new(&order.field)?;
    let mut nulls = Vec::new();
    let mut others = Vec::new();
    for record in records.drain(..) {
        let fields = record.payload.to_object()?;
        let null = !path.is_id() && path.lookup(&fields).is_none_or(serde_json::Value::is_null);
        if null {
            nulls.push(record)
        } else {
            others.push(record)
        }
    }
    others.append(&mut nulls);
    Ok(others)
}

#[async_trait]
impl LocalStore for WrongStore {
    crate::delegate_local_store!(
        inner: register, load_clock, load_setting, load_records, load_summaries, count, load_target,
        list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked,
        load_eviction_candidates, approx_size, release_lease, close
    );

    fn info(&self) -> StoreInfo {
        let info = self.inner.info();
        StoreInfo {
            name: format!("{} ({:?})", info.name, self.mistake),
            ..info
        }
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        let records = self.inner.query(target, spec).await?;
        if self.mistake == StoreMistake::SortsNullsLast {
            nulls_last(records, spec)
        } else {
            Ok(records)
        }
    }

    async fn commit(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        match self.mistake {
            StoreMistake::CommitsInTwoHalves => return self.commit_in_two_halves(changes).await,
            StoreMistake::CommitsRowsBeforeOperations => {
                return self.commit_rows_before_operations(changes).await;
            }
            StoreMistake::IgnoresGuards => return self.commit_without_guards(changes).await,
            StoreMistake::ForgetsLeases => changes.fence = None,
            StoreMistake::RewritesPayloads => rewrite_payloads(&mut changes)?,
            StoreMistake::SortsNullsLast | StoreMistake::TellsNoChanges => {}
        }
        self.inner.commit(changes).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        if self.mistake == StoreMistake::ForgetsLeases {
            return Ok(LeaseAnswer::Granted(Fence {
                lease: name.to_owned(),
                token: 1,
            }));
        }
        self.inner.acquire_lease(name, holder, now, time).await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        if self.mistake == StoreMistake::TellsNoChanges {
            return Box::pin(futures::stream::empty());
        }
        self.inner.changes()
    }
}
