//! Staging through the row routes, by a `transactionId` in the request, and reads inside a transaction.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::quirk::Quirk;
use crate::transaction::{Staged, StagedAction};

/// A write to one row that a row route stages.
#[derive(Debug)]
pub(crate) struct RowWrite<'a> {
    pub(crate) action: StagedAction,
    pub(crate) id: &'a str,
    pub(crate) data: Map<String, Value>,
    pub(crate) permissions: Option<Vec<String>>,
}

impl Machine {
    /// Stages a write and answers what Appwrite makes up for it.
    pub(crate) fn stage_row(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        write: RowWrite<'_>,
        transaction: &str,
    ) -> Result<Response> {
        let RowWrite {
            action,
            id,
            data: mut row,
            permissions,
        } = write;
        row.insert("$id".into(), json!(id));
        if let Some(permissions) = &permissions {
            row.insert("$permissions".into(), json!(permissions));
        }
        let staged_at = self.stamp(context.arrival);
        let operation = Staged {
            place: place.clone(),
            action,
            row_id: id.to_owned(),
            data: Value::Object(row.clone()),
            staged_at,
        };
        self.stage(context, transaction, vec![operation])?;
        let status = match action {
            StagedAction::Delete => return Ok(Response::empty(204)),
            StagedAction::Update => 200,
            _ => 201,
        };
        row.insert("$permissions".into(), json!(permissions.unwrap_or_default()));
        row.insert("$databaseId".into(), json!(place.database));
        row.insert("$tableId".into(), json!(place.table));
        row.insert("$sequence".into(), json!(""));
        if !self.has(Quirk::StagedAnswersAreMocks) {
            row.insert("$createdAt".into(), json!(staged_at.to_wire()));
            row.insert("$updatedAt".into(), json!(staged_at.to_wire()));
        }
        Ok(Response::json(status, Value::Object(row)))
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
