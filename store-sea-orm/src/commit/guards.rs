//! What must hold for a change set to be written.

#[cfg(feature = "rusqlite")]
mod confirmed;

use std::collections::{BTreeSet, HashMap, HashSet};

use sync_core::{
    ChangeSet, Confirmation, ConfirmedPage, ErrorKind, OpChange, OpId, RecordKey, Result, SyncError, Target,
};

use super::{
    CHUNK, Known, Numbers,
    records::{is_guarded_by_write, is_row},
    tail::{self, Tail},
};
use crate::{
    dialect::Dialect,
    driver::{Run, Transaction},
    error::corrupt,
    row::ReadRow,
    rows::{BaseColumns, known_id, revision},
    sql::{Param, Sql},
    store::Shared,
};

/// What the guards say.
pub(super) enum Verdict {
    /// All hold.
    Pass(Findings),
    /// These records changed since they were read.
    Stale(Vec<RecordKey>),
}

/// What was found out on the way.
#[derive(Debug)]
pub(super) struct Findings {
    /// The database's change counter before this commit.
    pub(super) counter: i64,
    /// Confirmed records that already have the confirmed state, by target number and id.
    pub(super) same: HashSet<(i64, String)>,
    /// Whether there may be rows in quarantine.
    pub(super) quarantined: bool,
    /// The end of the queue, if the change set asks for it.
    pub(super) tail: Option<Tail>,
}

