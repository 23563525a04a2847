//! How much the local store keeps: size, age, clearing. Never touches a record with pending operations.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Activity, Inner, SyncEngine, SyncEvent, lease::Lease};
use crate::{
    change_set::{ChangeSet, CommitOutcome},
    error::{ErrorKind, Result, SyncError},
    id::{RecordId, RecordKey},
    operation::PendingOp,
    record_state::RecordSummary,
    scope::{SyncScope, Target},
    store::{EvictionQuery, Incomplete, OpQuery, TargetState},
};

const LIMITS: &str = "cache_limits";
const CHUNK: u64 = 500;

/// Limits of the local store. They are stored with it, so that every engine that opens it knows them.
///
/// They are enforced when they are set, and by [`SyncEngine::enforce_cache_limits`]: at the start of the app, say,
/// or when it goes to the background. A sync does not enforce them by itself: what it has just fetched would be
/// given up, fetched by the next one, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheLimits {
    /// About how many bytes records and operations may take together; `None` = no limit. Memory of deletes goes
    /// first, then the records that have not changed here for longest.
    pub max_bytes: Option<u64>,
    /// Records that have not changed here for so long are given up; `None` = never.
    pub max_age: Option<Duration>,
    /// The same for single scopes, in place of `max_age`.
    #[serde(default)]
    pub scope_max_age: Vec<(SyncScope, Duration)>,
    /// Memory of deletes that is older than this is given up; `None` = never. A tombstone that is given up can
    /// no longer keep a stale answer of the remote from bringing the record back.
    pub tombstone_age: Option<Duration>,
}

impl CacheLimits {
    /// Limits the size.
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Limits the age of records.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Limits the age of records of one scope, whatever the limit of the others.
    pub fn with_scope_max_age(mut self, scope: &SyncScope, age: Duration) -> Self {
        self.scope_max_age.retain(|(of, _)| of != scope);
        self.scope_max_age.push((scope.clone(), age));
        self
    }

    /// Limits the age of tombstones.
    pub fn with_tombstone_age(mut self, age: Duration) -> Self {
        self.tombstone_age = Some(age);
        self
    }
}

/// What was removed by clearing a scope.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Cleared {
    /// How many confirmed records were removed; they come back with the next sync.
    pub records: u64,
    /// The pending operations that were discarded.
    pub discarded: Vec<PendingOp>,
}

impl SyncEngine {
    /// About how many bytes one collection of a scope, or everything, takes.
    ///
    /// # Errors
    /// The store's.
    pub async fn approx_cache_size(&self, target: Option<&Target>) -> Result<u64> {
        self.inner.store.approx_size(target).await
    }

    /// The limits in force.
    ///
    /// # Errors
    /// The store's.
    pub async fn cache_limits(&self) -> Result<CacheLimits> {
        match self.inner.store.load_setting(LIMITS).await? {
            Some(text) => serde_json::from_str(&text).map_err(|error| SyncError::malformed(LIMITS, error)),
            None => Ok(CacheLimits::default()),
        }
    }

    /// Sets the limits and enforces them at once; see [`SyncEngine::enforce_cache_limits`].
    ///
    /// # Errors
    /// The store's.
    pub async fn set_cache_limits(&self, limits: &CacheLimits) -> Result<u64> {
        let text = serde_json::to_string(limits).map_err(|error| SyncError::malformed(LIMITS, error))?;
        let changes = ChangeSet {
            settings: vec![(LIMITS.to_owned(), Some(text))],
            ..ChangeSet::at(self.inner.now())
        };
        self.inner.store.commit(changes).await?;
        self.enforce_cache_limits().await
    }

    /// Gives up records until the limits hold, longest unchanged first. Records with pending operations stay,
    /// so the size can remain above the limit. A collection that lost live records is marked as incomplete, and
    /// the next read that asks the remote fills it again. Returns how many live records were given up.
    ///
    /// # Errors
    /// The store's; `LeaseLost` if a synchronization does not end.
    ///
    /// # Cancel safety
    /// It goes on without the call that waited for it.
    pub async fn enforce_cache_limits(&self) -> Result<u64> {
        self.inner.check_running()?;
        let limits = self.cache_limits().await?;
        let inner = Arc::clone(&self.inner);
        self.detached(async move { inner.enforce(&limits).await }).await
    }

