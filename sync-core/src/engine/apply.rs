//! Applying what the remote told: changes become parts of a change set.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{SyncEvent, run::Run};
use crate::{
    change_set::{ChangeSet, Confirmation, ConfirmedPage},
    conflict_record::{ConflictRecord, Settlement},
    delta::{MalformedRow, RemoteChange, RemoteState},
    error::Result,
    id::{RecordId, RecordKey},
    machine::{MergeContext, fit_payload, news, upgrade_state},
    operation::{OpState, PendingOp},
    record_state::{RecordState, RecordSummary},
    scope::Target,
    stamp::Stamp,
    store::{ConflictQuery, QuarantinedRow},
};

/// Changes of one collection, each record once.
#[derive(Debug)]
pub(crate) struct ChangePage {
    pub(crate) target: Target,
    pub(crate) changes: BTreeMap<RecordId, RemoteState>,
    pub(crate) malformed: Vec<MalformedRow>,
    pub(crate) mark: u64,
    pub(crate) accept_older: bool,
    pub(crate) may_be_old: bool,
}

/// Changes of one collection as they came.
#[derive(Debug)]
pub(crate) struct RawChanges {
    pub(crate) target: Target,
    pub(crate) changes: Vec<RemoteChange>,
    pub(crate) malformed: Vec<MalformedRow>,
    /// The mark the records get.
    pub(crate) mark: u64,
    /// Whether states that are provably older count, as in a resync.
    pub(crate) accept_older: bool,
    /// Whether they may be from before what pulls told, as from a replica that lags behind: they say nothing about rows
    /// that could not be understood since.
    pub(crate) may_be_old: bool,
}

/// Changes as they came, checked and joined.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    pub(crate) pages: Vec<ChangePage>,
    /// Stamps seen in them.
    pub(crate) observed: Vec<Stamp>,
}

/// What the changes of one collection came to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) changed: u64,
    pub(crate) deleted: u64,
    pub(crate) quarantined: Vec<QuarantinedRow>,
    pub(crate) conflicts: Vec<ConflictRecord>,
    pub(crate) parked: Vec<PendingOp>,
    /// Operations whose answer was outstanding, and whose effect was seen.
    pub(crate) took_effect: Vec<PendingOp>,
}

impl ChangePage {
    /// A row that cannot be understood hides what was told of its record before.
    fn set_aside(&mut self, row: MalformedRow) {
        if let Some(id) = &row.id {
            self.changes.remove(id);
            self.malformed.retain(|before| before.id != row.id);
        }
        self.malformed.push(row);
    }

    /// A state mends a row of its record that could not be understood before.
    fn take(&mut self, id: RecordId, state: RemoteState) {
        // A stale page beside a newer one must not hide what the newer one told.
        if self
            .changes
            .get(&id)
            .is_some_and(|known| state.is_older_than(known))
        {
            return;
        }
        self.malformed.retain(|before| before.id.as_ref() != Some(&id));
        self.changes.insert(id, state);
    }
}

