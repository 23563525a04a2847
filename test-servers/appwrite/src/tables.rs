//! Requests that make tables, columns and indexes.

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::schema::{Column, ColumnKind, Index, Table, is_key};
use crate::single::body_of;
use crate::time::Timestamp;

const KEY_RULE: &str = "Invalid `key` param: Parameter must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, \
                        period, hyphen, and underscore. Can't start with a special char";
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
            ("POST", [table, "columns", kind]) => {
                self.create_column(&Place::new(database, table), kind, &body)
            }
            ("POST", [table, "indexes"]) => self.create_index(&Place::new(database, table), &body),
            ("GET", [table, "indexes", key]) => self.get_index(&Place::new(database, table), key),
            _ => self.unknown_route(),
        }
    }

    fn create_table(&mut self, database: &str, body: &Value) -> Result<Response> {
        let id = body.get("tableId").and_then(Value::as_str).unwrap_or_default();
        if !is_key(id) {
            return Err(ApiError::argument(KEY_RULE.replace("`key`", "`tableId`")));
        }
        let stamp = self.clock.now();
        let rules = self.table_rules();
        let database = self
            .databases
            .get_mut(database)
            .ok_or_else(|| ApiError::database_not_found(database))?;
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
            return Err(ApiError::argument(KEY_RULE));
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
        let stamp = self.clock.now();
        let shown = show_column(&column, stamp);
        self.table_mut(place)?.columns.push(column);
        Ok(Response::json(202, shown))
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
        let updated_at = self.clock.now();
        let table = self.table_mut(place)?;
        let failed = kind == "unique" && table.has_duplicates(&columns);
        let index = Index {
            key,
            kind,
            columns,
            failed,
            created_at,
            updated_at,
        };
        table.indexes.push(index.clone());
        Ok(Response::json(202, self.show_index(place, &index, true)?))
    }

    fn get_index(&self, place: &Place, key: &str) -> Result<Response> {
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
        Ok(Response::json(200, self.show_index(place, index, false)?))
    }

    /// An index; while it is being built, as it is answered to the one who makes it.
    fn show_index(&self, place: &Place, index: &Index, building: bool) -> Result<Value> {
        let database = self.database(&place.database)?;
        let table = database.table(&place.table)?;
        let status = match (building, index.failed) {
            (true, _) => "processing",
            (false, true) => "failed",
            (false, false) => "available",
        };
        let updated_at = if building {
            index.created_at
        } else {
            index.updated_at
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

/// A column as it is answered to the one who makes it: still being built.
fn show_column(column: &Column, stamp: Timestamp) -> Value {
    let mut shown = json!({
        "key": column.key,
        "type": column.kind.name(),
        "status": "processing",
        "error": "",
        "required": column.required,
        "array": column.array,
        "$createdAt": stamp.to_wire(),
        "$updatedAt": stamp.to_wire(),
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
