//! Requests that make tables, columns and indexes.

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::quirk::Quirk;
use crate::schema::{Column, ColumnKind, Index, MadeColumn, Table, is_key};
use crate::single::body_of;
use crate::time::Timestamp;

/// How long the server builds a column or an index, as recorded in `u.i` and `u.idx`.
const BUILD_MILLIS: i64 = 15;
/// What Appwrite says about the width of a table that has no columns yet.
const EMPTY_TABLE_BYTES: u32 = 1067;

impl Machine {
    pub(crate) fn route_tables(
        &mut self,
        context: &Context<'_>,
        database: &str,
        rest: &[&str],
    ) -> Result<Response> {
        if !matches!(rest, [] | [_] | [_, "columns" | "indexes", ..]) {
            return self.unknown_route();
        }
        if !context.principal.is_key() {
            return Err(ApiError::missing_scope("tables.write"));
        }
        let body = body_of(self, context)?;
        match (context.request.method.as_str(), rest) {
            ("POST", []) => self.create_table(database, &body),
            ("GET", [table, "columns"]) => self.list_columns(context, &Place::new(database, table)),
            ("POST", [table, "columns", kind]) => {
                self.create_column(&Place::new(database, table), kind, &body)
            }
            ("POST", [table, "indexes"]) => self.create_index(&Place::new(database, table), &body),
            ("GET", [table, "indexes", key]) => self.get_index(context, &Place::new(database, table), key),
            _ => self.unknown_route(),
        }
    }

    fn create_table(&mut self, database: &str, body: &Value) -> Result<Response> {
        let id = body.get("tableId").and_then(Value::as_str).unwrap_or_default();
        if !is_key(id) {
            return Err(ApiError::key_rule("tableId"));
        }
        let stamp = self.clock.now();
        let rules = self.table_rules();
        let database = self
            .databases
            .get_mut(database)
            .ok_or_else(|| ApiError::database_not_found(database))?;
        if database.tables.contains_key(id) {
            return Err(ApiError::already_exists("Table", id));
        }
        let mut table = Table::new(database.tables.len() + 1, rules);
        table.permissions = texts_of(body.get("permissions"));
        table.row_security = body.get("rowSecurity").and_then(Value::as_bool).unwrap_or(false);
        let shown = json!({
            "$id": id,
            "$createdAt": stamp.to_wire(),
            "$updatedAt": stamp.to_wire(),
            "$permissions": table.permissions,
            "databaseId": database.id,
            "name": body.get("name").and_then(Value::as_str).unwrap_or(id),
            "enabled": true,
            "rowSecurity": table.row_security,
            "columns": [],
            "indexes": [],
            "bytesMax": 65535,
            "bytesUsed": EMPTY_TABLE_BYTES,
        });
        database.tables.insert(id.to_owned(), table);
        Ok(Response::json(201, shown))
    }

    fn create_column(&mut self, place: &Place, kind: &str, body: &Value) -> Result<Response> {
        let key = body.get("key").and_then(Value::as_str).unwrap_or_default();
        if !is_key(key) {
            return Err(ApiError::key_rule("key"));
        }
        let size = body.get("size").and_then(Value::as_u64).unwrap_or(0);
        let kind = match kind {
            "string" => ColumnKind::Text {
                size: usize::try_from(size).unwrap_or(usize::MAX),
            },
            "integer" => ColumnKind::Integer,
            "float" => ColumnKind::Float,
            "boolean" => ColumnKind::Boolean,
            "datetime" => ColumnKind::Datetime,
            _ => return self.unknown_route(),
        };
        let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
        let column = Column {
            key: key.to_owned(),
            kind,
            required: flag("required"),
            default: body.get("default").cloned().unwrap_or_default(),
            array: flag("array"),
        };
        let created_at = self.clock.now();
        let column = MadeColumn {
            column,
            created_at,
            ready_at: self.ready_at(created_at),
        };
        let shown = show_column(&column, created_at);
        let table = self.table_mut(place)?;
        if table.made.iter().any(|made| made.column.key == key) {
            return Err(ApiError::already_exists("Column", key));
        }
        table.add_column(column, created_at);
        Ok(Response::json(202, shown))
    }

