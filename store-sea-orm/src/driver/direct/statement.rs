//! Running one statement on a connection.

use rusqlite::{Connection, ToSql, types::ToSqlOutput, types::ValueRef};
use sync_core::Result;

use super::VisitedRow;
use crate::{
    error::from_rusqlite,
    row::{Row, Value},
    sql::{Param, Sql},
};

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(Some(value)) => ValueRef::Integer(*value),
            Self::Float(value) => ValueRef::Real(*value),
            Self::Text(Some(value)) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(Some(value)) => ValueRef::Blob(value),
            Self::Record(record) => ValueRef::Text(record.as_str().as_bytes()),
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}

/// A value that is bound where it lies.
#[derive(Debug)]
pub(crate) enum Bound<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Made(String),
}

impl From<Option<i64>> for Bound<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Made(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Runs a statement and reads all its rows.
pub(super) fn rows(connection: &Connection, sql: Sql) -> Result<Vec<Row>> {
    read(connection, sql).map_err(|error| from_rusqlite(&error))
}

fn read(connection: &Connection, sql: Sql) -> rusqlite::Result<Vec<Row>> {
    let (text, params) = sql.into_parts();
    let mut statement = connection.prepare_cached(&text)?;
    let width = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(&params))?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(width);
        for column in 0..width {
            values.push(row.get::<_, Value>(column)?);
        }
        answer.push(Row::direct(values));
    }
    Ok(answer)
}

/// Runs a statement whose rows, if any, are of no interest.
pub(super) fn run(connection: &Connection, sql: Sql) -> Result<()> {
    let (text, params) = sql.into_parts();
    let run = |connection: &Connection| {
        let mut statement = connection.prepare_cached(&text)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&params))?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    run(connection).map_err(|error| from_rusqlite(&error))
}

/// Runs a statement that writes once for each row of `width` values. Returns the places of those that changed nothing.
pub(super) fn run_each(
    connection: &Connection,
    text: &str,
    params: &[Param],
    width: usize,
) -> Result<Vec<usize>> {
    let run = |connection: &Connection| {
        let mut statement = connection.prepare_cached(text)?;
        let mut without_effect = Vec::new();
        for (place, row) in params.chunks(width).enumerate() {
            if statement.execute(rusqlite::params_from_iter(row))? == 0 {
                without_effect.push(place);
            }
        }
        Ok(without_effect)
    };
    run(connection).map_err(|error| from_rusqlite(&error))
}

/// Runs a statement once for each row of `width` values, and shows each row of the answers, where it lies, with the
/// place of the values.
pub(super) fn rows_each(
    connection: &Connection,
    text: &str,
    params: &[Param],
    width: usize,
    mut take: impl FnMut(usize, &VisitedRow<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error: rusqlite::Error| from_rusqlite(&error);
    let mut statement = connection.prepare_cached(text).map_err(failed)?;
    for (place, row) in params.chunks(width).enumerate() {
        let mut rows = statement.query(rusqlite::params_from_iter(row)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            take(place, &VisitedRow::new(row))?;
        }
    }
    Ok(())
}

/// Runs an insert for each row, until one inserts nothing; returns the place of that row. The first values, which are the
/// same for all rows, are bound once.
pub(super) fn insert_each<'a, const N: usize>(
    connection: &Connection,
    text: &str,
    constants: &[Param],
    rows: impl Iterator<Item = [Bound<'a>; N]>,
) -> Result<Option<usize>> {
    let run = |connection: &Connection| {
        let mut statement = connection.prepare_cached(text)?;
        for (place, value) in (1..).zip(constants) {
            statement.raw_bind_parameter(place, value)?;
        }
        for (at, row) in rows.enumerate() {
            for (place, value) in (constants.len() + 1..).zip(&row) {
                statement.raw_bind_parameter(place, value)?;
            }
            if statement.raw_execute()? == 0 {
                return Ok(Some(at));
            }
        }
        Ok(None)
    };
    run(connection).map_err(|error| from_rusqlite(&error))
}

/// A number that SQLite tells of itself.
pub(super) fn pragma(connection: &Connection, text: &str) -> Result<i64> {
    let read = |connection: &Connection| connection.prepare_cached(text)?.query_row((), |row| row.get(0));
    read(connection).map_err(|error| from_rusqlite(&error))
}

/// Runs a statement that starts or ends a transaction.
pub(super) fn control(connection: &Connection, text: &str) -> Result<()> {
    let run = |connection: &Connection| connection.prepare_cached(text)?.execute(()).map(drop);
    run(connection).map_err(|error| from_rusqlite(&error))
}

/// Runs several statements without values.
pub(super) fn script(connection: &Connection, text: &str) -> Result<()> {
    connection
        .execute_batch(text)
        .map_err(|error| from_rusqlite(&error))
}
