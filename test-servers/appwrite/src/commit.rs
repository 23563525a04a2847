//! The commit of a transaction: all staged operations, or none.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::machine::{Context, Machine, Place};
use crate::quirk::Quirk;
use crate::realtime::{Change, EventOrigin};
use crate::row::{Incoming, Row};
use crate::schema::Database;
use crate::time::Timestamp;
use crate::transaction::{Staged, StagedAction};
use crate::write::plan_upsert;

/// What a committed operation will tell the listeners.
#[derive(Debug)]
pub(crate) struct Told {
    place: Place,
    row: Row,
    change: Change,
    origin: EventOrigin,
}

impl Machine {
    /// Applies staged operations. If one fails, nothing is applied, though sequence numbers stay used up.
    ///
    /// Returns what is to be told to the listeners.
    pub(crate) fn commit(&mut self, context: &Context<'_>, staged: &[Staged]) -> Result<Vec<Told>> {
        self.check_commit_conflicts(staged)?;
        let before = self.databases.clone();
        let mut told = Vec::new();
        for operation in staged {
            if let Err(error) = self.apply_staged(context, operation, &mut told) {
                self.restore(before);
                return Err(self.commit_error(error));
            }
        }
        Ok(told)
    }

    /// A row that was changed after an operation on it was staged is a conflict. What the client based the
    /// operation on is not known here.
    fn check_commit_conflicts(&self, staged: &[Staged]) -> Result<()> {
        for operation in staged.iter().filter(|operation| !operation.action.is_bulk()) {
            let row = self.table(&operation.place)?.row(&operation.row_id);
            if row.is_some_and(|row| row.updated_at > operation.staged_at) {
                return Err(ApiError::transaction_conflict());
            }
        }
        Ok(())
    }

    fn restore(&mut self, mut before: BTreeMap<String, Database>) {
        for (id, database) in &self.databases {
            for (table_id, table) in &database.tables {
                if let Some(old) = before
                    .get_mut(id)
                    .and_then(|database| database.tables.get_mut(table_id))
                {
                    old.keep_sequence_of(table);
                }
            }
        }
        self.databases = before;
    }

    fn commit_error(&self, error: ApiError) -> ApiError {
        if error.status == 409 && self.has(Quirk::StagedDuplicateIsConflict) {
            return ApiError::transaction_conflict();
        }
        self.named_for_documents(error)
    }

    fn apply_staged(
        &mut self,
        context: &Context<'_>,
        operation: &Staged,
        told: &mut Vec<Told>,
    ) -> Result<()> {
        let place = &operation.place;
        let bulk = operation.action.is_bulk();
        let (rows, change) = match operation.action {
            StagedAction::Create => (vec![self.commit_create(context, operation)?], Change::Create),
            StagedAction::Upsert => {
                let change = if self.has(Quirk::CommittedUpsertEventIsUpdate) {
                    Change::Update
                } else {
                    Change::Upsert
                };
                (self.commit_upsert(context, operation)?, change)
            }
            StagedAction::Update => {
                let incoming = Incoming::parse(&operation.row_data(), self.may_set_dates(context))?;
                let permissions = incoming.permissions.clone();
                let stamp = |machine: &mut Machine| machine.stamp(context.arrival);
                let patched = self.patch(place, &operation.row_id, &incoming, permissions, stamp)?;
                (vec![patched.row], Change::Update)
            }
            StagedAction::Delete => {
                let row = self.table_mut(place)?.take(&operation.row_id);
                (
                    vec![row.ok_or_else(|| ApiError::row_not_found(&operation.row_id))?],
                    Change::Delete,
                )
            }
            StagedAction::Increment | StagedAction::Decrement => {
                (vec![self.commit_step(context, operation)?], Change::Update)
            }
            StagedAction::BulkCreate => {
                let mut rows = Vec::new();
                let stamp = self.stamp(context.arrival);
                for data in rows_of(&operation.data) {
                    rows.push(self.create_one(context, place, "", &data, stamp)?);
                }
                (rows, Change::Create)
            }
            StagedAction::BulkUpsert => {
                let stored = self.upsert_many(context, place, &rows_of(&operation.data))?;
                (stored.into_iter().map(|(row, _)| row).collect(), Change::Upsert)
            }
            StagedAction::BulkUpdate => {
                let found = self.find_for_bulk(place, &operation.data)?;
                let data = Incoming::data_of(operation.data.get("data")).unwrap_or_default();
                (
                    self.update_many(context, place, &found, &data, None)?,
                    Change::Update,
                )
            }
            StagedAction::BulkDelete => {
                let found = self.find_for_bulk(place, &operation.data)?;
                for row in &found {
                    self.table_mut(place)?.take(&row.id);
                }
                (found, Change::Delete)
            }
        };
        if !bulk || !self.has(Quirk::CommittedBulkSendsNoEvent) {
            let origin = if bulk {
                EventOrigin::Bulk
            } else {
                EventOrigin::Committed
            };
            told.extend(rows.into_iter().map(|row| Told {
                place: place.clone(),
                row,
                change,
                origin,
            }));
        }
        Ok(())
    }

