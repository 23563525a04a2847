//! Commits: guards first, then every part of the change set in the order of its fields.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    ChangeSet, CommitOutcome, ConfirmedPage, ErrorKind, OpChange, OpId, RecordId, RecordKey, RecordWrite,
    RemoteState, Result, StoreChange, SyncError, SyncScope, Target, Timestamp,
};

use super::state::{QuarantineKey, Row, State};

/// A notice lists at most so many ids; beyond, it says that anything in the target may have changed.
const MAX_LISTED_IDS: usize = 1_000;

impl State {
    /// Commits the change set, and tells what to announce if it was committed.
    pub(super) fn commit(&mut self, changes: ChangeSet) -> Result<(CommitOutcome, Vec<StoreChange>)> {
        if let Some(fence) = &changes.fence {
            self.leases.check(fence)?;
        }
        let stale = self.stale_records(&changes);
        if !stale.is_empty() {
            return Ok((CommitOutcome::Stale(stale.into_iter().collect()), Vec::new()));
        }
        self.check_sound(&changes)?;
        let given_back = changes.fence.clone().filter(|_| changes.gives_back);
        let seen = self.visible(&changes);
        let enqueued: BTreeSet<SyncScope> = changes
            .ops
            .iter()
            .filter_map(|change| match change {
                OpChange::Append(op) => Some(op.key.scope().clone()),
                _ => None,
            })
            .collect();
        self.apply(changes);
        given_back.iter().for_each(|fence| self.leases.release(fence));
        let mut notices = self.notices(seen);
        notices.extend(enqueued.into_iter().map(StoreChange::Enqueued));
        Ok((CommitOutcome::Committed, notices))
    }

    fn stale_records(&self, changes: &ChangeSet) -> BTreeSet<RecordKey> {
        let mut stale = BTreeSet::new();
        let guards = changes.guards.iter().chain(&changes.touches);
        let guards = guards.map(|(key, revision)| (key, *revision));
        let writes = changes
            .records
            .iter()
            .map(|write| (&write.key, write.read_revision));
        stale.extend(
            guards
                .chain(writes)
                .filter(|(key, revision)| self.revision(key) != *revision)
                .map(|(key, _)| key.clone()),
        );
        for page in &changes.confirmed {
            let keys = page
                .records
                .iter()
                .map(|record| RecordKey::new(page.target.clone(), record.id.clone()));
            stale.extend(
                keys.filter(|key| self.queue.is_pending(key) || (page.only_new && self.revision(key) > 0)),
            );
        }
        if !changes.removals.is_empty() {
            let removed: BTreeSet<OpId> = changes
                .ops
                .iter()
                .filter_map(|change| match change {
                    OpChange::Remove(op_id) => Some(*op_id),
                    _ => None,
                })
                .collect();
            let keeps_ops =
                |key: &&RecordKey| self.queue.of_record(key).any(|op| !removed.contains(&op.op_id));
            stale.extend(changes.removals.iter().filter(keeps_ops).cloned());
        }
        stale
    }

