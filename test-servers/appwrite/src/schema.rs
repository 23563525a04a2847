//! Databases, tables and columns, and the check of a row against them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::quirk::{Quirk, Quirks};
use crate::row::Row;
use crate::time::Timestamp;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text of at most so many characters.
    Text {
        /// The greatest number of characters.
        size: usize,
    },
    /// A signed 64-bit number.
    Integer,
    /// A floating point number.
    Float,
    /// True or false.
    Boolean,
    /// A date, kept to the millisecond.
    Datetime,
}

impl ColumnKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text { .. } => "string",
            Self::Integer => "integer",
            Self::Float => "double",
            Self::Boolean => "boolean",
            Self::Datetime => "datetime",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub key: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether a row must have a value.
    pub required: bool,
    /// The value of rows that are created without one.
    pub default: Value,
    /// Whether it holds a list of values.
    pub array: bool,
}

impl Column {
    /// A column that may be null.
    #[must_use]
    pub fn optional(key: &str, kind: ColumnKind) -> Self {
        Self {
            key: key.to_owned(),
            kind,
            required: false,
            default: Value::Null,
            array: false,
        }
    }

    /// A column that must have a value.
    #[must_use]
    pub fn required(key: &str, kind: ColumnKind) -> Self {
        Self {
            required: true,
            ..Self::optional(key, kind)
        }
    }

    /// With a default.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = value.into();
        self
    }

    /// As a list.
    #[must_use]
    pub fn array(mut self) -> Self {
        self.array = true;
        self
    }

    /// What a row without a value for this column answers.
    pub(crate) fn empty(&self) -> Value {
        if self.array {
            Value::Array(Vec::new())
        } else {
            self.default.clone()
        }
    }

    /// Brings a value into the form in which it is stored, or says why it does not fit.
    fn accept(&self, value: &Value, rules: TableRules) -> Result<Value> {
        if value.is_null() {
            return Ok(if self.array || rules.default_replaces_null {
                self.empty()
            } else {
                Value::Null
            });
        }
        if !self.array {
            return self.accept_one(&self.key, value, rules);
        }
        let Value::Array(items) = value else {
            return Err(ApiError::structure(format!(
                "Attribute \"{}\" must be an array",
                self.key
            )));
        };
        let checked = items.iter().enumerate();
        checked
            .map(|(at, item)| self.accept_one(&format!("{}['{at}']", self.key), item, rules))
            .collect()
    }

    fn accept_one(&self, name: &str, value: &Value, rules: TableRules) -> Result<Value> {
        let invalid = |what: &str, rule: &str| {
            Err(ApiError::structure(format!(
                "Attribute \"{name}\" has invalid {what}. {rule}"
            )))
        };
        match (self.kind, value) {
            (ColumnKind::Text { size }, Value::String(text)) if text.chars().count() <= size => {
                Ok(value.clone())
            }
            (ColumnKind::Text { size }, _) => invalid(
                "type",
                &format!("Value must be a valid string and no longer than {size} chars"),
            ),
            (ColumnKind::Integer, Value::Number(number)) if number.is_i64() => Ok(value.clone()),
            (ColumnKind::Integer, _) => invalid(
                "format",
                "Value must be a valid signed 64-bit integer between -9,223,372,036,854,775,808 and \
                 9,223,372,036,854,775,808",
            ),
            (ColumnKind::Float, Value::Number(_)) => Ok(value.clone()),
            (ColumnKind::Float, _) => invalid("type", "Value must be a valid float"),
            (ColumnKind::Boolean, Value::Bool(_)) => Ok(value.clone()),
            (ColumnKind::Boolean, _) => invalid("type", "Value must be a valid boolean"),
            (ColumnKind::Datetime, _) => match value.as_str().and_then(Timestamp::parse) {
                Some(date) if rules.dates_cut_to_millis => Ok(date.to_wire().into()),
                Some(_) => Ok(value.clone()),
                None => invalid(
                    "type",
                    "Value must be valid date between 1000-01-01 00:00:00 and 9999-12-31 23:59:59.",
                ),
            },
        }
    }
}

/// An index of a table. Only unique ones have an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) columns: Vec<String>,
    /// Building a unique index over rows that already violate it fails, and it is then not enforced.
    pub(crate) failed: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) ready_at: Timestamp,
}

/// A column with the times of its making. Rows can use it when it is ready.
#[derive(Debug, Clone)]
pub(crate) struct MadeColumn {
    pub(crate) column: Column,
    pub(crate) created_at: Timestamp,
    pub(crate) ready_at: Timestamp,
}

/// What the quirks of the server mean for the rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableRules {
    pub(crate) ids_ignore_case: bool,
    pub(crate) default_replaces_null: bool,
    pub(crate) dates_cut_to_millis: bool,
}

impl TableRules {
    pub(crate) fn of(quirks: &Quirks) -> Self {
        Self {
            ids_ignore_case: quirks.has(Quirk::IdsIgnoreCase),
            default_replaces_null: quirks.has(Quirk::DefaultReplacesNull),
            dates_cut_to_millis: quirks.has(Quirk::DatesCutToMillis),
        }
    }
}

/// A table with its rows.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The place of the table among those of its database, which internal names carry.
    pub(crate) number: usize,
    pub(crate) permissions: Vec<String>,
    pub(crate) row_security: bool,
    /// The columns that rows can use.
    pub(crate) columns: Vec<Column>,
    /// All columns, also those that are being built.
    pub(crate) made: Vec<MadeColumn>,
    pub(crate) indexes: Vec<Index>,
    /// Rows by their id, folded to lower case where ids ignore case.
    rows: BTreeMap<String, Row>,
    rules: TableRules,
    next_sequence: u64,
}

