//! A naive client in the place of the engine.
//!
//! It keeps no more than a naive client does, and has no notion of much that a plan can ask for (see
//! [`PlanOptions::of_naive_clients`](super::PlanOptions::of_naive_clients)). What it keeps is written into the store of
//! its device whenever it changes, so that it is judged like the engine.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use sync_core::{
    CachePolicy, ChangeSet, ChangedFields, Clock, CommitOutcome, ConflictRecord, Freshness, Imported,
    LocalStore, OpChange, OpKind, OpState, PendingOp, ReadOptions, RecordKey, RecordState, RecordWrite,
    RemoteState, Result, Settlement, SyncScope, Target, TargetState, Timestamp, query::QuerySpec,
};
use uuid::Uuid;

use super::{
    app::{Answer, App, GivenUp, Wish},
    disk::Disk,
    effects::DeviceClock,
    executor::Pause,
    plan::How,
};
use crate::naive::client::{Ground, Kept, Moment, NaiveClient, NaiveWrite, Op};

/// A naive client as the app of a device.
#[derive(Debug)]
pub(crate) struct NaiveApp {
    pub(crate) client: NaiveClient,
    pub(crate) ground: Arc<SimulatedGround>,
    /// The scope whose records are given up when the cache is.
    pub(crate) evicted: SyncScope,
    /// One synchronization at a time.
    pub(crate) turn: futures::lock::Mutex<()>,
}

#[async_trait]
impl App for NaiveApp {
    async fn write(&self, wishes: Vec<Wish>) -> Result<()> {
        let in_bulk = wishes.len() > 1;
        let writes = wishes.into_iter().map(|wish| NaiveWrite {
            key: wish.key,
            kind: match wish.payload {
                None => OpKind::Delete,
                Some(_) if wish.is_there => OpKind::Update,
                Some(_) => OpKind::Create,
            },
            payload: wish.payload,
        });
        self.client.write(&writes.collect::<Vec<_>>(), in_bulk).await
    }

    async fn synchronize(&self, scope: &SyncScope, how: How) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.ground.begin(scope);
        match how {
            How::Both => self.client.synchronize(scope).await,
            How::Push => self.client.push(scope).await,
            How::Pull | How::Sweep => self.client.pull(scope, false).await,
            How::Full => self.client.full_resync(scope).await,
        }
    }

    async fn query(&self, target: &Target, spec: &QuerySpec, options: &ReadOptions) -> Result<Answer> {
        let freshness = match options.policy {
            CachePolicy::OfflineOnly => Freshness::AsStored,
            _ if self.client.ignores_policies() => Freshness::Fresh,
            policy => match (self.synchronize(&target.scope, How::Both).await, policy) {
                (Ok(()), _) => Freshness::Fresh,
                (Err(error), CachePolicy::OnlineOnly) => return Err(error),
                (Err(error), CachePolicy::RemoteFirst) if !self.client.falls_back() => return Err(error),
                (Err(error), _) => Freshness::Stale(error),
            },
        };
        let disk = &self.ground.disk;
        Ok(Answer {
            records: disk.query(target, spec).await?,
            state: disk.load_target(target).await?,
            freshness,
        })
    }

    async fn retry(&self) -> Result<()> {
        self.client.retry();
        Ok(())
    }

    async fn discard(&self, nth: usize) -> Result<Option<GivenUp>> {
        let pending = self.ground.disk.load_ops(&sync_core::OpQuery::default()).await?;
        if pending.is_empty() {
            return Ok(None);
        }
        let op = pending[nth % pending.len()].clone();
        self.client.discard(|key| *key == op.key);
        let answered = pending.into_iter().filter(|other| other.key == op.key).collect();
        Ok(Some((op, answered)))
    }

    async fn resolve(&self, _keep: bool) -> Result<()> {
        Ok(())
    }

    async fn clear(&self, scope: &SyncScope, discard: bool) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.client.wipe(scope, discard);
        Ok(())
    }

    async fn evict(&self) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let rows = self.client.rows().into_iter().map(|(key, _)| key);
        let rows: Vec<RecordKey> = rows.filter(|key| *key.scope() == self.evicted).collect();
        rows.iter().for_each(|key| self.client.purge(key));
        Ok(rows.len() as u64)
    }

    async fn reimport(&self, _scope: &SyncScope) -> Result<Option<(String, Imported)>> {
        Ok(None)
    }

    fn stop(&self) {}
}

/// The clock and the store of a simulated device, under a naive client.
pub(crate) struct SimulatedGround {
    pub(crate) disk: Disk,
    pub(crate) clock: DeviceClock,
    /// What the store has.
    stored: Mutex<Kept>,
    /// The process ends when the write under way has had its effect, or half of it.
    ends: AtomicBool,
}

impl fmt::Debug for SimulatedGround {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedGround").finish_non_exhaustive()
    }
}

impl SimulatedGround {
    /// The ground of a process that finds this on its device.
    pub(crate) fn new(disk: Disk, clock: DeviceClock, found: &Kept) -> Self {
        Self {
            disk,
            clock,
            stored: Mutex::new(found.clone()),
            ends: AtomicBool::new(false),
        }
    }

    /// A synchronization begins.
    fn begin(&self, scope: &SyncScope) {
        let mut ledger = self.disk.shared.ledger();
        let number = Uuid::from_u128(u128::from(ledger.next_moment()));
        ledger.held.begin(self.disk.owner, scope.key().as_str(), number);
    }

