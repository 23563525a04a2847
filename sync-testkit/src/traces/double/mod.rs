//! A client with one mistake, in the place of the engine.

mod pull;
mod push;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::{
    Clock, ErrorKind, OpId, OpKind, RecordId, RecordKey, RemoteState, RemoteStore, Result, Stamp, SyncError,
    SyncPoint, SyncScope,
};
use uuid::Uuid;

use super::{
    script::Script,
    time::ClientClock,
    vocabulary::{Fault, Fields},
};

/// What a naive client does wrong. Each is what some real sync code did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ClientMistake {
    /// Nothing that a last-write-wins client could do better: it keeps whole records, and has no other strategy.
    WholeRecordWins,
    /// The row is written first, the operation in a second step.
    SeparateOutboxWrite,
    /// After a push the whole queue is cleared, with what was written meanwhile.
    ClearsQueueAfterPush,
    /// The record as it was pushed is written over what the user wrote meanwhile.
    AnswerOverwritesEdit,
    /// When the push was answered, the record shows the old state until it is pulled.
    DropsOverlayAtAnswer,
    /// Pushes name no base: whoever comes last overwrites.
    UnconditionalPush,
    /// An operation that is sent again has a new identity and no base.
    RepeatsBlindly,
    /// What was sent once is never sent again: the client waits for its answer.
    WaitsForTheAnswer,
    /// What failed once is not sent again unless the user writes the record again.
    FailedNeedsNewInput,
    /// The third failure of an operation is its last.
    DropsAfterThreeFailures,
    /// Every answer counts as success, a failure as well.
    SwallowsFailures,
    /// The first refused operation ends the sync, each time.
    StopsAtFirstRefusal,
    /// What was refused is sent with every sync.
    RetriesRefusedForEver,
    /// An expired sign-in counts as a refusal.
    AuthFailureIsRefusal,
    /// Operations go by kind: creates, updates, deletes.
    RegroupsByKind,
    /// Operations go in the order of ids.
    SortsByIds,
    /// Operations go in the order of the wall clock, one by one.
    SortsByClock,
    /// Every operation of a record goes at once, all on the first base.
    SendsAllOpsOfARecordAtOnce,
    /// Nothing coalesces.
    NeverCoalesces,
    /// The batch limit is not held.
    IgnoresBatchLimit,
    /// The version that a push made is not kept.
    ForgetsNewVersion,
    /// New content joins an operation that was sent, under its identity.
    ReusesIdForNewContent,
    /// Operation ids are made of the time.
    IdFromTheClock,
    /// What lost a conflict is pushed all the same.
    PushesTheLoser,
    /// When the local side wins, it is pushed without a base.
    ForcesThePush,
    /// On a tie, the local write wins.
    TieGoesToTheLocal,
    /// The record with the greater stamp stays, whatever its writer had seen.
    ClockBeatsCausality,
    /// Stamps are the wall clock, also after it was set back.
    StampsAreTheWallClock,
    /// No write while the clock is behind the last one.
    RefusesWhenClockIsBehind,
    /// The sync point is stored before its rows.
    CursorBeforeRows,
    /// The sync point after a pull is the server's now.
    CursorIsNow,
    /// A push moves the sync point to now.
    CursorMovesWithPush,
    /// A pull that failed counts as an empty one, up to now.
    FailedPullIsEmpty,
    /// Rows and sync point are stored when the last page has come.
    StoresPagesAtTheEnd,
    /// Every pull begins from nothing.
    FetchesEverything,
    /// Tombstones are asked for although nothing is held.
    AsksForTombstones,
    /// Only the first page is asked for.
    OnePageIsAll,
    /// A sync pushes, and waits for events to tell of changes.
    OnlyAppliesEvents,
    /// Pulled rows overwrite records with pending operations.
    PullOverwritesPending,
    /// What the user writes during a pull is not queued.
    WritesDuringPullUntracked,
    /// A remote delete wins over every pending edit.
    RemoteDeleteAlwaysWins,
    /// A record that was deleted once stays so.
    DeletedStaysDeleted,
    /// Pulled rows are queued for the remote.
    EchoBecomesOperation,
    /// A sync point that is no longer good is taken for "nothing new".
    IgnoresResync,
    /// A full pull only adds and changes.
    ResyncKeepsGhosts,
    /// A full pull begins with an empty store, queue included.
    ResyncDropsQueue,
    /// Rows of a revoked scope stay.
    KeepsRevokedRows,
    /// The sync point of a revoked scope stays, its rows go.
    KeepsCursorOfRevokedScope,
    /// Clearing the cache clears the queue.
    WipeTakesTheQueue,
    /// Eviction takes records with pending operations.
    EvictsPending,
    /// Eviction leaves the sync point as it is.
    KeepsCursorAtEviction,
    /// Evictions and deletes go by id, in every scope.
    IgnoresScopes,
    /// Errors of the store are swallowed.
    IgnoresStoreErrors,
    /// Writes of many records change the store alone.
    BulkWritesStayLocal,
    /// Of more than a hundred pending operations the oldest are dropped.
    DropsTheOldest,
    /// A remote-first read that meets no network is an error.
    NoFallback,
    /// Every policy reads the store alone, and no failure is told.
    PoliciesAreOne,
}

