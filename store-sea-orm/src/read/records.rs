//! Single records by key.

use std::collections::BTreeSet;

use futures::FutureExt;
use sync_core::{Payload, RecordId, RecordKey, RecordState, RecordSummary, Result, Target, View};

use super::CHUNK;
use crate::{
    cache::Looked,
    driver::Run,
    row::Row,
    rows::{BASE_SELECT, LIVE, OP_SELECT, read_base, read_id, read_op, read_version},
    sql::{Param, Sql},
    store::Shared,
};

/// How many columns stand before the operation's in a row of [`load`].
const RECORD_WIDTH: usize = 12;

/// The records with these keys, with all their operations, one for each key.
pub(crate) async fn load(store: &Shared, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
    let reader = store.database.reader();
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

/// The numbers of the keys' targets; `None` for those the store holds nothing of.
async fn find_all<R: Run>(store: &Shared, run: &R, keys: &[RecordKey]) -> Result<Vec<Option<i64>>> {
    let mut numbers: Vec<Option<i64>> = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        let same_as_before = place
            .checked_sub(1)
            .filter(|before| keys[*before].target == key.target);
        numbers.push(match same_as_before {
            Some(before) => numbers[before],
            None => store.targets.find(run, &key.target).await?,
        });
    }
    Ok(numbers)
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
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT k.place, r.revision, r.schema_version, r.mark, r.touched_at, ",
    );
    sql.push("r.view, ")
        .push(BASE_SELECT)
        .push(", ")
        .push(OP_SELECT)
        .push(" FROM ");
    sql.table("k", ["place", "target_id", "id"], known);
    sql.push(
        " LEFT JOIN sync_records r ON r.target_id = k.target_id AND r.id = k.id \
         LEFT JOIN sync_ops o ON o.target_id = k.target_id AND o.id = k.id ORDER BY k.place, o.seq",
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
        record.revision = row.count(1)?;
        record.schema_version = row.small_count(2)?;
        record.mark = row.count(3)?;
        record.touched_at = row.time(4)?;
        record.view = row.opt_text(5)?.map(Payload::from_stored);
        record.base = read_base(row, 6, record.view.as_ref())?;
    }
    if row.opt_int(RECORD_WIDTH)?.is_some() {
        record
            .ops
            .push(read_op(row, RECORD_WIDTH, record.key.target.clone())?);
    }
    Ok(())
}

/// What the app sees of one record.
pub(crate) async fn load_view(store: &Shared, key: &RecordKey) -> Result<Option<View>> {
    let ticket = match store.cache.view(store.database.commits_of_others(), key) {
        Looked::Found(view) => return Ok(view),
        Looked::Missing(ticket) => ticket,
    };
    let view = read_view(store, &store.database.reader(), key).await?;
    store.cache.keep_view(ticket, key, &view);
    Ok(view)
}

/// The same where the database answers in the calling task; `None` if it does not, or fails.
pub(crate) fn view_at_once(store: &Shared, key: &RecordKey) -> Option<Option<View>> {
    let ticket = match store.cache.view(store.database.commits_of_others(), key) {
        Looked::Found(view) => return Some(view),
        Looked::Missing(ticket) => ticket,
    };
    if !store.database.answers_at_once() {
        return None;
    }
    let view = read_view(store, &store.database.reader(), key)
        .now_or_never()?
        .ok()?;
    store.cache.keep_view(ticket, key, &view);
    Some(view)
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
    Ok(row.opt_text(0)?.map(|text| View {
        payload: Payload::from_stored(text),
        schema_version,
    }))
}

/// Summaries of those of these records that there is a row for.
pub(crate) async fn load_summaries(
    store: &Shared,
    target: &Target,
    ids: &[RecordId],
) -> Result<Vec<RecordSummary>> {
    let reader = store.database.reader();
    let Some(number) = store.targets.find(&reader, target).await? else {
        return Ok(Vec::new());
    };
    let distinct: Vec<&str> = ids
        .iter()
        .map(RecordId::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if distinct.len() <= CHUNK {
        return summarize(&reader, number, &distinct).await;
    }
    let transaction = store.database.begin_read().await?;
    let summaries = summarize(&transaction.as_run(), number, &distinct).await;
    transaction.finish(summaries).await
}

async fn summarize<R: Run>(run: &R, number: i64, ids: &[&str]) -> Result<Vec<RecordSummary>> {
    let mut summaries = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let mut sql = Sql::new(
            run.dialect(),
            "SELECT r.id, r.revision, r.base_kind, r.version_token, r.version_order, ",
        );
        sql.push(HAS_OPS)
            .push(" FROM sync_records r WHERE r.target_id = ")
            .bind(number);
        sql.push(" AND r.id IN ").bind_list(chunk.iter().copied());
        for row in run.rows(sql).await? {
            summaries.push(RecordSummary {
                id: read_id(&row, 0)?,
                revision: row.count(1)?,
                live: row.int(2)? == LIVE,
                version: read_version(&row, 3)?,
                pending: row.flag(5)?,
            });
        }
    }
    Ok(summaries)
}

/// Whether the record `r` has operations: 1 or 0.
pub(crate) const HAS_OPS: &str = "CASE WHEN EXISTS \
     (SELECT 1 FROM sync_ops o WHERE o.target_id = r.target_id AND o.id = r.id) THEN 1 ELSE 0 END";
