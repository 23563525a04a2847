//! Staging through the row routes, by a `transactionId` in the request, and reads inside a transaction.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::quirk::Quirk;
use crate::transaction::{Staged, StagedAction};

impl Machine {
    pub(crate) fn stage_create(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        data: &Map<String, Value>,
        permissions: Vec<String>,
        transaction: &str,
    ) -> Result<Response> {
        let shown = self.stage_row(
            context,
            place,
            StagedAction::Create,
            id,
            data,
            Some(permissions),
            transaction,
        )?;
        Ok(Response::json(201, shown))
    }

    pub(crate) fn stage_update(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        data: &Map<String, Value>,
        permissions: Option<Vec<String>>,
        transaction: &str,
    ) -> Result<Response> {
        let shown = self.stage_row(
            context,
            place,
            StagedAction::Update,
            id,
            data,
            permissions,
            transaction,
        )?;
        Ok(Response::json(200, shown))
    }

    pub(crate) fn stage_upsert(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        data: &Map<String, Value>,
        permissions: Vec<String>,
        transaction: &str,
    ) -> Result<Response> {
        let shown = self.stage_row(
            context,
            place,
            StagedAction::Upsert,
            id,
            data,
            Some(permissions),
            transaction,
        )?;
        Ok(Response::json(201, shown))
    }

    pub(crate) fn stage_delete(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        transaction: &str,
    ) -> Result<Response> {
        self.stage_row(
            context,
            place,
            StagedAction::Delete,
            id,
            &Map::new(),
            None,
            transaction,
        )?;
        Ok(Response::empty(204))
    }

    pub(crate) fn stage_bulk_upsert(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        rows: Vec<Map<String, Value>>,
        transaction: &str,
    ) -> Result<Response> {
        let count = rows.len();
        let operation = Staged {
            place: place.clone(),
            action: StagedAction::BulkUpsert,
            row_id: String::new(),
            data: rows.into_iter().map(Value::Object).collect(),
            staged_at: self.stamp(context.arrival),
        };
        self.stage(context, transaction, vec![operation])?;
        Ok(Response::json(200, json!({"total": count, "rows": []})))
    }

    #[allow(clippy::too_many_arguments)]
    fn stage_row(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        action: StagedAction,
        id: &str,
        data: &Map<String, Value>,
        permissions: Option<Vec<String>>,
        transaction: &str,
    ) -> Result<Value> {
        let mut full = data.clone();
        full.insert("$id".into(), json!(id));
        if let Some(permissions) = &permissions {
            full.insert("$permissions".into(), json!(permissions));
        }
        let staged_at = self.stamp(context.arrival);
        let operation = Staged {
            place: place.clone(),
            action,
            row_id: id.to_owned(),
            data: Value::Object(full.clone()),
            staged_at,
        };
        self.stage(context, transaction, vec![operation])?;
        full.insert("$permissions".into(), json!(permissions.unwrap_or_default()));
        full.insert("$databaseId".into(), json!(place.database));
        full.insert("$tableId".into(), json!(place.table));
        full.insert("$sequence".into(), json!(""));
        if !self.has(Quirk::StagedAnswersAreMocks) {
            full.insert("$createdAt".into(), json!(staged_at.to_wire()));
            full.insert("$updatedAt".into(), json!(staged_at.to_wire()));
        }
        Ok(Value::Object(full))
    }

    /// A row as a transaction would leave it.
    pub(crate) fn get_staged_row(
        &self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        transaction: &str,
    ) -> Result<Response> {
        let found = self.transactions.get(transaction);
        let found = found.ok_or_else(|| ApiError::transaction_not_found(transaction))?;
        let stored = self
            .table(place)?
            .row(id)
            .filter(|row| self.may_see(context, place, row).unwrap_or(false));
        let mut shown = stored.map(|row| self.row_form(place).show(row));
        for staged in found
            .staged
            .iter()
            .filter(|staged| staged.place == *place && staged.row_id == id)
        {
            match staged.action {
                StagedAction::Delete => shown = None,
                StagedAction::Create | StagedAction::Upsert | StagedAction::Update => {
                    let row = shown.get_or_insert_with(
                        || json!({"$databaseId": place.database, "$tableId": place.table, "$sequence": ""}),
                    );
                    for (key, value) in staged.row_data() {
                        row[key] = value;
                    }
                }
                _ => {}
            }
        }
        shown
            .map(|row| Response::json(200, row))
            .ok_or_else(|| ApiError::row_not_found(id))
    }
}
