//! How a collection of a scope lies in a table: columns, scope, permissions.

use std::sync::Arc;

use serde_json::Value;
use sync_core::{
    ErrorKind, JsonObject, Payload, RemoteState, RemoteVersion, Result, SyncError, SyncScope, Timestamp,
    Tombstone, Versioned,
};

use crate::{
    query::Query,
    row::{Row, RowVersion},
};

/// Who may read and write the rows that this client makes. It is always sent: rows made in a transaction get no
/// permissions of their own otherwise, and in a table with row security their author would not see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RowPermissions {
    /// Nobody beyond what the table itself allows.
    #[default]
    TableOnly,
    /// The signed-in user may read, update and delete.
    Owner,
    /// These, in Appwrite's form: `read("user:ada")`. `{me}` stands for the signed-in user's id, and the name of a
    /// scope key in braces for its value: `read("team:{team}")`.
    Listed(Vec<String>),
}

/// How the records of one collection lie in one table.
///
/// The table needs the record's fields as columns, and two of the adapter's own:
/// - `deleted`, boolean, default `false`: a delete sets it, so that it travels like any change;
/// - `op_id`, text of 36, optional: names the operation that wrote the row last, so that a lost answer is
///   resolved exactly. [`Table::without_op_column`] goes without; lost answers are then resolved by content.
///
/// ```
/// use adapter_appwrite::{RowPermissions, Table};
/// let todos = Table::new("main", "todos")
///     .scope_column("user", "owner")
///     .permissions(RowPermissions::Owner);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(crate) database: String,
    pub(crate) table: String,
    pub(crate) id_field: String,
    pub(crate) deleted_column: String,
    pub(crate) op_column: Option<String>,
    pub(crate) document_column: Option<String>,
    pub(crate) scope_columns: Vec<(String, String)>,
    pub(crate) shows_scope_columns: bool,
    pub(crate) permissions: RowPermissions,
}

impl Table {
    /// The table with this id in the database with that id.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            table: table.into(),
            id_field: "id".to_owned(),
            deleted_column: "deleted".to_owned(),
            op_column: Some("op_id".to_owned()),
            document_column: None,
            scope_columns: Vec::new(),
            shows_scope_columns: false,
            permissions: RowPermissions::TableOnly,
        }
    }

    /// Keeps the scope's key `key` in the text column `column`: rows with another value are in other scopes.
    #[must_use]
    pub fn scope_column(mut self, key: impl Into<String>, column: impl Into<String>) -> Self {
        self.scope_columns.push((key.into(), column.into()));
        self
    }

    /// Makes the scope columns fields of the records. By default records do not have them.
    #[must_use]
    pub fn show_scope_columns(mut self) -> Self {
        self.shows_scope_columns = true;
        self
    }

    /// Who may see and change new rows. The default is [`RowPermissions::TableOnly`].
    #[must_use]
    pub fn permissions(mut self, permissions: RowPermissions) -> Self {
        self.permissions = permissions;
        self
    }

    /// The record's field that holds its id. The default is `id`.
    #[must_use]
    pub fn id_field(mut self, field: impl Into<String>) -> Self {
        self.id_field = field.into();
        self
    }

    /// The boolean column that marks deleted rows. The default is `deleted`.
    #[must_use]
    pub fn deleted_column(mut self, column: impl Into<String>) -> Self {
        self.deleted_column = column.into();
        self
    }

    /// The column that names the operation which wrote a row last. The default is `op_id`.
    #[must_use]
    pub fn op_column(mut self, column: impl Into<String>) -> Self {
        self.op_column = Some(column.into());
        self
    }

    /// Goes without the column that names the last operation.
    #[must_use]
    pub fn without_op_column(mut self) -> Self {
        self.op_column = None;
        self
    }

    /// Keeps each record whole, as JSON in one text column, instead of each field in a column of its own. Records may
    /// then have any fields, also nested ones. The price: writers of different fields are in each other's way, and
    /// the server cannot search.
    #[must_use]
    pub fn document_column(mut self, column: impl Into<String>) -> Self {
        self.document_column = Some(column.into());
        self
    }

    /// The columns that are the adapter's own and come with every row that is read.
    pub(crate) fn own_columns(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.deleted_column.as_str()).chain(self.op_column.as_deref())
    }

    /// Whether a column is not a field of the records.
    pub(crate) fn hides(&self, column: &str) -> bool {
        let is_scope = self.scope_columns.iter().any(|(_, scope)| scope == column);
        (is_scope && !self.shows_scope_columns) || self.own_columns().any(|own| own == column)
    }
}

