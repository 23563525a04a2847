//! Running one statement on a connection.

use rusqlite::{Connection, ToSql, types::ToSqlOutput, types::ValueRef};
use sync_core::Result;

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
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
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
