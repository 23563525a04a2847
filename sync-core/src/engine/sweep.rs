//! Finding what a cursor cannot tell: comparing ids with the remote, and removing what is gone.
//!
//! Absence from a list is never taken for a delete by itself: every candidate is read once more, by id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Activity,
    apply::{ChangePage, Pulled, RawChanges},
    run::Run,
};
use crate::{
    change_set::{ChangeSet, CommitOutcome},
    delta::{MalformedRow, RemoteChange, RemoteState, RemoteVersion, Tombstone},
    error::Result,
    id::{RecordId, RecordKey},
    record_state::RecordSummary,
    scope::Target,
    store::OpQuery,
    time::Timestamp,
};

impl Run<'_> {
    /// Sweeps the collections that are due for it, or all that can be if `asked_for`.
    pub(crate) async fn sweep_where_due(&mut self, asked_for: bool) -> Result<()> {
        for target in self.targets.clone() {
            let swept_at = self.state(&target).swept_at;
            if self.is_due_for_sweep(swept_at, asked_for) {
                self.sweep_target(&target).await?;
            }
        }
        Ok(())
    }

    /// Whether a collection that was swept at this time is to be swept now.
    pub(crate) fn is_due_for_sweep(&self, swept_at: Option<Timestamp>, asked_for: bool) -> bool {
        let (inner, now) = (self.inner, self.inner.now());
        // A time in the future means that the clock was set back since.
        let due = swept_at.is_none_or(|at| at > now || now.since(at) >= inner.options.sweep_interval);
        inner.capabilities.id_list && (asked_for || (inner.capabilities.needs_sweep() && due))
    }

    async fn sweep_target(&mut self, target: &Target) -> Result<()> {
        let state = self.state(target);
        state.generation += 1;
        let changes = ChangeSet {
            targets: vec![state.clone()],
            ..ChangeSet::at(self.inner.now())
        };
        self.commit(changes).await?;
        let limit =
            crate::Capabilities::within(self.inner.capabilities.max_page, self.inner.options.page_size);
        let mut after: Option<String> = None;
        let mut compared = 0;
        loop {
            self.inner
                .set_activity(self.scope, Activity::Sweeping { compared });
            let remote = Arc::clone(&self.inner.remote);
            let (of, from) = (target.clone(), after.clone());
            let page = self
                .call("list_ids", async move {
                    remote.list_ids(&of, from.as_deref(), limit).await
                })
                .await?;
            compared += page.ids.len() as u64;
            self.compare(target, page.ids).await?;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.confirm_unseen(target).await?;
        let now = self.inner.now();
        let state = self.state(target);
        state.swept_at = Some(now);
        let changes = ChangeSet {
            targets: vec![state.clone()],
            ..ChangeSet::at(now)
        };
        self.commit(changes).await.map(drop)
    }

    /// Marks what is here as the remote lists it, and fetches what is not.
    async fn compare(
        &mut self,
        target: &Target,
        listed: Vec<(RecordId, Option<RemoteVersion>)>,
    ) -> Result<()> {
        let ids: Vec<RecordId> = listed.iter().map(|(id, _)| id.clone()).collect();
        let stored: BTreeMap<RecordId, RecordSummary> = self
            .inner
            .store
            .load_summaries(target, &ids)
            .await?
            .into_iter()
            .map(|summary| (summary.id.clone(), summary))
            .collect();
        let (mut same, mut differing, mut understood) = (Vec::new(), Vec::new(), Vec::new());
        for (id, version) in listed {
            let here = stored
                .get(&id)
                .is_some_and(|stored| stored.live && (version.is_none() || stored.version == version));
            if !here {
                differing.push(id);
                continue;
            }
            if version.is_some() {
                // A row that was broken once, and is now what is here.
                understood.push(id.clone());
            }
            same.push(id);
        }
        let mark = self.state(target).generation;
        let changes = ChangeSet {
            marks: vec![(target.clone(), same, mark)],
            understood: vec![(target.clone(), understood)],
            ..ChangeSet::at(self.inner.now())
        };
        self.commit(changes).await?;
        self.fetch(target, differing).await
    }

    /// Reads records at the remote and applies their states.
    async fn fetch(&mut self, target: &Target, ids: Vec<RecordId>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let states = self.get(target, &ids).await?;
        let states = self.understood(target, ids, states).await?;
        let accept_older = !self.inner.capabilities.epoch;
        self.apply_states(target, states, accept_older).await
    }

    /// The states that could be understood. What could not is there all the same: it counts as seen, and is put
    /// into quarantine unless a pull brought it in its raw form.
    async fn understood(
        &mut self,
        target: &Target,
        ids: Vec<RecordId>,
        states: Vec<Option<RemoteState>>,
    ) -> Result<BTreeMap<RecordId, RemoteState>> {
        let mut understood = BTreeMap::new();
        let mut seen = Vec::new();
        for (id, state) in ids.into_iter().zip(states) {
            match state {
                Some(state) => drop(understood.insert(id, state)),
                None => seen.push(id),
            }
        }
        if seen.is_empty() {
            return Ok(understood);
        }
        let aside = self.inner.store.load_quarantine(Some(target), u64::MAX).await?;
        let known: BTreeSet<RecordId> = aside.into_iter().filter_map(|row| row.row.id).collect();
        let (reported, new): (Vec<_>, Vec<_>) = seen.into_iter().partition(|id| known.contains(id));
        let mark = self.state(target).generation;
        let changes = ChangeSet {
            marks: vec![(target.clone(), reported, mark)],
            ..ChangeSet::at(self.inner.now())
        };
        self.commit(changes).await?;
        let malformed = new.into_iter().map(|id| MalformedRow {
            id: Some(id),
            raw: String::new(),
            error: "the remote has a row that cannot be read by its id".to_owned(),
        });
        let page = ChangePage {
            target: target.clone(),
            changes: BTreeMap::new(),
            malformed: malformed.collect(),
            mark,
            accept_older: false,
            may_be_old: false,
        };
        self.apply_page(&page).await?;
        Ok(understood)
    }

    /// Applies states that were read by id. `accept_older` lets states count that look older than what is here:
    /// the repair for a remote whose history can go back without its telling.
    pub(crate) async fn apply_states(
        &mut self,
        target: &Target,
        states: BTreeMap<RecordId, RemoteState>,
        accept_older: bool,
    ) -> Result<()> {
        let changes = self.told_by_id(target, states, accept_older);
        self.apply_raw(changes).await
    }

    /// States that were told one by one, as changes.
    pub(crate) fn told_by_id(
        &mut self,
        target: &Target,
        states: BTreeMap<RecordId, RemoteState>,
        accept_older: bool,
    ) -> RawChanges {
        let changes = states
            .into_iter()
            .map(|(id, state)| RemoteChange { id, state })
            .collect();
        RawChanges {
            target: target.clone(),
            changes,
            malformed: Vec::new(),
            mark: self.state(target).generation,
            accept_older,
            may_be_old: false,
        }
    }

    pub(crate) async fn apply_raw(&mut self, changes: RawChanges) -> Result<()> {
        let mut pulled = Pulled::default();
        self.inner.gather(changes, &mut pulled);
        if let Some(stamp) = pulled.observed {
            self.inner.clock.observe(stamp, self.inner.now());
        }
        for page in pulled.pages {
            self.apply_page(&page).await?;
        }
        Ok(())
    }

    async fn apply_page(&mut self, page: &ChangePage) -> Result<()> {
        loop {
            let mut changes = ChangeSet::at(self.inner.now());
            let applied = self.inner.apply(page, false, &mut changes).await?;
            if changes.is_empty() || self.commit(changes).await? == CommitOutcome::Committed {
                self.count_applied(&page.target, applied);
                return Ok(());
            }
        }
    }

    /// Reads every record that the list did not have once more, and believes what that says.
    async fn confirm_unseen(&mut self, target: &Target) -> Result<()> {
        let generation = self.state(target).generation;
        let mut unseen = self.pending_unseen(target, generation).await?;
        let mut after: Option<RecordId> = None;
        loop {
            let limit = u64::from(self.inner.options.page_size);
            let page = self
                .inner
                .store
                .load_unmarked(target, generation, after.as_ref(), limit)
                .await?;
            after = page.last().cloned();
            unseen.extend(page);
            if unseen.is_empty() {
                return Ok(());
            }
            let ids = std::mem::take(&mut unseen);
            let states = self.get(target, &ids).await?;
            let states = self.understood(target, ids, states).await?;
            self.report.swept += states.values().filter(|state| !state.is_live()).count() as u64;
            let accept_older = self.state(target).pass.is_some() || !self.inner.capabilities.epoch;
            self.apply_states(target, states, accept_older).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Records with pending operations that were live at the remote and were not seen in this pass.
    async fn pending_unseen(&self, target: &Target, generation: u64) -> Result<Vec<RecordId>> {
        // In whatever state: what the operation was made on may be gone.
        let query = OpQuery {
            target: Some(target.clone()),
            heads_only: true,
            ..OpQuery::default()
        };
        let keys: Vec<RecordKey> = self
            .inner
            .store
            .load_ops(&query)
            .await?
            .into_iter()
            .map(|op| op.key)
            .collect();
        let mut unseen = Vec::new();
        for chunk in keys.chunks(self.inner.options.page_size as usize) {
            let states = self.inner.store.load_records(chunk).await?;
            unseen.extend(
                states
                    .into_iter()
                    .filter(|s| s.base.is_live() && s.mark < generation)
                    .map(|s| s.key.id),
            );
        }
        Ok(unseen)
    }

    /// The end of a pass over everything: what was in none of its pages is not in the scope any more. Where the
    /// remote can list ids, it is asked about each of them first.
    pub(crate) async fn remove_unseen(&mut self, target: &Target) -> Result<()> {
        if self.inner.capabilities.id_list {
            return self.confirm_unseen(target).await;
        }
        let generation = self.state(target).generation;
        let gone = RemoteState::Deleted(Tombstone::default());
        let pending = self.pending_unseen(target, generation).await?;
        let pending = pending.into_iter().map(|id| (id, gone.clone())).collect();
        self.apply_states(target, pending, true).await?;
        loop {
            let limit = self.inner.options.commit_rows as u64;
            let ids = self
                .inner
                .store
                .load_unmarked(target, generation, None, limit)
                .await?;
            if ids.is_empty() {
                return Ok(());
            }
            let mut changes = ChangeSet::at(self.inner.now());
            changes.removals = ids
                .iter()
                .map(|id| RecordKey::new(target.clone(), id.clone()))
                .collect();
            // A record that was written meanwhile is left out of the next list.
            if self.commit(changes).await? == CommitOutcome::Committed {
                self.report.swept += ids.len() as u64;
                self.report.deleted += ids.len() as u64;
            }
        }
    }
}