/// A write that was not confirmed.
#[derive(Clone, Debug)]
struct Op {
    op_id: OpId,
    key: RecordKey,
    kind: OpKind,
    payload: Option<Fields>,
    stamp: Stamp,
    attempts: u32,
    /// Refused for good.
    dead: bool,
}

/// A record.
#[derive(Clone, Debug, Default)]
struct Row {
    view: Option<Fields>,
    base: RemoteState,
    /// Whether it was deleted once.
    was_deleted: bool,
}

/// What the client keeps on the device.
#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<RecordKey, Row>,
    ops: Vec<Op>,
    cursors: BTreeMap<SyncScope, SyncPoint>,
    synced: BTreeSet<SyncScope>,
    stamp: Option<Stamp>,
    conflicts: u64,
    pulling: bool,
    ids: u128,
}

/// A client over a remote, with one mistake.
#[derive(Debug)]
pub(super) struct NaiveClient {
    mistake: Option<ClientMistake>,
    remote: Arc<dyn RemoteStore>,
    script: Script,
    clock: ClientClock,
    node: u64,
    page_size: u32,
    batch: usize,
    kept: Mutex<Kept>,
}

impl NaiveClient {
    /// A client with an empty store. Without a mistake, it is the measure: what it gets right, no mistake is to be
    /// thanked for.
    pub(super) fn new(
        mistake: Option<ClientMistake>,
        remote: Arc<dyn RemoteStore>,
        script: Script,
        clock: ClientClock,
        node: u64,
        limits: (Option<u32>, Option<u32>),
    ) -> Self {
        Self {
            mistake,
            remote,
            script,
            clock,
            node,
            page_size: limits.0.unwrap_or(500),
            batch: limits.1.unwrap_or(100) as usize,
            kept: Mutex::default(),
        }
    }

