//! The writes to one row that single requests, bulk requests and transactions share.

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::machine::{Machine, Place};
use crate::operator::Operator;
use crate::quirk::{Quirk, Quirks};
use crate::row::{Incoming, Row};
use crate::schema::Table;
use crate::time::Timestamp;

/// A row that is ready to be stored, but for its sequence.
#[derive(Debug, Clone)]
pub(crate) enum Planned {
    /// A new row.
    Create(Row),
    /// A row with a new content.
    Replace(Row),
    /// A row that keeps its content.
    Keep(Row),
    /// A row that takes the place of the owner of a unique value.
    Overwrite {
        /// The row of the other, changed.
        owner: Row,
        /// The row as the answer pretends.
        shown: Row,
    },
}

impl Planned {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Keep(_))
    }
}

/// What a PATCH does to a row.
#[derive(Debug, Clone)]
pub(crate) struct Patched {
    pub(crate) row: Row,
    pub(crate) changed: bool,
}

impl Machine {
    /// The error of a violated unique index.
    pub(crate) fn unique_violation(&self, id: &str) -> ApiError {
        unique_violation(&self.quirks, id)
    }

    /// Uses up a sequence number for a write that does not keep one.
    pub(crate) fn burn_sequences(&mut self, place: &Place, count: usize) -> Result<()> {
        if self.has(Quirk::SequenceBurnedByOtherWrites) {
            self.table_mut(place)?.skip_sequences(count);
        }
        Ok(())
    }

    /// Stores a new row.
    pub(crate) fn insert(
        &mut self,
        place: &Place,
        id: &str,
        incoming: &Incoming,
        permissions: Vec<String>,
        stamp: Timestamp,
    ) -> Result<Row> {
        let mut row = plan_insert(self.table(place)?, id, incoming, permissions, stamp)?;
        let table = self.table(place)?;
        let refused = if table.row(id).is_some() {
            Some(ApiError::row_already_exists(id))
        } else {
            table
                .unique_owner(id, &row.data)
                .map(|_| self.unique_violation(id))
        };
        if let Some(error) = refused {
            self.burn_sequences(place, 1)?;
            return Err(error);
        }
        let table = self.table_mut(place)?;
        row.sequence = table.draw_sequence();
        table.put(row.clone());
        Ok(row)
    }

    /// What a PATCH would make of a row that exists. `id` is the spelling of the request.
    pub(crate) fn plan_patch(
        &self,
        place: &Place,
        id: &str,
        incoming: &Incoming,
        permissions: Option<Vec<String>>,
    ) -> Result<Patched> {
        let table = self.table(place)?;
        let before = table.row(id).ok_or_else(|| ApiError::row_not_found(id))?;
        let mut row = before.clone();
        row.permissions = permissions.unwrap_or_else(|| before.permissions.clone());
        let executes = self.has(Quirk::OperatorTextExecuted);
        let (resolved, operators) = resolve(&before.data, &incoming.columns, executes, before.updated_at)?;
        row.data.extend(table.accept_values(&resolved)?);
        let dates = incoming.updated_at.is_some() || incoming.created_at.is_some();
        let changed = dates || operators || row.data != before.data || row.permissions != before.permissions;
        if changed && table.unique_owner(id, &row.data).is_some() {
            return Err(self.unique_violation(id));
        }
        Ok(Patched { row, changed })
    }

    /// Changes a row that exists. `id` is the spelling of the request.
    pub(crate) fn patch(
        &mut self,
        place: &Place,
        id: &str,
        incoming: &Incoming,
        permissions: Option<Vec<String>>,
        stamp: impl FnOnce(&mut Machine) -> Timestamp,
    ) -> Result<Patched> {
        let mut patched = self.plan_patch(place, id, incoming, permissions)?;
        if patched.changed {
            let row = &mut patched.row;
            row.updated_at = incoming.updated_at.unwrap_or_else(|| stamp(self));
            row.created_at = incoming.created_at.unwrap_or(row.created_at);
            if self.has(Quirk::PatchRenamesIdCase) {
                row.id = id.to_owned();
            }
            self.table_mut(place)?.put(row.clone());
        }
        Ok(patched)
    }

