//! Applying what the remote told: changes become parts of a change set.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::{Inner, SyncEvent, run::Run};
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

/// Changes as they came, checked and joined by collection.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    pub(crate) pages: Vec<ChangePage>,
    /// The greatest plausible stamp seen in them.
    pub(crate) observed: Option<Stamp>,
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
    /// Whether a record of them had a row here.
    pub(crate) met_known: bool,
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
        let place = self.changes.entry(id);
        // A stale page beside a newer one must not hide what the newer one told.
        if matches!(&place, Entry::Occupied(known) if state.is_older_than(known.get())) {
            return;
        }
        self.malformed
            .retain(|before| before.id.as_ref() != Some(place.key()));
        place.insert_entry(state);
    }
}

impl Inner {
    /// Adds changes to those of their collection. Of several states of one record, and of rows of it that cannot be
    /// understood, the last counts, unless it is provably older; a row that is not a record of its type is malformed.
    pub(crate) fn gather(&self, raw: RawChanges, pulled: &mut Pulled) {
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
        let now = self.now();
        for change in raw.changes {
            // The clock only needs the greatest plausible one; an implausible one must not hide it.
            let stamp = change
                .state
                .stamp()
                .filter(|stamp| Some(*stamp) > pulled.observed);
            if let Some(stamp) = stamp.filter(|stamp| !self.clock.is_too_far_ahead(*stamp, now)) {
                pulled.observed = Some(stamp);
            }
            match self.fit(&target, &change.id, change.state) {
                Ok(state) => page.take(change.id, state),
                Err(row) => page.set_aside(row),
            }
        }
    }

    /// A state as it can be stored: a record of its type, in the current shape.
    fn fit(&self, target: &Target, id: &RecordId, state: RemoteState) -> Result<RemoteState, MalformedRow> {
        let Ok(known) = self.registered(&target.collection) else {
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
    ///
    /// With `expects_new` the records are taken to have no rows here, and not looked up; the commit is stale if one has.
    pub(crate) async fn apply(
        &self,
        page: &ChangePage,
        expects_new: bool,
        changes: &mut ChangeSet,
    ) -> Result<Applied> {
        let target = &page.target;
        let mut applied = Applied::default();
        let mark = page.mark;
        let known = self.registered(&target.collection)?;
        let ids: Vec<RecordId> = page.changes.keys().cloned().collect();
        let summaries = if expects_new {
            let missing = page
                .changes
                .iter()
                .filter(|(_, state)| **state == RemoteState::Missing);
            let missing: Vec<RecordId> = missing.map(|(id, _)| id.clone()).collect();
            self.summaries(target, &missing).await?
        } else {
            self.summaries(target, &ids).await?
        };
        applied.met_known = !summaries.is_empty();
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
                only_new: expects_new,
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

    async fn summaries(
        &self,
        target: &Target,
        ids: &[RecordId],
    ) -> Result<BTreeMap<RecordId, RecordSummary>> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.store.load_summaries(target, ids).await?;
        Ok(found
            .into_iter()
            .map(|summary| (summary.id.clone(), summary))
            .collect())
    }

    async fn merge_pending(
        &self,
        page: &ChangePage,
        pending: Vec<RecordKey>,
        mark: u64,
        changes: &mut ChangeSet,
        applied: &mut Applied,
    ) -> Result<()> {
        let known = self.registered(&page.target.collection)?;
        let around = self.surroundings(known);
        let context = MergeContext {
            mark,
            accept_older: page.accept_older,
        };
        for state in self.store.load_records(&pending).await? {
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
                self.settle_open(key, Settlement::KeptLocal, changes).await?;
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
        for mut conflict in self.store.load_conflicts(&query).await? {
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
                seen_at: self.now(),
            };
            changes.quarantine.push(row.clone());
            applied.quarantined.push(row);
        }
    }
}

impl Run<'_> {
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
