//! A row, what a request says about one, and its form in an answer.

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::permission::parse_permissions;
use crate::time::Timestamp;

/// A stored row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) permissions: Vec<String>,
    /// A value for every column.
    pub(crate) data: Map<String, Value>,
}

/// Names that every answer of a row carries besides its columns.
pub(crate) const SYSTEM_FIELDS: [&str; 5] = ["$id", "$sequence", "$createdAt", "$updatedAt", "$permissions"];

/// How rows are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowForm<'a> {
    pub(crate) database: &'a str,
    pub(crate) table: &'a str,
    /// Whether `$sequence` is text.
    pub(crate) sequence_is_text: bool,
}

impl RowForm<'_> {
    /// The row as an answer shows it.
    pub(crate) fn show(&self, row: &Row) -> Value {
        let mut shown = row.data.clone();
        let sequence = if self.sequence_is_text {
            json!(row.sequence.to_string())
        } else {
            json!(row.sequence)
        };
        shown.insert("$id".into(), json!(row.id));
        shown.insert("$sequence".into(), sequence);
        shown.insert("$createdAt".into(), json!(row.created_at.to_wire()));
        shown.insert("$updatedAt".into(), json!(row.updated_at.to_wire()));
        shown.insert("$permissions".into(), json!(row.permissions));
        shown.insert("$databaseId".into(), json!(self.database));
        shown.insert("$tableId".into(), json!(self.table));
        Value::Object(shown)
    }

    /// The row with only some of its columns; what the system adds is always there.
    pub(crate) fn show_columns(&self, row: &Row, columns: &[String]) -> Value {
        let mut part = row.clone();
        if !columns.iter().any(|column| column == "*") {
            part.data.retain(|key, _| columns.contains(key));
        }
        self.show(&part)
    }
}

/// What a request says about a row: columns, and the parts that begin with a dollar sign.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Incoming {
    pub(crate) id: Option<String>,
    pub(crate) columns: Map<String, Value>,
    pub(crate) permissions: Option<Vec<String>>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
}

impl Incoming {
    /// Takes a row of a request apart. Dates count only where `may_set_dates`.
    pub(crate) fn parse(data: &Map<String, Value>, may_set_dates: bool) -> Result<Self> {
        let date = |name: &str| {
            data.get(name)
                .and_then(Value::as_str)
                .filter(|_| may_set_dates)
                .and_then(Timestamp::parse)
        };
        Ok(Self {
            id: data.get("$id").and_then(Value::as_str).map(str::to_owned),
            permissions: parse_permissions(data.get("$permissions"))?,
            created_at: date("$createdAt"),
            updated_at: date("$updatedAt"),
            columns: data
                .iter()
                .filter(|(key, _)| !key.starts_with('$'))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        })
    }

    /// The data of a request, which may be JSON in a text.
    pub(crate) fn data_of(value: Option<&Value>) -> Option<Map<String, Value>> {
        match value {
            Some(Value::Object(map)) => Some(map.clone()),
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}
