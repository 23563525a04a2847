//! Reading the columns of answers, and how counters and JSON are kept.

use sea_orm::{QueryResult, TryGetable};
use sync_core::{OpId, Payload, Result, SyncError, Timestamp};
use uuid::Uuid;

use crate::{dialect::Dialect, error::corrupt};

/// One row of an answer; columns are read by position.
#[derive(Debug)]
pub(crate) struct Row(Columns);

#[derive(Debug)]
enum Columns {
    Fetched(QueryResult, Dialect),
    #[cfg(feature = "rusqlite")]
    Direct(Vec<Value>),
}

/// A value as SQLite tells it.
#[cfg(feature = "rusqlite")]
pub(crate) type Value = rusqlite::types::Value;

/// A type that columns are read as.
pub(crate) trait Column: TryGetable {
    /// The value, if it is of this type.
    #[cfg(feature = "rusqlite")]
    fn of(value: &Value) -> Option<Self>;
}

macro_rules! column {
    ($($type:ty => $($pattern:pat => $value:expr),+;)*) => {$(
        impl Column for $type {
            #[cfg(feature = "rusqlite")]
            fn of(value: &Value) -> Option<Self> {
                match value {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        }
    )*};
}

column! {
    Option<i64> => Value::Integer(value) => Some(*value), Value::Null => None;
    Option<String> => Value::Text(value) => Some(value.clone()), Value::Null => None;
    Option<Vec<u8>> => Value::Blob(value) => Some(value.clone()), Value::Null => None;
}

impl Row {
    pub(crate) fn fetched(inner: QueryResult, dialect: Dialect) -> Self {
        Self(Columns::Fetched(inner, dialect))
    }

    #[cfg(feature = "rusqlite")]
    pub(crate) fn direct(values: Vec<Value>) -> Self {
        Self(Columns::Direct(values))
    }

    fn get<T: Column>(&self, column: usize) -> Result<T> {
        match &self.0 {
            Columns::Fetched(inner, _) => inner
                .try_get_by_index(column)
                .map_err(|error| corrupt(format!("column {column} cannot be read: {error}"))),
            #[cfg(feature = "rusqlite")]
            Columns::Direct(values) => values.get(column).and_then(T::of).ok_or_else(|| {
                let found = values.get(column).map(Value::data_type);
                corrupt(format!("column {column} cannot be read: it is {found:?}"))
            }),
        }
    }

    /// MySQL columns are binary, so that they compare by bytes.
    fn texts_are_bytes(&self) -> bool {
        matches!(&self.0, Columns::Fetched(_, Dialect::MySql))
    }
}

impl ReadRow for Row {
    fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        self.get(column)
    }

    fn with_text<T>(&self, column: usize, read: impl FnOnce(Option<&str>) -> Result<T>) -> Result<T> {
        #[cfg(feature = "rusqlite")]
        if let Columns::Direct(values) = &self.0
            && let Some(Value::Text(text)) = values.get(column)
        {
            return read(Some(text));
        }
        if self.texts_are_bytes() {
            return self.with_bytes(column, |bytes| match bytes.map(std::str::from_utf8).transpose() {
                Ok(text) => read(text),
                Err(_) => Err(corrupt(format!("column {column} is not UTF-8"))),
            });
        }
        read(self.get::<Option<String>>(column)?.as_deref())
    }

    fn with_bytes<T>(&self, column: usize, read: impl FnOnce(Option<&[u8]>) -> Result<T>) -> Result<T> {
        read(self.get::<Option<Vec<u8>>>(column)?.as_deref())
    }
}

/// Reading the columns of a row, wherever it lies, by position.
pub(crate) trait ReadRow {
    /// A number, unless it is null.
    fn opt_int(&self, column: usize) -> Result<Option<i64>>;

    /// Shows a text, unless it is null, where it lies.
    fn with_text<T>(&self, column: usize, read: impl FnOnce(Option<&str>) -> Result<T>) -> Result<T>;

    /// Shows bytes, unless they are null, where they lie.
    fn with_bytes<T>(&self, column: usize, read: impl FnOnce(Option<&[u8]>) -> Result<T>) -> Result<T>;

    fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| is_null(column))
    }

    /// A number that is never negative.
    fn count(&self, column: usize) -> Result<u64> {
        let value = self.int(column)?;
        u64::try_from(value).map_err(|_| corrupt(format!("column {column} holds {value}, which is negative")))
    }

    fn small_count(&self, column: usize) -> Result<u32> {
        let value = self.int(column)?;
        u32::try_from(value)
            .map_err(|_| corrupt(format!("column {column} holds {value}, which is out of range")))
    }

    fn time(&self, column: usize) -> Result<Timestamp> {
        self.int(column).map(Timestamp::from_micros)
    }

    fn opt_time(&self, column: usize) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    fn flag(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    fn text(&self, column: usize) -> Result<String> {
        self.with_text(column, |text| {
            text.map(str::to_owned).ok_or_else(|| is_null(column))
        })
    }

    fn opt_text(&self, column: usize) -> Result<Option<String>> {
        self.with_text(column, |text| Ok(text.map(str::to_owned)))
    }

    /// The content of a record.
    fn opt_record(&self, column: usize) -> Result<Option<Payload>> {
        self.with_text(column, |text| Ok(text.map(Payload::from_stored)))
    }

    fn opt_uuid(&self, column: usize) -> Result<Option<Uuid>> {
        self.with_bytes(column, |bytes| {
            let uuid = bytes.map(Uuid::from_slice).transpose();
            uuid.map_err(|error| corrupt(format!("column {column} is not a UUID: {error}")))
        })
    }

    fn op_id(&self, column: usize) -> Result<OpId> {
        let uuid = self.opt_uuid(column)?.ok_or_else(|| is_null(column))?;
        Ok(OpId::from_uuid(uuid))
    }

    /// A value kept as JSON.
    fn opt_json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        self.with_text(column, |text| {
            let value = text.map(serde_json::from_str).transpose();
            value.map_err(|error| corrupt(format!("column {column} is not what was stored: {error}")))
        })
    }

    /// A text with a fixed set of meanings.
    fn parse<T>(&self, column: usize, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.with_text(column, |text| {
            let text = text.ok_or_else(|| is_null(column))?;
            read(text).ok_or_else(|| {
                corrupt(format!(
                    "column {column} holds {text:?}, which means nothing here"
                ))
            })
        })
    }
}

fn is_null(column: usize) -> SyncError {
    corrupt(format!("column {column} is null"))
}

/// A counter as the database keeps it.
pub(crate) fn counter(field: &str, value: u64) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| SyncError::invalid(field, format!("{value} is larger than a store can count")))
}

/// A value as JSON text.
pub(crate) fn json<T: serde::Serialize>(field: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| SyncError::invalid(field, error.to_string()))
}
