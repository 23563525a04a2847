//! The contract of a local store: what keeps records, operations and sync points on the device.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    change_set::{ChangeSet, CommitOutcome, Fence},
    conflict_record::ConflictRecord,
    delta::{MalformedRow, SyncPoint},
    error::Result,
    id::{OpId, RecordId, RecordKey},
    operation::{OpStateKind, PendingOp},
    payload::Payload,
    query::{Filter, QuerySpec},
    record::CollectionSchema,
    record_state::{LocalRecord, RecordState, RecordSummary},
    scope::{SyncScope, Target},
    stamp::Stamp,
    time::Timestamp,
};

/// What a store says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// A short name for messages: `memory`, `sqlite`.
    pub name: String,
    /// Whether what was committed survives the end of the process.
    pub durable: bool,
}

/// Why a scope's records may not be all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// It was never pulled to the end.
    NeverPulled,
    /// Records were evicted.
    Evicted,
    /// It was cleared.
    Cleared,
}

/// A pass over a whole target that is under way: a first pull, a full resync, or an id sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Everything is pulled again; records not marked with the current generation are removed at the end.
    Resync,
}

/// How far one target has been synchronized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// Collection and scope.
    pub target: Target,
    /// Where the next pull continues.
    pub sync_point: Option<SyncPoint>,
    /// `None` if every record of the scope was here when the last pull ended.
    pub incomplete: Option<Incomplete>,
    /// The server's time (or, where it tells none, the local time) of the last pull that went to the end.
    pub as_of: Option<Timestamp>,
    /// The local time of the last pull that went to the end.
    pub pulled_at: Option<Timestamp>,
    /// The local time of the last id sweep that went to the end.
    pub swept_at: Option<Timestamp>,
    /// Counts the marking passes; records seen in one get it as their mark.
    pub generation: u64,
    /// The marking pass under way, if any.
    pub pass: Option<Pass>,
    /// How many syncs failed since the last success.
    pub failures: u32,
    /// No automatic sync before this local time.
    pub next_attempt_at: Timestamp,
}

impl TargetState {
    /// A target that was never synchronized.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            sync_point: None,
            incomplete: Some(Incomplete::NeverPulled),
            as_of: None,
            pulled_at: None,
            swept_at: None,
            generation: 0,
            pass: None,
            failures: 0,
            next_attempt_at: Timestamp::EPOCH,
        }
    }
}

/// Which operations to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpQuery {
    /// Only of this scope.
    pub scope: Option<SyncScope>,
    /// Only of this target.
    pub target: Option<Target>,
    /// Only these operations.
    pub op_ids: Option<Vec<OpId>>,
    /// Only in these states; empty = all.
    pub states: Vec<OpStateKind>,
    /// Only with `next_attempt_at` not after this time.
    pub due_by: Option<Timestamp>,
    /// Only with `next_attempt_at` after this time.
    pub due_after: Option<Timestamp>,
    /// Only operations before which no other of the same record stands in the queue.
    pub heads_only: bool,
    /// Only with a greater `seq`.
    pub after_seq: Option<u64>,
    /// At most so many, lowest `seq` first; `None` = all.
    pub limit: Option<u64>,
}

/// How many operations are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// The number for each state; states without operations may be left out.
    pub by_state: BTreeMap<OpStateKind, u64>,
    /// The earliest `next_attempt_at` among queued and in-doubt operations that head their record's queue.
    pub next_due: Option<Timestamp>,
}

impl OpCounts {
    /// The number in one state.
    pub fn of(&self, state: OpStateKind) -> u64 {
        self.by_state.get(&state).copied().unwrap_or(0)
    }

    /// The number in all states.
    pub fn total(&self) -> u64 {
        self.by_state.values().sum()
    }
}

/// Which conflict records to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Only of this target.
    pub target: Option<Target>,
    /// Only of this record.
    pub key: Option<RecordKey>,
    /// Only open ones (`true`) or settled ones (`false`).
    pub open: Option<bool>,
    /// Only this one.
    pub conflict_id: Option<Uuid>,
    /// At most so many, latest `detected_at` first; `None` = all.
    pub limit: Option<u64>,
}

/// A row the remote sent that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRow {
    /// Collection and scope.
    pub target: Target,
    /// The row and what is wrong with it.
    pub row: MalformedRow,
    /// When it was last seen, by the local clock.
    pub seen_at: Timestamp,
}

/// Which records could be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionQuery {
    /// Only of this target.
    pub target: Option<Target>,
    /// Tombstones (`true`) or live records (`false`).
    pub tombstones: bool,
    /// Only rows last touched before this local time.
    pub touched_before: Option<Timestamp>,
    /// At most so many, longest untouched first.
    pub limit: u64,
}

