//! Bulk writes: up to a hundred rows, all or none, for API keys alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::{Body, Response};
use crate::machine::{Context, Machine, Place};
use crate::query::ListQuery;
use crate::quirk::Quirk;
use crate::realtime::{Change, EventOrigin};
use crate::row::{Incoming, Row};
use crate::schema::is_key;
use crate::single::{RowChange, body_of};
use crate::time::Timestamp;
use crate::write::{plan_insert, plan_upsert};

/// The most rows of one bulk write.
const BULK_LIMIT: usize = 100;

/// The stamps of a bulk write: one for all rows, or one each.
struct Stamps {
    shared: Option<Timestamp>,
}

impl Stamps {
    fn next(&self, machine: &mut Machine, context: &Context<'_>) -> Timestamp {
        self.shared.unwrap_or_else(|| machine.stamp(context.arrival))
    }
}

impl Machine {
    fn bulk_stamps(&mut self, context: &Context<'_>) -> Stamps {
        let shared = self.has(Quirk::BulkSharesOneStamp);
        Stamps {
            shared: shared.then(|| self.stamp(context.arrival)),
        }
    }

    /// Refuses a bulk write by anybody but a key.
    fn check_bulk(&self, context: &Context<'_>, place: &Place) -> Result<()> {
        if context.principal.is_key() {
            Ok(())
        } else if self.has(Quirk::BulkBySessionAnswers404) {
            Err(ApiError::database_not_found(&place.database))
        } else {
            Err(ApiError::unauthorized())
        }
    }

    fn answer_rows(&self, status: u16, place: &Place, rows: &[Row]) -> Response {
        let form = self.row_form(place);
        let shown: Vec<Value> = rows.iter().map(|row| form.show(row)).collect();
        Response::json(status, json!({"total": shown.len(), "rows": shown}))
    }

    fn publish_all(&mut self, place: &Place, rows: &[Row], change: Change) {
        for row in rows {
            self.publish(place, row, change, EventOrigin::Bulk);
        }
    }

    pub(crate) fn create_bulk(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        body: &Value,
    ) -> Result<Response> {
        if !context.principal.is_key() {
            return Err(ApiError::new(
                401,
                "general_unauthorized_scope",
                "The current user or API key does not have the required scopes to access the requested resource.",
            ));
        }
        let rows = rows_of(body)?;
        let stamps = self.bulk_stamps(context);
        let mut planned = Vec::new();
        for data in &rows {
            let incoming = Incoming::parse(data, self.may_set_dates(context))?;
            let id = incoming.id.clone().unwrap_or_default();
            let id = if id == "unique()" || id.is_empty() {
                self.ids.next()
            } else {
                id
            };
            if !is_key(&id) {
                return Err(ApiError::argument(
                    "Invalid `rows` param: a row has an invalid $id",
                ));
            }
            let stamp = stamps.next(self, context);
            let permissions = incoming.permissions.clone().unwrap_or_default();
            planned.push(plan_insert(
                self.table(place)?,
                &id,
                &incoming,
                permissions,
                stamp,
            )?);
        }
        let table = self.table(place)?;
        let taken =
            |row: &&Row| table.row(&row.id).is_some() || table.unique_owner(&row.id, &row.data).is_some();
        if let Some(row) = planned.iter().find(taken) {
            let id = if self.has(Quirk::BulkDuplicateHasNoId) {
                ""
            } else {
                row.id.as_str()
            };
            let error = ApiError::row_already_exists(id);
            self.burn_sequences(place, planned.len())?;
            return Err(error);
        }
        let table = self.table_mut(place)?;
        for row in &mut planned {
            row.sequence = table.draw_sequence();
            table.put(row.clone());
        }
        self.publish_all(place, &planned, Change::Create);
        Ok(self.answer_rows(201, place, &planned))
    }

    pub(crate) fn upsert_rows(&mut self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        self.check_bulk(context, place)?;
        let rows = rows_of(&body)?;
        if let Some(transaction) = body.get("transactionId").and_then(Value::as_str) {
            return self.stage_bulk_upsert(context, place, rows, transaction);
        }
        let stored = self.upsert_many(context, place, &rows)?;
        let changed: Vec<Row> = stored
            .iter()
            .filter(|(_, changed)| *changed)
            .map(|(row, _)| row.clone())
            .collect();
        self.publish_all(place, &changed, Change::Upsert);
        let shown = if self.has(Quirk::BulkUpsertAnswersChangedOnly) {
            changed
        } else {
            stored.into_iter().map(|(row, _)| row).collect()
        };
        let status = if self.has(Quirk::UpsertAnswers200) {
            200
        } else {
            201
        };
        let mut response = self.answer_rows(status, place, &shown);
        self.hide_unstored_sequences(place, &shown, &mut response);
        Ok(response)
    }