    fn stored(&self) -> MutexGuard<'_, Kept> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What turns the store's content into what is kept.
    async fn change_set(&self, before: &Kept, kept: &Kept) -> Result<ChangeSet> {
        let mut changes = ChangeSet::at(self.clock.now());
        let keys: Vec<RecordKey> = changed_keys(before, kept).into_iter().collect();
        for state in self.disk.store.load_records(&keys).await? {
            add_record(&mut changes, kept, state);
        }
        let cursors = before.cursors.keys().chain(kept.cursors.keys());
        for target in cursors.collect::<BTreeSet<_>>() {
            let point = kept.cursors.get(target);
            if point != before.cursors.get(target) {
                let mut state = TargetState::new(target.clone());
                if point.is_some() {
                    state.incomplete = None;
                }
                state.sync_point = point.cloned();
                changes.targets.push(state);
            }
        }
        for (number, key) in (0_u128..).zip(&kept.decided) {
            let op = before.ops.iter().find(|op| op.key == *key);
            changes.conflicts.push(ConflictRecord {
                conflict_id: Uuid::from_u128(number),
                key: key.clone(),
                base: None,
                local: op.and_then(|op| op.payload.clone()),
                local_stamp: op.map_or(sync_core::Stamp::new(0, 0, 0), |op| op.stamp),
                remote: kept
                    .rows
                    .get(key)
                    .map_or(RemoteState::Missing, |row| row.base.clone()),
                detected_at: changes.now,
                settlement: Some(Settlement::TookRemote),
                settled_at: Some(changes.now),
            });
        }
        Ok(changes)
    }
}

fn changed_keys(before: &Kept, kept: &Kept) -> BTreeSet<RecordKey> {
    let ops_of = |kept: &Kept, key: &RecordKey| -> Vec<Op> {
        let ops = kept.ops.iter().filter(|op| op.key == *key);
        ops.cloned().collect()
    };
    let rows = before.rows.keys().chain(kept.rows.keys());
    let ops = before.ops.iter().chain(&kept.ops).map(|op| &op.key);
    let known: BTreeSet<&RecordKey> = rows.chain(ops).collect();
    let differs = |key: &&RecordKey| {
        before.rows.get(*key) != kept.rows.get(*key) || ops_of(before, key) != ops_of(kept, key)
    };
    known.into_iter().filter(differs).cloned().collect()
}

/// Brings one record and its operations from this state to what is kept of it.
fn add_record(changes: &mut ChangeSet, kept: &Kept, state: RecordState) {
    let key = &state.key;
    let ops: Vec<&Op> = kept.ops.iter().filter(|op| op.key == *key).collect();
    // Operations keep their order, and with it their places: new ones come last.
    let known = |op: &PendingOp| {
        ops.iter()
            .find(|kept| kept.place == op.enqueued_at.as_micros().unsigned_abs())
    };
    for stored in &state.ops {
        changes.ops.extend(match known(stored) {
            None => Some(OpChange::Remove(stored.op_id)),
            Some(op) => {
                let pending = pending_op(op, stored.seq);
                (pending != *stored).then_some(OpChange::Replace(pending))
            }
        });
    }
    let is_stored = |op: &Op| {
        let mut places = state
            .ops
            .iter()
            .map(|stored| stored.enqueued_at.as_micros().unsigned_abs());
        places.any(|place| place == op.place)
    };
    for op in ops.iter().filter(|op| !is_stored(op)) {
        changes.ops.push(OpChange::Append(pending_op(op, 0)));
    }
    let row = kept.rows.get(key);
    let is_empty = row.is_none_or(|row| row.view.is_none() && row.base == RemoteState::Missing);
    if is_empty && ops.is_empty() {
        changes.removals.extend((state.revision > 0).then(|| key.clone()));
        return;
    }
    let row = row.cloned().unwrap_or_default();
    changes.records.push(RecordWrite {
        key: key.clone(),
        read_revision: state.revision,
        view: row.view,
        keeps_view: false,
        schema_version: 1,
        base: row.base,
        pending: u32::try_from(ops.len()).unwrap_or(u32::MAX),
        mark: 0,
    });
}

/// An operation as the store has it. The place of a naive client's operation stands where others have a time.
fn pending_op(op: &Op, seq: u64) -> PendingOp {
    PendingOp {
        op_id: op.op_id,
        seq,
        key: op.key.clone(),
        kind: op.kind,
        payload: op.payload.clone(),
        changed: ChangedFields::All,
        base: None,
        stamp: op.stamp,
        enqueued_at: Timestamp::from_micros(i64::try_from(op.place).unwrap_or(i64::MAX)),
        schema_version: 1,
        group: None,
        state: match &op.dead {
            Some(reason) => OpState::Parked(reason.clone()),
            None if op.attempts > 0 => OpState::InDoubt,
            None => OpState::Queued,
        },
        attempts: op.attempts,
        next_attempt_at: Timestamp::EPOCH,
        last_failure: None,
    }
}

#[async_trait]
impl Ground for SimulatedGround {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn check_store(&self) -> Result<()> {
        self.disk.let_users_write().await;
        let ends = self.disk.enter_write().await?;
        self.ends.fetch_or(ends, Ordering::Relaxed);
        Ok(())
    }

    async fn reach(&self, moment: Moment) {
        Pause::new().await;
        let in_the_middle = self.disk.shared.executor.polls().is_multiple_of(2);
        if self.ends.load(Ordering::Relaxed) && (in_the_middle || moment == Moment::AfterApply) {
            self.disk.end().await
        }
    }

    fn changed(&self, kept: &Kept) {
        let mut stored = self.stored();
        let executor = &self.disk.shared.executor;
        let committing = async {
            let changes = self.change_set(&stored, kept).await?;
            if changes.is_empty() {
                return Ok(CommitOutcome::Committed);
            }
            self.disk.commit_judged(changes, !kept.by_user).await
        };
        // The store in memory answers at once; what it refuses is found there.
        let _ = executor.alone(committing);
        *stored = kept.clone();
    }
}
