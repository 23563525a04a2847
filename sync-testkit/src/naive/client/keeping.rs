//! What a naive client keeps on its device.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::MutexGuard,
};

use sync_core::{
    OpId, OpKind, ParkReason, Payload, RecordKey, RemoteState, Stamp, SyncPoint, SyncScope, Target,
};

use super::Ground;

/// A write that was not confirmed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) op_id: OpId,
    /// Its place in the queue, whatever its identity is.
    pub(crate) place: u64,
    pub(crate) key: RecordKey,
    pub(crate) kind: OpKind,
    pub(crate) payload: Option<Payload>,
    pub(crate) stamp: Stamp,
    pub(crate) attempts: u32,
    /// Why it was refused for good.
    pub(crate) dead: Option<ParkReason>,
}

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) view: Option<Payload>,
    pub(crate) base: RemoteState,
    /// Whether it was deleted once.
    pub(crate) was_deleted: bool,
}

/// What the client keeps on the device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) rows: BTreeMap<RecordKey, Row>,
    pub(crate) ops: Vec<Op>,
    pub(crate) cursors: BTreeMap<Target, SyncPoint>,
    pub(super) synced: BTreeSet<SyncScope>,
    pub(super) stamp: Option<Stamp>,
    pub(super) conflicts: u64,
    pub(super) pulling: bool,
    pub(super) ids: u128,
    places: u64,
    /// Records of which a conflict was decided since the last change was told.
    pub(crate) decided: Vec<RecordKey>,
    /// Whether the change under way is a write of the user.
    pub(crate) by_user: bool,
}

impl Kept {
    pub(super) fn is_pending(&self, key: &RecordKey) -> bool {
        self.ops.iter().any(|op| op.key == *key && op.dead.is_none())
    }

    pub(super) fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }
}

/// Access to it. The ground is told of every change, when it is complete.
pub(super) struct Keeping<'c> {
    pub(super) kept: MutexGuard<'c, Kept>,
    pub(super) ground: &'c dyn Ground,
    pub(super) changed: bool,
}

impl Deref for Keeping<'_> {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kept
    }
}

impl DerefMut for Keeping<'_> {
    fn deref_mut(&mut self) -> &mut Kept {
        self.changed = true;
        &mut self.kept
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        if self.changed {
            self.ground.changed(&self.kept);
            self.kept.decided.clear();
            self.kept.by_user = false;
        }
    }
}
