//! Requests about one row.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::list::requested_columns;
use crate::machine::{Context, Machine, Place};
use crate::permission::{Action, parse_permissions};
use crate::quirk::Quirk;
use crate::realtime::{Change, EventOrigin};
use crate::row::{Incoming, Row};
use crate::schema::is_key;
use crate::staging::RowWrite;
use crate::transaction::StagedAction;
use crate::write::{Planned, plan_upsert};

const UID_RULE: &str = "Invalid `rowId` param: UID must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, and \
                        underscore. Can't start with a leading underscore";

/// The body of a request; what is not JSON counts as empty.
pub(crate) fn body_of(machine: &Machine, context: &Context<'_>) -> Result<Value> {
    match context.request.body_json() {
        Some(body) => Ok(body),
        None if context.request.body.is_empty() || machine.has(Quirk::MalformedJsonIsMissingData) => {
            Ok(json!({}))
        }
        None => Err(ApiError::argument("The body is not JSON")),
    }
}

fn check_row_id(id: &str) -> Result<()> {
    if is_key(id) {
        Ok(())
    } else {
        Err(ApiError::argument(UID_RULE))
    }
}

/// Refuses a write to a row that was written after the time that the caller names.
fn check_unchanged(context: &Context<'_>, row: &Row) -> Result<()> {
    if context
        .unchanged_since()
        .is_some_and(|since| row.updated_at > since)
    {
        return Err(ApiError::newer_row());
    }
    Ok(())
}

/// What a request asks to change about a row.
#[derive(Debug)]
pub(crate) struct RowChange {
    /// The data as it came.
    pub(crate) data: Map<String, Value>,
    pub(crate) incoming: Incoming,
    pub(crate) permissions: Option<Vec<String>>,
}

impl Machine {
    pub(crate) fn may_see(&self, context: &Context<'_>, place: &Place, row: &Row) -> Result<bool> {
        self.allowed(context, place, row, Action::Read)
    }

    fn allowed(&self, context: &Context<'_>, place: &Place, row: &Row, action: Action) -> Result<bool> {
        let table = self.table(place)?;
        let by_row = table.row_security && context.principal.may(action, &row.permissions);
        Ok(by_row || context.principal.may(action, &table.permissions))
    }

    /// Refuses a change of a row that the caller may not make.
    pub(crate) fn check_allowed(
        &self,
        context: &Context<'_>,
        place: &Place,
        row: &Row,
        action: Action,
    ) -> Result<()> {
        if self.allowed(context, place, row, action)? {
            return Ok(());
        }
        if self.may_see(context, place, row)? || self.has(Quirk::HiddenRowWriteIsUnauthorized) {
            return Err(ApiError::unauthorized());
        }
        Err(ApiError::row_not_found(&row.id))
    }

    fn stored_row(&self, place: &Place, id: &str) -> Result<Row> {
        let row = self.table(place)?.row(id).cloned();
        row.ok_or_else(|| ApiError::row_not_found(id))
    }

    pub(crate) fn get_row(&mut self, context: &Context<'_>, place: &Place, id: &str) -> Result<Response> {
        self.table(place)?;
        check_row_id(id)?;
        if let Some(transaction) = context.request.parameter("transactionId") {
            return self.get_staged_row(context, place, id, transaction);
        }
        let select = requested_columns(context, self.table(place)?)?;
        let row = self
            .table(place)?
            .row(id)
            .ok_or_else(|| ApiError::row_not_found(id))?;
        if !self.may_see(context, place, row)? {
            return Err(ApiError::row_not_found(id));
        }
        let form = self.row_form(place);
        Ok(Response::json(
            200,
            select.map_or_else(|| form.show(row), |names| form.show_columns(row, &names)),
        ))
    }

    /// `POST .../rows`: one row, or several by a key.
    pub(crate) fn create_rows(&mut self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        if body.get("rows").is_some() {
            return self.create_bulk(context, place, &body);
        }
        let asked = body.get("rowId").and_then(Value::as_str);
        if asked.is_some_and(|id| id != "unique()" && !is_key(id)) {
            return Err(ApiError::key_rule("rowId"));
        }
        let permissions = parse_permissions(body.get("permissions"))?;
        let data = Incoming::data_of(body.get("data")).filter(|data| !data.is_empty());
        let data = data.ok_or_else(ApiError::missing_data)?;
        let Some(asked) = asked else {
            return Err(ApiError::new(
                400,
                "row_missing_data",
                "Row ID is required when creating a single row.",
            ));
        };
        let id = if asked == "unique()" {
            self.ids.next()
        } else {
            asked.to_owned()
        };
        let incoming = Incoming::parse(&data, self.may_set_dates(context))?;
        let permissions = permissions.or_else(|| incoming.permissions.clone());
        if let Some(permissions) = &permissions {
            context.principal.check_may_give(permissions)?;
        }
        context
            .principal
            .check_may_create(&self.table(place)?.permissions)?;
        let permissions = permissions.unwrap_or_else(|| context.principal.default_permissions());
        if let Some(transaction) = body.get("transactionId").and_then(Value::as_str) {
            let permissions = Some(permissions);
            let write = RowWrite {
                action: StagedAction::Create,
                id: &id,
                data,
                permissions,
            };
            return self.stage_row(context, place, write, transaction);
        }
        let stamp = self.stamp(context.arrival);
        let row = self.insert(place, &id, &incoming, permissions, stamp)?;
        self.publish(place, &row, Change::Create, EventOrigin::Single);
        Ok(Response::json(201, self.row_form(place).show(&row)))
    }