    /// Stores planned upserts as one statement: it draws as many sequence numbers as it changes rows, and new
    /// rows take the first of them.
    ///
    /// Returns the rows as an answer shows them, beside whether they changed.
    pub(crate) fn store_upserts(&mut self, place: &Place, plans: Vec<Planned>) -> Result<Vec<(Row, bool)>> {
        let burns = self.has(Quirk::SequenceBurnedByOtherWrites);
        let changes = plans.iter().filter(|plan| plan.changes()).count();
        let table = self.table_mut(place)?;
        let mut sequences = burns.then(|| table.skip_sequences(changes));
        let mut stored = Vec::new();
        for plan in plans {
            let changed = plan.changes();
            let row = match plan {
                Planned::Create(mut row) => {
                    row.sequence = match &mut sequences {
                        Some(next) => {
                            *next += 1;
                            *next - 1
                        }
                        None => table.draw_sequence(),
                    };
                    table.put(row.clone());
                    row
                }
                Planned::Replace(row) => {
                    table.put(row.clone());
                    row
                }
                Planned::Keep(row) => row,
                Planned::Overwrite { owner, shown } => {
                    table.put(owner);
                    shown
                }
            };
            stored.push((row, changed));
        }
        Ok(stored)
    }
}

fn unique_violation(quirks: &Quirks, id: &str) -> ApiError {
    if quirks.has(Quirk::UniqueViolationIsAlreadyExists) {
        return ApiError::row_already_exists(id);
    }
    ApiError::new(
        409,
        "row_unique_constraint_violation",
        "A row with these unique values already exists.",
    )
}

/// A new row, checked against its table, without a sequence.
pub(crate) fn plan_insert(
    table: &Table,
    id: &str,
    incoming: &Incoming,
    permissions: Vec<String>,
    stamp: Timestamp,
) -> Result<Row> {
    let mut data = table.accept_row(&incoming.columns)?;
    table.fill(&mut data);
    Ok(Row {
        id: id.to_owned(),
        sequence: 0,
        created_at: incoming.created_at.unwrap_or(stamp),
        updated_at: incoming.updated_at.unwrap_or(stamp),
        permissions,
        data,
    })
}

/// What an upsert does. `earlier` is the row as it was read before the lock, if there was a wait.
pub(crate) fn plan_upsert(
    table: &Table,
    quirks: &Quirks,
    id: &str,
    incoming: &Incoming,
    permissions: Vec<String>,
    earlier: Option<Option<&Row>>,
    stamp: Timestamp,
) -> Result<Planned> {
    let current = table.row(id);
    let Some(existing) = current else {
        let row = plan_insert(table, id, incoming, permissions, stamp)?;
        let Some(owner) = table.unique_owner(id, &row.data) else {
            return Ok(Planned::Create(row));
        };
        if !quirks.has(Quirk::UpsertOverwritesUniqueOwner) {
            return Err(unique_violation(quirks, id));
        }
        let owner = Row {
            data: row.data.clone(),
            updated_at: row.updated_at,
            ..owner.clone()
        };
        return Ok(Planned::Overwrite { owner, shown: row });
    };
    let executes = quirks.has(Quirk::OperatorTextExecuted);
    let (resolved, _) = resolve(&existing.data, &incoming.columns, executes, stamp)?;
    let mut data = table.accept_row(&resolved)?;
    let complete = table.columns.iter().all(|column| data.contains_key(&column.key));
    let reads_early = quirks.has(Quirk::UpsertFillsFromEarlierRead);
    let source = earlier.flatten().filter(|_| reads_early).unwrap_or(existing);
    for (key, value) in &source.data {
        data.entry(key).or_insert_with(|| value.clone());
    }
    let same = data == existing.data && permissions == existing.permissions && incoming.updated_at.is_none();
    if same && (complete || !quirks.has(Quirk::PartialUpsertAlwaysWrites)) {
        return Ok(Planned::Keep(existing.clone()));
    }
    if table.unique_owner(id, &data).is_some() {
        return Err(unique_violation(quirks, id));
    }
    Ok(Planned::Replace(Row {
        id: id.to_owned(),
        sequence: existing.sequence,
        created_at: incoming.created_at.unwrap_or(existing.created_at),
        updated_at: incoming.updated_at.unwrap_or(stamp),
        permissions,
        data,
    }))
}

/// Puts the results of operators in the place of their texts; tells whether there were any.
fn resolve(
    current: &Map<String, Value>,
    columns: &Map<String, Value>,
    executes: bool,
    now: Timestamp,
) -> Result<(Map<String, Value>, bool)> {
    let mut resolved = Map::new();
    let mut found = false;
    for (key, value) in columns {
        let operator = Operator::parse(value).filter(|_| executes);
        let value = match operator {
            Some(operator) => {
                found = true;
                operator.apply(key, current.get(key).unwrap_or(&Value::Null), now)?
            }
            None => value.clone(),
        };
        resolved.insert(key.clone(), value);
    }
    Ok((resolved, found))
}