    /// Removes everything of a scope from the local store. It comes back with the next sync.
    ///
    /// Refuses while operations are pending, unless `discard_pending`; then they are given up and returned.
    ///
    /// # Errors
    /// `PendingOps` with their number; the store's; `LeaseLost` if a synchronization does not end.
    ///
    /// # Cancel safety
    /// It goes on without the call that waited for it.
    pub async fn clear(&self, scope: &SyncScope, discard_pending: bool) -> Result<Cleared> {
        self.inner.check_running()?;
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        self.detached(async move { inner.clear(&scope, discard_pending).await })
            .await
    }

    /// Runs `work` as a task of its own: a dropped call must not leave a lease behind.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.inner.effects.spawner.spawn(Box::pin(async move {
            // Without a receiver, the call was dropped and nobody waits for the answer.
            let _ = sender.send(work.await);
        }));
        receiver
            .await
            .unwrap_or_else(|_| Err(SyncError::new(ErrorKind::Stopped, "the engine was stopped")))
    }
}

impl Inner {
    async fn enforce(&self, limits: &CacheLimits) -> Result<u64> {
        let now = self.now();
        let older_than = |age: Duration| now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let all = EvictionQuery {
            target: None,
            tombstones: true,
            touched_before: None,
            limit: CHUNK,
        };
        if let Some(age) = limits.tombstone_age {
            self.evict(
                &EvictionQuery {
                    touched_before: Some(older_than(age)),
                    ..all.clone()
                },
                u64::MAX,
            )
            .await?;
        }
        let mut evicted = 0;
        for target in self.store.list_targets().await? {
            let own = limits
                .scope_max_age
                .iter()
                .find(|(scope, _)| *scope == target.scope);
            let Some(age) = own.map(|(_, age)| *age).or(limits.max_age) else {
                continue;
            };
            let old = EvictionQuery {
                target: Some(target),
                tombstones: false,
                touched_before: Some(older_than(age)),
                ..all.clone()
            };
            evicted += self.evict(&old, u64::MAX).await?;
        }
        if let Some(max) = limits.max_bytes {
            let size = self.store.approx_size(None).await?;
            if size > max {
                self.evict(&all, size - max).await?;
            }
            let size = self.store.approx_size(None).await?;
            if size > max {
                evicted += self
                    .evict(
                        &EvictionQuery {
                            tombstones: false,
                            ..all
                        },
                        size - max,
                    )
                    .await?;
            }
        }
        Ok(evicted)
    }

    async fn clear(&self, scope: &SyncScope, discard_pending: bool) -> Result<Cleared> {
        let lease = self.lease_for_limits(scope).await?;
        let result = self.clear_leased(scope, discard_pending, &lease).await;
        lease.release(self).await;
        result.map_err(|error| error.with_operation("clear").with_scope(scope))
    }

    /// The lease of a scope. What holds up its synchronizations does so after the wait as well.
    async fn lease_for_limits(&self, scope: &SyncScope) -> Result<Lease> {
        let before = self.status.borrow().scope(scope.key()).activity;
        let on_wait = || self.set_activity(scope, Activity::WaitingForLease);
        let lease = Lease::acquire(self, scope, on_wait).await;
        self.update_status(|status| {
            if let Some(status) = status.scopes.get_mut(scope.key())
                && matches!(status.activity, Activity::WaitingForLease)
            {
                status.activity = match before {
                    Activity::BackingOff { .. } | Activity::NeedsSignIn => before,
                    _ => Activity::Idle,
                };
            }
        });
        lease
    }

    async fn clear_leased(&self, scope: &SyncScope, discard_pending: bool, lease: &Lease) -> Result<Cleared> {
        let mut cleared = Cleared::default();
        let pending = OpQuery {
            scope: Some(scope.clone()),
            ..OpQuery::default()
        };
        let ops = self.store.load_ops(&pending).await?;
        if !ops.is_empty() && !discard_pending {
            let message = format!(
                "{} operations are pending; synchronize or export them first, or discard them explicitly",
                ops.len()
            );
            return Err(SyncError::new(ErrorKind::PendingOps, message));
        }
        // Exactly the records that were looked at: what is written from now on stays.
        let keys: BTreeSet<RecordKey> = ops.into_iter().map(|op| op.key).collect();
        let keys: Vec<RecordKey> = keys.into_iter().collect();
        for chunk in keys.chunks(CHUNK as usize) {
            loop {
                let states = self.store.load_records(chunk).await?;
                let mut changes = ChangeSet {
                    fence: Some(lease.fence()),
                    ..ChangeSet::at(self.now())
                };
                for state in &states {
                    self.give_up(state, &mut changes).await?;
                }
                if self.store.commit(changes).await? == CommitOutcome::Committed {
                    cleared
                        .discarded
                        .extend(states.into_iter().flat_map(|state| state.ops));
                    break;
                }
            }
        }
        for target in self.targets(scope) {
            cleared.records += self.clear_target(&target, lease).await?;
        }
        Ok(cleared)
    }