    /// Refuses what no sound engine asks for, before anything is written.
    fn check_sound(&self, changes: &ChangeSet) -> Result<()> {
        let refuse = |message: String| {
            Err(SyncError::new(ErrorKind::Internal, message)
                .with_operation("commit")
                .with_adapter(super::NAME))
        };
        for record in changes.confirmed.iter().flat_map(|page| &page.records) {
            if record.state == RemoteState::Missing {
                return refuse(format!("a confirmation says that {} is missing", record.id));
            }
        }
        let mut counts: BTreeMap<RecordKey, usize> = changes
            .records
            .iter()
            .map(|write| (write.key.clone(), self.queue.count_of_record(&write.key)))
            .collect();
        let mut known: BTreeMap<OpId, Option<RecordKey>> = BTreeMap::new();
        for change in &changes.ops {
            let (gone, come) = match change {
                OpChange::Append(op) => (None, Some(op)),
                OpChange::Replace(op) => match self.queue.at(op.seq) {
                    Some(before) => (Some(before.op_id), Some(op)),
                    None => (None, None),
                },
                OpChange::Remove(op_id) => (Some(*op_id), None),
                OpChange::MarkInDoubt { .. } => (None, None),
            };
            let mut key_of = |op_id: OpId| {
                known
                    .entry(op_id)
                    .or_insert_with(|| self.queue.get(op_id).map(|op| op.key.clone()))
                    .clone()
            };
            if let Some(key) = gone.and_then(&mut key_of)
                && let Some(count) = counts.get_mut(&key)
            {
                *count = count.saturating_sub(1);
            }
            gone.map(|op_id| known.insert(op_id, None));
            let Some(op) = come else { continue };
            if known
                .entry(op.op_id)
                .or_insert_with(|| self.queue.get(op.op_id).map(|op| op.key.clone()))
                .is_some()
            {
                return refuse(format!("the operation {} is in the queue already", op.op_id));
            }
            known.insert(op.op_id, Some(op.key.clone()));
            if let Some(count) = counts.get_mut(&op.key) {
                *count += 1;
            }
        }
        for write in &changes.records {
            let count = counts.get(&write.key).copied().unwrap_or(0);
            if u32::try_from(count) != Ok(write.pending) {
                let key = &write.key;
                return refuse(format!(
                    "{key} is said to have {} operations, it would have {count}",
                    write.pending
                ));
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: ChangeSet) {
        for write in changes.records {
            self.write(write, changes.now);
        }
        for (key, _) in &changes.touches {
            if let Some(row) = self
                .rows
                .get_mut(&key.target)
                .and_then(|rows| rows.get_mut(&key.id))
            {
                row.revision += 1;
            }
        }
        for page in changes.confirmed {
            self.confirm(page, changes.now);
        }
        for (target, ids, mark) in changes.marks {
            if let Some(rows) = self.rows.get_mut(&target) {
                for id in ids {
                    if let Some(row) = rows.get_mut(&id) {
                        row.mark = mark;
                    }
                }
            }
        }
        for key in &changes.removals {
            self.remove_row(key);
        }
        for change in changes.ops {
            match change {
                OpChange::Append(op) => self.queue.append(op),
                OpChange::Replace(op) => self.queue.replace(op),
                OpChange::Remove(op_id) => self.queue.remove(op_id),
                OpChange::MarkInDoubt { seq, attempts, .. } => self.queue.mark_in_doubt(seq, attempts),
            }
        }
        self.queue.unblock(&changes.unblock);
        self.targets.extend(
            changes
                .targets
                .into_iter()
                .map(|state| (state.target.clone(), state)),
        );
        self.conflicts.extend(
            changes
                .conflicts
                .into_iter()
                .map(|conflict| (conflict.conflict_id, conflict)),
        );
        for row in changes.quarantine {
            self.quarantine
                .entry(row.target.clone())
                .or_default()
                .insert(QuarantineKey::of(&row), row);
        }
        for (target, ids) in changes.understood {
            if let Some(rows) = self.quarantine.get_mut(&target) {
                for id in ids {
                    rows.remove(&QuarantineKey::Id(id));
                }
            }
        }
        for (name, value) in changes.settings {
            match value {
                Some(value) => self.settings.insert(name, value),
                None => self.settings.remove(&name),
            };
        }
        self.clock = self.clock.max(changes.clock);
    }

    fn write(&mut self, write: RecordWrite, now: Timestamp) {
        let row = Row {
            revision: self.next_revision(&write.key),
            view: write.view,
            schema_version: write.schema_version,
            base: write.base,
            mark: write.mark,
            touched_at: now,
        };
        self.put_row(write.key, row);
    }

    fn confirm(&mut self, page: ConfirmedPage, now: Timestamp) {
        let floor = self.revision_floor;
        let rows = self.rows.entry(page.target.clone()).or_default();
        for record in page.records {
            match rows.get_mut(&record.id) {
                Some(row) if row.base.is_same_as(&record.state) => row.mark = page.mark,
                before => {
                    let row = Row {
                        revision: before.map_or(floor, |row| row.revision) + 1,
                        view: record.state.payload().cloned(),
                        schema_version: page.schema_version,
                        base: record.state,
                        mark: page.mark,
                        touched_at: now,
                    };
                    rows.insert(record.id, row);
                }
            }
        }
        if rows.is_empty() {
            self.rows.remove(&page.target);
        }
    }

    /// What queries tell of every record that the change set could change, before it does.
    fn visible(&self, changes: &ChangeSet) -> BTreeMap<RecordKey, Visible> {
        let written = changes.records.iter().map(|write| write.key.clone());
        let confirmed = changes.confirmed.iter().flat_map(|page| {
            page.records
                .iter()
                .map(|record| RecordKey::new(page.target.clone(), record.id.clone()))
        });
        let operated = changes.ops.iter().filter_map(|change| match change {
            OpChange::Append(op) | OpChange::Replace(op) => Some(op.key.clone()),
            OpChange::Remove(op_id) => self.queue.get(*op_id).map(|op| op.key.clone()),
            OpChange::MarkInDoubt { key, .. } => Some(key.clone()),
        });
        let keys = written
            .chain(confirmed)
            .chain(changes.removals.iter().cloned())
            .chain(operated);
        keys.map(|key| (key.clone(), self.visible_part(&key))).collect()
    }

    /// A record that is not in the view looks the same whether or not it has operations.
    fn visible_part(&self, key: &RecordKey) -> Visible {
        let view = self.row(key)?.view.clone()?;
        Some((view, self.queue.is_pending(key)))
    }

    fn notices(&self, before: BTreeMap<RecordKey, Visible>) -> Vec<StoreChange> {
        let mut changed: BTreeMap<Target, Vec<RecordId>> = BTreeMap::new();
        for (key, seen) in before {
            if self.visible_part(&key) != seen {
                changed.entry(key.target).or_default().push(key.id);
            }
        }
        let listed = |ids: Vec<RecordId>| (ids.len() <= MAX_LISTED_IDS).then_some(ids);
        changed
            .into_iter()
            .map(|(target, ids)| StoreChange::Records {
                target,
                ids: listed(ids),
            })
            .collect()
    }
}

/// The part of a record that queries tell: its view, and whether it has operations.
type Visible = Option<(sync_core::Payload, bool)>;
