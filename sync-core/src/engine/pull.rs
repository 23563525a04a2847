//! The pull half of a synchronization.

mod storing;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use futures::future;

use self::storing::Pending;
use super::{
    Activity, SyncEvent,
    apply::RawChanges,
    run::{After, Run},
};
use crate::{
    capability::Capabilities,
    change_set::{ChangeSet, CommitOutcome},
    delta::{Delta, DeltaKind, RemoteChange, RemoteState},
    error::{ErrorKind, Result, SyncError},
    id::RecordId,
    machine::Transition,
    operation::{OpState, ParkReason},
    remote::PullRequest,
    scope::Target,
    store::{EvictionQuery, Incomplete, OpQuery, Pass, TargetState},
    time::Timestamp,
};

/// How often one collection is begun anew within one sync before the remote is taken to be broken.
const MAX_RESYNCS: u32 = 3;

/// How often all collections are asked again until none of them has news.
const MAX_ROUNDS: u32 = 4;

/// A first pull commits together at least this part of what it has brought already.
const FIRST_PULL_PART: u64 = 8;

/// What fetching a page came to.
#[derive(Clone, Copy, Debug, Default)]
struct Fetched {
    news: bool,
    more: bool,
}

impl Run<'_> {
    /// Fetches what changed, page by page, and commits it: several pages, and if they fit all collections of the
    /// scope, in one transaction.
    ///
    /// When several collections have news, they are asked again until none has. What is then committed together
    /// is one consistent cut of a remote that applies write batches as a whole.
    pub(crate) async fn pull(&mut self, after: After) -> Result<()> {
        let mut pending = Pending::default();
        let wants_cut = self.targets.len() > 1 && self.inner.capabilities.atomic_batch;
        for _ in 0..MAX_ROUNDS {
            let mut news = false;
            for target in self.targets.clone() {
                news |= self.pull_target(&target, &mut pending).await?;
            }
            if !(news && wants_cut) {
                break;
            }
        }
        self.finish_pull(pending, after).await
    }

    /// Fetches the pages of one collection. Returns whether there were changes.
    async fn pull_target(&mut self, target: &Target, pending: &mut Pending) -> Result<bool> {
        let mut resyncs = 0;
        let mut news = false;
        let state = self.state(target);
        if state.incomplete == Some(Incomplete::NeverPulled) && state.sync_point.is_some() {
            // A first pull that was interrupted.
            self.expected_new.insert(target.collection.clone());
        }
        loop {
            let fetched = if self.is_enough(target, pending) {
                self.store_and_fetch(target, pending).await
            } else {
                self.fetch_page(target, pending).await
            };
            match fetched {
                Ok(fetched) => {
                    news |= fetched.news;
                    if !fetched.more {
                        return Ok(news);
                    }
                }
                Err(error) if error.kind() == ErrorKind::ResyncRequired && resyncs < MAX_RESYNCS => {
                    resyncs += 1;
                    self.commit_pages(std::mem::take(pending)).await?;
                    self.begin_resync(target, error.message()).await?;
                }
                // What came before may not be seen any more either.
                Err(error) if error.kind() == ErrorKind::ScopeRevoked => return Err(error),
                Err(error) => {
                    // What came before the failure is good, and need not be fetched again. If it cannot be stored, it
                    // is: the failure must not be hidden by that, since it can ask for a pause.
                    if let Err(unstored) = self.commit_pages(std::mem::take(pending)).await {
                        tracing::warn!(%target, error = %unstored, "pages before a failure could not be stored");
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Whether so much waits that it is to be committed before more is fetched of the collection.
    fn is_enough(&self, target: &Target, pending: &Pending) -> bool {
        let options = &self.inner.options;
        if pending.changes < options.commit_rows {
            return false;
        }
        // Of a large store, a small commit of random ids changes nearly as many pages as one of many.
        let few = (pending.changes as u64) < self.report.pulled / FIRST_PULL_PART
            && pending.bytes < options.first_pull_kib as usize * 1_024;
        !(few && self.expected_new.contains(&target.collection))
    }

    /// Commits what waits, and fetches as much again meanwhile, unless there is no more.
    async fn store_and_fetch(&mut self, target: &Target, pending: &mut Pending) -> Result<Fetched> {
        let states = pending.states.clone();
        let storing = self.begin_storing(std::mem::take(pending), false).await?;
        // The next pages begin where these end.
        pending.states = states;
        let fetching = async {
            let mut fetched = self.fetch_page(target, pending).await?;
            while fetched.more && !self.is_enough(target, pending) {
                let page = self.fetch_page(target, pending).await?;
                fetched = Fetched {
                    news: fetched.news || page.news,
                    ..page
                };
            }
            Ok(fetched)
        };
        let (stored, fetched) = future::join(storing.finish(), fetching).await;
        match stored {
            Ok(stored) => self.note_stored(stored),
            Err(error) => {
                // What follows pages that were not stored must not be stored either.
                *pending = Pending::default();
                return Err(error);
            }
        }
        fetched
    }

    async fn fetch_page(&mut self, target: &Target, pending: &mut Pending) -> Result<Fetched> {
        let page = self.pull_page(target, pending).await?;
        let fetched = Fetched {
            news: !page.changes.is_empty(),
            more: page.has_more,
        };
        self.accept(target, page, pending);
        Ok(fetched)
    }

    async fn pull_page(&mut self, target: &Target, pending: &Pending) -> Result<Delta> {
        let limit = Capabilities::within(self.inner.capabilities.max_page, self.inner.options.page_size);
        let since = match pending.states.get(&target.collection) {
            Some(state) => state.sync_point.clone(),
            None => self.state(target).sync_point.clone(),
        };
        let holds_nothing = since.is_none() && self.holds_nothing(target).await?;
        if holds_nothing {
            self.expected_new.insert(target.collection.clone());
        }
        let request = PullRequest {
            target: target.clone(),
            holds_nothing,
            since,
            page_size: limit,
        };
        let remote = Arc::clone(&self.inner.remote);
        let page = self
            .call("pull", async move { remote.pull(request).await })
            .await?;
        self.inner.learn_server_time(page.server_time);
        Ok(page)
    }

    /// Whether there is no record, no tombstone and no operation of the target here.
    async fn holds_nothing(&self, target: &Target) -> Result<bool> {
        let store = &self.inner.store;
        for tombstones in [false, true] {
            let any = EvictionQuery {
                target: Some(target.clone()),
                tombstones,
                touched_before: None,
                limit: 1,
            };
            if !store.load_eviction_candidates(&any).await?.is_empty() {
                return Ok(false);
            }
        }
        let pending = OpQuery {
            target: Some(target.clone()),
            limit: Some(1),
            ..OpQuery::default()
        };
        Ok(store.load_ops(&pending).await?.is_empty())
    }

    /// Takes a page. How far it brings its collection counts from its commit on.
    fn accept(&mut self, target: &Target, page: Delta, pending: &mut Pending) {
        let received = self.report.pulled + pending.changes as u64;
        self.inner
            .set_activity(self.scope, Activity::Pulling { received });
        let current = self.state(target).clone();
        let state = pending.states.entry(target.collection.clone()).or_insert(current);
        if page.kind == DeltaKind::Snapshot && state.pass.is_none() {
            state.generation += 1;
            state.pass = Some(Pass::Resync);
        }
        if page.wants_sweep {
            state.swept_at = None;
        }
        state.sync_point = Some(page.next);
        pending.changes += page.changes.len() + page.malformed.len();
        pending.bytes += page.changes.iter().map(bytes_of).sum::<usize>();
        let raw = RawChanges {
            target: target.clone(),
            changes: page.changes,
            malformed: page.malformed,
            mark: state.generation,
            accept_older: state.pass.is_some(),
            may_be_old: false,
        };
        self.inner.gather(raw, &mut pending.pulled);
    }

    /// Commits pages and the sync points they end at, as one transaction.
    async fn commit_pages(&mut self, pending: Pending) -> Result<()> {
        if pending.changes == 0 {
            // Nothing that the sync points could outrun; they are stored at the end of the pull.
            self.states.extend(pending.states);
            return Ok(());
        }
        self.store(pending, false).await
    }

    /// The passes over all collections came to their end, with these pages. That is stored together with the pages; if
    /// nothing comes after, the lease is given back in the same transaction. Pages without changes are stored by the
    /// sync points they end at.
    async fn finish_pull(&mut self, mut pending: Pending, after: After) -> Result<()> {
        let states = self.states.values().chain(pending.states.values());
        if states.into_iter().any(|state| state.pass.is_some()) {
            // What the pages bring must be marked before what is not marked can go.
            self.commit_pages(std::mem::take(&mut pending)).await?;
            for target in self.targets.clone() {
                if self.state(&target).pass.is_some() {
                    self.remove_unseen(&target).await?;
                }
            }
        }
        let now = self.inner.now();
        let as_of = now.plus_micros(self.inner.server_offset.load(Ordering::Relaxed));
        let mut states = self.states.clone();
        states.append(&mut pending.states);
        for state in states.values_mut() {
            state.pass = None;
            state.incomplete = None;
            state.pulled_at = Some(now);
            state.as_of = Some(as_of);
            state.failures = 0;
            state.next_attempt_at = Timestamp::EPOCH;
        }
        let gives_back = match after {
            After::More => false,
            After::Sweep(asked_for) => !states
                .values()
                .any(|state| self.is_due_for_sweep(state.swept_at, asked_for)),
        };
        pending.states = states;
        self.store(pending, gives_back).await
    }

    /// Begins to pull a collection again from nothing. Records stay; those that are not seen again are removed
    /// at the end.
    pub(crate) async fn begin_resync(&mut self, target: &Target, reason: &str) -> Result<()> {
        self.inner.emit(SyncEvent::Resyncing {
            target: target.clone(),
            reason: reason.to_owned(),
        });
        self.report.resynced = true;
        let current = self.state(target).clone();
        let state = TargetState {
            sync_point: None,
            generation: current.generation + 1,
            pass: Some(Pass::Resync),
            swept_at: None,
            ..current
        };
        let changes = ChangeSet {
            targets: vec![state.clone()],
            ..ChangeSet::at(self.inner.now())
        };
        self.commit(changes).await?;
        *self.state(target) = state;
        Ok(())
    }

    /// The remote has proved that this client may no longer see the scope: confirmed records leave, operations
    /// are parked and kept.
    pub(crate) async fn scope_revoked(&mut self) -> Result<()> {
        self.inner.emit(SyncEvent::ScopeRevoked(self.scope.clone()));
        for target in self.targets.clone() {
            let generation = self.state(&target).generation + 1;
            // First the mark that the collection is not complete: a failure in between must not hide what is missing.
            let state = self.state(&target);
            *state = TargetState {
                generation,
                incomplete: Some(Incomplete::Cleared),
                ..TargetState::new(target.clone())
            };
            let changes = ChangeSet {
                targets: vec![state.clone()],
                ..ChangeSet::at(self.inner.now())
            };
            self.commit(changes).await?;
            self.park_all(&target).await?;
            loop {
                let ids = self.inner.store.load_unmarked(
                    &target,
                    generation,
                    None,
                    self.inner.options.commit_rows as u64,
                );
                let ids: Vec<RecordId> = ids.await?;
                if ids.is_empty() {
                    break;
                }
                let mut changes = ChangeSet::at(self.inner.now());
                changes.removals = ids
                    .iter()
                    .map(|id| crate::RecordKey::new(target.clone(), id.clone()))
                    .collect();
                self.report.swept += ids.len() as u64;
                self.commit(changes).await?;
            }
        }
        Ok(())
    }

    async fn park_all(&mut self, target: &Target) -> Result<()> {
        let query = OpQuery {
            target: Some(target.clone()),
            heads_only: true,
            ..OpQuery::default()
        };
        for op in self.inner.store.load_ops(&query).await? {
            if op.state == OpState::Parked(ParkReason::ScopeRevoked) {
                continue;
            }
            let deferred = op.state == OpState::Deferred;
            loop {
                let states = self
                    .inner
                    .store
                    .load_records(std::slice::from_ref(&op.key))
                    .await?;
                let Some(state) = states.into_iter().next().filter(|state| state.is_pending()) else {
                    break;
                };
                let mut after = state.clone();
                // One that waits for the user's decision goes on doing so.
                for op in after.ops.iter_mut().filter(|op| op.state != OpState::Deferred) {
                    op.state = OpState::Parked(ParkReason::ScopeRevoked);
                }
                // Sent again some day, they must meet what others changed meanwhile.
                if let Some(head) = after.ops.first_mut() {
                    head.base.get_or_insert_with(|| state.base.clone());
                }
                after.base = RemoteState::Missing;
                if after == state {
                    break;
                }
                let mut changes = ChangeSet::at(self.inner.now());
                if deferred {
                    self.inner
                        .follow_remote(&after.key, &RemoteState::Missing, &mut changes)
                        .await?;
                }
                Transition::new(state, after.clone()).add_to(&mut changes);
                if self.commit(changes).await? == CommitOutcome::Committed {
                    after.ops.iter().for_each(|op| self.tell_parked(op));
                    break;
                }
            }
        }
        Ok(())
    }

    /// The states of records at the remote, for each id in order; `None` for one that cannot be understood.
    pub(crate) async fn get(
        &mut self,
        target: &Target,
        ids: &[RecordId],
    ) -> Result<Vec<Option<RemoteState>>> {
        let limit =
            Capabilities::within(self.inner.capabilities.max_page, self.inner.options.page_size) as usize;
        let mut states = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(limit) {
            let mut readable = chunk.to_vec();
            let found = loop {
                match self.get_readable(target, readable.clone()).await {
                    // One row that cannot be understood does not stand for the others.
                    Err(error) if error.kind() == ErrorKind::Malformed => {
                        let named = readable.iter().position(|id| error.field() == Some(id.as_str()));
                        readable.remove(named.ok_or(error)?);
                    }
                    found => break found?,
                }
            };
            let mut found: BTreeMap<RecordId, RemoteState> = readable.into_iter().zip(found).collect();
            states.extend(chunk.iter().map(|id| found.remove(id)));
        }
        Ok(states)
    }

    async fn get_readable(&mut self, target: &Target, ids: Vec<RecordId>) -> Result<Vec<RemoteState>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let remote = Arc::clone(&self.inner.remote);
        let (expected, target) = (ids.len(), target.clone());
        let found = self
            .call("get", async move { remote.get(&target, &ids).await })
            .await?;
        if found.len() != expected {
            let message = format!("{expected} ids were asked for, {} states answered", found.len());
            return Err(SyncError::new(ErrorKind::Malformed, message).with_operation("get"));
        }
        found.iter().for_each(|state| self.observe(state));
        Ok(found)
    }
}

/// The memory that a change takes until it is committed, about.
fn bytes_of(change: &RemoteChange) -> usize {
    const BESIDES_TEXT: usize = 400;
    let text = change.state.payload().map_or(0, |payload| payload.as_str().len());
    BESIDES_TEXT + change.id.as_str().len() + text
}
