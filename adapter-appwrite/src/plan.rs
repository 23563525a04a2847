//! What an operation asks of its row: to be settled at once, to be made, or to be changed on a condition.
//!
//! Only the columns that change are ever sent. An upsert is never used: it overwrites what others wrote meanwhile,
//! ignores the condition, and where a column is unique it overwrites another row.

use serde_json::Value;
use sync_core::{
    ChangedFields, JsonObject, OpKind, Payload, PushOp, PushOutcome, RemoteState, RemoteVersion, Timestamp,
};

use crate::{
    read::Found,
    row::{Row, RowVersion},
    table::Place,
    values::{Refusal, check_id, check_value, same_value},
};

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing is to be sent.
    Settled(PushOutcome),
    /// The row is to be made with these columns.
    Create(JsonObject),
    /// These columns are to be set if the row still has this version.
    Patch { columns: JsonObject, base: RowVersion },
}

/// The step of an operation that needs no look at the row; `None` if it needs one.
pub(crate) fn plan_unseen(place: &Place, op: &PushOp) -> Option<Step> {
    let record = match checked_record(place, op) {
        Ok(record) => record,
        Err(refusal) => return Some(Step::Settled(refusal.into_outcome())),
    };
    let base = op.base.as_ref().and_then(|base| RowVersion::read(base.token()));
    match (op.kind, &op.changed, base) {
        (OpKind::Create, ..) if op.base.is_none() => Some(Step::Create(new_columns(place, op, record))),
        (OpKind::Update, ChangedFields::Only(fields), Some(base)) => {
            let columns = named_columns(place, op, &record, fields.iter().map(String::as_str));
            (!columns.is_empty()).then_some(Step::Patch { columns, base })
        }
        (OpKind::Delete, _, Some(base)) => Some(Step::Patch {
            columns: deleting(place, op),
            base,
        }),
        _ => None,
    }
}

/// The step of an operation on a row as it was just read; `None` for a row that is proved not to be there.
pub(crate) fn plan(place: &Place, op: &PushOp, current: Option<&Found>) -> Step {
    let record = match checked_record(place, op) {
        Ok(record) => record,
        Err(refusal) => return Step::Settled(refusal.into_outcome()),
    };
    let row = match current {
        None if op.kind == OpKind::Create => return Step::Create(new_columns(place, op, record)),
        None => return Step::Settled(PushOutcome::Missing),
        Some(Err(unreadable)) => return Step::Settled(unreadable_row(&unreadable.error)),
        Some(Ok(row)) if !place.holds(row) => return Step::Settled(of_another_scope(op)),
        Some(Ok(row)) => row,
    };
    if place.op_of(row) == Some(op.op_id.to_string().as_str()) {
        // What the row is now may be more than this operation made of it, so the version is left out.
        return Step::Settled(PushOutcome::Duplicate { version: None });
    }
    let current = match place.state(row) {
        Ok(state) => state,
        Err(error) => return Step::Settled(unreadable_row(&error)),
    };
    let version = row_version(place, row);
    let is_on_base = op
        .base
        .as_ref()
        .is_none_or(|base| is_same_version(base, &version));
    let patch = |columns: JsonObject| {
        if columns.is_empty() {
            // Nothing differs, and the server refuses an empty write.
            return Step::Settled(applied(place, op, row));
        }
        let base = version.clone();
        Step::Patch { columns, base }
    };
    match (op.kind, &current) {
        (OpKind::Create, RemoteState::Deleted(_)) if op.base.is_some() && is_on_base => {
            let mut columns = differing_columns(place, op, &record, row);
            columns.insert(place.table.deleted_column.clone(), Value::Bool(false));
            patch(columns)
        }
        (OpKind::Update, RemoteState::Live(_)) if is_on_base => patch(match &op.changed {
            ChangedFields::All => differing_columns(place, op, &record, row),
            ChangedFields::Only(fields) if place.table.document_column.is_some() => {
                // The other fields stay as they are, also where the operation names no state it was made on.
                let current = place
                    .payload(row)
                    .ok()
                    .and_then(|current| current.to_object().ok());
                let mut merged = current.unwrap_or_default();
                for field in fields {
                    match record.get(field) {
                        Some(value) => merged.insert(field.clone(), value.clone()),
                        None => merged.remove(field),
                    };
                }
                named_columns(place, op, &merged, std::iter::empty())
            }
            ChangedFields::Only(fields) => {
                named_columns(place, op, &record, fields.iter().map(String::as_str))
            }
        }),
        (OpKind::Delete, _) if is_on_base => patch(deleting(place, op)),
        _ => Step::Settled(PushOutcome::Conflict { current }),
    }
}