/// The table of a collection, narrowed to one scope.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) table: Arc<Table>,
    /// Columns with the values they have in this scope.
    pub(crate) scope: Vec<(String, String)>,
    keys: Vec<(String, String)>,
}

impl Place {
    /// # Errors
    /// `Configuration` if the scope's keys are not exactly those the table has columns for: scopes that differ in
    /// another key would share their rows.
    pub(crate) fn new(table: Arc<Table>, scope: &SyncScope) -> Result<Self> {
        if let Some(key) = scope
            .keys()
            .keys()
            .find(|key| !table.scope_columns.iter().any(|(known, _)| known == *key))
        {
            let why = format!(
                "the table `{}` has no column for this key of the scope",
                table.table
            );
            return Err(SyncError::new(ErrorKind::Configuration, why).with_field(format!("scope.keys.{key}")));
        }
        let mut columns = Vec::new();
        for (key, column) in &table.scope_columns {
            let Some(value) = scope.value(key) else {
                let why = format!("the table `{}` needs this key in its scopes", table.table);
                return Err(
                    SyncError::new(ErrorKind::Configuration, why).with_field(format!("scope.keys.{key}"))
                );
            };
            columns.push((column.clone(), value.to_owned()));
        }
        let keys = scope
            .keys()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Self {
            table,
            scope: columns,
            keys,
        })
    }

    /// Narrows a list to the scope. The server compares texts without regard to case, so the rows are looked at
    /// again with [`Place::holds`].
    pub(crate) fn queries(&self) -> Vec<Query> {
        self.scope
            .iter()
            .map(|(column, value)| Query::equal(column, vec![value.as_str().into()]))
            .collect()
    }

    /// Whether the row is in the scope.
    pub(crate) fn holds(&self, row: &Row) -> bool {
        self.scope
            .iter()
            .all(|(column, value)| row.columns.get(column).and_then(Value::as_str) == Some(value))
    }

    /// Whether the row is marked as deleted.
    ///
    /// # Errors
    /// What is wrong with the column.
    pub(crate) fn is_deleted(&self, row: &Row) -> Result<bool, String> {
        let column = &self.table.deleted_column;
        match row.columns.get(column) {
            Some(Value::Bool(deleted)) => Ok(*deleted),
            Some(Value::Null) => Ok(false),
            Some(other) => Err(format!("the column `{column}` must be a boolean, and is {other}")),
            None => Err(format!("the column `{column}` is missing")),
        }
    }

    /// The operation that wrote the row last, as far as the table keeps it.
    pub(crate) fn op_of<'r>(&self, row: &'r Row) -> Option<&'r str> {
        row.columns.get(self.table.op_column.as_deref()?)?.as_str()
    }

    /// The version of the row.
    pub(crate) fn version(&self, row: &Row) -> RemoteVersion {
        let version = RowVersion {
            updated_at: row.updated_at,
            op: self.op_of(row).map(str::to_owned),
        };
        RemoteVersion::opaque(version.to_string())
    }

    /// The record that the row holds.
    ///
    /// # Errors
    /// What is wrong with the column that holds the record as a whole.
    pub(crate) fn payload(&self, row: &Row) -> Result<Payload, String> {
        if let Some(column) = &self.table.document_column {
            let text = row.columns.get(column).and_then(Value::as_str);
            let text = text.ok_or_else(|| format!("the column `{column}` holds no text"))?;
            return Payload::parse(text)
                .map_err(|error| format!("the column `{column}`: {}", error.message()));
        }
        let mut record: JsonObject = row
            .columns
            .iter()
            .filter(|(column, _)| !self.table.hides(column))
            .map(|(column, value)| (column.clone(), value.clone()))
            .collect();
        record.insert(self.table.id_field.clone(), row.id.as_str().into());
        Ok(Payload::from_object(&record))
    }

    /// What the row says of its record.
    ///
    /// # Errors
    /// Why the row cannot be understood.
    pub(crate) fn state(&self, row: &Row) -> Result<RemoteState, String> {
        let version = self.version(row);
        let time = Some(Timestamp::from_millis(row.updated_at));
        Ok(if self.is_deleted(row)? {
            RemoteState::Deleted(Tombstone {
                version: Some(version),
                stamp: None,
                server_time: time,
            })
        } else {
            RemoteState::Live(Versioned::new(self.payload(row)?, version).with_server_time(time))
        })
    }

    /// The permissions of new rows. `me` is the signed-in user.
    ///
    /// # Errors
    /// `Configuration` if they name a user and there is none, or a key that the scope does not have.
    pub(crate) fn permissions(&self, me: Option<&str>) -> Result<Vec<String>> {
        let templates = match &self.table.permissions {
            RowPermissions::TableOnly => return Ok(Vec::new()),
            RowPermissions::Owner => ["read", "update", "delete"]
                .map(|action| format!("{action}(\"user:{{me}}\")"))
                .to_vec(),
            RowPermissions::Listed(templates) => templates.clone(),
        };
        templates
            .into_iter()
            .map(|template| {
                let mut text = template;
                for (key, value) in &self.keys {
                    text = text.replace(&format!("{{{key}}}"), value);
                }
                if let Some(me) = me {
                    text = text.replace("{me}", me);
                }
                if text.contains('{') {
                    let why = format!("{text:?} names something that neither the sign-in nor the scope has");
                    return Err(SyncError::new(ErrorKind::Configuration, why).with_field("permissions"));
                }
                Ok(text)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(table: Table, scope: &SyncScope) -> Result<Place> {
        Place::new(Arc::new(table), scope)
    }

    fn scope() -> SyncScope {
        SyncScope::new("inbox").unwrap().with("user", "ada").unwrap()
    }

    fn row(columns: Value) -> Row {
        let Value::Object(columns) = columns else {
            panic!("columns are an object")
        };
        Row {
            id: "r1".into(),
            sequence: crate::row::Sequence::Number(1),
            updated_at: 1_000,
            columns,
        }
    }

    #[test]
    fn a_key_of_the_scope_without_a_column_is_refused_by_name() {
        let error = place(Table::new("main", "todos"), &scope()).unwrap_err();
        assert_eq!(error.field(), Some("scope.keys.user"));
        let narrow = Table::new("main", "todos")
            .scope_column("user", "owner")
            .scope_column("team", "team");
        assert_eq!(
            place(narrow, &scope()).unwrap_err().field(),
            Some("scope.keys.team")
        );
    }

    #[test]
    fn rows_of_other_scopes_are_told_apart_also_by_case() {
        let place = place(
            Table::new("main", "todos").scope_column("user", "owner"),
            &scope(),
        )
        .unwrap();
        assert!(place.holds(&row(json!({"owner": "ada"}))));
        for owner in [json!("Ada"), json!("bob"), json!(null), json!(5)] {
            assert!(!place.holds(&row(json!({"owner": owner}))));
        }
        assert!(!place.holds(&row(json!({}))));
    }

    #[test]
    fn records_have_the_users_columns_and_their_id() {
        let columns = json!({"title": "tea", "note": null, "owner": "ada", "deleted": false, "op_id": "o1"});
        let table = Table::new("main", "todos").scope_column("user", "owner");
        let hidden = place(table.clone(), &scope())
            .unwrap()
            .payload(&row(columns.clone()))
            .unwrap();
        assert_eq!(hidden.as_str(), r#"{"id":"r1","note":null,"title":"tea"}"#);
        let shown = place(table.show_scope_columns(), &scope())
            .unwrap()
            .payload(&row(columns))
            .unwrap();
        assert_eq!(
            shown.as_str(),
            r#"{"id":"r1","note":null,"owner":"ada","title":"tea"}"#
        );
    }

    #[test]
    fn a_deleted_row_is_a_tombstone_with_its_version() {
        let place = place(
            Table::new("main", "todos").scope_column("user", "owner"),
            &scope(),
        )
        .unwrap();
        let state = place
            .state(&row(json!({"deleted": true, "op_id": "o1"})))
            .unwrap();
        let RemoteState::Deleted(tombstone) = state else {
            panic!("{state:?}")
        };
        assert_eq!(
            tombstone.version.unwrap().token(),
            "1970-01-01T00:00:01.000+00:00~o1"
        );
        for columns in [json!({}), json!({"deleted": "yes"})] {
            assert!(place.state(&row(columns)).unwrap_err().contains("deleted"));
        }
    }

    #[test]
    fn permissions_are_filled_in_or_refused() {
        let listed = |text: &str| {
            Table::new("main", "todos")
                .scope_column("user", "owner")
                .permissions(RowPermissions::Listed(vec![text.to_owned()]))
        };
        let of = |table: Table, me| place(table, &scope()).unwrap().permissions(me);
        assert_eq!(
            of(listed("read(\"user:{user}\")"), None).unwrap(),
            ["read(\"user:ada\")"]
        );
        assert_eq!(
            of(listed("read(\"user:{team}\")"), None).unwrap_err().field(),
            Some("permissions")
        );
        let owned = || listed("").permissions(RowPermissions::Owner);
        assert_eq!(of(owned(), Some("u7")).unwrap()[1], "update(\"user:u7\")");
        assert!(of(owned(), None).is_err());
    }
}