    /// Whether the dates that a request gives count.
    pub(crate) fn may_set_dates(&self, context: &Context<'_>) -> bool {
        context.principal.is_key() && self.has(Quirk::KeysSetDates)
    }

    /// The change that a body asks for; there must be data or permissions.
    pub(crate) fn row_change(&self, context: &Context<'_>, body: &Value) -> Result<RowChange> {
        let permissions = parse_permissions(body.get("permissions"))?;
        let data = Incoming::data_of(body.get("data")).unwrap_or_default();
        if data.is_empty() && permissions.is_none() {
            return Err(ApiError::missing_payload());
        }
        let incoming = Incoming::parse(&data, self.may_set_dates(context))?;
        let permissions = permissions.or_else(|| incoming.permissions.clone());
        Ok(RowChange {
            data,
            incoming,
            permissions,
        })
    }

    pub(crate) fn update_row(&mut self, context: &Context<'_>, place: &Place, id: &str) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        check_row_id(id)?;
        let RowChange {
            data,
            incoming,
            permissions,
        } = self.row_change(context, &body)?;
        if let Some(permissions) = &permissions {
            context.principal.check_may_give(permissions)?;
        }
        if let Some(transaction) = body.get("transactionId").and_then(Value::as_str) {
            let write = RowWrite {
                action: StagedAction::Update,
                id,
                data,
                permissions,
            };
            return self.stage_row(context, place, write, transaction);
        }
        let row = self.stored_row(place, id)?;
        let allowed = self.check_allowed(context, place, &row, Action::Update);
        let free = self.has(Quirk::NoopPatchNeedsReadOnly) && self.may_see(context, place, &row)?;
        if let Err(refusal) = allowed {
            let planned = self.plan_patch(place, id, &incoming, permissions.clone());
            if !(free && planned.is_ok_and(|planned| !planned.changed)) {
                return Err(refusal);
            }
        }
        check_unchanged(context, &row)?;
        let patched = self.patch(place, id, &incoming, permissions, |machine| {
            machine.stamp(context.arrival)
        })?;
        if patched.changed || self.has(Quirk::NoopPatchSendsEvent) {
            self.publish(place, &patched.row, Change::Update, EventOrigin::Single);
        }
        Ok(Response::json(200, self.row_form(place).show(&patched.row)))
    }

    pub(crate) fn upsert_row(&mut self, context: &Context<'_>, place: &Place, id: &str) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        check_row_id(id)?;
        let RowChange {
            data,
            incoming,
            permissions: given,
        } = self.row_change(context, &body)?;
        let existing = self.table(place)?.row(id).cloned();
        let inherited = existing.as_ref().map(|row| row.permissions.clone());
        let checked = given.as_ref().or(inherited
            .as_ref()
            .filter(|_| self.has(Quirk::UpsertInheritsPermissions)));
        if let Some(permissions) = checked {
            context.principal.check_may_give(permissions)?;
        }
        match &existing {
            Some(row) => self.check_allowed(context, place, row, Action::Update)?,
            None => context
                .principal
                .check_may_create(&self.table(place)?.permissions)?,
        }
        let permissions = given
            .or(inherited)
            .unwrap_or_else(|| context.principal.default_permissions());
        if let Some(transaction) = body.get("transactionId").and_then(Value::as_str) {
            let permissions = Some(permissions);
            let write = RowWrite {
                action: StagedAction::Upsert,
                id,
                data,
                permissions,
            };
            return self.stage_row(context, place, write, transaction);
        }
        let since = context
            .unchanged_since()
            .filter(|_| !self.has(Quirk::UpsertIgnoresTimestampHeader));
        if existing.is_some_and(|row| since.is_some_and(|since| row.updated_at > since)) {
            return Err(ApiError::newer_row());
        }
        let stamp = self.stamp(context.arrival);
        let table = self.table(place)?;
        let early = context.early_row();
        let plan = plan_upsert(table, &self.quirks, id, &incoming, permissions, early, stamp);
        let plan = plan.or_else(|error| self.burn_for(place, error))?;
        let overwrites = matches!(plan, Planned::Overwrite { .. });
        let stored = self.store_upserts(place, vec![plan])?;
        let mut shown = Value::Null;
        for (row, _) in &stored {
            shown = self.row_form(place).show(row);
            if overwrites {
                shown["$sequence"] = json!("");
            }
            self.publish(place, row, Change::Upsert, EventOrigin::Single);
        }
        let status = if self.has(Quirk::UpsertAnswers200) {
            200
        } else {
            201
        };
        Ok(Response::json(status, shown))
    }

    /// A conflict is found by the database, which has drawn a sequence number by then.
    fn burn_for<T>(&mut self, place: &Place, error: ApiError) -> Result<T> {
        if error.status == 409 {
            self.burn_sequences(place, 1)?;
        }
        Err(error)
    }

    pub(crate) fn delete_row(&mut self, context: &Context<'_>, place: &Place, id: &str) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        check_row_id(id)?;
        if let Some(transaction) = body.get("transactionId").and_then(Value::as_str) {
            let (data, permissions) = (Map::new(), None);
            let write = RowWrite {
                action: StagedAction::Delete,
                id,
                data,
                permissions,
            };
            return self.stage_row(context, place, write, transaction);
        }
        let row = self.stored_row(place, id)?;
        self.check_allowed(context, place, &row, Action::Delete)?;
        check_unchanged(context, &row)?;
        self.table_mut(place)?.take(id);
        self.publish(place, &row, Change::Delete, EventOrigin::Single);
        Ok(Response::empty(204))
    }
}
