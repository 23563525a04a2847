//! Storing pages that were pulled, while the next ones are fetched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    change_set::{ChangeSet, CommitOutcome, Fence},
    engine::{
        Inner,
        apply::{Applied, Pulled},
        run::Run,
    },
    error::Result,
    scope::{CollectionName, Target},
    store::TargetState,
};

/// Pages that wait to be committed together, and how far their collections will be then.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) pulled: Pulled,
    pub(super) changes: usize,
    /// The memory they take, about.
    pub(super) bytes: usize,
    pub(super) states: BTreeMap<CollectionName, TargetState>,
}

/// One commit of pages. It needs nothing of the run while it is under way, so that the run can fetch meanwhile.
pub(super) struct Storing<'a> {
    inner: &'a Arc<Inner>,
    fence: Fence,
    pending: Pending,
    gives_back: bool,
    /// Collections whose records are taken to be new here.
    expected_new: BTreeSet<CollectionName>,
}

/// What was stored.
pub(super) struct Stored {
    states: BTreeMap<CollectionName, TargetState>,
    gave_back: bool,
    tally: Vec<(Target, Applied)>,
}

impl Storing<'_> {
    pub(super) async fn finish(mut self) -> Result<Stored> {
        let inner = self.inner;
        let Pending { pulled, states, .. } = self.pending;
        if let Some(stamp) = pulled.observed {
            inner.clock.observe(stamp, inner.now());
        }
        loop {
            let mut changes = ChangeSet::at(inner.now());
            let mut tally = Vec::new();
            for page in &pulled.pages {
                let expects_new = self.expected_new.contains(&page.target.collection);
                let applied = inner.apply(page, expects_new, &mut changes).await?;
                tally.push((page.target.clone(), applied));
            }
            changes.targets = states.values().cloned().collect();
            changes.gives_back = self.gives_back;
            if inner.commit(self.fence.clone(), changes).await? == CommitOutcome::Committed {
                return Ok(Stored {
                    states,
                    gave_back: self.gives_back,
                    tally,
                });
            }
            // Not all of them were new.
            self.expected_new.clear();
        }
    }
}

impl<'a> Run<'a> {
    /// Begins to commit pages, and how far their collections are then.
    pub(super) async fn begin_storing(&mut self, pending: Pending, gives_back: bool) -> Result<Storing<'a>> {
        self.lease.keep(self.inner).await?;
        Ok(Storing {
            inner: self.inner,
            fence: self.lease.fence(),
            pending,
            gives_back,
            expected_new: self.expected_new.clone(),
        })
    }

    /// Takes notice of what was stored.
    pub(super) fn note_stored(&mut self, stored: Stored) {
        if stored.gave_back {
            self.lease.was_given_back();
        }
        self.states.extend(stored.states);
        for (target, applied) in stored.tally {
            if applied.met_known {
                self.expected_new.remove(&target.collection);
            } else if applied.changed > 0 {
                self.expected_new.insert(target.collection.clone());
            }
            self.count_applied(&target, applied);
        }
    }

    /// Commits pages and how far their collections are then, as one transaction.
    pub(super) async fn store(&mut self, pending: Pending, gives_back: bool) -> Result<()> {
        let stored = self.begin_storing(pending, gives_back).await?.finish().await?;
        self.note_stored(stored);
        Ok(())
    }
}
