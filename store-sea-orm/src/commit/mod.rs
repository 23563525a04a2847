//! Committing a change set: guards, then all writes, in one transaction.

mod guards;
mod ops;
mod records;
mod rest;
pub(crate) mod tail;
#[cfg(test)]
#[cfg(feature = "sqlite")]
pub(crate) mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use sync_core::{
    ChangeSet, CommitOutcome, LocalRecord, OpChange, Payload, RecordId, RecordKey, Result, Target, WorkOut,
};

use self::{guards::Verdict, records::Irregular};
use crate::{
    dialect::Dialect,
    driver::{PerDialect, Rows, Run, Shape, Statement, Step, Transaction, Write},
    error::corrupt,
    notify::{Changes, Notice},
    read,
    sql::{Param, Sql},
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
    statements: Vec<Statement>,
    /// See [`Transaction::runs_row_by_row`].
    row_by_row: bool,
}

impl Batch {
    fn new(transaction: Transaction<'_>) -> Self {
        Self {
            dialect: transaction.dialect(),
            statements: Vec::new(),
            row_by_row: transaction.runs_row_by_row(),
        }
    }

    pub(crate) fn sql(&self, text: impl Into<Cow<'static, str>>) -> Sql {
        Sql::new(self.dialect, text)
    }

    pub(crate) fn add(&mut self, sql: Sql) {
        self.statements.push(Statement::One(sql));
    }

    /// Adds a statement for rows with these values, one row after the other.
    pub(crate) fn add_rows(&mut self, shape: &'static PerDialect<Shape>, params: Vec<Param>) {
        if !params.is_empty() {
            let shape = shape.of(self.dialect);
            self.statements.push(Statement::Rows(Rows {
                shape,
                params,
                guarded: None,
            }));
        }
    }

    /// As [`Batch::add_rows`], where each row is about one of these records, and has to change it.
    pub(crate) fn add_guarded_rows(
        &mut self,
        shape: &'static PerDialect<Shape>,
        params: Vec<Param>,
        records: Vec<RecordKey>,
    ) {
        if !params.is_empty() {
            let shape = shape.of(self.dialect);
            self.statements.push(Statement::Rows(Rows {
                shape,
                params,
                guarded: Some(records),
            }));
        }
    }
}

/// The write of a change set.
pub(crate) struct Commit {
    store: Arc<Shared>,
    changes: ChangeSet,
    irregular: Irregular,
}

