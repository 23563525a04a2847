//! Record rows: writes of the engine, confirmations of the remote, marks, removals.

use sync_core::{ChangeSet, ConfirmedPage, Payload, RecordWrite, RemoteState, Result, SyncError, Timestamp};

use super::{Batch, CHUNK, Numbers};
use crate::{
    dialect::Dialect,
    driver::counter,
    query_sql::is_regular,
    rows::{BaseColumns, DELETED, LIVE},
    sql::{Param, Sql},
};

/// The columns an upsert writes besides the key and the revision.
const CONTENT: [&str; 11] = [
    "schema_version",
    "touched_at",
    "view",
    "base_payload",
    "base_stamp",
    "base_time",
    "mark",
    // These three decide whether a confirmed state is the same, so they come last: MySQL assigns one by one.
    "base_kind",
    "version_token",
    "version_order",
    "revision",
];

/// A row in the order of [`CONTENT`], without the revision, which the database works out.
struct NewRow<'a> {
    target: i64,
    id: &'a str,
    schema_version: u32,
    view: Option<&'a Payload>,
    base_payload: Option<&'a Payload>,
    base: BaseColumns,
    mark: i64,
}

pub(super) fn write(batch: &mut Batch, numbers: &Numbers, changes: &ChangeSet) -> Result<()> {
    write_records(batch, numbers, &changes.records, changes.now)?;
    for page in &changes.confirmed {
        confirm(batch, numbers.of(&page.target)?, page, changes.now)?;
    }
    for (target, ids, mark) in &changes.marks {
        let (number, mark) = (numbers.of(target)?, counter("mark", *mark)?);
        for ids in ids.chunks(CHUNK) {
            let mut sql = batch.sql("UPDATE sync_records SET mark = ");
            sql.bind(mark).push(" WHERE target_id = ").bind(number);
            sql.push(" AND id IN ")
                .bind_list(ids.iter().map(|id| id.as_str()));
            batch.add(sql);
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
    for records in records.chunks(CHUNK) {
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            // The payload of the base is stored only where it differs from the view.
            let base_payload = record
                .base
                .payload()
                .filter(|base| record.view.as_ref() != Some(base));
            rows.push(NewRow {
                target: numbers.of(&record.key.target)?,
                id: record.key.id.as_str(),
                schema_version: record.schema_version,
                view: record.view.as_ref(),
                base_payload,
                base: BaseColumns::of(&record.base),
                mark: counter("mark", record.mark)?,
            });
        }
        upsert(batch, &rows, now, Replace::Always);
    }
    Ok(())
}

fn confirm(batch: &mut Batch, number: i64, page: &ConfirmedPage, now: Timestamp) -> Result<()> {
    let mark = counter("mark", page.mark)?;
    for records in page.records.chunks(CHUNK) {
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            if record.state == RemoteState::Missing {
                return Err(SyncError::invalid(
                    "confirmed",
                    format!("{} is confirmed as missing", record.id),
                ));
            }
            rows.push(NewRow {
                target: number,
                id: record.id.as_str(),
                schema_version: page.schema_version,
                view: record.state.payload(),
                base_payload: None,
                base: BaseColumns::of(&record.state),
                mark,
            });
        }
        upsert(batch, &rows, now, Replace::UnlessSame);
    }
    Ok(())
}

/// When an upsert replaces the content of a row that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replace {
    Always,
    /// Not if the row's base is the same state; then only the mark is set.
    UnlessSame,
}

fn upsert(batch: &mut Batch, rows: &[NewRow<'_>], now: Timestamp, replace: Replace) {
    let mut sql = batch.sql(
        "INSERT INTO sync_records (target_id, id, revision, schema_version, touched_at, view, base_payload, \
         base_stamp, base_time, mark, base_kind, version_token, version_order) VALUES ",
    );
    for (index, row) in rows.iter().enumerate() {
        sql.push(if index > 0 { ", (" } else { "(" });
        sql.bind(row.target).push(",").bind(row.id);
        // Revisions start above those of removed rows, so that no revision ever stands for two states.
        sql.push(", 1 + (SELECT revision_floor FROM sync_targets WHERE target_id = ")
            .bind(row.target)
            .push(")");
        let values: [Param; 10] = [
            row.schema_version.into(),
            now.into(),
            row.view.map(Payload::as_str).into(),
            row.base_payload.map(Payload::as_str).into(),
            row.base.stamp.clone().into(),
            row.base.server_time.into(),
            row.mark.into(),
            row.base.kind.into(),
            row.base.version_token.clone().into(),
            row.base.version_order.into(),
        ];
        for value in values {
            sql.push(",").bind(value);
        }
        sql.push(")");
    }
    assign(&mut sql, replace);
    batch.add(sql);
    note_irregular(batch, rows);
}

fn assign(sql: &mut Sql, replace: Replace) {
    let dialect = sql.dialect();
    let same = same_state(dialect);
    sql.push(&dialect.on_conflict("target_id, id"));
    // MySQL sees assigned values at once, so the revision, which depends on the old ones, goes first there.
    let columns = CONTENT[10..].iter().chain(&CONTENT[..10]);
    for (index, column) in columns.enumerate() {
        let new = match *column {
            "revision" => "sync_records.revision + 1".to_owned(),
            column => dialect.inserted(column),
        };
        sql.push(if index > 0 { ", " } else { "" })
            .push(column)
            .push(" = ");
        if replace == Replace::UnlessSame && *column != "mark" {
            sql.push(&format!(
                "CASE WHEN {same} THEN sync_records.{column} ELSE {new} END"
            ));
        } else {
            sql.push(&new);
        }
    }
    if replace == Replace::UnlessSame && dialect != Dialect::MySql {
        sql.push(&format!(
            " WHERE sync_records.mark <> excluded.mark OR NOT ({same})"
        ));
    }
}

/// [`RemoteState::is_same_as`] in SQL, between the row that is there and the one to be inserted.
fn same_state(dialect: Dialect) -> String {
    let same = dialect.same();
    let (kind, token, order) = (
        dialect.inserted("base_kind"),
        dialect.inserted("version_token"),
        dialect.inserted("version_order"),
    );
    format!(
        "(sync_records.base_kind = {kind} AND {kind} IN ({LIVE}, {DELETED}) AND {token} IS NOT NULL \
         AND sync_records.version_token {same} {token} AND sync_records.version_order {same} {order})"
    )
}

/// Remembers which targets hold a payload that SQL would read otherwise than we do.
fn note_irregular(batch: &mut Batch, rows: &[NewRow<'_>]) {
    if !batch.dialect.evaluates_queries() {
        return;
    }
    let irregular = rows
        .iter()
        .filter(|row| row.view.is_some_and(|view| !is_regular(view.as_str())));
    let mut targets: Vec<i64> = irregular.map(|row| row.target).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        let mut sql = batch.sql("UPDATE sync_targets SET irregular = 1 WHERE irregular = 0 AND target_id = ");
        sql.bind(target);
        batch.add(sql);
    }
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