/// What a write that the server took means, by the row it answered.
pub(crate) fn applied(place: &Place, op: &PushOp, row: &Row) -> PushOutcome {
    let version = place.version(row);
    let server_time = Some(Timestamp::from_millis(row.updated_at));
    match (op.kind, place.state(row)) {
        (OpKind::Delete, Ok(RemoteState::Deleted(_))) => PushOutcome::Applied {
            version,
            record: None,
            server_time,
        },
        (OpKind::Create | OpKind::Update, Ok(RemoteState::Live(live))) => {
            let as_sent = op
                .payload
                .as_ref()
                .is_some_and(|sent| sent.same_content(&live.record));
            PushOutcome::Applied {
                version,
                record: (!as_sent).then_some(live.record),
                server_time,
            }
        }
        // Someone deleted the row within the millisecond of the base, or brought it back.
        (_, Ok(current)) => PushOutcome::Conflict { current },
        (_, Err(error)) => unreadable_row(&error),
    }
}

/// Whether a row that was read back shows what the operation makes of it: by name where the table keeps that, else
/// by content.
pub(crate) fn shows_effect(place: &Place, op: &PushOp, row: &Row) -> bool {
    if place.table.op_column.is_some() {
        return place.op_of(row) == Some(op.op_id.to_string().as_str());
    }
    let Ok(record) = checked_record(place, op) else {
        return false;
    };
    let moved = op
        .base
        .as_ref()
        .is_none_or(|base| !is_same_version(base, &row_version(place, row)));
    let deleted = place.is_deleted(row).unwrap_or(false);
    let same_content = || differing_columns(place, op, &record, row).is_empty();
    moved && deleted == (op.kind == OpKind::Delete) && (deleted || same_content())
}

pub(crate) fn row_version(place: &Place, row: &Row) -> RowVersion {
    RowVersion {
        updated_at: row.updated_at,
        op: place.op_of(row).map(str::to_owned),
    }
}

/// A version without an operation is of a time when the table had no column for it.
fn is_same_version(base: &RemoteVersion, version: &RowVersion) -> bool {
    RowVersion::read(base.token()).is_some_and(|base| {
        base.updated_at == version.updated_at && (base.op.is_none() || base.op == version.op)
    })
}

fn unreadable_row(error: &str) -> PushOutcome {
    Refusal::new(
        "unreadable_row",
        "row",
        format!("the row at the server cannot be read: {error}"),
    )
    .into_outcome()
}

fn of_another_scope(op: &PushOp) -> PushOutcome {
    match op.kind {
        OpKind::Create => Refusal::new(
            "id_taken",
            "id",
            "a row of another scope has this id; ids are unique in a table",
        )
        .into_outcome(),
        OpKind::Update | OpKind::Delete => PushOutcome::Missing,
    }
}

