//! Queries: in SQL where the database gives the exact answer, else with the reference evaluator.

#[cfg(feature = "rusqlite")]
pub(crate) mod columns;
pub(crate) mod field;
mod filter;
mod order;
mod plan;
#[cfg(feature = "rusqlite")]
mod quick;
mod regular;
mod scan;
#[cfg(feature = "rusqlite")]
mod sweep;
#[cfg(test)]
#[cfg(feature = "sqlite")]
pub(crate) mod tests;

use std::sync::Arc;

use sync_core::{
    LocalRecord, Result, Target,
    query::{Filter, Query, QuerySpec, not_marked_deleted},
};

#[cfg(feature = "rusqlite")]
use self::plan::Plan;
#[cfg(feature = "rusqlite")]
pub(crate) use self::quick::query_at_once;
pub(crate) use self::{plan::is_quick, regular::is_regular};
use crate::{
    dialect::Dialect,
    driver::{Database, Run},
    error::corrupt,
    read::records::has_ops,
    row::ReadRow,
    rows::read_id,
    schema::indexes::Declared,
    sql::Sql,
    store::Shared,
};

/// What is asked of one target.
#[derive(Debug)]
struct Selection {
    /// The number of the target.
    number: i64,
    /// The checked query, for the parts that SQL leaves.
    query: Query,
    spec: QuerySpec,
    /// The field that marks records as deleted, which are left out, and the indexes.
    declared: Arc<Declared>,
}

impl Selection {
    /// Checks the query. `None` if the store holds nothing of the target.
    async fn of<R: Run>(store: &Shared, run: &R, target: &Target, spec: QuerySpec) -> Result<Option<Self>> {
        let query = Query::new(&spec)?;
        let declared = store.schemas.of(&target.collection);
        let number = store.targets.find(run, target).await?;
        Ok(number.map(|number| Self {
            number,
            query,
            spec,
            declared,
        }))
    }

    fn statements(&self) -> Statements<'_> {
        Statements {
            number: self.number,
            spec: &self.spec,
            declared: &self.declared,
            implies_view: false,
        }
    }
}

/// The statements for what is asked of one target.
#[derive(Debug)]
struct Statements<'a> {
    number: i64,
    spec: &'a QuerySpec,
    declared: &'a Declared,
    /// Whether the filter selects no record without a view, so that it need not be asked. SQLite would have to look at
    /// the record for it, where else an index has all.
    implies_view: bool,
}

impl Statements<'_> {
    /// Appends the conditions for the target's records in the view that the filter selects; none, if SQL might
    /// misread one of them.
    ///
    /// A target that once held such a record is marked for good. So an answer with rows is right, and an empty one
    /// is if the mark is missing afterwards.
    fn conditions(&self, sql: &mut Sql) -> Result<()> {
        sql.push(" WHERE r.target_id = ").bind(self.number);
        if !self.implies_view {
            sql.push(" AND r.view IS NOT NULL");
        }
        sql.push(" AND (SELECT irregular FROM sync_targets WHERE target_id = ")
            .bind(self.number);
        sql.push(") = 0");
        if let Some(field) = &self.declared.deleted_at {
            filter::condition(sql.push(" AND "), &not_marked_deleted(field.as_str()))?;
        }
        if let Some(filter) = &self.spec.filter {
            filter::condition(sql.push(" AND "), filter)?;
        }
        Ok(())
    }

    /// The statement for the answer; see [`Statements::conditions`].
    fn rows_sql(&self, dialect: Dialect) -> Result<Sql> {
        let mut sql = select_columns(dialect, self.number);
        self.answer(&mut sql)?;
        Ok(sql)
    }

    /// The statement for the ids of the answer, the numbers of their rows, and whether they are pending.
    #[cfg(feature = "rusqlite")]
    fn ids_sql(&self) -> Result<Sql> {
        let mut sql = Sql::new(Dialect::Sqlite, "SELECT r.id, r.row_id, ");
        push_pending(&mut sql, self.number);
        sql.push(" FROM sync_records r");
        self.answer(&mut sql)?;
        Ok(sql)
    }

    /// Appends what selects the records of the answer, in its order.
    fn answer(&self, sql: &mut Sql) -> Result<()> {
        self.conditions(sql)?;
        if let Some(keyset) = &self.spec.after {
            order::after(sql.push(" AND "), &self.spec.order_by, keyset.position())?;
        }
        order::order_by(sql, &self.spec.order_by)?;
        // SQLite knows OFFSET only after LIMIT; -1 is no limit.
        let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        sql.push(" LIMIT ").bind(self.spec.limit.map_or(-1, bounded));
        if let Some(offset) = self.spec.offset {
            sql.push(" OFFSET ").bind(bounded(offset));
        }
        Ok(())
    }

    /// The statement for the number of records; see [`Statements::conditions`].
    fn count_sql(&self, dialect: Dialect) -> Result<Sql> {
        let mut sql = Sql::new(dialect, "SELECT COUNT(*) FROM sync_records r");
        self.conditions(&mut sql)?;
        Ok(sql)
    }
}

