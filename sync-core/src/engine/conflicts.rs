//! Conflicts that wait for the user, and the history of those that were settled.

use std::sync::Arc;

use uuid::Uuid;

use super::{SyncEngine, SyncEvent};
use crate::{
    change_set::{ChangeSet, CommitOutcome},
    conflict_record::ConflictRecord,
    error::{ErrorKind, Result, SyncError},
    machine::{settle_deferred, upgrade_state},
    resolve::Resolution,
    scope::Target,
    store::{ConflictQuery, LocalStoreExt, QuarantinedRow},
};

const MAX_ROUNDS: u32 = 64;

impl SyncEngine {
    /// Conflict records: open ones, settled ones, or both; latest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        self.inner.store.load_conflicts(query).await
    }

    /// Decides an open conflict: with the local value, the remote value, or another one. What is to be written
    /// goes out with the next sync, on the remote state the conflict record shows.
    ///
    /// # Errors
    /// `NotFound` if there is no such conflict or it is not open any more; `Invalid` if the resolution is
    /// `Defer`, or a merged record is not acceptable.
    pub async fn resolve_conflict(
        &self,
        conflict_id: Uuid,
        resolution: Resolution,
    ) -> Result<ConflictRecord> {
        let inner = &self.inner;
        inner.check_running()?;
        let query = ConflictQuery {
            conflict_id: Some(conflict_id),
            ..ConflictQuery::default()
        };
        for _ in 0..MAX_ROUNDS {
            let open = inner
                .store
                .load_conflicts(&query)
                .await?
                .into_iter()
                .find(ConflictRecord::is_open);
            let open = open.ok_or_else(|| {
                SyncError::new(
                    ErrorKind::NotFound,
                    format!("there is no open conflict {conflict_id}"),
                )
                .with_field("conflict_id")
            })?;
            let known = inner.registered(&open.key.target.collection)?;
            if let Resolution::Merged(payload) = &resolution {
                (known.schema.check)(payload, &open.key.id)?;
            }
            let before = inner.store.load_record(&open.key).await?;
            let mut state = before.clone();
            upgrade_state(&known.schema, &mut state);
            let around = inner.surroundings(known);
            let mut transition = settle_deferred(&state, &open, resolution.clone(), &around)?;
            transition.before = before;
            let mut changes = ChangeSet::at(inner.now());
            transition.add_to(&mut changes);
            changes.clock = Some(inner.clock.latest());
            if inner.store.commit(changes).await? == CommitOutcome::Committed {
                let settled = transition.conflict.unwrap_or(open);
                inner.emit(SyncEvent::Conflict(Arc::new(settled.clone())));
                inner.nudge(settled.key.scope());
                return Ok(settled);
            }
        }
        Err(SyncError::new(
            ErrorKind::Busy,
            "the record kept changing; try again",
        ))
    }

    /// Rows that the remote sent and that could not be understood, latest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        self.inner.store.load_quarantine(target, limit).await
    }
}