/// A record that could be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionCandidate {
    /// The record.
    pub key: RecordKey,
    /// About how many bytes it takes.
    pub bytes: u64,
}

/// A lease that was granted: for its time, only its holder synchronizes the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Granted. Commits that carry the fence are refused once another has taken over.
    Granted(Fence),
    /// Someone else holds it until this local time.
    Held {
        /// When it ends unless it is renewed.
        until: Timestamp,
    },
}

/// Works out what to commit from records as they are now; `None` gives up. It has no effect besides, and may be
/// called again with the records as they are then; the last call counts.
pub type WorkOut = Box<dyn Fn(Vec<RecordState>) -> Result<Option<ChangeSet>> + Send + Sync>;

/// What a commit changed, told after it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreChange {
    /// These records of the target changed in the app's view, or began or ceased to have pending operations.
    Records {
        /// Collection and scope.
        target: Target,
        /// The records; `None` = too many to list, anything may have changed.
        ids: Option<Vec<RecordId>>,
    },
    /// Operations were enqueued in the scope.
    Enqueued(SyncScope),
    /// Anything may have changed: notices were lost, or another process wrote.
    Anything,
}

/// What the app sees of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The content.
    pub payload: Payload,
    /// The schema version of the content.
    pub schema_version: u32,
}

/// What a commit changed in the app's view, for those who keep answers to queries up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewChange {
    /// These records of the target are so since the commit; `None` = not there. No others of the target changed.
    Records {
        /// Collection and scope.
        target: Target,
        /// The records, each once.
        records: Arc<[(RecordId, Option<LocalRecord>)]>,
        /// The number of the commit; see [`LocalStore::settled_commit`].
        commit: u64,
    },
    /// Something changed in this target, or anything anywhere.
    Unknown(Option<Target>),
}

