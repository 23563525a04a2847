//! Looking at rows without copying them.

use std::fmt;

use rusqlite::{Connection, types::ValueRef};
use sync_core::{RecordId, Result};

use crate::{
    error::{corrupt, from_rusqlite},
    sql::Param,
};

/// A row as SQLite holds it, until the next one.
pub(crate) struct VisitedRow<'a>(&'a rusqlite::Row<'a>);

impl fmt::Debug for VisitedRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitedRow")
    }
}

impl VisitedRow<'_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>> {
        self.0.get_ref(column).map_err(|error| from_rusqlite(&error))
    }

    /// The bytes of a text; none for null.
    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8]> {
        Ok(match self.value(column)? {
            ValueRef::Text(bytes) => bytes,
            _ => &[],
        })
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<&str>> {
        let value = self.value(column)?;
        value
            .as_str_or_null()
            .map_err(|error| corrupt(format!("column {column} cannot be read: {error}")))
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str> {
        self.opt_text(column)?
            .ok_or_else(|| corrupt(format!("column {column} is null")))
    }

    pub(crate) fn small_count(&self, column: usize) -> Result<u32> {
        let value = self.int(column)?;
        u32::try_from(value)
            .map_err(|_| corrupt(format!("column {column} holds {value}, which is out of range")))
    }

    pub(crate) fn id(&self, column: usize) -> Result<RecordId> {
        RecordId::new(self.text(column)?)
            .map_err(|error| corrupt(format!("a record's id cannot be read: {error}")))
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        let value = self.value(column)?;
        value
            .as_i64()
            .map_err(|error| corrupt(format!("column {column} cannot be read: {error}")))
    }
}

/// Runs a statement and shows its rows, until `visit` fails.
pub(super) fn rows(
    connection: &Connection,
    text: &str,
    params: &[Param],
    visit: &mut dyn FnMut(&VisitedRow<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error: rusqlite::Error| from_rusqlite(&error);
    let mut statement = connection.prepare_cached(text).map_err(failed)?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(params))
        .map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        visit(&VisitedRow(row))?;
    }
    Ok(())
}