    fn list_columns(&self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let made = &self.table(place)?.made;
        let now = context.arrival.at;
        let columns: Vec<Value> = made.iter().map(|column| show_column(column, now)).collect();
        Ok(Response::json(
            200,
            json!({"total": columns.len(), "columns": columns}),
        ))
    }

    /// When a column or an index that is asked for now can be used.
    fn ready_at(&self, created_at: Timestamp) -> Timestamp {
        if self.has(Quirk::BuiltAfterTheAnswer) {
            created_at.plus_millis(BUILD_MILLIS)
        } else {
            created_at
        }
    }

    /// Takes the columns into use that are built by now.
    pub(crate) fn finish_building(&mut self, now: Timestamp) {
        for database in self.databases.values_mut() {
            for table in database.tables.values_mut() {
                table.finish_building(now);
            }
        }
    }

    fn create_index(&mut self, place: &Place, body: &Value) -> Result<Response> {
        let key = body
            .get("key")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let kind = body
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let columns = texts_of(body.get("columns"));
        let created_at = self.clock.now();
        let ready_at = self.ready_at(created_at);
        let table = self.table_mut(place)?;
        for column in columns.iter().filter(|column| !column.starts_with('$')) {
            let made = table.made.iter().any(|made| made.column.key == *column);
            let usable = table.column(column).is_some();
            if !usable {
                return Err(ApiError::unusable_column(column, made));
            }
        }
        let failed = kind == "unique" && table.has_duplicates(&columns);
        let index = Index {
            key,
            kind,
            columns,
            failed,
            created_at,
            ready_at,
        };
        table.indexes.push(index.clone());
        Ok(Response::json(202, self.show_index(place, &index, created_at)?))
    }

    fn get_index(&self, context: &Context<'_>, place: &Place, key: &str) -> Result<Response> {
        let index = self
            .table(place)?
            .indexes
            .iter()
            .find(|index| index.key == key)
            .ok_or_else(|| {
                ApiError::new(
                    404,
                    "index_not_found",
                    format!("Index with the requested ID '{key}' could not be found."),
                )
            })?;
        Ok(Response::json(
            200,
            self.show_index(place, index, context.arrival.at)?,
        ))
    }

    /// An index as it is shown at an instant.
    fn show_index(&self, place: &Place, index: &Index, now: Timestamp) -> Result<Value> {
        let database = self.database(&place.database)?;
        let table = database.table(&place.table)?;
        let (status, updated_at) = progress(index.created_at, index.ready_at, now);
        let status = if index.failed && status == AVAILABLE {
            "failed"
        } else {
            status
        };
        Ok(json!({
            "$id": format!("{}_{}_{}", database.number, table.number, index.key),
            "$createdAt": index.created_at.to_wire(),
            "$updatedAt": updated_at.to_wire(),
            "key": index.key,
            "type": index.kind,
            "status": status,
            "error": "",
            "columns": index.columns,
            "lengths": vec![0; index.columns.len()],
            "orders": [],
        }))
    }
}

const AVAILABLE: &str = "available";

/// The status of what is built, and when it changed last, as seen at an instant.
fn progress(created_at: Timestamp, ready_at: Timestamp, now: Timestamp) -> (&'static str, Timestamp) {
    if now < ready_at {
        ("processing", created_at)
    } else {
        (AVAILABLE, ready_at)
    }
}

/// A column as it is shown at an instant.
fn show_column(made: &MadeColumn, now: Timestamp) -> Value {
    let column = &made.column;
    let (status, updated_at) = progress(made.created_at, made.ready_at, now);
    let mut shown = json!({
        "key": column.key,
        "type": column.kind.name(),
        "status": status,
        "error": "",
        "required": column.required,
        "array": column.array,
        "$createdAt": made.created_at.to_wire(),
        "$updatedAt": updated_at.to_wire(),
        "default": column.default,
    });
    if let ColumnKind::Text { size } = column.kind {
        shown["size"] = json!(size);
        shown["encrypt"] = json!(false);
    }
    shown
}

fn texts_of(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
