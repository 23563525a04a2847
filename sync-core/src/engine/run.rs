//! One synchronization of one scope, from lease to report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Activity, Inner, SyncEvent, SyncReport, SyncRequest, apply::RawChanges, lease::Lease};
use crate::{
    change_set::{ChangeSet, CommitOutcome, Fence},
    delta::RemoteState,
    error::{ErrorKind, Result, RetryClass, SyncError},
    query::QuerySpec,
    scope::{CollectionName, SyncScope, Target},
    store::TargetState,
    time::Timestamp,
};

/// What comes after a pull.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    /// Other steps.
    More,
    /// A sweep of the collections that are due for it, or of all if it was asked for; then the run is at its end.
    Sweep(bool),
}

/// What the steps of one synchronization share.
pub(crate) struct Run<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) scope: &'a SyncScope,
    /// The targets of the scope, parents before children.
    pub(crate) targets: Vec<Target>,
    /// How far each of them is, as stored.
    pub(crate) states: BTreeMap<CollectionName, TargetState>,
    pub(crate) lease: Lease,
    pub(crate) report: SyncReport,
    /// Collections whose pulled records are likely to be new here: none of those that came last had a row.
    pub(crate) expected_new: BTreeSet<CollectionName>,
}

pub(crate) async fn run(inner: &Arc<Inner>, scope: &SyncScope, request: &SyncRequest) -> Result<SyncReport> {
    inner.emit(SyncEvent::Started(scope.clone()));
    let result = leased(inner, scope, request).await;
    let now = inner.now();
    match &result {
        Ok(_) => inner.pauses.end(scope),
        Err(Failure { error, until, .. }) => {
            if let (RetryClass::After(_), Some(until)) = (error.retry(), until) {
                let end = inner.effects.clock.monotonic() + until.since(now);
                inner.pauses.begin(scope, end);
            }
        }
    }
    inner.update_status(|status| {
        let scope_status = status.scopes.entry(scope.key().clone()).or_default();
        match &result {
            Ok(_) => {
                scope_status.activity = Activity::Idle;
                scope_status.last_success = Some(now);
                scope_status.last_error = None;
            }
            Err(Failure { error, until, .. }) => {
                scope_status.activity = if error.retry() == RetryClass::SignIn {
                    Activity::NeedsSignIn
                } else {
                    until.map_or(Activity::Idle, |until| Activity::BackingOff { until })
                };
                scope_status.last_error = Some(error.clone());
            }
        }
    });
    if let Err(error) = inner.refresh_counts().await {
        tracing::warn!(%scope, %error, "the status could not be counted");
    }
    match result {
        Ok(report) => {
            inner.emit(SyncEvent::Finished {
                scope: scope.clone(),
                report: Arc::new(report.clone()),
            });
            Ok(report)
        }
        Err(Failure { error, report, .. }) => {
            inner.emit(SyncEvent::Failed {
                scope: scope.clone(),
                error: error.clone(),
                report: Arc::new(report),
            });
            Err(error)
        }
    }
}

/// A synchronization that failed.
struct Failure {
    error: SyncError,
    /// When the next automatic attempt is due.
    until: Option<Timestamp>,
    /// What it did before.
    report: SyncReport,
}

async fn leased(inner: &Arc<Inner>, scope: &SyncScope, request: &SyncRequest) -> Result<SyncReport, Failure> {
    let started = inner.effects.clock.monotonic();
    let on_wait = || inner.set_activity(scope, Activity::WaitingForLease);
    let lease = Lease::acquire(inner, scope, on_wait)
        .await
        .map_err(|error| Failure {
            error: error.with_scope(scope),
            until: None,
            report: SyncReport::default(),
        })?;
    let targets = inner.targets(scope);
    let mut run = Run {
        inner,
        scope,
        targets,
        states: BTreeMap::new(),
        lease,
        report: SyncReport::default(),
        expected_new: BTreeSet::new(),
    };
    let result = run.steps(request).await;
    let result = run.after_steps(result).await;
    let until = run.remember(result.as_ref().err()).await;
    let Run {
        lease, mut report, ..
    } = run;
    lease.release(inner).await;
    report.duration = inner.effects.clock.monotonic().saturating_sub(started);
    match result {
        Ok(()) => Ok(report),
        Err(error) => Err(Failure {
            error: error.with_scope(scope),
            until,
            report,
        }),
    }
}

