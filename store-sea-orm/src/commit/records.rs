//! Record rows: writes of the engine, confirmations of the remote, marks, removals.

#[cfg(feature = "rusqlite")]
pub(super) mod new_rows;

use std::{
    collections::{BTreeSet, HashSet},
    sync::LazyLock,
};

use sync_core::{
    ChangeSet, ConfirmedPage, Payload, RecordKey, RecordWrite, RemoteState, Result, SyncError, Target,
    Timestamp,
};

use super::{Batch, CHUNK, Numbers};
use crate::{
    dialect::Dialect,
    driver::{PerDialect, Shape},
    query_sql::is_regular,
    row::counter,
    rows::{BaseColumns, revision},
    sql::Param,
};

/// The columns an upsert writes besides the key and the revision.
const CONTENT: [&str; 10] = [
    "schema_version",
    "touched_at",
    "view",
    "base_payload",
    "base_stamp",
    "base_time",
    "mark",
    "base_kind",
    "version_token",
    "version_order",
];

static UPSERT: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    PerDialect::new(|dialect| {
        let values = vec!["?"; CONTENT.len()].join(", ");
        let assignments = CONTENT.map(|column| format!(", {column} = {}", dialect.inserted(column)));
        Shape::new(
            &format!(
                "INSERT INTO sync_records (target_id, id, revision, {}) VALUES ",
                CONTENT.join(", ")
            ),
            // Revisions start above those of removed rows, so that no revision ever stands for two states.
            &format!("(?, ?, 1 + (SELECT revision_floor FROM sync_targets WHERE target_id = ?), {values})"),
            &format!(
                "{}revision = sync_records.revision + 1{}",
                dialect.on_conflict("target_id, id"),
                assignments.concat()
            ),
        )
    })
});

/// Changes nothing if the revision is another one.
static TOUCH: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    let text =
        "UPDATE sync_records SET revision = revision + 1 WHERE target_id = ? AND id = ? AND revision = ?";
    PerDialect::new(|_| Shape::each(text))
});

/// Writes what [`UPSERT`] does, but leaves the view alone, and with it the indexes over its fields. Changes nothing if the
/// revision is another one.
static KEEP_VIEW: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    let assignments = CONTENT.iter().filter(|column| **column != "view");
    let assignments: String = assignments.map(|column| format!(", {column} = ?")).collect();
    let text = format!(
        "UPDATE sync_records SET revision = revision + 1{assignments} \
         WHERE target_id = ? AND id = ? AND revision = ?"
    );
    PerDialect::new(|_| Shape::each(&text))
});

/// A row to write. Its revision is worked out by the database.
struct NewRow<'a> {
    target: i64,
    id: &'a str,
    schema_version: u32,
    view: Option<&'a Payload>,
    base_payload: Option<&'a Payload>,
    base: BaseColumns,
    mark: i64,
}

/// Confirmed records that already have the state, by target number and id.
type Same = HashSet<(i64, String)>;

/// Whether, row by row, the write of a record finds out by itself whether it still has the revision that was read.
pub(super) fn is_guarded_by_write(record: &RecordWrite) -> bool {
    record.keeps_view && is_row(record.read_revision)
}

/// Whether there was a row at this revision. Only that can be found out by changing it.
pub(super) fn is_row(revision: u64) -> bool {
    revision > 0
}

/// Targets that get a payload which SQL would read otherwise than we do.
pub(super) type Irregular = BTreeSet<Target>;

/// Looks for such payloads, which takes a while for many.
pub(super) fn irregular(dialect: Dialect, changes: &ChangeSet) -> Irregular {
    if !dialect.evaluates_queries() {
        return Irregular::new();
    }
    let is_irregular = |view: Option<&Payload>| view.is_some_and(|view| !is_regular(view.as_str()));
    // A view that stays was looked at when it was written.
    let written = changes.records.iter().filter(|record| !record.keeps_view);
    let written = written.filter(|record| is_irregular(record.view.as_ref()));
    let confirmed = changes.confirmed.iter().filter(|page| {
        let mut records = page.records.iter();
        records.any(|record| is_irregular(record.state.payload()))
    });
    let written = written.map(|record| &record.key.target);
    written
        .chain(confirmed.map(|page| &page.target))
        .cloned()
        .collect()
}

pub(super) fn write(
    batch: &mut Batch,
    numbers: &Numbers,
    changes: &ChangeSet,
    same: &Same,
    irregular: &Irregular,
) -> Result<()> {
    for target in irregular {
        let mut sql = batch.sql("UPDATE sync_targets SET irregular = 1 WHERE irregular = 0 AND target_id = ");
        sql.bind(numbers.of(target)?);
        batch.add(sql);
    }
    write_records(batch, numbers, &changes.records, changes.now)?;
    for keys in changes.touches.chunk_by(|(a, _), (b, _)| a.target == b.target) {
        let number = numbers.of(&keys[0].0.target)?;
        if batch.row_by_row {
            let mut values: Vec<Param> = Vec::with_capacity(3 * keys.len());
            let mut records = Vec::with_capacity(keys.len());
            for (key, read) in keys.iter().filter(|(_, read)| is_row(*read)) {
                values.extend([number.into(), key.id.as_str().into(), revision(*read)?.into()]);
                records.push(key.clone());
            }
            batch.add_guarded_rows(&TOUCH, values, records);
            continue;
        }
        for keys in keys.chunks(CHUNK) {
            touch(batch, number, keys.iter().map(|(key, _)| key.id.as_str()));
        }
    }
    for page in &changes.confirmed {
        confirm(batch, numbers, page, same, changes.now)?;
    }
    for (target, ids, mark) in &changes.marks {
        let (number, mark) = (numbers.of(target)?, counter("mark", *mark)?);
        for ids in ids.chunks(CHUNK) {
            set_mark(batch, number, ids.iter().map(|id| id.as_str()), mark);
        }
    }
    for keys in changes.removals.chunk_by(|a, b| a.target == b.target) {
        let number = numbers.of(&keys[0].target)?;
        for keys in keys.chunks(CHUNK) {
            remove(batch, number, keys.iter().map(|key| key.id.as_str()).collect());
        }
    }
    Ok(())
}