    async fn clear_target(&self, target: &Target, lease: &Lease) -> Result<u64> {
        // First the mark that the collection is not complete: a crash in between must not hide what is missing.
        let state = TargetState {
            incomplete: Some(Incomplete::Cleared),
            // Marks of records written meanwhile must not be ahead of it.
            generation: self.store.load_target(target).await?.generation,
            ..TargetState::new(target.clone())
        };
        let changes = ChangeSet {
            fence: Some(lease.fence()),
            targets: vec![state],
            ..ChangeSet::at(self.now())
        };
        self.store.commit(changes).await?;
        let mut removed = 0;
        for tombstones in [false, true] {
            let query = EvictionQuery {
                target: Some(target.clone()),
                tombstones,
                touched_before: None,
                limit: CHUNK,
            };
            loop {
                let found = self.store.load_eviction_candidates(&query).await?;
                if found.is_empty() {
                    break;
                }
                let removals: Vec<_> = found.into_iter().map(|candidate| candidate.key).collect();
                let count = removals.len() as u64;
                let changes = ChangeSet {
                    fence: Some(lease.fence()),
                    removals,
                    ..ChangeSet::at(self.now())
                };
                if self.store.commit(changes).await? == CommitOutcome::Committed && !tombstones {
                    removed += count;
                }
            }
        }
        Ok(removed)
    }

    /// Gives up candidates until about `bytes` are free or none is left. Returns how many.
    async fn evict(&self, query: &EvictionQuery, bytes: u64) -> Result<u64> {
        let (mut freed, mut evicted) = (0_u64, 0);
        while freed < bytes {
            let found = self.store.load_eviction_candidates(query).await?;
            let Some(first) = found.first() else {
                return Ok(evicted);
            };
            // One collection at a time, under the lease of its scope: a pull must not write over the mark.
            let target = first.key.target.clone();
            let mut chosen = Vec::new();
            for candidate in found
                .into_iter()
                .filter(|candidate| candidate.key.target == target)
            {
                if freed >= bytes {
                    break;
                }
                freed += candidate.bytes.max(1);
                chosen.push(candidate.key);
            }
            let count = chosen.len() as u64;
            if self.evict_chosen(&target, chosen, query.tombstones).await? == CommitOutcome::Committed {
                evicted += count;
                if !query.tombstones {
                    self.emit(SyncEvent::Evicted {
                        target,
                        records: count,
                    });
                }
            }
        }
        Ok(evicted)
    }

    async fn evict_chosen(
        &self,
        target: &Target,
        removals: Vec<RecordKey>,
        tombstones: bool,
    ) -> Result<CommitOutcome> {
        let lease = self.lease_for_limits(&target.scope).await?;
        let mut changes = ChangeSet {
            fence: Some(lease.fence()),
            removals,
            ..ChangeSet::at(self.now())
        };
        let result = async {
            if tombstones {
                // While the lease was waited for, a record may have come back. Taking it away would need another
                // pull from nothing.
                self.retain_tombstones(target, &mut changes.removals).await?;
            } else {
                let state = self.store.load_target(target).await?;
                // From nothing: what was evicted is older than the sync point and would not be sent again.
                changes.targets.push(TargetState {
                    sync_point: None,
                    incomplete: Some(Incomplete::Evicted),
                    pulled_at: None,
                    ..state
                });
            }
            self.store.commit(changes).await
        }
        .await;
        lease.release(self).await;
        result
    }

    /// Leaves in `keys` what is nothing but a tombstone by now.
    async fn retain_tombstones(&self, target: &Target, keys: &mut Vec<RecordKey>) -> Result<()> {
        let ids: Vec<RecordId> = keys.iter().map(|key| key.id.clone()).collect();
        let summaries = self.store.load_summaries(target, &ids).await?;
        let gone = |summary: &&RecordSummary| !summary.live && !summary.pending;
        let gone: BTreeSet<RecordId> = summaries.iter().filter(gone).map(|one| one.id.clone()).collect();
        keys.retain(|key| gone.contains(&key.id));
        Ok(())
    }
}