/// One question to the database. Each answers with rows of two numbers and a text; no rows mean that all is well.
enum Question<'a> {
    /// Which of these records no longer have the revision that was read?
    Revisions(&'a [(i64, &'a str, i64)]),
    /// Which of these records of one target have operations?
    Pending(i64, &'a [Confirmation]),
    /// Which of these records of one target have rows?
    Known(i64, &'a [Confirmation]),
    /// Which of these records of one target already have this state?
    Same(i64, &'a [Confirmation]),
    /// Which of these places in the queue are empty?
    Places(&'a [i64]),
}

// The kinds of answers.
const COUNTER: i64 = 0;
const FENCE: i64 = 1;
const RECORD: i64 = 2;
const PLACE: i64 = 3;
const SAME: i64 = 4;
const TAIL: i64 = 5;

/// How many rows the questions of one statement have at most, unless a single one has more.
const MAX_ROWS: usize = 4 * CHUNK;

/// Asks everything, in one statement unless the change set is large.
pub(super) async fn check(
    store: &Shared,
    transaction: Transaction<'_>,
    numbers: &Numbers,
    changes: &ChangeSet,
    known: &Known<'_>,
) -> Result<Verdict> {
    let subjects = Subjects::of(numbers, changes, known, transaction.runs_row_by_row())?;
    let mut stale = BTreeSet::new();
    let mut same = HashSet::new();
    let mut questions = subjects.questions_about_places();
    #[cfg(feature = "rusqlite")]
    if let Transaction::Direct(transaction) = transaction {
        confirmed::check_revisions(transaction, &subjects, &mut stale)?;
        confirmed::check(transaction, &subjects, &mut stale, &mut same)?;
    } else {
        questions.extend(subjects.questions_about_records());
    }
    #[cfg(not(feature = "rusqlite"))]
    questions.extend(subjects.questions_about_records());
    let mut questions = questions.into_iter().peekable();
    let counter = transaction.counter()?;
    let mut findings = Findings {
        counter: counter.unwrap_or_default(),
        same,
        quarantined: true,
        tail: None,
    };
    let asks_for_tail = tail::matters(transaction.dialect(), changes) && {
        findings.tail = counter.and_then(|counter| store.tail.known(counter));
        findings.tail.is_none()
    };
    #[cfg(feature = "rusqlite")]
    if let (Transaction::Direct(transaction), false) = (transaction, changes.understood.is_empty()) {
        findings.quarantined = confirmed::any_quarantined(transaction)?;
    }
    let mut fence = None;
    let mut first = true;
    while first || questions.peek().is_some() {
        let mut sql = Sql::new(transaction.dialect(), "");
        if first {
            if counter.is_none() {
                sql.push(&format!(
                    "SELECT {COUNTER}, data_version, NULL FROM pragma_data_version"
                ));
            }
            ask_for_fence(&mut sql, changes);
            if asks_for_tail {
                select(&mut sql, TAIL).push(tail::SELECT);
            }
        }
        // Small questions share a statement, so that a usual commit asks once.
        let mut rows = 0;
        while let Some(question) =
            questions.next_if(|question| rows == 0 || rows + question.len() <= MAX_ROWS)
        {
            rows += question.len();
            question.ask(&mut sql);
        }
        first = false;
        if sql.is_empty() {
            break;
        }
        for row in transaction.rows(sql).await? {
            match row.int(0)? {
                COUNTER => findings.counter = row.int(1)?,
                TAIL => findings.tail = Some(Tail::read(&row, 1)?),
                FENCE => fence = Some(row.count(1)?),
                RECORD => {
                    stale.insert(subjects.record(row.int(1)?, &row.text(2)?)?);
                }
                SAME => {
                    findings.same.insert((row.int(1)?, row.text(2)?));
                }
                PLACE => stale.extend(subjects.place(row.int(1)?)),
                other => return Err(corrupt(format!("{other} is no kind of answer"))),
            }
        }
    }
    if let Some(expected) = &changes.fence
        && fence != Some(expected.token)
    {
        return Err(SyncError::new(
            ErrorKind::LeaseLost,
            format!(
                "the lease {:?} was given back or taken over; take it again",
                expected.lease
            ),
        ));
    }
    stale.extend(leftover_ops(transaction, numbers, changes).await?);
    if stale.is_empty() {
        Ok(Verdict::Pass(findings))
    } else {
        Ok(Verdict::Stale(stale.into_iter().collect()))
    }
}

fn ask_for_fence(sql: &mut Sql, changes: &ChangeSet) {
    if let Some(fence) = &changes.fence {
        let text = text(sql.dialect());
        select(sql, FENCE).push(&format!(
            "token, CAST(NULL AS {text}) FROM sync_leases WHERE holder IS NOT NULL AND name = "
        ));
        sql.bind(fence.lease.as_str());
    }
}

/// Starts one more question, whose answers are of this kind.
fn select(sql: &mut Sql, kind: i64) -> &mut Sql {
    let integer = sql.dialect().integer();
    sql.separate(" UNION ALL ")
        .push(&format!("SELECT CAST({kind} AS {integer}), "))
}

fn text(dialect: Dialect) -> &'static str {
    if dialect == Dialect::MySql {
        "BINARY"
    } else {
        "TEXT"
    }
}

impl Question<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Revisions(rows) => rows.len(),
            Self::Pending(_, records) | Self::Known(_, records) | Self::Same(_, records) => records.len(),
            Self::Places(places) => places.len(),
        }
    }

    fn ask(&self, sql: &mut Sql) {
        match self {
            Self::Revisions(rows) => {
                select(sql, RECORD).push("k.target_id, k.id FROM ");
                sql.table(
                    "k",
                    ["target_id", "id", "revision"],
                    rows.iter().map(|(target, id, revision)| {
                        [Param::from(*target), Param::from(*id), Param::from(*revision)]
                    }),
                );
                sql.push(
                    " LEFT JOIN sync_records r ON r.target_id = k.target_id AND r.id = k.id \
                     WHERE COALESCE(r.revision, 0) <> k.revision",
                );
            }
            Self::Pending(target, records) => ask_for_rows(sql, "sync_queue", *target, records),
            Self::Known(target, records) => ask_for_rows(sql, "sync_records", *target, records),
            Self::Same(target, records) => {
                let same = sql.dialect().same();
                select(sql, SAME).push("r.target_id, r.id FROM ");
                sql.table(
                    "k",
                    ["id", "kind", "token", "place"],
                    records.iter().map(|record| {
                        let base = BaseColumns::of(&record.state);
                        [
                            record.id.as_str().into(),
                            base.kind.into(),
                            base.version_token.into(),
                            base.version_order.into(),
                        ]
                    }),
                );
                sql.push(" JOIN sync_records r ON r.target_id = ").bind(*target);
                sql.push(&format!(
                    " AND r.id = k.id WHERE k.token IS NOT NULL AND r.base_kind = k.kind \
                     AND r.version_token {same} k.token AND r.version_order {same} k.place"
                ));
            }
            Self::Places(places) => {
                let text = text(sql.dialect());
                select(sql, PLACE).push(&format!("k.seq, CAST(NULL AS {text}) FROM "));
                sql.table("k", ["seq"], places.iter().map(|place| [Param::from(*place)]));
                sql.push(" LEFT JOIN sync_queue o ON o.seq = k.seq WHERE o.seq IS NULL");
            }
        }
    }
}

fn ask_for_rows(sql: &mut Sql, table: &str, target: i64, records: &[Confirmation]) {
    select(sql, RECORD).push(&format!("target_id, id FROM {table} WHERE target_id = "));
    sql.bind(target).push(" AND id IN ");
    sql.bind_list(records.iter().map(|record| record.id.as_str()));
}

