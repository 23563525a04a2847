//! Queries: in SQL where the database gives the exact answer, else with the reference evaluator.

pub(crate) mod field;
mod filter;
mod order;
mod regular;
mod scan;

use sync_core::{
    LocalRecord, Payload, Result, Target,
    query::{Filter, Query, QuerySpec, not_marked_deleted},
};

pub(crate) use self::regular::is_regular;
use crate::{
    driver::{Row, Run},
    read::records::HAS_OPS,
    rows::read_id,
    sql::Sql,
    store::Shared,
};

/// The records that `spec` selects.
pub(crate) async fn query(store: &Shared, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
    spec.validate()?;
    let reader = store.database.reader();
    let Some(number) = store.targets.find(&reader, target).await? else {
        return Ok(Vec::new());
    };
    let spec = with_soft_delete(store, target, spec);
    if !store.database.dialect.evaluates_queries() {
        return scan::query(store, number, &spec).await;
    }
    let mut sql = select_columns(reader_dialect(store));
    only_regular(&mut sql, number);
    if let Some(filter) = &spec.filter {
        filter::condition(sql.push(" AND "), filter)?;
    }
    if let Some(keyset) = &spec.after {
        order::after(sql.push(" AND "), &spec.order_by, keyset.position())?;
    }
    order::order_by(&mut sql, &spec.order_by)?;
    limit(&mut sql, &spec);
    let rows = reader.rows(sql).await?;
    if rows.is_empty() && is_irregular(&reader, number).await? {
        return scan::query(store, number, &spec).await;
    }
    rows.iter().map(read_record).collect()
}

/// How many records the filter selects.
pub(crate) async fn count(store: &Shared, target: &Target, filter: Option<&Filter>) -> Result<u64> {
    let spec = QuerySpec {
        filter: filter.cloned(),
        ..QuerySpec::default()
    };
    spec.validate()?;
    let reader = store.database.reader();
    let Some(number) = store.targets.find(&reader, target).await? else {
        return Ok(0);
    };
    let spec = with_soft_delete(store, target, &spec);
    if !store.database.dialect.evaluates_queries() {
        return scan::count(store, number, &Query::new(&spec)?).await;
    }
    let mut sql = Sql::new(reader_dialect(store), "SELECT COUNT(*) FROM sync_records r");
    only_regular(&mut sql, number);
    if let Some(filter) = &spec.filter {
        filter::condition(sql.push(" AND "), filter)?;
    }
    let counted = reader
        .row(sql)
        .await?
        .map(|row| row.count(0))
        .transpose()?
        .unwrap_or(0);
    if counted == 0 && is_irregular(&reader, number).await? {
        return scan::count(store, number, &Query::new(&spec)?).await;
    }
    Ok(counted)
}

fn reader_dialect(store: &Shared) -> crate::dialect::Dialect {
    store.database.dialect
}

/// The query without the records that the schema's soft-delete field hides.
fn with_soft_delete(store: &Shared, target: &Target, spec: &QuerySpec) -> QuerySpec {
    match store.schemas.deleted_at_field(&target.collection) {
        Some(field) => spec.clone().filter(not_marked_deleted(field)),
        None => spec.clone(),
    }
}

fn select_columns(dialect: crate::dialect::Dialect) -> Sql {
    let mut sql = Sql::new(dialect, "SELECT r.id, r.schema_version, ");
    sql.push(HAS_OPS).push(", r.view FROM sync_records r");
    sql
}

fn read_record(row: &Row) -> Result<LocalRecord> {
    Ok(LocalRecord {
        id: read_id(row, 0)?,
        schema_version: row.small_count(1)?,
        pending: row.flag(2)?,
        payload: Payload::from_stored(row.text(3)?),
    })
}

/// Appends the conditions for the target's records in the view; none, if SQL might misread one of them.
///
/// A target that once held such a record is marked for good. So an answer with rows is right, and an empty one is
/// if the mark is missing afterwards.
fn only_regular(sql: &mut Sql, number: i64) {
    sql.push(" WHERE r.target_id = ").bind(number);
    sql.push(" AND r.view IS NOT NULL AND (SELECT irregular FROM sync_targets WHERE target_id = ")
        .bind(number);
    sql.push(") = 0");
}

async fn is_irregular<R: Run>(run: &R, number: i64) -> Result<bool> {
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT irregular FROM sync_targets WHERE target_id = ",
    );
    sql.bind(number);
    Ok(run
        .row(sql)
        .await?
        .map(|row| row.flag(0))
        .transpose()?
        .unwrap_or(false))
}

fn limit(sql: &mut Sql, spec: &QuerySpec) {
    // SQLite knows OFFSET only after LIMIT; -1 is no limit.
    let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sql.push(" LIMIT ").bind(spec.limit.map_or(-1, bounded));
    if let Some(offset) = spec.offset {
        sql.push(" OFFSET ").bind(bounded(offset));
    }
}