fn write_records(
    batch: &mut Batch,
    numbers: &Numbers,
    records: &[RecordWrite],
    now: Timestamp,
) -> Result<()> {
    let mut rows = Vec::with_capacity(records.len());
    let (mut kept, mut kept_keys) = (Vec::new(), Vec::new());
    for record in records {
        // The payload of the base is stored only where it differs from the view.
        let base_payload = record
            .base
            .payload()
            .filter(|base| record.view.as_ref() != Some(base));
        let row = NewRow {
            target: numbers.of(&record.key.target)?,
            id: record.key.id.as_str(),
            schema_version: record.schema_version,
            view: record.view.as_ref(),
            base_payload,
            base: BaseColumns::of(&record.base),
            mark: counter("mark", record.mark)?,
        };
        if batch.row_by_row && is_guarded_by_write(record) {
            kept.push((row, revision(record.read_revision)?));
            kept_keys.push(record.key.clone());
        } else {
            rows.push(row);
        }
    }
    upsert(batch, rows, now);
    keep_view(batch, kept, kept_keys, now);
    Ok(())
}

fn confirm(
    batch: &mut Batch,
    numbers: &Numbers,
    page: &ConfirmedPage,
    same: &Same,
    now: Timestamp,
) -> Result<()> {
    let (number, mark) = (numbers.of(&page.target)?, counter("mark", page.mark)?);
    let mut changed = Vec::with_capacity(page.records.len());
    let mut unchanged = Vec::new();
    for record in &page.records {
        if record.state == RemoteState::Missing {
            return Err(SyncError::invalid(
                "confirmed",
                format!("{} is confirmed as missing", record.id),
            ));
        }
        if page.only_new && batch.row_by_row {
            // See `new_rows`.
            continue;
        }
        if !same.is_empty() && same.contains(&(number, record.id.as_str().to_owned())) {
            unchanged.push(record.id.as_str());
            continue;
        }
        changed.push(NewRow {
            target: number,
            id: record.id.as_str(),
            schema_version: page.schema_version,
            view: record.state.payload(),
            base_payload: None,
            base: BaseColumns::of(&record.state),
            mark,
        });
    }
    upsert(batch, changed, now);
    for ids in unchanged.chunks(CHUNK) {
        set_mark(batch, number, ids.iter().copied(), mark);
    }
    Ok(())
}

fn touch<'a>(batch: &mut Batch, number: i64, ids: impl IntoIterator<Item = &'a str>) {
    let mut sql = batch.sql("UPDATE sync_records SET revision = revision + 1 WHERE target_id = ");
    sql.bind(number).push(" AND id IN ").bind_list(ids);
    batch.add(sql);
}

fn set_mark<'a>(batch: &mut Batch, number: i64, ids: impl IntoIterator<Item = &'a str>, mark: i64) {
    let mut sql = batch.sql("UPDATE sync_records SET mark = ");
    sql.bind(mark)
        .push(" WHERE mark <> ")
        .bind(mark)
        .push(" AND target_id = ")
        .bind(number);
    sql.push(" AND id IN ").bind_list(ids);
    batch.add(sql);
}

fn upsert(batch: &mut Batch, rows: Vec<NewRow<'_>>, now: Timestamp) {
    let mut params = Vec::with_capacity(rows.len() * (CONTENT.len() + 3));
    for row in rows {
        let row: [Param; CONTENT.len() + 3] = [
            row.target.into(),
            row.id.into(),
            row.target.into(),
            row.schema_version.into(),
            now.into(),
            row.view.into(),
            row.base_payload.into(),
            row.base.stamp.into(),
            row.base.server_time.into(),
            row.mark.into(),
            row.base.kind.into(),
            row.base.version_token.into(),
            row.base.version_order.into(),
        ];
        params.extend(row);
    }
    batch.add_rows(&UPSERT, params);
}

fn keep_view(batch: &mut Batch, rows: Vec<(NewRow<'_>, i64)>, records: Vec<RecordKey>, now: Timestamp) {
    let params = rows
        .into_iter()
        .flat_map(|(row, read)| -> [Param; CONTENT.len() + 2] {
            [
                row.schema_version.into(),
                now.into(),
                row.base_payload.into(),
                row.base.stamp.into(),
                row.base.server_time.into(),
                row.mark.into(),
                row.base.kind.into(),
                row.base.version_token.into(),
                row.base.version_order.into(),
                row.target.into(),
                row.id.into(),
                read.into(),
            ]
        });
    batch.add_guarded_rows(&KEEP_VIEW, params.collect(), records);
}

fn remove(batch: &mut Batch, number: i64, ids: Vec<&str>) {
    let greatest = batch.dialect.greatest();
    let mut floor = batch.sql(format!(
        "UPDATE sync_targets SET revision_floor = {greatest}(revision_floor, COALESCE((SELECT MAX(revision) \
         FROM sync_records WHERE target_id = "
    ));
    floor
        .bind(number)
        .push(" AND id IN ")
        .bind_list(ids.iter().copied());
    floor.push("), 0)) WHERE target_id = ").bind(number);
    batch.add(floor);
    let mut delete = batch.sql("DELETE FROM sync_records WHERE target_id = ");
    delete.bind(number).push(" AND id IN ").bind_list(ids);
    batch.add(delete);
}