impl Table {
    pub(crate) fn new(number: usize, rules: TableRules) -> Self {
        Self {
            number,
            permissions: Vec::new(),
            row_security: false,
            columns: Vec::new(),
            made: Vec::new(),
            indexes: Vec::new(),
            rows: BTreeMap::new(),
            rules,
            next_sequence: 1,
        }
    }

    fn key(&self, id: &str) -> String {
        if self.rules.ids_ignore_case {
            id.to_lowercase()
        } else {
            id.to_owned()
        }
    }

    pub(crate) fn row(&self, id: &str) -> Option<&Row> {
        self.rows.get(&self.key(id))
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub(crate) fn put(&mut self, row: Row) {
        self.rows.insert(self.key(&row.id), row);
    }

    pub(crate) fn take(&mut self, id: &str) -> Option<Row> {
        self.rows.remove(&self.key(id))
    }

    /// The next number of `$sequence`.
    pub(crate) fn draw_sequence(&mut self) -> u64 {
        self.skip_sequences(1)
    }

    /// Uses up so many numbers and returns the first.
    pub(crate) fn skip_sequences(&mut self, count: usize) -> u64 {
        let first = self.next_sequence;
        self.next_sequence += u64::try_from(count).unwrap_or(0);
        first
    }

    /// Lets the numbers go on after this one.
    pub(crate) fn continue_sequence_after(&mut self, sequence: u64) {
        self.next_sequence = sequence + 1;
    }

    /// Continues the numbers of a later state of this table, which a failed transaction used up.
    pub(crate) fn keep_sequence_of(&mut self, later: &Table) {
        self.next_sequence = later.next_sequence;
    }

    /// Adds a column, as seen at an instant.
    pub(crate) fn add_column(&mut self, made: MadeColumn, now: Timestamp) {
        self.made.push(made);
        self.finish_building(now);
    }

    /// Takes the columns into use that are ready by now.
    pub(crate) fn finish_building(&mut self, now: Timestamp) {
        if self.made.len() == self.columns.len() {
            return;
        }
        let ready = self.made.iter().filter(|made| made.ready_at <= now);
        self.columns = ready.map(|made| made.column.clone()).collect();
    }

    pub(crate) fn column(&self, key: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.key == key)
    }

    /// Checks the values of a whole row and brings them into their stored form.
    pub(crate) fn accept_row(&self, data: &Map<String, Value>) -> Result<Map<String, Value>> {
        for column in self.columns.iter().filter(|column| column.required) {
            if data.get(&column.key).is_none_or(Value::is_null) {
                return Err(ApiError::structure(format!(
                    "Missing required attribute \"{}\"",
                    column.key
                )));
            }
        }
        self.accept_values(data)
    }

    /// Checks some values of a row and brings them into their stored form.
    pub(crate) fn accept_values(&self, data: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut accepted = Map::new();
        for (key, value) in data {
            let Some(column) = self.column(key) else {
                return Err(ApiError::structure(format!("Unknown attribute: \"{key}\"")));
            };
            if column.required && value.is_null() {
                return Err(ApiError::structure(format!(
                    "Missing required attribute \"{key}\""
                )));
            }
            accepted.insert(key.clone(), column.accept(value, self.rules)?);
        }
        Ok(accepted)
    }

    /// Gives every column that has no value its default.
    pub(crate) fn fill(&self, data: &mut Map<String, Value>) {
        for column in &self.columns {
            data.entry(&column.key).or_insert_with(|| column.empty());
        }
    }

    /// The row, other than the one with this id, that owns a value of a unique index.
    pub(crate) fn unique_owner(&self, id: &str, data: &Map<String, Value>) -> Option<&Row> {
        let own = self.key(id);
        self.rows
            .iter()
            .filter(|(key, _)| **key != own)
            .map(|(_, row)| row)
            .find(|row| {
                self.indexes
                    .iter()
                    .filter(|index| index.kind == "unique" && !index.failed)
                    .any(|index| same_values(&index.columns, data, &row.data))
            })
    }

    /// Whether rows that exist already violate a unique index over these columns.
    pub(crate) fn has_duplicates(&self, columns: &[String]) -> bool {
        let rows: Vec<&Row> = self.rows.values().collect();
        rows.iter().enumerate().any(|(at, row)| {
            rows[at + 1..]
                .iter()
                .any(|other| same_values(columns, &row.data, &other.data))
        })
    }
}

/// Whether two rows agree in these columns; null agrees with nothing.
fn same_values(columns: &[String], left: &Map<String, Value>, right: &Map<String, Value>) -> bool {
    let fold = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.clone(), |text| text.to_lowercase().into())
    };
    columns
        .iter()
        .all(|column| match (left.get(column), right.get(column)) {
            (Some(left), Some(right)) => !left.is_null() && fold(left) == fold(right),
            _ => false,
        })
}

/// A database with its tables.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) id: String,
    /// The place of the database in the project, which internal names carry.
    pub(crate) number: usize,
    pub(crate) tables: BTreeMap<String, Table>,
}

impl Database {
    pub(crate) fn table(&self, id: &str) -> Result<&Table> {
        self.tables.get(id).ok_or_else(|| ApiError::table_not_found(id))
    }

    pub(crate) fn table_mut(&mut self, id: &str) -> Result<&mut Table> {
        self.tables
            .get_mut(id)
            .ok_or_else(|| ApiError::table_not_found(id))
    }

    /// The name that the events of bulk writes leak.
    pub(crate) fn internal_name(&self, table: &Table) -> String {
        format!("database_{}_collection_{}", self.number, table.number)
    }
}

/// Whether this can be the id of a row or the name of a column.
pub(crate) fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=36).contains(&text.len())
        && text.chars().all(allowed)
        && text
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}
