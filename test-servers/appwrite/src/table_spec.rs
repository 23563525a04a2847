//! Filling the server directly, without requests.

use serde_json::Value;

use crate::machine::{Machine, Place};
use crate::row::Row;
use crate::schema::{Column, ColumnKind, Database, Index, MadeColumn, Table};
use crate::time::Timestamp;

/// A table to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    id: String,
    permissions: Vec<String>,
    row_security: bool,
    columns: Vec<Column>,
    unique: Vec<Vec<String>>,
}

impl TableSpec {
    /// A table without columns that every signed-in user may read and write.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let actions = ["create", "read", "update", "delete"];
        Self {
            id: id.to_owned(),
            permissions: actions
                .iter()
                .map(|action| format!("{action}(\"users\")"))
                .collect(),
            row_security: false,
            columns: Vec::new(),
            unique: Vec::new(),
        }
    }

    /// The table `notes` of the recorded server, with one column of each kind.
    #[must_use]
    pub fn recorded_notes() -> Self {
        Self::new("notes")
            .permissions(&[
                "create(\"users\")",
                "read(\"any\")",
                "update(\"users\")",
                "delete(\"users\")",
            ])
            .column(Column::required("title", ColumnKind::Text { size: 128 }))
            .column(Column::optional("body", ColumnKind::Text { size: 1000 }))
            .column(Column::optional("count", ColumnKind::Integer).default(0))
            .column(Column::optional("score", ColumnKind::Float))
            .column(Column::optional("deleted", ColumnKind::Boolean).default(false))
            .column(Column::optional("due", ColumnKind::Datetime))
            .column(Column::optional("tags", ColumnKind::Text { size: 64 }).array())
    }

    /// With these permissions instead, such as `read("any")`.
    #[must_use]
    pub fn permissions(mut self, permissions: &[&str]) -> Self {
        self.permissions = permissions
            .iter()
            .map(|&permission| permission.to_owned())
            .collect();
        self
    }

    /// With permissions on each row too.
    #[must_use]
    pub fn row_security(mut self) -> Self {
        self.row_security = true;
        self
    }

    /// With a column more.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// With a unique index over these columns.
    #[must_use]
    pub fn unique(mut self, columns: &[&str]) -> Self {
        self.unique
            .push(columns.iter().map(|&column| column.to_owned()).collect());
        self
    }
}

impl Machine {
    /// Adds a database.
    pub fn add_database(&mut self, id: &str) {
        let number = self.databases.len() + 1;
        let empty = || Database {
            id: id.to_owned(),
            number,
            tables: std::collections::BTreeMap::new(),
        };
        self.databases.entry(id.to_owned()).or_insert_with(empty);
    }

    /// Adds a table to a database, which is made if it is missing.
    pub fn add_table(&mut self, database: &str, spec: &TableSpec) {
        self.add_database(database);
        let now = self.clock.now();
        let rules = self.table_rules();
        let Some(database) = self.databases.get_mut(database) else {
            return;
        };
        let mut table = Table::new(database.tables.len() + 1, rules);
        table.permissions.clone_from(&spec.permissions);
        table.row_security = spec.row_security;
        for column in &spec.columns {
            let column = MadeColumn {
                column: column.clone(),
                created_at: now,
                ready_at: now,
            };
            table.add_column(column, now);
        }
        table.indexes = spec
            .unique
            .iter()
            .enumerate()
            .map(|(at, columns)| Index {
                key: format!("unique{at}"),
                kind: "unique".to_owned(),
                columns: columns.clone(),
                failed: false,
                created_at: now,
                ready_at: now,
            })
            .collect();
        database.tables.insert(spec.id.clone(), table);
    }

    /// Puts a row in place as if it had been created at an instant with this number of `$sequence`, which
    /// then goes on from there. Does nothing if the table is missing.
    pub fn place_row(
        &mut self,
        database: &str,
        table: &str,
        id: &str,
        data: &Value,
        at: Timestamp,
        sequence: u64,
    ) {
        let Ok(table) = self.table_mut(&Place::new(database, table)) else {
            return;
        };
        let mut data = data.as_object().cloned().unwrap_or_default();
        table.fill(&mut data);
        table.continue_sequence_after(sequence);
        table.put(Row {
            id: id.to_owned(),
            sequence,
            created_at: at,
            updated_at: at,
            permissions: Vec::new(),
            data,
        });
    }

    pub(crate) fn damage_row(&mut self, place: &Place, id: &str, values: &Value) {
        let Ok(table) = self.table_mut(place) else { return };
        if let Some(mut row) = table.take(id) {
            let values = values.as_object().into_iter().flatten();
            row.data
                .extend(values.map(|(key, value)| (key.clone(), value.clone())));
            table.put(row);
        }
    }

    /// Lets `$sequence` of a table go on after this number.
    pub fn continue_sequence_after(&mut self, database: &str, table: &str, sequence: u64) {
        if let Ok(table) = self.table_mut(&Place::new(database, table)) {
            table.continue_sequence_after(sequence);
        }
    }

    /// Whether rate limits refuse requests; at first they do not, though the headers are always sent.
    pub fn enforce_rate_limits(&mut self, enforced: bool) {
        self.rates.enforced = enforced;
    }

    /// Makes an API key with all scopes and returns its secret.
    pub fn add_key(&mut self) -> String {
        let key = format!("standard_{}", self.ids.next());
        self.accounts.keys.insert(key.clone());
        key
    }

    /// All rows of a table in the order of their creation.
    pub(crate) fn all_rows(&self, place: &Place) -> Vec<Value> {
        let Ok(table) = self.table(place) else {
            return Vec::new();
        };
        let mut rows: Vec<_> = table.rows().collect();
        rows.sort_by_key(|row| row.sequence);
        rows.into_iter()
            .map(|row| self.row_form(place).show(row))
            .collect()
    }
}