    fn has(&self, mistake: ClientMistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store takes a write now.
    fn check_store(&self) -> Result<()> {
        let kind = if self.script.has_fault(None, &Fault::DiskFull) {
            ErrorKind::Full
        } else if self.script.has_fault(None, &Fault::StoreBusy) {
            ErrorKind::Busy
        } else {
            return Ok(());
        };
        Err(SyncError::new(kind, "the store cannot be written"))
    }

    fn new_op_id(&self, kept: &mut Kept) -> OpId {
        kept.ids += 1;
        let number = if self.has(ClientMistake::IdFromTheClock) {
            u128::from(self.clock.now().as_micros().unsigned_abs() / 1_000_000)
        } else {
            kept.ids
        };
        OpId::from_uuid(Uuid::from_u128(u128::from(self.node) << 64 | number))
    }

    // --- what is seen ---

    pub(super) fn rows(&self) -> Vec<(RecordKey, Fields)> {
        let kept = self.kept();
        let seen = kept
            .rows
            .iter()
            .filter_map(|(key, row)| Some((key.clone(), row.view.clone()?)));
        seen.collect()
    }

    pub(super) fn pending(&self) -> u64 {
        self.kept().ops.iter().filter(|op| !op.dead).count() as u64
    }

    pub(super) fn dead(&self) -> u64 {
        self.kept().ops.iter().filter(|op| op.dead).count() as u64
    }

    pub(super) fn conflicts(&self) -> u64 {
        self.kept().conflicts
    }

    pub(super) fn synced_once(&self, scope: &SyncScope) -> bool {
        self.kept().synced.contains(scope)
    }

    // --- the app ---

    /// The app is started again.
    pub(super) fn restart(&self) {
        let mut kept = self.kept();
        kept.pulling = false;
        if self.has(ClientMistake::StampsAreTheWallClock) {
            kept.stamp = None;
        }
    }

    pub(super) async fn synchronize(&self, scope: &SyncScope) -> Result<()> {
        self.push(scope).await?;
        if self.has(ClientMistake::OnlyAppliesEvents) {
            return Ok(());
        }
        self.pull(scope, false).await
    }

    pub(super) async fn full_resync(&self, scope: &SyncScope) -> Result<()> {
        self.push(scope).await?;
        self.pull(scope, true).await
    }

    pub(super) fn discard(&self, id: Option<&str>) {
        let mut kept = self.kept();
        let given_up = |key: &RecordKey| id.is_none_or(|id| key.id.as_str() == id);
        let keys: BTreeSet<RecordKey> = kept
            .ops
            .iter()
            .map(|op| op.key.clone())
            .filter(given_up)
            .collect();
        kept.ops.retain(|op| !given_up(&op.key));
        for key in keys {
            if let Some(row) = kept.rows.get_mut(&key) {
                row.view = fields_of(&row.base);
            }
        }
    }

    /// Removes the records of a scope, with or without the queue.
    pub(super) fn wipe(&self, scope: &SyncScope, with_queue: bool) {
        let mut kept = self.kept();
        if with_queue || self.has(ClientMistake::WipeTakesTheQueue) {
            kept.ops.retain(|op| op.key.scope() != scope);
        }
        let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
        kept.rows
            .retain(|key, _| key.scope() != scope || pending.contains(key));
        kept.cursors.remove(scope);
    }

    pub(super) fn reset_cursor(&self, scope: &SyncScope) {
        self.kept().cursors.remove(scope);
    }

    pub(super) fn purge(&self, key: &RecordKey) {
        let mut kept = self.kept();
        let everywhere = self.has(ClientMistake::IgnoresScopes);
        let struck = |other: &RecordKey| other == key || everywhere && other.id == key.id;
        let pending = kept.ops.iter().any(|op| struck(&op.key));
        if pending && !self.has(ClientMistake::EvictsPending) {
            return;
        }
        kept.ops.retain(|op| !struck(&op.key));
        kept.rows.retain(|key, _| !struck(key));
        if !self.has(ClientMistake::KeepsCursorAtEviction) {
            kept.cursors.remove(key.scope());
        }
    }

    pub(super) fn falls_back(&self) -> bool {
        !self.has(ClientMistake::NoFallback)
    }

    pub(super) fn ignores_policies(&self) -> bool {
        self.has(ClientMistake::PoliciesAreOne)
    }
}

impl Kept {
    fn is_pending(&self, key: &RecordKey) -> bool {
        self.ops.iter().any(|op| op.key == *key && !op.dead)
    }
}

fn fields_of(state: &RemoteState) -> Option<Fields> {
    state.payload().and_then(|payload| payload.to_object().ok())
}

fn key_in(scope: &SyncScope, id: &RecordId) -> Result<RecordKey> {
    super::device::key(scope, id.as_str())
}