impl Run<'_> {
    async fn steps(&mut self, request: &SyncRequest) -> Result<()> {
        for target in &self.targets {
            let state = self.inner.store.load_target(target).await?;
            self.states.insert(target.collection.clone(), state);
        }
        // A remote that cannot refuse a write on an outdated base is pulled first, so that conflicts are found
        // here; the push then reads each record once more.
        let pull_first = request.push && request.pull && !self.inner.capabilities.conditional_write;
        if request.full_resync {
            for target in self.targets.clone() {
                self.begin_resync(&target, "a full resync was asked for").await?;
            }
        }
        if pull_first {
            self.pull(After::More).await?;
        }
        let before_push = self.report.requests;
        if request.push {
            self.push().await?;
        }
        if request.pull {
            // After a push that sent nothing, the first pull has seen everything.
            if !pull_first || self.report.requests > before_push {
                self.pull(After::Sweep(request.sweep)).await?;
            }
            // What becomes due in between waits for the next synchronization.
            if !self.lease.is_given_back() {
                self.sweep_where_due(request.sweep).await?;
            }
        }
        Ok(())
    }

    /// A scope that may no longer be seen is cleared, whichever request told so.
    async fn after_steps(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::ScopeRevoked => {
                self.scope_revoked().await?;
                Err(error)
            }
            result => result,
        }
    }

    pub(crate) fn state(&mut self, target: &Target) -> &mut TargetState {
        self.states
            .entry(target.collection.clone())
            .or_insert_with(|| TargetState::new(target.clone()))
    }

    /// Later stamps of this device are greater than that of a state it has seen.
    pub(crate) fn observe(&self, state: &RemoteState) {
        if let Some(stamp) = state.stamp() {
            self.inner.clock.observe(stamp, self.inner.now());
        }
    }

    /// Commits under the lease, with the clock. After a commit that gives the lease back there can be no other.
    pub(crate) async fn commit(&mut self, changes: ChangeSet) -> Result<CommitOutcome> {
        self.inner.check_running()?;
        self.lease.keep(self.inner).await?;
        let gives_back = changes.gives_back;
        let outcome = self.inner.commit(self.lease.fence(), changes).await?;
        if gives_back && outcome == CommitOutcome::Committed {
            self.lease.was_given_back();
        }
        Ok(outcome)
    }

    /// Calls the remote within the deadline, under the lease.
    pub(crate) async fn call<T, F>(&mut self, operation: &'static str, call: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.inner.check_running()?;
        self.lease.keep(self.inner).await?;
        self.report.requests += 1;
        let deadline = self.inner.options.call_deadline;
        let answer = self
            .inner
            .effects
            .within(deadline, call)
            .await
            .unwrap_or_else(|| {
                Err(SyncError::new(
                    ErrorKind::Timeout,
                    format!("no answer within {deadline:?}"),
                ))
            });
        answer.map_err(|error| {
            error
                .with_operation(operation)
                .with_adapter(self.inner.remote.name())
        })
    }

    /// Stores the success or failure of this run, so that the pause after it survives a restart. Returns when
    /// the next automatic attempt is due after a failure.
    async fn remember(&mut self, error: Option<&SyncError>) -> Option<Timestamp> {
        let now = self.inner.now();
        let failures = match error {
            None => 0,
            Some(_) => self
                .states
                .values()
                .map(|state| state.failures)
                .max()
                .unwrap_or(0)
                .saturating_add(1),
        };
        let due = match error.map(SyncError::retry) {
            None => Timestamp::EPOCH,
            Some(RetryClass::After(pause)) => now.plus(pause.max(self.inner.pause_after(failures))),
            Some(_) => now.plus(self.inner.pause_after(failures)),
        };
        let changed: Vec<_> = self
            .states
            .values_mut()
            .filter(|state| state.failures != failures || error.is_some())
            .map(|state| {
                state.failures = failures;
                state.next_attempt_at = due;
                state.clone()
            })
            .collect();
        if !changed.is_empty() {
            let changes = ChangeSet {
                targets: changed,
                ..ChangeSet::at(now)
            };
            if let Err(error) = self.commit(changes).await {
                tracing::warn!(scope = %self.scope, %error, "the outcome of a sync could not be stored");
            }
        }
        error.map(|_| due)
    }
}

impl Inner {
    /// Commits under a lease, with the clock.
    pub(crate) async fn commit(&self, fence: Fence, mut changes: ChangeSet) -> Result<CommitOutcome> {
        self.check_running()?;
        changes.fence = Some(fence);
        changes.clock = Some(self.clock.latest());
        self.store.commit(changes).await
    }
}

/// Lets the remote evaluate a query, and merges its hits like any pulled record. All of it under the lease of the scope:
/// what a push or a pull brought meanwhile would be newer than the hits.
pub(crate) async fn search(inner: &Arc<Inner>, target: &Target, spec: &QuerySpec) -> Result<()> {
    let lease = Lease::acquire(inner, &target.scope, || {}).await?;
    let mut run = Run {
        inner,
        scope: &target.scope,
        targets: vec![target.clone()],
        states: BTreeMap::new(),
        lease,
        report: SyncReport::default(),
        expected_new: BTreeSet::new(),
    };
    let result = run.search(target, spec).await;
    run.lease.release(inner).await;
    result
}

impl Run<'_> {
    async fn search(&mut self, target: &Target, spec: &QuerySpec) -> Result<()> {
        let stored = self.inner.store.load_target(target).await?;
        self.states.insert(target.collection.clone(), stored);
        let (remote, of, asked) = (Arc::clone(&self.inner.remote), target.clone(), spec.clone());
        let page = self
            .call("search", async move { remote.search(&of, &asked).await })
            .await?;
        self.inner.learn_server_time(page.server_time);
        let hits = page
            .hits
            .into_iter()
            .map(|(id, hit)| (id, RemoteState::Live(hit)))
            .collect();
        let hits = RawChanges {
            may_be_old: true,
            ..self.told_by_id(target, hits, false)
        };
        self.apply_raw(hits).await
    }
}
