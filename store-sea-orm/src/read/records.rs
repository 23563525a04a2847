//! Single records by key.

#[cfg(feature = "rusqlite")]
use std::sync::LazyLock;
use std::{borrow::Cow, collections::BTreeSet};

use futures::FutureExt;
use sync_core::{RecordId, RecordKey, RecordState, RecordSummary, Result, Target, View};

use super::{CHUNK, FEW};
#[cfg(feature = "rusqlite")]
use crate::driver::direct::DirectTransaction;
use crate::{
    cache::Looked,
    dialect::Dialect,
    driver::{Run, Transaction},
    row::{ReadRow, Row},
    rows::{BASE_SELECT, LIVE, OP_SELECT, read_base, read_id, read_op, read_version},
    sql::{Param, Sql},
    store::Shared,
};

/// How many columns [`RECORD_SELECT`] and [`BASE_SELECT`] have.
pub(super) const RECORD_WIDTH: usize = 11;

/// The records with these keys, with all their operations, one for each key.
pub(crate) async fn load(store: &Shared, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
    let reader = if keys.len() <= FEW {
        store.database.reader_of_few()
    } else {
        store.database.reader()
    };
    let numbers = find_all(store, &reader, keys).await?;
    if keys.len() <= CHUNK && numbers.iter().all(Option::is_some) {
        return load_numbered(&reader, keys, &numbers).await;
    }
    // Several statements: a transaction makes them see one state of the store.
    let transaction = store.database.begin_read().await?;
    let loaded = load_all(store, &transaction.as_run(), keys).await;
    transaction.finish(loaded).await
}

async fn load_all<R: Run>(store: &Shared, run: &R, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
    let numbers = find_all(store, run, keys).await?;
    let mut records = Vec::with_capacity(keys.len());
    for (keys, numbers) in keys.chunks(CHUNK).zip(numbers.chunks(CHUNK)) {
        records.extend(load_numbered(run, keys, numbers).await?);
    }
    Ok(records)
}

/// As [`load`], within a transaction that writes.
pub(crate) async fn load_within(
    store: &Shared,
    transaction: Transaction<'_>,
    keys: &[RecordKey],
) -> Result<Vec<RecordState>> {
    let mut numbers: Vec<Option<i64>> = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        let number = match same_as_before(keys, place) {
            Some(before) => numbers[before],
            None => store.targets.look_up(&transaction, &key.target).await?,
        };
        numbers.push(number);
    }
    #[cfg(feature = "rusqlite")]
    if let Transaction::Direct(transaction) = transaction {
        return load_each(transaction, keys, &numbers);
    }
    let mut records = Vec::with_capacity(keys.len());
    for (keys, numbers) in keys.chunks(CHUNK).zip(numbers.chunks(CHUNK)) {
        records.extend(load_numbered(&transaction, keys, numbers).await?);
    }
    Ok(records)
}

/// Loads records one by one, where a statement costs less than joining tables.
#[cfg(feature = "rusqlite")]
pub(super) fn load_each(
    transaction: &DirectTransaction,
    keys: &[RecordKey],
    numbers: &[Option<i64>],
) -> Result<Vec<RecordState>> {
    static RECORD: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {RECORD_SELECT}, {BASE_SELECT} FROM sync_records r WHERE r.target_id = ? AND r.id = ?"
        )
    });
    static OPS: LazyLock<String> = LazyLock::new(|| {
        format!("SELECT {OP_SELECT} FROM sync_queue o WHERE o.target_id = ? AND o.id = ? ORDER BY o.seq")
    });
    let mut records: Vec<RecordState> = keys.iter().cloned().map(RecordState::absent).collect();
    // A target without a number has nothing, and no row has a null for its target.
    let params: Vec<Param> = keys
        .iter()
        .zip(numbers)
        .flat_map(|(key, number)| [(*number).into(), key.id.as_str().into()])
        .collect();
    transaction.rows_each(&RECORD, &params, 2, |place, row| {
        read_record(&mut records[place], row, 0)
    })?;
    transaction.rows_each(&OPS, &params, 2, |place, row| {
        let record = &mut records[place];
        record.ops.push(read_op(row, 0, record.key.clone())?);
        Ok(())
    })?;
    Ok(records)
}

/// The numbers of the keys' targets; `None` for those the store holds nothing of.
async fn find_all<R: Run>(store: &Shared, run: &R, keys: &[RecordKey]) -> Result<Vec<Option<i64>>> {
    let mut numbers: Vec<Option<i64>> = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        numbers.push(match same_as_before(keys, place) {
            Some(before) => numbers[before],
            None => store.targets.find(run, &key.target).await?,
        });
    }
    Ok(numbers)
}

