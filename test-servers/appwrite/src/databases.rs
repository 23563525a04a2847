//! Requests that make and remove databases.

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine};
use crate::schema::is_key;
use crate::single::body_of;

impl Machine {
    /// `POST /tablesdb`
    pub(crate) fn create_database(&mut self, context: &Context<'_>) -> Result<Response> {
        demand_key(context)?;
        let body = body_of(self, context)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let id = text("databaseId").unwrap_or_default();
        if !is_key(id) {
            return Err(ApiError::key_rule("databaseId"));
        }
        if self.databases.contains_key(id) {
            return Err(ApiError::already_exists("Database", id));
        }
        self.add_database(id);
        let stamp = self.clock.now().to_wire();
        let shown = json!({
            "$id": id,
            "name": text("name").unwrap_or(id),
            "$createdAt": stamp,
            "$updatedAt": stamp,
            "enabled": true,
            "type": "tablesdb",
        });
        Ok(Response::json(201, shown))
    }

    /// `DELETE /tablesdb/{databaseId}`, with all its tables.
    pub(crate) fn delete_database(&mut self, context: &Context<'_>, id: &str) -> Result<Response> {
        demand_key(context)?;
        let removed = self.databases.remove(id);
        removed.ok_or_else(|| ApiError::database_not_found(id))?;
        Ok(Response::empty(204))
    }
}

fn demand_key(context: &Context<'_>) -> Result<()> {
    if context.principal.is_key() {
        Ok(())
    } else {
        Err(ApiError::missing_scope("databases.write"))
    }
}
