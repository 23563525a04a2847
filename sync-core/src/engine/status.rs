//! What the engine is doing, and why it is not moving.

use std::collections::BTreeMap;

use crate::{
    error::{ErrorKind, SyncError},
    operation::OpStateKind,
    scope::ScopeKey,
    store::OpCounts,
    time::Timestamp,
};

/// What the engine does in one scope.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Activity {
    /// Nothing.
    #[default]
    Idle,
    /// It waits for another engine or process that synchronizes the scope.
    WaitingForLease,
    /// It sends operations.
    Pushing {
        /// Operations sent so far in this sync.
        sent: u64,
    },
    /// It fetches changes.
    Pulling {
        /// Changes fetched so far in this sync.
        received: u64,
    },
    /// It compares ids with the remote.
    Sweeping {
        /// Ids compared so far.
        compared: u64,
    },
    /// A sync failed; the next one starts at this local time, or earlier on a write or a poke.
    BackingOff {
        /// When the next attempt is due.
        until: Timestamp,
    },
    /// There is no valid sign-in. The queue waits; nothing is lost.
    NeedsSignIn,
}

/// The state of one scope.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScopeStatus {
    /// What the engine does.
    pub activity: Activity,
    /// When the last sync succeeded, by the local clock.
    pub last_success: Option<Timestamp>,
    /// Why the last sync failed; `None` after a success.
    pub last_error: Option<SyncError>,
}

/// An immutable snapshot of the engine's state.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SyncStatus {
    /// Whether the device is believed to be online.
    pub online: bool,
    /// Pending operations by state, as of the last sync or [`crate::SyncEngine::refresh_status`].
    pub operations: OpCounts,
    /// Conflicts that wait for the user, as of the same moment.
    pub open_conflicts: u64,
    /// Every scope that was synchronized since the engine was built.
    pub scopes: BTreeMap<ScopeKey, ScopeStatus>,
    /// Whether the engine was stopped.
    pub stopped: bool,
}

impl SyncStatus {
    /// One scope's state.
    pub fn scope(&self, key: &ScopeKey) -> ScopeStatus {
        self.scopes.get(key).cloned().unwrap_or_default()
    }

    /// Why operations do not move, for people; empty if nothing holds them up.
    pub fn why_not_moving(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopped {
            reasons.push("the engine was stopped".to_owned());
        }
        if !self.online {
            reasons.push("the device is offline".to_owned());
        }
        for (key, scope) in &self.scopes {
            match &scope.activity {
                Activity::NeedsSignIn => reasons.push(format!("{key}: a sign-in is needed")),
                Activity::WaitingForLease => reasons.push(format!("{key}: another process synchronizes it")),
                Activity::BackingOff { until } => {
                    let why = scope
                        .last_error
                        .as_ref()
                        .map_or(ErrorKind::Internal.as_str(), |e| e.kind().as_str());
                    reasons.push(format!("{key}: {why}, next attempt at {until}"));
                }
                Activity::Idle => {
                    if let Some(error) = &scope.last_error {
                        reasons.push(format!("{key}: the last sync failed: {}", error.kind()));
                    }
                }
                Activity::Pushing { .. } | Activity::Pulling { .. } | Activity::Sweeping { .. } => {}
            }
        }
        for (state, one, several) in [
            (
                OpStateKind::Parked,
                "was refused and waits for you",
                "were refused and wait for you",
            ),
            (
                OpStateKind::Blocked,
                "waits for a refused one",
                "wait for a refused one",
            ),
            (
                OpStateKind::Deferred,
                "waits for you to resolve a conflict",
                "wait for you to resolve conflicts",
            ),
        ] {
            match self.operations.of(state) {
                0 => {}
                1 => reasons.push(format!("1 operation {one}")),
                count => reasons.push(format!("{count} operations {several}")),
            }
        }
        reasons
    }
}