/// The place before, if the record there is of the same target.
fn same_as_before(keys: &[RecordKey], place: usize) -> Option<usize> {
    let before = place.checked_sub(1)?;
    (keys[before].target == keys[place].target).then_some(before)
}

/// Loads at most [`CHUNK`] records in one statement.
async fn load_numbered<R: Run>(
    run: &R,
    keys: &[RecordKey],
    numbers: &[Option<i64>],
) -> Result<Vec<RecordState>> {
    let mut records: Vec<RecordState> = keys.iter().cloned().map(RecordState::absent).collect();
    let known: Vec<[Param; 3]> = (0_i64..)
        .zip(keys.iter().zip(numbers))
        .filter_map(|(place, (key, number))| Some([place.into(), (*number)?.into(), key.id.as_str().into()]))
        .collect();
    if known.is_empty() {
        return Ok(records);
    }
    let mut sql = Sql::new(run.dialect(), "SELECT k.place, ");
    sql.push(RECORD_SELECT)
        .push(", ")
        .push(BASE_SELECT)
        .push(", ")
        .push(OP_SELECT)
        .push(" FROM ");
    sql.table("k", ["place", "target_id", "id"], known);
    sql.push(
        " LEFT JOIN sync_records r ON r.target_id = k.target_id AND r.id = k.id \
         LEFT JOIN sync_queue o ON o.target_id = k.target_id AND o.id = k.id ORDER BY k.place, o.seq",
    );
    for row in run.rows(sql).await? {
        let place = usize::try_from(row.int(0)?).unwrap_or(usize::MAX);
        if let Some(record) = records.get_mut(place) {
            read_into(record, &row)?;
        }
    }
    Ok(records)
}

/// Reads one row, of which there is one for each operation, or one in all.
fn read_into(record: &mut RecordState, row: &Row) -> Result<()> {
    if record.revision == 0 && row.opt_int(1)?.is_some() {
        read_record(record, row, 1)?;
    }
    // The place comes first.
    if row.opt_int(1 + RECORD_WIDTH)?.is_some() {
        record
            .ops
            .push(read_op(row, 1 + RECORD_WIDTH, record.key.clone())?);
    }
    Ok(())
}

/// What the app sees of one record.
pub(crate) async fn load_view(store: &Shared, key: &RecordKey) -> Result<Option<View>> {
    let ticket = match store.cache.view(store.database.commits_of_others(), key) {
        Looked::Found(view) => return Ok(view),
        Looked::Missing(ticket) => ticket,
    };
    let view = read_view(store, &store.database.reader_of_few(), key).await?;
    store.cache.keep_view(ticket, key, &view);
    Ok(view)
}

/// The same where the database answers in the calling task; `None` if it does not, or fails.
pub(crate) fn view_at_once(store: &Shared, key: &RecordKey) -> Option<Option<View>> {
    #[cfg(feature = "rusqlite")]
    if let Some(number) = store.targets.cached(&key.target)
        && let Some(view) = peek_view(store, key, number)
    {
        return view.ok();
    }
    let ticket = match store.cache.view(store.database.commits_of_others(), key) {
        Looked::Found(view) => return Some(view),
        Looked::Missing(ticket) => ticket,
    };
    if !store.database.answers_at_once() {
        return None;
    }
    let view = read_view(store, &store.database.reader_of_few(), key)
        .now_or_never()?
        .ok()?;
    store.cache.keep_view(ticket, key, &view);
    Some(view)
}

/// The same between two writes; `None` if there is one at the moment.
#[cfg(feature = "rusqlite")]
fn peek_view(store: &Shared, key: &RecordKey, number: i64) -> Option<Result<Option<View>>> {
    store.database.peek(|others, connection| {
        let ticket = match store.cache.view(Some(others), key) {
            Looked::Found(view) => return Ok(view),
            Looked::Missing(ticket) => ticket,
        };
        let text = "SELECT view, schema_version FROM sync_records WHERE target_id = ? AND id = ?";
        let params = [number.into(), key.id.as_str().into()];
        let mut view = None;
        connection.visit(text, &params, &mut |row| {
            let schema_version = row.small_count(1)?;
            view = row.opt_record(0)?.map(|payload| View {
                payload,
                schema_version,
            });
            Ok(())
        })?;
        store.cache.keep_view(ticket, key, &view);
        Ok(view)
    })
}