impl Run<'_> {
    /// Joins pages by collection. Of several states of one record, and of rows of it that cannot be understood, the
    /// last counts, unless it is provably older; a row that is not a record of its type is malformed.
    pub(crate) fn gather(&self, raw: Vec<RawChanges>) -> Pulled {
        let mut pulled = Pulled::default();
        for raw in raw {
            let target = raw.target;
            let joined = pulled.pages.iter().position(|page| page.target == target);
            let at = joined.unwrap_or_else(|| {
                pulled.pages.push(ChangePage {
                    target: target.clone(),
                    changes: BTreeMap::new(),
                    malformed: Vec::new(),
                    mark: raw.mark,
                    accept_older: raw.accept_older,
                    may_be_old: raw.may_be_old,
                });
                pulled.pages.len() - 1
            });
            let page = &mut pulled.pages[at];
            page.mark = page.mark.max(raw.mark);
            page.accept_older |= raw.accept_older;
            page.may_be_old |= raw.may_be_old;
            raw.malformed.into_iter().for_each(|row| page.set_aside(row));
            for change in raw.changes {
                pulled.observed.extend(change.state.stamp());
                match self.fit(&target, &change.id, change.state) {
                    Ok(state) => page.take(change.id, state),
                    Err(row) => page.set_aside(row),
                }
            }
        }
        pulled.observed.sort_unstable();
        // The clock only needs the greatest plausible one; an implausible one must not hide it.
        let now = self.inner.now();
        pulled
            .observed
            .retain(|stamp| !self.inner.clock.is_too_far_ahead(*stamp, now));
        pulled.observed = pulled.observed.last().copied().into_iter().collect();
        pulled
    }

    /// A state as it can be stored: a record of its type, in the current shape.
    fn fit(&self, target: &Target, id: &RecordId, state: RemoteState) -> Result<RemoteState, MalformedRow> {
        let Ok(known) = self.inner.registered(&target.collection) else {
            return Ok(state);
        };
        let mut live = match state {
            RemoteState::Live(live) => live,
            gone => return Ok(gone),
        };
        match fit_payload(&known.schema, &live.record, id) {
            Ok(record) => {
                live.record = record;
                Ok(RemoteState::Live(live))
            }
            Err(error) => Err(MalformedRow {
                id: Some(id.clone()),
                raw: live.record.as_str().to_owned(),
                error: error.to_string(),
            }),
        }
    }

    /// Adds changes of one collection to a change set: clean records are confirmed as they are, records with
    /// pending operations go through the merge.
    pub(crate) async fn apply(&mut self, page: &ChangePage, changes: &mut ChangeSet) -> Result<Applied> {
        let target = &page.target;
        let mut applied = Applied::default();
        let mark = page.mark;
        let known = self.inner.registered(&target.collection)?;
        let ids: Vec<RecordId> = page.changes.keys().cloned().collect();
        let summaries: BTreeMap<RecordId, RecordSummary> = self
            .inner
            .store
            .load_summaries(target, &ids)
            .await?
            .into_iter()
            .map(|summary| (summary.id.clone(), summary))
            .collect();
        let mut confirmed = Vec::new();
        let mut seen = Vec::new();
        let mut pending = Vec::new();
        for (id, state) in &page.changes {
            match summaries.get(id) {
                Some(summary) if summary.pending => pending.push(RecordKey::new(target.clone(), id.clone())),
                Some(summary) if !is_news(summary, state, page.accept_older) => seen.push(id.clone()),
                None if *state == RemoteState::Missing => {}
                known_before => {
                    applied.changed += 1;
                    applied.deleted +=
                        u64::from(!state.is_live() && known_before.is_some_and(|known| known.live));
                    confirmed.push(Confirmation {
                        id: id.clone(),
                        state: state.clone(),
                    });
                }
            }
        }
        let removals = confirmed.extract_if(.., |one| one.state == RemoteState::Missing);
        changes
            .removals
            .extend(removals.map(|gone| RecordKey::new(target.clone(), gone.id)));
        if !confirmed.is_empty() {
            let schema_version = known.schema.schema_version;
            changes.confirmed.push(ConfirmedPage {
                target: target.clone(),
                records: confirmed,
                schema_version,
                mark,
            });
        }
        if !seen.is_empty() {
            changes.marks.push((target.clone(), seen, mark));
        }
        self.merge_pending(page, pending, mark, changes, &mut applied)
            .await?;
        self.quarantine(page, mark, changes, &mut applied);
        if !ids.is_empty() && !page.may_be_old {
            changes.understood.push((target.clone(), ids));
        }
        Ok(applied)
    }

    async fn merge_pending(
        &self,
        page: &ChangePage,
        pending: Vec<RecordKey>,
        mark: u64,
        changes: &mut ChangeSet,
        applied: &mut Applied,
    ) -> Result<()> {
        let known = self.inner.registered(&page.target.collection)?;
        let around = self.inner.surroundings(known);
        let context = MergeContext {
            mark,
            accept_older: page.accept_older,
        };
        for state in self.inner.store.load_records(&pending).await? {
            let Some(remote) = page.changes.get(&state.key.id) else {
                continue;
            };
            let mut upgraded = state.clone();
            upgrade_state(&known.schema, &mut upgraded);
            let Some(mut transition) = news(&upgraded, remote, context, &around)? else {
                changes
                    .marks
                    .push((page.target.clone(), vec![state.key.id.clone()], mark));
                // The record must not change between this look and the commit.
                changes.guards.push((state.key, state.revision));
                continue;
            };
            transition.before = state;
            transition.add_to(changes);
            applied.changed += 1;
            let answered = transition.before.ops.first().filter(|head| {
                let left = transition.after.ops.iter().any(|op| op.op_id == head.op_id);
                transition.conflict.is_none() && head.state == OpState::InDoubt && !left
            });
            applied.took_effect.extend(answered.cloned());
            applied.conflicts.extend(transition.conflict.clone());
            let newly_parked = |op: &&PendingOp| {
                matches!(op.state, OpState::Parked(_))
                    && transition
                        .before
                        .ops
                        .iter()
                        .all(|before| before.state != op.state)
            };
            applied
                .parked
                .extend(transition.after.ops.iter().filter(newly_parked).cloned());
            let waits = |state: &RecordState| {
                let head = state.ops.first();
                head.is_some_and(|op| op.state == OpState::Deferred)
            };
            let key = &transition.after.key;
            if waits(&transition.after) {
                self.follow_remote(key, remote, changes).await?;
            } else if waits(&transition.before) {
                // The write that waited for the user turns out to have taken effect.
                self.inner
                    .settle_open(key, Settlement::KeptLocal, changes)
                    .await?;
            }
        }
        Ok(())
    }

    /// Keeps an open conflict in step with what the remote tells meanwhile.
    pub(crate) async fn follow_remote(
        &self,
        key: &RecordKey,
        remote: &RemoteState,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let query = ConflictQuery {
            key: Some(key.clone()),
            open: Some(true),
            ..ConflictQuery::default()
        };
        for mut conflict in self.inner.store.load_conflicts(&query).await? {
            conflict.remote = remote.clone();
            changes.conflicts.push(conflict);
        }
        Ok(())
    }

    /// Malformed rows are kept as they came. One whose id is known counts as seen, so that a sweep does not
    /// take it for deleted.
    fn quarantine(&self, page: &ChangePage, mark: u64, changes: &mut ChangeSet, applied: &mut Applied) {
        let seen: BTreeSet<_> = page.malformed.iter().filter_map(|row| row.id.clone()).collect();
        if !seen.is_empty() {
            changes
                .marks
                .push((page.target.clone(), seen.into_iter().collect(), mark));
        }
        for row in &page.malformed {
            let row = QuarantinedRow {
                target: page.target.clone(),
                row: row.clone(),
                seen_at: self.inner.now(),
            };
            changes.quarantine.push(row.clone());
            applied.quarantined.push(row);
        }
    }

    pub(crate) fn count_applied(&mut self, target: &Target, applied: Applied) {
        self.report.pulled += applied.changed;
        self.report.deleted += applied.deleted;
        self.report.quarantined += applied.quarantined.len() as u64;
        for row in applied.quarantined {
            self.inner.emit(SyncEvent::Quarantined(Arc::new(row)));
        }
        for conflict in applied.conflicts {
            self.report.count_conflict(&conflict);
            self.inner.emit(SyncEvent::Conflict(Arc::new(conflict)));
        }
        for op in applied.parked {
            self.tell_parked(&op);
        }
        for op in applied.took_effect {
            self.report.pushed += 1;
            self.report.duplicates += 1;
            self.inner.emit(SyncEvent::Pushed {
                key: op.key,
                op_id: op.op_id,
            });
        }
        if applied.changed > 0 {
            self.inner.emit(SyncEvent::Pulled {
                target: target.clone(),
                changed: applied.changed,
            });
        }
    }
}

/// Whether a state differs from what is stored of a clean record, and is not provably older.
fn is_news(stored: &RecordSummary, state: &RemoteState, accept_older: bool) -> bool {
    let (Some(ours), Some(theirs)) = (&stored.version, state.version()) else {
        // Two deletes without a version tell the same.
        return stored.live || state.is_live() || stored.version.is_some() || state.version().is_some();
    };
    let same = stored.live == state.is_live() && ours == theirs;
    let stale = !accept_older && theirs.is_older_than(ours);
    !(same || stale)
}
