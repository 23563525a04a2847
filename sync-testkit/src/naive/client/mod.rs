//! A client with one mistake, in the place of the engine.

mod ground;
mod keeping;
mod merge;
mod mistake;
mod pull;
mod push;
mod writes;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use sync_core::{
    CollectionName, JsonObject, OpId, Payload, RecordKey, RemoteState, RemoteStore, Result, SyncScope, Target,
};
use uuid::Uuid;

pub(crate) use ground::{Ground, Moment};
pub(crate) use keeping::{Kept, Op};
pub use mistake::ClientMistake;
pub(crate) use writes::NaiveWrite;

use keeping::Keeping;

/// The most that a client asks for, sends and keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) page: u32,
    pub(crate) batch: usize,
    /// How many operations a client keeps that drops the oldest.
    pub(crate) queue: usize,
}

/// A client over a remote, with one mistake.
#[derive(Debug)]
pub(crate) struct NaiveClient {
    mistake: Option<ClientMistake>,
    remote: Arc<dyn RemoteStore>,
    ground: Arc<dyn Ground>,
    collections: Vec<CollectionName>,
    node: u64,
    limits: Limits,
    kept: Arc<Mutex<Kept>>,
    merges_fields: bool,
}

impl NaiveClient {
    /// A client with what is kept on its device. Without a mistake, it is the measure: what it gets right, no mistake is to be
    /// thanked for.
    pub(crate) fn new(
        mistake: Option<ClientMistake>,
        remote: Arc<dyn RemoteStore>,
        ground: Arc<dyn Ground>,
        collections: Vec<CollectionName>,
        node: u64,
        limits: Limits,
        kept: Arc<Mutex<Kept>>,
    ) -> Self {
        Self {
            mistake,
            remote,
            ground,
            collections,
            node,
            limits,
            kept,
            merges_fields: false,
        }
    }

    /// Settles conflicts by fields, and not by whole records.
    pub(crate) fn merging_fields(self, merges_fields: bool) -> Self {
        Self {
            merges_fields: merges_fields && self.mistake != Some(ClientMistake::WholeRecordWins),
            ..self
        }
    }

    fn has(&self, mistake: ClientMistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn kept(&self) -> Keeping<'_> {
        Keeping {
            kept: self.kept.lock().unwrap_or_else(PoisonError::into_inner),
            ground: &*self.ground,
            changed: false,
        }
    }

    fn targets<'c>(&'c self, scope: &'c SyncScope) -> impl Iterator<Item = Target> + 'c {
        let collections = self.collections.iter().cloned();
        collections.map(|collection| Target::new(collection, scope.clone()))
    }

    fn new_op_id(&self, kept: &mut Kept) -> OpId {
        kept.ids += 1;
        let number = if self.has(ClientMistake::IdFromTheClock) {
            u128::from(self.ground.now().as_micros().unsigned_abs() / 1_000_000)
        } else {
            kept.ids
        };
        OpId::from_uuid(Uuid::from_u128(u128::from(self.node) << 64 | number))
    }

    // --- what is seen ---

    pub(crate) fn rows(&self) -> Vec<(RecordKey, JsonObject)> {
        let kept = self.kept();
        let seen = kept
            .rows
            .iter()
            .filter_map(|(key, row)| Some((key.clone(), row.view.as_ref()?.to_object().ok()?)));
        seen.collect()
    }

    pub(crate) fn pending(&self) -> u64 {
        self.kept().ops.iter().filter(|op| op.dead.is_none()).count() as u64
    }

    pub(crate) fn dead(&self) -> u64 {
        self.kept().ops.iter().filter(|op| op.dead.is_some()).count() as u64
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.kept().conflicts
    }

    pub(crate) fn synced_once(&self, scope: &SyncScope) -> bool {
        self.kept().synced.contains(scope)
    }

    // --- the app ---

    /// The app is started again.
    pub(crate) fn restart(&self) {
        let mut kept = self.kept();
        kept.pulling = false;
        if self.has(ClientMistake::StampsAreTheWallClock) {
            kept.stamp = None;
        }
    }

    pub(crate) async fn synchronize(&self, scope: &SyncScope) -> Result<()> {
        self.push(scope).await?;
        if self.has(ClientMistake::OnlyAppliesEvents) {
            return Ok(());
        }
        self.pull(scope, false).await
    }

    pub(crate) async fn full_resync(&self, scope: &SyncScope) -> Result<()> {
        self.push(scope).await?;
        self.pull(scope, true).await
    }

    /// Gives up what is pending of these records.
    pub(crate) fn discard(&self, given_up: impl Fn(&RecordKey) -> bool) {
        let mut kept = self.kept();
        let keys: BTreeSet<RecordKey> = kept
            .ops
            .iter()
            .map(|op| op.key.clone())
            .filter(|key| given_up(key))
            .collect();
        kept.ops.retain(|op| !given_up(&op.key));
        for key in keys {
            if let Some(row) = kept.rows.get_mut(&key) {
                row.view = row.base.payload().cloned();
            }
        }
    }

    /// Removes the records of a scope, with or without the queue.
    pub(crate) fn wipe(&self, scope: &SyncScope, with_queue: bool) {
        let mut kept = self.kept();
        if with_queue || self.has(ClientMistake::WipeTakesTheQueue) {
            kept.ops.retain(|op| op.key.scope() != scope);
        }
        let pending: BTreeSet<RecordKey> = kept.ops.iter().map(|op| op.key.clone()).collect();
        kept.rows
            .retain(|key, _| key.scope() != scope || pending.contains(key));
        kept.cursors.retain(|target, _| target.scope != *scope);
    }

    pub(crate) fn reset_cursor(&self, scope: &SyncScope) {
        self.kept().cursors.retain(|target, _| target.scope != *scope);
    }

    pub(crate) fn purge(&self, key: &RecordKey) {
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
            kept.cursors.remove(&key.target);
        }
    }

    /// Sends what was refused again.
    pub(crate) fn retry(&self) {
        for op in &mut self.kept().ops {
            op.dead = None;
        }
    }

    pub(crate) fn falls_back(&self) -> bool {
        !self.has(ClientMistake::NoFallback)
    }

    pub(crate) fn ignores_policies(&self) -> bool {
        self.has(ClientMistake::PoliciesAreOne)
    }
}

fn payload_of(state: &RemoteState) -> Option<Payload> {
    state.payload().cloned()
}
