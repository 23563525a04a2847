//! Reading the columns of answers, and how counters and JSON are kept.

use sea_orm::{QueryResult, TryGetable};
use sync_core::{OpId, Result, SyncError, Timestamp};
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
    i64 => Value::Integer(value) => *value;
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

    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        self.get(column)
    }

    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        self.get(column)
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, column: usize) -> Result<u64> {
        let value = self.int(column)?;
        u64::try_from(value).map_err(|_| corrupt(format!("column {column} holds {value}, which is negative")))
    }

    pub(crate) fn small_count(&self, column: usize) -> Result<u32> {
        let value = self.int(column)?;
        u32::try_from(value)
            .map_err(|_| corrupt(format!("column {column} holds {value}, which is out of range")))
    }

    pub(crate) fn time(&self, column: usize) -> Result<Timestamp> {
        self.int(column).map(Timestamp::from_micros)
    }

    pub(crate) fn opt_time(&self, column: usize) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    pub(crate) fn flag(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn text(&self, column: usize) -> Result<String> {
        self.opt_text(column)?
            .ok_or_else(|| corrupt(format!("column {column} is null")))
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<String>> {
        if self.texts_are_bytes() {
            return match self.opt_bytes(column)? {
                Some(bytes) => String::from_utf8(bytes)
                    .map(Some)
                    .map_err(|_| corrupt(format!("column {column} is not UTF-8"))),
                None => Ok(None),
            };
        }
        self.get(column)
    }

    pub(crate) fn opt_bytes(&self, column: usize) -> Result<Option<Vec<u8>>> {
        self.get(column)
    }

    pub(crate) fn opt_uuid(&self, column: usize) -> Result<Option<Uuid>> {
        match self.opt_bytes(column)? {
            Some(bytes) => Uuid::from_slice(&bytes)
                .map(Some)
                .map_err(|error| corrupt(format!("column {column} is not a UUID: {error}"))),
            None => Ok(None),
        }
    }

    pub(crate) fn op_id(&self, column: usize) -> Result<OpId> {
        let uuid = self
            .opt_uuid(column)?
            .ok_or_else(|| corrupt(format!("column {column} is null")))?;
        Ok(OpId::from_uuid(uuid))
    }

    /// A value kept as JSON.
    pub(crate) fn opt_json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        match self.opt_text(column)? {
            Some(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| corrupt(format!("column {column} is not what was stored: {error}"))),
            None => Ok(None),
        }
    }

    /// A text with a fixed set of meanings.
    pub(crate) fn parse<T>(&self, column: usize, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        read(&text).ok_or_else(|| {
            corrupt(format!(
                "column {column} holds {text:?}, which means nothing here"
            ))
        })
    }
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