/// The record's fields, if all of them can be stored as they are.
fn checked_record(place: &Place, op: &PushOp) -> Result<JsonObject, Refusal> {
    check_id(op.key.id.as_str())?;
    let Some(payload) = &op.payload else {
        return Ok(JsonObject::new());
    };
    let mut record = payload
        .to_object()
        .map_err(|error| Refusal::new("invalid_record", "payload", error.message()))?;
    let table = &place.table;
    if table.document_column.is_some() {
        check_value("record", &payload.as_str().into())?;
        return Ok(record);
    }
    if let Some(id) = record.remove(&table.id_field)
        && id.as_str() != Some(op.key.id.as_str())
    {
        let why = format!("must be the record's id as a text, and is {id}");
        return Err(Refusal::new("invalid_id", &table.id_field, why));
    }
    for (column, value) in &place.scope {
        if table.shows_scope_columns
            && let Some(found) = record.remove(column)
            && found.as_str() != Some(value)
        {
            let why = format!("must be {value:?} as in the scope, and is {found}");
            return Err(Refusal::new("other_scope", column, why));
        }
    }
    // A field that is not sent may hold what others wrote.
    let is_sent = |field: &str| match &op.changed {
        ChangedFields::Only(fields) if op.kind == OpKind::Update => fields.contains(field),
        _ => true,
    };
    for (field, value) in record.iter().filter(|(field, _)| is_sent(field)) {
        if field.starts_with('$') || table.hides(field) {
            let why =
                "is a name of the server's or the adapter's own; name the field or the column otherwise";
            return Err(Refusal::new("reserved_name", field, why));
        }
        check_value(field, value)?;
    }
    Ok(record)
}

fn new_columns(place: &Place, op: &PushOp, record: JsonObject) -> JsonObject {
    let mut record = match &place.table.document_column {
        Some(column) => document(column, &record),
        None => record,
    };
    for (column, value) in &place.scope {
        record.insert(column.clone(), value.as_str().into());
    }
    record.insert(place.table.deleted_column.clone(), Value::Bool(false));
    sign(place, op, &mut record);
    record
}

/// The one column of a record that is kept whole.
fn document(column: &str, record: &JsonObject) -> JsonObject {
    JsonObject::from_iter([(column.to_owned(), Payload::from_object(record).as_str().into())])
}

fn deleting(place: &Place, op: &PushOp) -> JsonObject {
    let mut columns = JsonObject::new();
    columns.insert(place.table.deleted_column.clone(), Value::Bool(true));
    sign(place, op, &mut columns);
    columns
}

/// The named fields; one that the record lacks is set to null.
fn named_columns<'f>(
    place: &Place,
    op: &PushOp,
    record: &JsonObject,
    fields: impl Iterator<Item = &'f str>,
) -> JsonObject {
    if let Some(column) = &place.table.document_column {
        // The record is as it shall be afterwards, made on the state that the condition names.
        let mut columns = document(column, record);
        sign(place, op, &mut columns);
        return columns;
    }
    let is_scope = |field: &str| place.scope.iter().any(|(column, _)| column == field);
    let mut columns: JsonObject = fields
        .filter(|field| *field != place.table.id_field && !is_scope(field))
        .map(|field| (field.to_owned(), record.get(field).cloned().unwrap_or_default()))
        .collect();
    sign(place, op, &mut columns);
    columns
}

/// The columns that differ from the record as a whole.
fn differing_columns(place: &Place, op: &PushOp, record: &JsonObject, row: &Row) -> JsonObject {
    if let Some(column) = &place.table.document_column {
        let same = op
            .payload
            .as_ref()
            .zip(place.payload(row).ok())
            .is_some_and(|(a, b)| a.same_content(&b));
        let mut columns = if same {
            JsonObject::new()
        } else {
            document(column, record)
        };
        sign(place, op, &mut columns);
        return columns;
    }
    let is_scope = |field: &str| place.scope.iter().any(|(column, _)| column == field);
    let cleared = row
        .columns
        .keys()
        .filter(|column| !place.table.hides(column) && !is_scope(column) && !record.contains_key(*column))
        .map(|column| (column, &Value::Null));
    let mut columns: JsonObject = record
        .iter()
        .chain(cleared)
        .filter(|(column, wanted)| {
            let current = row.columns.get(*column).unwrap_or(&Value::Null);
            !same_value(current, wanted) || !row.columns.contains_key(*column)
        })
        .map(|(column, wanted)| (column.clone(), wanted.clone()))
        .collect();
    sign(place, op, &mut columns);
    columns
}

/// Names the operation in the row that it writes.
fn sign(place: &Place, op: &PushOp, columns: &mut JsonObject) {
    if let Some(column) = &place.table.op_column {
        columns.insert(column.clone(), op.op_id.to_string().into());
    }
}