    fn commit_create(&mut self, context: &Context<'_>, operation: &Staged) -> Result<Row> {
        let stamp = self.stamp(context.arrival);
        self.create_one(
            context,
            &operation.place,
            &operation.row_id,
            &operation.row_data(),
            stamp,
        )
    }

    fn create_one(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        data: &Map<String, Value>,
        stamp: Timestamp,
    ) -> Result<Row> {
        let incoming = Incoming::parse(data, self.may_set_dates(context))?;
        let id = incoming
            .id
            .clone()
            .filter(|_| id.is_empty())
            .unwrap_or_else(|| id.to_owned());
        let id = if id.is_empty() || id == "unique()" {
            self.ids.next()
        } else {
            id
        };
        let permissions = incoming
            .permissions
            .clone()
            .unwrap_or_else(|| self.staged_permissions(context));
        self.insert(place, &id, &incoming, permissions, stamp)
    }

    fn staged_permissions(&self, context: &Context<'_>) -> Vec<String> {
        if self.has(Quirk::StagedRowsLackCreatorPermissions) {
            return Vec::new();
        }
        context.principal.default_permissions()
    }

    fn commit_upsert(&mut self, context: &Context<'_>, operation: &Staged) -> Result<Vec<Row>> {
        let place = &operation.place;
        let incoming = Incoming::parse(&operation.row_data(), self.may_set_dates(context))?;
        let id = match &incoming.id {
            Some(id) => id.clone(),
            None if self.has(Quirk::StagedUpsertNeedsIdInData) => self.ids.next(),
            None => operation.row_id.clone(),
        };
        let existing = self.table(place)?.row(&id).map(|row| row.permissions.clone());
        let permissions = incoming.permissions.clone().or(existing);
        let permissions = permissions.unwrap_or_else(|| self.staged_permissions(context));
        let stamp = self.stamp(context.arrival);
        let plan = plan_upsert(
            self.table(place)?,
            &self.quirks,
            &id,
            &incoming,
            permissions,
            None,
            stamp,
        )?;
        Ok(self
            .store_upserts(place, vec![plan])?
            .into_iter()
            .map(|(row, _)| row)
            .collect())
    }

    fn commit_step(&mut self, context: &Context<'_>, operation: &Staged) -> Result<Row> {
        let place = &operation.place;
        let row = self.table(place)?.row(&operation.row_id).cloned();
        let row = row.ok_or_else(|| ApiError::row_not_found(&operation.row_id))?;
        let column = operation
            .data
            .get("column")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let step = operation.data.get("value").cloned().unwrap_or(Value::from(1));
        let up = operation.action == StagedAction::Increment;
        let mut row = self.step_row(place, &row, column, up, &step, &operation.data)?;
        row.updated_at = self.stamp(context.arrival);
        self.table_mut(place)?.put(row.clone());
        Ok(row)
    }

    /// Sends the event of a committed operation, which shows the row as the whole transaction left it.
    pub(crate) fn tell_committed(&mut self, event: Told) {
        let mut row = event.row;
        if self.has(Quirk::CommittedPayloadDiffers)
            && event.change != Change::Delete
            && let Some(last) = self.table(&event.place).ok().and_then(|table| table.row(&row.id))
        {
            row = last.clone();
        }
        self.publish(&event.place, &row, event.change, event.origin);
    }
}

fn rows_of(data: &Value) -> Vec<Map<String, Value>> {
    let list = data.as_array();
    list.into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .cloned()
        .collect()
}
