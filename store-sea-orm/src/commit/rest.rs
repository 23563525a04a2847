//! Target states, conflicts, quarantine, settings and the clock.

use std::sync::LazyLock;

use sync_core::{ChangeSet, ConflictRecord, QuarantinedRow, Result, Stamp, SyncPoint, TargetState};

use super::{Batch, CHUNK, Numbers};
use crate::{
    dialect::Dialect,
    driver::{PerDialect, Shape},
    lease::give_back,
    read::targets::{incomplete_name, pass_name},
    row::{counter, json},
    sql::{Param, Sql},
};

pub(super) fn write(
    batch: &mut Batch,
    numbers: &Numbers,
    changes: &ChangeSet,
    quarantined: bool,
    clock: Option<Stamp>,
) -> Result<()> {
    for state in &changes.targets {
        write_target(batch, numbers.of(&state.target)?, state)?;
    }
    for conflict in &changes.conflicts {
        write_conflict(batch, numbers.of(&conflict.key.target)?, conflict)?;
    }
    for row in &changes.quarantine {
        write_quarantine(batch, numbers.of(&row.target)?, row)?;
    }
    // Rows that are put there by the same change set count as well.
    let understood = changes
        .understood
        .iter()
        .filter(|_| quarantined || !changes.quarantine.is_empty());
    for (target, ids) in understood {
        let number = numbers.of(target)?;
        for ids in ids.chunks(CHUNK) {
            let mut sql = batch.sql("DELETE FROM sync_quarantine WHERE target_id = ");
            sql.bind(number)
                .push(" AND id IN ")
                .bind_list(ids.iter().map(|id| id.as_str()));
            batch.add(sql);
        }
    }
    for (name, value) in &changes.settings {
        write_setting(batch, name, value.as_deref());
    }
    if let Some(fence) = changes.fence.as_ref().filter(|_| changes.gives_back) {
        let sql = give_back(batch.dialect, fence)?;
        batch.add(sql);
    }
    if let Some(stamp) = clock {
        write_clock(batch, stamp);
    }
    Ok(())
}

fn write_target(batch: &mut Batch, number: i64, state: &TargetState) -> Result<()> {
    let values: [(&str, Param); 10] = [
        ("stored", true.into()),
        (
            "sync_point",
            state.sync_point.as_ref().map(SyncPoint::as_str).into(),
        ),
        ("incomplete", state.incomplete.map(incomplete_name).into()),
        ("as_of", state.as_of.into()),
        ("pulled_at", state.pulled_at.into()),
        ("swept_at", state.swept_at.into()),
        ("generation", counter("generation", state.generation)?.into()),
        ("pass", state.pass.map(pass_name).into()),
        ("failures", state.failures.into()),
        ("next_attempt_at", state.next_attempt_at.into()),
    ];
    let mut sql = batch.sql("UPDATE sync_targets SET ");
    for (index, (column, value)) in values.into_iter().enumerate() {
        sql.push(if index > 0 { ", " } else { "" })
            .push(column)
            .push(" = ")
            .bind(value);
    }
    sql.push(" WHERE target_id = ").bind(number);
    batch.add(sql);
    Ok(())
}

fn write_conflict(batch: &mut Batch, number: i64, conflict: &ConflictRecord) -> Result<()> {
    let mut sql = batch
        .sql("INSERT INTO sync_conflicts (conflict_id, target_id, id, detected_at, settled, body) VALUES ");
    sql.bind_list::<Param>([
        conflict.conflict_id.into(),
        number.into(),
        conflict.key.id.as_str().into(),
        conflict.detected_at.into(),
        (!conflict.is_open()).into(),
        json("conflict", conflict)?.into(),
    ]);
    replace(
        &mut sql,
        "conflict_id",
        &["target_id", "id", "detected_at", "settled", "body"],
    );
    batch.add(sql);
    Ok(())
}

/// Rows come from the remote and may hold any character, so they are kept as JSON: PostgreSQL has no NUL in texts.
fn write_quarantine(batch: &mut Batch, number: i64, row: &QuarantinedRow) -> Result<()> {
    let raw = json("quarantine", &row.row.raw)?;
    let mut delete = batch.sql("DELETE FROM sync_quarantine WHERE target_id = ");
    delete.bind(number);
    match &row.row.id {
        Some(id) => delete.push(" AND id = ").bind(id.as_str()),
        None => delete.push(" AND id IS NULL AND raw = ").bind(raw.as_str()),
    };
    batch.add(delete);
    let mut insert = batch.sql("INSERT INTO sync_quarantine (target_id, id, seen_at, raw, error) VALUES ");
    insert.bind_list::<Param>([
        number.into(),
        row.row.id.as_ref().map(|id| id.as_str()).into(),
        row.seen_at.into(),
        raw.into(),
        json("quarantine", &row.row.error)?.into(),
    ]);
    batch.add(insert);
    Ok(())
}

fn write_setting(batch: &mut Batch, name: &str, value: Option<&str>) {
    let Some(value) = value else {
        let mut sql = batch.sql("DELETE FROM sync_settings WHERE name = ");
        sql.bind(name);
        return batch.add(sql);
    };
    let mut sql = batch.sql("INSERT INTO sync_settings (name, value) VALUES ");
    sql.bind_list([name, value]);
    replace(&mut sql, "name", &["value"]);
    batch.add(sql);
}

/// Keeps the greatest stamp: the text form sorts as stamps do.
static CLOCK: LazyLock<PerDialect<Shape>> = LazyLock::new(|| {
    PerDialect::new(|dialect| {
        let (greatest, new) = (dialect.greatest(), dialect.inserted("value"));
        let only_if_later = match dialect {
            Dialect::Sqlite | Dialect::Postgres => " WHERE excluded.value > sync_meta.value",
            Dialect::MySql => "",
        };
        Shape::new(
            "INSERT INTO sync_meta (name, value) VALUES ",
            "('clock', ?)",
            &format!(
                "{}value = {greatest}(sync_meta.value, {new}){only_if_later}",
                dialect.on_conflict("name")
            ),
        )
    })
});

fn write_clock(batch: &mut Batch, stamp: Stamp) {
    batch.add_rows(&CLOCK, vec![stamp.to_string().into()]);
}

/// Turns an insert into one that replaces the row with the same key.
fn replace(sql: &mut Sql, key: &str, columns: &[&str]) {
    let dialect = sql.dialect();
    sql.push(&dialect.on_conflict(key));
    for (index, column) in columns.iter().enumerate() {
        sql.push(if index > 0 { ", " } else { "" })
            .push(column)
            .push(" = ");
        sql.push(&dialect.inserted(column));
    }
}