/// The records that `spec` selects.
pub(crate) async fn query(store: &Shared, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
    let reader = store.database.reader();
    let Some(selection) = Selection::of(store, &reader, target, spec.clone()).await? else {
        return Ok(Vec::new());
    };
    let dialect = reader.dialect();
    if !dialect.evaluates_queries() {
        return scan::query(&store.database, &selection).await;
    }
    #[cfg(feature = "rusqlite")]
    if Plan::of(&selection.spec, &selection.declared) == Plan::Sweep {
        let found = match columns::query(store, target, &selection)? {
            Some(found) => Some(found),
            None => sweep::query(&store.database, &selection)?,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let records = read_records(&store.database, selection.statements().rows_sql(dialect)?).await?;
    if records.is_empty() && is_irregular(&reader, selection.number).await? {
        return scan::query(&store.database, &selection).await;
    }
    Ok(records)
}

#[cfg(feature = "rusqlite")]
fn visit_records(database: &Database, sql: Sql) -> Result<Vec<LocalRecord>> {
    let mut records = Vec::new();
    database.visit(sql, &mut |row| {
        records.push(read_record(row)?);
        Ok(())
    })?;
    Ok(records)
}

async fn read_records(database: &Database, sql: Sql) -> Result<Vec<LocalRecord>> {
    #[cfg(feature = "rusqlite")]
    if database.is_direct() {
        return visit_records(database, sql);
    }
    let rows = database.reader().rows(sql).await?;
    rows.iter().map(read_record).collect()
}

/// How many records the filter selects.
pub(crate) async fn count(store: &Shared, target: &Target, filter: Option<&Filter>) -> Result<u64> {
    let reader = store.database.reader();
    let spec = QuerySpec {
        filter: filter.cloned(),
        ..QuerySpec::default()
    };
    let Some(selection) = Selection::of(store, &reader, target, spec).await? else {
        return Ok(0);
    };
    let dialect = reader.dialect();
    if !dialect.evaluates_queries() {
        return scan::count(&store.database, &selection).await;
    }
    #[cfg(feature = "rusqlite")]
    if Plan::of(&selection.spec, &selection.declared) == Plan::Sweep {
        let counted = match columns::count(store, target, &selection)? {
            Some(count) => Some(count),
            None => sweep::count(&store.database, &selection)?,
        };
        if let Some(counted) = counted {
            return Ok(counted);
        }
    }
    let counted = reader.row(selection.statements().count_sql(dialect)?).await?;
    let counted = counted.map(|row| row.count(0)).transpose()?.unwrap_or(0);
    if counted == 0 && is_irregular(&reader, selection.number).await? {
        return scan::count(&store.database, &selection).await;
    }
    Ok(counted)
}

fn select_columns(dialect: Dialect, number: i64) -> Sql {
    let mut sql = Sql::new(dialect, "SELECT r.id, r.schema_version, ");
    push_pending(&mut sql, number);
    sql.push(", r.view FROM sync_records r");
    sql
}

/// Appends whether a record of the target has operations.
fn push_pending(sql: &mut Sql, number: i64) {
    // Asked once for the target, which mostly spares asking for each record.
    sql.push("CASE WHEN EXISTS (SELECT 1 FROM sync_queue WHERE target_id = ")
        .bind(number);
    let of_record = has_ops(sql.dialect());
    sql.push(") THEN ").push(&of_record).push(" ELSE 0 END");
}

fn read_record(row: &impl ReadRow) -> Result<LocalRecord> {
    Ok(LocalRecord {
        id: read_id(row, 0)?,
        schema_version: row.small_count(1)?,
        pending: row.flag(2)?,
        payload: row
            .opt_record(3)?
            .ok_or_else(|| corrupt("a record of the view has no content"))?,
    })
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