async fn read_view<R: Run>(store: &Shared, run: &R, key: &RecordKey) -> Result<Option<View>> {
    let Some(number) = store.targets.find(run, &key.target).await? else {
        return Ok(None);
    };
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT view, schema_version FROM sync_records WHERE target_id = ",
    );
    sql.bind(number).push(" AND id = ").bind(key.id.as_str());
    let Some(row) = run.row(sql).await? else {
        return Ok(None);
    };
    let schema_version = row.small_count(1)?;
    Ok(row.opt_record(0)?.map(|payload| View {
        payload,
        schema_version,
    }))
}

/// The columns that [`read_record`] reads, before those of [`BASE_SELECT`].
pub(super) const RECORD_SELECT: &str = "r.revision, r.schema_version, r.mark, r.touched_at, r.view";

pub(super) fn read_record(record: &mut RecordState, row: &impl ReadRow, first: usize) -> Result<()> {
    record.revision = row.count(first)?;
    record.schema_version = row.small_count(first + 1)?;
    record.mark = row.count(first + 2)?;
    record.touched_at = row.time(first + 3)?;
    record.view = row.opt_record(first + 4)?;
    record.base = read_base(row, first + 5, record.view.as_ref())?;
    Ok(())
}

/// Summaries of those of these records that there is a row for.
pub(crate) async fn load_summaries(
    store: &Shared,
    target: &Target,
    ids: &[RecordId],
) -> Result<Vec<RecordSummary>> {
    let reader = store.database.reader_of_few();
    let Some(number) = store.targets.find(&reader, target).await? else {
        return Ok(Vec::new());
    };
    let distinct: Vec<&str> = ids
        .iter()
        .map(RecordId::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    // Within the process, a statement for each record costs less than looking them up in a list, but a transaction too.
    if distinct.len() == 1 || (distinct.len() <= CHUNK && !store.database.is_direct()) {
        return summarize(&reader, number, &distinct).await;
    }
    let transaction = store.database.begin_read().await?;
    let summaries = match transaction.as_run() {
        #[cfg(feature = "rusqlite")]
        Transaction::Direct(transaction) => summarize_each(transaction, number, &distinct),
        run @ Transaction::Pooled(_) => summarize(&run, number, &distinct).await,
    };
    transaction.finish(summaries).await
}

/// As [`summarize`], where a statement for each record costs less than one for many.
#[cfg(feature = "rusqlite")]
fn summarize_each(transaction: &DirectTransaction, number: i64, ids: &[&str]) -> Result<Vec<RecordSummary>> {
    static SUMMARY: LazyLock<String> = LazyLock::new(|| {
        format!("SELECT {SUMMARY_SELECT}, {HAS_OPS} FROM sync_records r WHERE r.target_id = ? AND r.id = ?")
    });
    let params: Vec<Param> = ids.iter().flat_map(|id| [number.into(), (*id).into()]).collect();
    let mut summaries = Vec::new();
    transaction.rows_each(&SUMMARY, &params, 2, |_, row| {
        summaries.push(read_summary(row)?);
        Ok(())
    })?;
    Ok(summaries)
}

/// The columns that [`read_summary`] reads, before [`HAS_OPS`].
const SUMMARY_SELECT: &str = "r.id, r.revision, r.base_kind, r.version_token, r.version_order";

fn read_summary(row: &impl ReadRow) -> Result<RecordSummary> {
    Ok(RecordSummary {
        id: read_id(row, 0)?,
        revision: row.count(1)?,
        live: row.int(2)? == LIVE,
        version: read_version(row, 3)?,
        pending: row.flag(5)?,
    })
}

async fn summarize<R: Run>(run: &R, number: i64, ids: &[&str]) -> Result<Vec<RecordSummary>> {
    let mut summaries = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let mut sql = Sql::new(run.dialect(), "SELECT ");
        sql.push(SUMMARY_SELECT)
            .push(", ")
            .push(&has_ops(run.dialect()))
            .push(" FROM sync_records r WHERE r.target_id = ")
            .bind(number);
        sql.push(" AND r.id IN ").bind_list(chunk.iter().copied());
        for row in run.rows(sql).await? {
            summaries.push(read_summary(&row)?);
        }
    }
    Ok(summaries)
}

/// Whether the record `r` has operations, as a 64-bit integer: 1 or 0.
pub(crate) fn has_ops(dialect: Dialect) -> Cow<'static, str> {
    match dialect {
        // Its integers have one size.
        Dialect::Sqlite => Cow::Borrowed(HAS_OPS),
        Dialect::Postgres | Dialect::MySql => Cow::Owned(format!("CAST({HAS_OPS} AS {})", dialect.integer())),
    }
}

/// As [`has_ops`], for SQLite.
pub(crate) const HAS_OPS: &str = "CASE WHEN EXISTS \
     (SELECT 1 FROM sync_queue o WHERE o.target_id = r.target_id AND o.id = r.id) THEN 1 ELSE 0 END";