/// What the questions are about, in the database's terms, and the way back to keys.
struct Subjects<'a> {
    targets: HashMap<i64, &'a Target>,
    revisions: Vec<(i64, &'a str, i64)>,
    pages: Vec<(i64, &'a ConfirmedPage)>,
    places: Vec<i64>,
    replaced: HashMap<i64, &'a RecordKey>,
}

impl<'a> Subjects<'a> {
    /// `row_by_row` tells whether some writes find out by themselves whether records were changed.
    fn of(numbers: &Numbers, changes: &'a ChangeSet, known: &Known<'_>, row_by_row: bool) -> Result<Self> {
        let mut subjects = Self {
            targets: HashMap::new(),
            revisions: Vec::new(),
            pages: Vec::new(),
            places: Vec::new(),
            replaced: HashMap::new(),
        };
        let touches = changes.touches.iter();
        let touches = touches.filter(|(_, read)| !(row_by_row && is_row(*read)));
        let guards = changes.guards.iter().chain(touches);
        let guards = guards.map(|(key, revision)| (key, *revision));
        let written = changes
            .records
            .iter()
            .filter(|record| !(row_by_row && is_guarded_by_write(record)))
            .map(|record| (&record.key, record.read_revision));
        for (key, read_revision) in guards.chain(written) {
            if known.revisions.get(key) == Some(&read_revision) {
                continue;
            }
            let number = numbers.of(&key.target)?;
            subjects.targets.insert(number, &key.target);
            subjects
                .revisions
                .push((number, key.id.as_str(), revision(read_revision)?));
        }
        for page in &changes.confirmed {
            let number = numbers.of(&page.target)?;
            subjects.targets.insert(number, &page.target);
            subjects.pages.push((number, page));
        }
        for op in &changes.ops {
            if let OpChange::Replace(op) = op {
                if known.places.contains(&op.seq) {
                    continue;
                }
                let seq = revision(op.seq)?;
                subjects.places.push(seq);
                subjects.replaced.insert(seq, &op.key);
            }
        }
        Ok(subjects)
    }

    fn questions_about_places(&self) -> Vec<Question<'_>> {
        self.places.chunks(CHUNK).map(Question::Places).collect()
    }

    fn questions_about_records(&self) -> Vec<Question<'_>> {
        let revisions = self.revisions.chunks(CHUNK).map(Question::Revisions);
        let mut questions: Vec<_> = revisions.collect();
        for (number, page) in &self.pages {
            for records in page.records.chunks(CHUNK) {
                if page.only_new {
                    // A record with operations has a row.
                    questions.push(Question::Known(*number, records));
                } else {
                    questions.push(Question::Pending(*number, records));
                    questions.push(Question::Same(*number, records));
                }
            }
        }
        questions
    }

    fn record(&self, number: i64, id: &str) -> Result<RecordKey> {
        let target = self.targets.get(&number).copied().cloned();
        let target =
            target.ok_or_else(|| corrupt("a guard tells of a target that it was not asked about"))?;
        Ok(RecordKey::new(target, known_id(id.to_owned())?))
    }

    fn place(&self, seq: i64) -> Option<RecordKey> {
        self.replaced.get(&seq).map(|key| (*key).clone())
    }
}

/// Records to be removed that have operations which the same change set does not remove.
async fn leftover_ops(
    transaction: Transaction<'_>,
    numbers: &Numbers,
    changes: &ChangeSet,
) -> Result<Vec<RecordKey>> {
    let removed: HashSet<OpId> = changes
        .ops
        .iter()
        .filter_map(|op| match op {
            OpChange::Remove(op_id) => Some(*op_id),
            OpChange::Append(_) | OpChange::Replace(_) | OpChange::MarkInDoubt { .. } => None,
        })
        .collect();
    let mut stale = Vec::new();
    for keys in changes.removals.chunks(CHUNK) {
        let mut places = HashMap::new();
        let mut sql = Sql::new(transaction.dialect(), "SELECT k.place, o.op_id FROM ");
        let mut rows = Vec::with_capacity(keys.len());
        for (place, key) in (0_i64..).zip(keys) {
            rows.push([
                place.into(),
                numbers.of(&key.target)?.into(),
                key.id.as_str().into(),
            ]);
            places.insert(place, key);
        }
        sql.table("k", ["place", "target_id", "id"], rows);
        sql.push(" JOIN sync_queue o ON o.target_id = k.target_id AND o.id = k.id");
        for row in transaction.rows(sql).await? {
            if !removed.contains(&row.op_id(1)?) {
                stale.extend(places.get(&row.int(0)?).map(|key| (*key).clone()));
            }
        }
    }
    Ok(stale)
}