    /// A row that overwrote another one was not stored itself, and has no sequence.
    fn hide_unstored_sequences(&self, place: &Place, rows: &[Row], response: &mut Response) {
        if let Body::Json(body) = &mut response.body {
            for (at, row) in rows.iter().enumerate() {
                if self.table(place).is_ok_and(|table| table.row(&row.id).is_none()) {
                    body["rows"][at]["$sequence"] = json!("");
                }
            }
        }
    }

    /// Upserts rows as one statement; tells of each whether it changed.
    pub(crate) fn upsert_many(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        rows: &[Map<String, Value>],
    ) -> Result<Vec<(Row, bool)>> {
        let stamps = self.bulk_stamps(context);
        let mut ids = BTreeSet::new();
        let mut plans = Vec::new();
        for data in rows {
            let incoming = Incoming::parse(data, self.may_set_dates(context))?;
            let id = incoming.id.clone().unwrap_or_else(|| self.ids.next());
            if !self.has(Quirk::BulkUpsertSkipsIdRules) && !is_key(&id) {
                return Err(ApiError::argument(
                    "Invalid `rows` param: a row has an invalid $id",
                ));
            }
            if !ids.insert(id.to_lowercase()) {
                return Err(ApiError::row_already_exists("multiple"));
            }
            let stamp = stamps.next(self, context);
            let table = self.table(place)?;
            let inherited = table
                .row(&id)
                .map(|row| row.permissions.clone())
                .unwrap_or_default();
            let permissions = incoming.permissions.clone().unwrap_or(inherited);
            let early = context.early_row();
            plans.push(plan_upsert(
                table,
                &self.quirks,
                &id,
                &incoming,
                permissions,
                early,
                stamp,
            )?);
        }
        self.store_upserts(place, plans)
    }

    pub(crate) fn update_rows(&mut self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        self.check_bulk(context, place)?;
        let RowChange {
            data, permissions, ..
        } = self.row_change(context, &body)?;
        let found = self.find_for_bulk(place, &body)?;
        let changed = self.update_many(context, place, &found, &data, permissions)?;
        self.publish_all(place, &changed, Change::Update);
        Ok(self.answer_rows(200, place, &changed))
    }

    pub(crate) fn update_many(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        rows: &[Row],
        data: &Map<String, Value>,
        permissions: Option<Vec<String>>,
    ) -> Result<Vec<Row>> {
        let stamps = self.bulk_stamps(context);
        let incoming = Incoming::parse(data, self.may_set_dates(context))?;
        let mut changed = Vec::new();
        for row in rows {
            let patched = self.patch(place, &row.id, &incoming, permissions.clone(), |machine| {
                stamps.next(machine, context)
            })?;
            changed.push(patched.row);
        }
        Ok(changed)
    }

    pub(crate) fn delete_rows(&mut self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        self.check_bulk(context, place)?;
        let found = self.find_for_bulk(place, &body)?;
        for row in &found {
            self.table_mut(place)?.take(&row.id);
        }
        self.publish_all(place, &found, Change::Delete);
        Ok(self.answer_rows(200, place, &found))
    }

    /// The rows that the `queries` of a body select: all rows, if there are no queries.
    pub(crate) fn find_for_bulk(&self, place: &Place, body: &Value) -> Result<Vec<Row>> {
        let queries = body.get("queries").and_then(Value::as_array);
        let texts: Vec<String> = queries
            .into_iter()
            .flatten()
            .map(|query| query.as_str().map_or_else(|| query.to_string(), str::to_owned))
            .collect();
        let mut query = ListQuery::parse(&texts, self.table(place)?)?;
        query.limit.get_or_insert(usize::MAX);
        Ok(self.find(place, &query, |_| true)?.page)
    }
}

/// The `rows` of a body.
fn rows_of(body: &Value) -> Result<Vec<Map<String, Value>>> {
    let rows = body
        .get("rows")
        .and_then(Value::as_array)
        .filter(|rows| rows.len() <= BULK_LIMIT);
    let rows = rows.and_then(|rows| rows.iter().map(|row| row.as_object().cloned()).collect());
    rows.ok_or_else(|| {
        ApiError::argument(
            "Invalid `rows` param: Value must a valid array no longer than 100 items and Value must be a valid JSON \
             string",
        )
    })
}
