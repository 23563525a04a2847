//! Looking at rows without copying them.

use std::fmt;

use rusqlite::{Connection, types::ValueRef};
use sync_core::{RecordId, Result};

use crate::{
    error::{corrupt, from_rusqlite},
    row::ReadRow,
    sql::Param,
};

/// A row as SQLite holds it, until the next one.
pub(crate) struct VisitedRow<'a>(&'a rusqlite::Row<'a>);

impl fmt::Debug for VisitedRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitedRow")
    }
}

impl<'a> VisitedRow<'a> {
    pub(super) fn new(row: &'a rusqlite::Row<'a>) -> Self {
        Self(row)
    }

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

    /// A text where it lies; `None` for null.
    pub(crate) fn opt_text_ref(&self, column: usize) -> Result<Option<&str>> {
        let value = self.value(column)?;
        value
            .as_str_or_null()
            .map_err(|error| corrupt(format!("column {column} cannot be read: {error}")))
    }

    pub(crate) fn text_ref(&self, column: usize) -> Result<&str> {
        self.opt_text_ref(column)?
            .ok_or_else(|| corrupt(format!("column {column} is null")))
    }

    pub(crate) fn id(&self, column: usize) -> Result<RecordId> {
        RecordId::new(self.text_ref(column)?)
            .map_err(|error| corrupt(format!("a record's id cannot be read: {error}")))
    }
}

impl ReadRow for VisitedRow<'_> {
    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        let value = self.value(column)?;
        value
            .as_i64_or_null()
            .map_err(|error| corrupt(format!("column {column} cannot be read: {error}")))
    }

    fn with_text<T>(&self, column: usize, read: impl FnOnce(Option<&str>) -> Result<T>) -> Result<T> {
        read(self.opt_text_ref(column)?)
    }

    fn with_bytes<T>(&self, column: usize, read: impl FnOnce(Option<&[u8]>) -> Result<T>) -> Result<T> {
        let value = self.value(column)?;
        let bytes = value.as_blob_or_null();
        read(bytes.map_err(|error| corrupt(format!("column {column} cannot be read: {error}")))?)
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
        visit(&VisitedRow::new(row))?;
    }
    Ok(())
}
