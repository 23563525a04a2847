//! Pauses that the remote asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::scope::{ScopeKey, SyncScope};

/// Until when the remote does not want to be asked again, by scope, in monotonic time: a wall clock that is set makes
/// a pause neither longer nor shorter.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<BTreeMap<ScopeKey, Duration>>);

impl Pauses {
    fn ends(&self) -> MutexGuard<'_, BTreeMap<ScopeKey, Duration>> {
        // Entries are only inserted and removed as wholes, so a poisoned lock guards a sound map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The remote does not want to be asked again before `end`.
    pub(crate) fn begin(&self, scope: &SyncScope, end: Duration) {
        self.ends().insert(scope.key().clone(), end);
    }

    /// The remote answered as it should.
    pub(crate) fn end(&self, scope: &SyncScope) {
        self.ends().remove(scope.key());
    }

    /// What is left of the pause at `now`, if anything is.
    pub(crate) fn left(&self, scope: &SyncScope, now: Duration) -> Option<Duration> {
        let end = self.ends().get(scope.key()).copied()?;
        end.checked_sub(now).filter(|left| !left.is_zero())
    }
}
