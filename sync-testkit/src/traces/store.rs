//! The local store of one client, with the faults of the step.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::{ChangeSet, CommitOutcome, ErrorKind, LocalStore, Result, SyncError};

use super::{
    script::{Point, Script},
    vocabulary::Fault,
};

/// A [`LocalStore`] that passes everything on to another, if the step lets it.
#[derive(Clone, Debug)]
pub(super) struct ScriptedStore {
    pub(super) inner: Arc<dyn LocalStore>,
    pub(super) script: Script,
}

/// Whether a commit brings pulled rows, or is a local write.
fn applies(changes: &ChangeSet) -> bool {
    let brings_rows = !(changes.confirmed.is_empty()
        && changes.records.is_empty()
        && changes.marks.is_empty()
        && changes.removals.is_empty()
        && changes.quarantine.is_empty());
    let pulled = changes.fence.is_some() && !changes.targets.is_empty();
    let written = changes.fence.is_none() && !changes.ops.is_empty();
    brings_rows && pulled || written
}

#[async_trait]
impl LocalStore for ScriptedStore {
    crate::delegate_local_store!(
        inner: info, register, load_clock, load_setting, load_records, load_summaries, query, count,
        load_target, list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked,
        load_eviction_candidates, approx_size, acquire_lease, release_lease, changes, close
    );

    async fn commit(&self, mut changes: ChangeSet) -> Result<CommitOutcome> {
        if self.script.has_fault(None, &Fault::StoreBusy) {
            return Err(SyncError::new(ErrorKind::Busy, "the store is locked"));
        }
        if self.script.has_fault(None, &Fault::DiskFull) {
            return Err(SyncError::new(ErrorKind::Full, "the disk is full"));
        }
        if changes.fence.is_none() {
            self.script.stamp(&mut changes);
        }
        if !applies(&changes) {
            return self.inner.commit(changes).await;
        }
        // A transaction that a process ends in the middle of is as good as one that it did not begin.
        self.script.reach(Point::MidApply).await;
        let outcome = self.inner.commit(changes).await?;
        self.script.note_applied();
        self.script.reach(Point::AfterApply).await;
        Ok(outcome)
    }
}
