//! Committing a change set: guards, then all writes, in one transaction.

mod guards;
mod ops;
mod records;
mod rest;
#[cfg(test)]
#[cfg(feature = "sqlite")]
pub(crate) mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use sync_core::{ChangeSet, CommitOutcome, LocalRecord, OpChange, Payload, RecordId, Result, Target};

use self::guards::Verdict;
use crate::{
    dialect::Dialect,
    driver::{Run, Step, Transaction, Write},
    error::corrupt,
    notify::{Changes, Notice},
    sql::Sql,
    store::{Shared, UnderWay},
};

/// How many rows one statement carries: enough to make the statement's own cost small, few enough to keep the
/// number of different statements small.
pub(crate) const CHUNK: usize = 128;

/// What a commit needs to know about targets: their numbers.
pub(crate) struct Numbers(HashMap<Target, i64>);

impl Numbers {
    pub(crate) fn of(&self, target: &Target) -> Result<i64> {
        self.0
            .get(target)
            .copied()
            .ok_or_else(|| corrupt("a target of the change set has no number"))
    }
}

/// The writes of one commit, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    dialect: Dialect,
    statements: Vec<Sql>,
}

impl Batch {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            statements: Vec::new(),
        }
    }

    pub(crate) fn sql(&self, text: impl Into<String>) -> Sql {
        Sql::new(self.dialect, text)
    }

    pub(crate) fn add(&mut self, sql: Sql) {
        self.statements.push(sql);
    }
}

/// The write of a change set.
pub(crate) struct Commit {
    store: Arc<Shared>,
    changes: ChangeSet,
}

impl Commit {
    pub(crate) fn new(store: Arc<Shared>, changes: ChangeSet) -> Self {
        Self { store, changes }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").finish_non_exhaustive()
    }
}

/// What is to be done and told once the commit has succeeded.
pub(crate) struct Done {
    /// Targets that got their numbers in this transaction.
    fresh: Vec<(Target, i64)>,
    counter_before: i64,
    counter_after: i64,
    notices: Vec<Notice>,
    under_way: UnderWay,
}

#[async_trait]
impl Write for Commit {
    type Draft = Done;
    type Answer = CommitOutcome;

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<Done, CommitOutcome>> {
        let changes = &self.changes;
        let (numbers, fresh) = self
            .store
            .targets
            .intern(transaction, targets_of(changes))
            .await?;
        let numbers = Numbers(numbers);
        let found = match guards::check(transaction, &numbers, changes).await? {
            Verdict::Pass(found) => found,
            Verdict::Stale(keys) => return Ok(Step::Undo(CommitOutcome::Stale(keys))),
        };
        let mut batch = Batch::new(transaction.dialect());
        records::write(&mut batch, &numbers, changes, &found.same)?;
        ops::write(&mut batch, &numbers, changes)?;
        rest::write(&mut batch, &numbers, changes)?;
        // From here to its end, nothing that is read is kept.
        let under_way = self.store.begin_commit(changes);
        transaction.run_all(batch.statements).await?;
        let with_views = self.store.notifier.is_heard();
        Ok(Step::Commit(Done {
            under_way,
            fresh,
            counter_before: found.counter,
            counter_after: transaction.advance_counter(found.counter).await?,
            notices: notices(&numbers, changes, &found.same, with_views)?,
        }))
    }

    fn committed(&self, done: Done) -> CommitOutcome {
        let Shared {
            targets, notifier, ..
        } = &*self.store;
        for (target, number) in done.fresh {
            targets.remember(&target, number);
        }
        if notifier.observe(done.counter_before, done.counter_after) {
            notifier.send_anything();
        }
        notifier.send(self.store.cache.next_commit(), done.notices);
        drop(done.under_way);
        CommitOutcome::Committed
    }
}

fn targets_of(changes: &ChangeSet) -> BTreeSet<&Target> {
    let mut targets = BTreeSet::new();
    let guarded = changes.guards.iter().chain(&changes.touches);
    targets.extend(guarded.map(|(key, _)| &key.target));
    targets.extend(changes.records.iter().map(|record| &record.key.target));
    targets.extend(changes.confirmed.iter().map(|page| &page.target));
    targets.extend(changes.marks.iter().map(|(target, ..)| target));
    targets.extend(changes.removals.iter().map(|key| &key.target));
    targets.extend(changes.ops.iter().filter_map(|op| match op {
        OpChange::Append(op) | OpChange::Replace(op) => Some(&op.key.target),
        OpChange::Remove(_) => None,
    }));
    targets.extend(changes.targets.iter().map(|state| &state.target));
    targets.extend(changes.conflicts.iter().map(|conflict| &conflict.key.target));
    targets.extend(changes.quarantine.iter().map(|row| &row.target));
    targets.extend(changes.understood.iter().map(|(target, _)| target));
    targets
}

fn notices(
    numbers: &Numbers,
    changes: &ChangeSet,
    same: &HashSet<(i64, String)>,
    with_views: bool,
) -> Result<Vec<Notice>> {
    let mut told = Changes::default();
    let now = |id: &RecordId, payload: Option<&Payload>, schema_version, pending| {
        let payload = payload.filter(|_| with_views)?.clone();
        Some(LocalRecord {
            id: id.clone(),
            payload,
            schema_version,
            pending,
        })
    };
    for record in &changes.records {
        let id = &record.key.id;
        let view = now(
            id,
            record.view.as_ref(),
            record.schema_version,
            record.pending > 0,
        );
        told.record(&record.key.target, id, view);
    }
    for page in &changes.confirmed {
        let number = numbers.of(&page.target)?;
        for confirmation in &page.records {
            if same.contains(&(number, confirmation.id.as_str().to_owned())) {
                continue;
            }
            let id = &confirmation.id;
            let view = now(id, confirmation.state.payload(), page.schema_version, false);
            told.record(&page.target, id, view);
        }
    }
    for key in &changes.removals {
        told.record(&key.target, &key.id, None);
    }
    for op in &changes.ops {
        if let OpChange::Append(op) = op {
            told.enqueued(op.key.scope());
        }
    }
    Ok(told.into_notices(with_views))
}