impl Commit {
    pub(crate) fn new(store: Arc<Shared>, changes: ChangeSet) -> Self {
        // Here, since nobody else waits for it, as they do in the transaction.
        let irregular = records::irregular(store.database.dialect, &changes);
        Self {
            store,
            changes,
            irregular,
        }
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

    fn rows(&self) -> usize {
        rows_of(&self.changes)
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<Done, CommitOutcome>> {
        let known = Known::default();
        write(&self.store, transaction, &self.changes, &self.irregular, &known).await
    }

    fn committed(&self, done: Done) -> CommitOutcome {
        done.tell(&self.store);
        CommitOutcome::Committed
    }
}

/// Reading records, and the write of what is worked out from them, in one transaction.
pub(crate) struct Update {
    store: Arc<Shared>,
    keys: Vec<RecordKey>,
    work: WorkOut,
}

impl Update {
    pub(crate) fn new(store: Arc<Shared>, keys: Vec<RecordKey>, work: WorkOut) -> Self {
        Self { store, keys, work }
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").finish_non_exhaustive()
    }
}

#[async_trait]
impl Write for Update {
    type Draft = Done;
    type Answer = Option<CommitOutcome>;

    fn rows(&self) -> usize {
        self.keys.len()
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<Done, Option<CommitOutcome>>> {
        let records = read::records::load_within(&self.store, transaction, &self.keys).await?;
        let revisions = records.iter().map(|record| record.revision);
        let known = Known {
            revisions: self.keys.iter().zip(revisions).collect(),
            places: records
                .iter()
                .flat_map(|record| &record.ops)
                .map(|op| op.seq)
                .collect(),
        };
        let Some(changes) = (self.work)(records)? else {
            return Ok(Step::Undo(None));
        };
        let irregular = records::irregular(transaction.dialect(), &changes);
        let written = write(&self.store, transaction, &changes, &irregular, &known);
        Ok(match written.await? {
            Step::Commit(done) => Step::Commit(done),
            Step::Undo(outcome) => Step::Undo(Some(outcome)),
        })
    }

    fn committed(&self, done: Done) -> Option<CommitOutcome> {
        done.tell(&self.store);
        Some(CommitOutcome::Committed)
    }
}

/// What was read in the transaction that checks it.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// The revisions of records.
    revisions: BTreeMap<&'a RecordKey, u64>,
    /// Places in the queue that are taken.
    places: HashSet<u64>,
}

async fn write(
    store: &Arc<Shared>,
    transaction: Transaction<'_>,
    changes: &ChangeSet,
    irregular: &Irregular,
    known: &Known<'_>,
) -> Result<Step<Done, CommitOutcome>> {
    let (numbers, fresh) = store.targets.intern(transaction, targets_of(changes)).await?;
    let numbers = Numbers(numbers);
    let found = match guards::check(store, transaction, &numbers, changes, known).await? {
        Verdict::Pass(found) => found,
        Verdict::Stale(keys) => return Ok(Step::Undo(CommitOutcome::Stale(keys))),
    };
    let mut batch = Batch::new(transaction);
    records::write(&mut batch, &numbers, changes, &found.same, irregular)?;
    let mut tail = found.tail;
    if let Some(tail) = &tail {
        tail.keep_what_goes(&mut batch, changes);
    }
    ops::write(&mut batch, &numbers, changes, tail.as_mut())?;
    let clock = match &mut tail {
        Some(tail) => tail.clock_to_write(changes),
        None => changes.clock,
    };
    rest::write(&mut batch, &numbers, changes, found.quarantined, clock)?;
    // From here to its end, nothing that is read is kept.
    let under_way = store.begin_commit(changes);
    #[cfg(feature = "rusqlite")]
    if let Transaction::Direct(transaction) = transaction
        && let Some(known) = records::new_rows::insert(transaction, &numbers, changes)?
    {
        return Ok(Step::Undo(CommitOutcome::Stale(vec![known])));
    }
    let stale = transaction.run_all(batch.statements).await?;
    if !stale.is_empty() {
        return Ok(Step::Undo(CommitOutcome::Stale(stale)));
    }
    if let (Some(tail), true) = (tail, transaction.sees_foreign_commits()) {
        store.tail.remember(found.counter, tail);
    }
    let with_views = store.notifier.is_heard();
    Ok(Step::Commit(Done {
        under_way,
        fresh,
        counter_before: found.counter,
        counter_after: transaction.advance_counter(found.counter).await?,
        notices: notices(&numbers, changes, &found.same, with_views)?,
    }))
}

impl Done {
    /// What follows once it is durable.
    fn tell(self, store: &Shared) {
        let Shared {
            targets, notifier, ..
        } = store;
        for (target, number) in self.fresh {
            targets.remember(&target, number);
        }
        if notifier.observe(self.counter_before, self.counter_after) {
            notifier.send_anything();
        }
        notifier.send(store.cache.next_commit(), self.notices);
        drop(self.under_way);
    }
}

/// How many rows a change set is about.
fn rows_of(changes: &ChangeSet) -> usize {
    let confirmed = changes.confirmed.iter().map(|page| page.records.len());
    let marks = changes.marks.iter().map(|(_, ids, _)| ids.len());
    let understood = changes.understood.iter().map(|(_, ids)| ids.len());
    let listed = confirmed.chain(marks).chain(understood).sum::<usize>();
    listed
        + changes.guards.len()
        + changes.records.len()
        + changes.touches.len()
        + changes.removals.len()
        + changes.ops.len()
        + changes.unblock.len()
        + changes.targets.len()
        + changes.conflicts.len()
        + changes.quarantine.len()
        + changes.settings.len()
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
        OpChange::MarkInDoubt { key, .. } => Some(&key.target),
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
            if !same.is_empty() && same.contains(&(number, confirmation.id.as_str().to_owned())) {
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