/// Keeps records, pending operations and sync points on the device.
///
/// The store has no opinion on sync: it answers questions, and commits [`ChangeSet`]s that the engine worked
/// out. All decisions (coalescing, merging, acknowledging) are pure functions in this crate, so every store
/// behaves the same.
///
/// # Contract
///
/// **Atomicity.** A [`ChangeSet`] takes effect as a whole or not at all, also when the process is killed at any
/// moment; when `commit` has returned `Committed`, it is as durable as the store is.
///
/// **Isolation.** Guards are checked inside the same transaction as the writes, against other tasks and other
/// processes. A read sees no part of an uncommitted change set.
///
/// **Cancellation.** A dropped `commit` has happened as a whole or not at all, and may still happen after the
/// drop. It never leaves a lock behind.
///
/// **Errors.** `Busy` if the store stayed locked, `Full`, `ReadOnly`, `Corrupt`; after each of them the store
/// holds what it held before, and works again when the cause is gone.
///
/// **Order and sorting.** Ids and texts sort by their bytes. Query results have exactly the meaning of
/// [`crate::query`].
///
/// The testkit's conformance suite checks all of this: `sync_testkit::local_suite`.
#[async_trait]
pub trait LocalStore: fmt::Debug + Send + Sync + 'static {
    /// What this store says about itself.
    fn info(&self) -> StoreInfo;

    /// Prepares for these collections (indexes). May be called again; never removes data.
    async fn register(&self, schemas: &[CollectionSchema]) -> Result<()>;

    /// The greatest stamp committed with [`ChangeSet::clock`]. Stamps of operations may count as well.
    async fn load_clock(&self) -> Result<Option<Stamp>>;

    /// A setting written with [`ChangeSet::settings`].
    async fn load_setting(&self, name: &str) -> Result<Option<String>>;

    /// The records with these keys, one for each key, in order, with all their operations.
    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>>;

    /// What the app sees of one record; `None` if it is not there or deleted. One that the schema's soft-delete
    /// field marks is there.
    async fn load_view(&self, key: &RecordKey) -> Result<Option<View>> {
        let state = self.load_record(key).await?;
        Ok(state.view.map(|payload| View {
            payload,
            schema_version: state.schema_version,
        }))
    }

    /// What [`LocalStore::load_view`] would answer, if that takes no longer than waking a task; `None` if it may,
    /// or if it would fail.
    fn view_at_once(&self, key: &RecordKey) -> Option<Option<View>> {
        let _ = key;
        None
    }

    /// Summaries of those of these records that the store has a row for, in any order.
    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>>;

    /// The records of the view that the query selects. Records that the schema's soft-delete field marks as
    /// deleted are left out.
    ///
    /// # Errors
    /// `Invalid` if [`QuerySpec::validate`] refuses the query.
    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>>;

    /// How many records of the view the filter selects; soft-deleted ones are left out.
    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64>;

    /// How far the target has been synchronized; [`TargetState::new`] if nothing is stored.
    async fn load_target(&self, target: &Target) -> Result<TargetState>;

    /// Every target the store has a [`TargetState`] or a record of.
    async fn list_targets(&self) -> Result<Vec<Target>>;

    /// Pending operations, lowest `seq` first.
    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>>;

    /// The records of the operations that the query selects, one for each operation, in the order of those, with all
    /// operations of the record. A store that reads both in one go saves reading the operations twice.
    ///
    /// What is written meanwhile may show in the records already, so that one of them may have no operations any more.
    async fn load_ops_with_records(&self, query: &OpQuery) -> Result<Vec<RecordState>> {
        let ops = self.load_ops(query).await?;
        let keys: Vec<RecordKey> = ops.into_iter().map(|op| op.key).collect();
        self.load_records(&keys).await
    }

    /// How many operations are pending, of one scope or of all.
    async fn count_ops(&self, scope: Option<&SyncScope>) -> Result<OpCounts>;

    /// Conflict records, latest first.
    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>>;

    /// Quarantined rows of one target or of all, latest first.
    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>>;

    /// Ids of records with a live base, without pending operations, whose mark is less than `generation`,
    /// greater than `after`, in the order of ids.
    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>>;

    /// Records without pending operations that could be given up, longest untouched first.
    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>>;

    /// About how many bytes the records, operations and conflicts of one target or of all take.
    async fn approx_size(&self, target: Option<&Target>) -> Result<u64>;

    /// Commits a change set, unless a guard fails.
    ///
    /// # Behavior
    /// See the fields of [`ChangeSet`].
    ///
    /// # Errors
    /// `LeaseLost` if the fence is not the current one; the store's own errors. Nothing was changed then.
    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome>;

    /// Reads records, works out a change set from them, and commits it. A store that can do this in one transaction
    /// saves the reading outside of it and the guards.
    ///
    /// # Behavior
    /// - `work` gets the records with these keys as [`LocalStore::load_records`] answers them. What it leaves is
    ///   committed as by [`LocalStore::commit`]; `None` if it gave up.
    /// - `Stale` tells that a record changed between reading and committing; the caller tries again.
    ///
    /// # Errors
    /// As [`LocalStore::load_records`] and [`LocalStore::commit`], and what `work` returned. Nothing was changed then.
    async fn update(&self, keys: &[RecordKey], work: WorkOut) -> Result<Option<CommitOutcome>> {
        let records = self.load_records(keys).await?;
        match work(records)? {
            Some(changes) => self.commit(changes).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes, renews or takes over the lease `name` for `holder`.
    ///
    /// # Behavior
    /// - Granted if nobody holds it, if `holder` does, or if its time has ended at `now`.
    /// - A new holder gets a greater fence than any before; renewing keeps the fence. A lease that was given back
    ///   has no current fence.
    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer>;

    /// Gives a lease back; nothing happens if the fence is not the current one.
    async fn release_lease(&self, fence: &Fence) -> Result<()>;

    /// What commits change from now on. A receiver that is too slow gets [`StoreChange::Anything`].
    fn changes(&self) -> BoxStream<'static, StoreChange>;

    /// What commits change in the app's view from now on, in the order of the commits.
    fn view_changes(&self) -> BoxStream<'static, ViewChange> {
        let changes = self.changes().filter_map(|change| {
            std::future::ready(match change {
                StoreChange::Records { target, .. } => Some(ViewChange::Unknown(Some(target))),
                StoreChange::Anything => Some(ViewChange::Unknown(None)),
                StoreChange::Enqueued(_) => None,
            })
        });
        changes.boxed()
    }

    /// The number of the last commit, if none is under way; `None` if one is, or if the store does not count them.
    ///
    /// A query that began after this answered `Some(n)`, and ended before it answered the same again, has seen
    /// exactly the commits whose number in [`ViewChange::Records`] is at most `n`.
    fn settled_commit(&self) -> Option<u64> {
        None
    }

    /// Waits for writes under way and closes the store. Later calls fail with `Stopped`.
    async fn close(&self) -> Result<()>;
}

/// Conveniences on top of [`LocalStore`], for every implementation.
#[async_trait]
pub trait LocalStoreExt: LocalStore {
    /// One record.
    ///
    /// # Errors
    /// As [`LocalStore::load_records`].
    async fn load_record(&self, key: &RecordKey) -> Result<RecordState> {
        let mut records = self.load_records(std::slice::from_ref(key)).await?;
        Ok(records.pop().unwrap_or_else(|| RecordState::absent(key.clone())))
    }
}

impl<S: LocalStore + ?Sized> LocalStoreExt for S {}

#[cfg(test)]
fn _object_safe(_: &dyn LocalStore) {}
