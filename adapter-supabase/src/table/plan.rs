//! What an operation asks of its row: to be settled at once, to be made, or to be changed on a condition.
//!
//! Only the columns that change are sent. An upsert is never used: it overwrites what others wrote meanwhile.

use serde_json::Value;
use sync_core::{ChangedFields, JsonObject, OpKind, PushOp, PushOutcome, RemoteState};

use super::{place::Place, row::Row};

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing is to be sent.
    Settled(PushOutcome),
    /// The row is to be made with these columns.
    Insert(JsonObject),
    /// These columns are to be set if the row still has this version. `differs` tells whether they are known to change
    /// something.
    Update {
        columns: JsonObject,
        base: String,
        differs: bool,
    },
    /// The row is to be taken out if it still has this version.
    Remove { base: String },
}

/// The step of an operation that needs no look at the row; `None` if it needs one.
pub(super) fn plan_unseen(place: &Place<'_>, op: &PushOp) -> Option<Step> {
    let record = match checked_record(place, op) {
        Ok(record) => record,
        Err(refused) => return Some(Step::Settled(refused)),
    };
    match (op.kind, &op.changed, &op.base) {
        (OpKind::Create, _, None) => Some(Step::Insert(new_columns(place, op, record))),
        (OpKind::Update, ChangedFields::Only(fields), Some(base)) => {
            let columns = named_columns(place, &record, fields.iter());
            let base = base.token().to_owned();
            (!columns.is_empty()).then_some(Step::Update {
                columns,
                base,
                differs: true,
            })
        }
        (OpKind::Delete, _, Some(base)) => Some(removal(place, base.token())),
        _ => None,
    }
}

/// The step of an operation on a row as it was just read; `None` for a row that is not in the scope.
pub(super) fn plan(place: &Place<'_>, op: &PushOp, current: Option<&Row>) -> Step {
    let record = match checked_record(place, op) {
        Ok(record) => record,
        Err(refused) => return Step::Settled(refused),
    };
    let Some(row) = current else {
        return match op.kind {
            OpKind::Create => Step::Insert(new_columns(place, op, record)),
            OpKind::Update | OpKind::Delete => Step::Settled(PushOutcome::Missing),
        };
    };
    let is_on_base = op.base.as_ref().is_none_or(|base| *base == row.version());
    let update = |mut columns: JsonObject, fallback: Option<(&String, &Value)>| {
        let differs = !columns.is_empty();
        if !differs {
            // Written all the same, so that the write has a version of its own.
            let id = (place.mapping.id.clone(), op.key.id.as_str().into());
            columns.extend([fallback.map_or(id, |(column, value)| (column.clone(), value.clone()))]);
        }
        Step::Update {
            columns,
            base: row.updated_at.clone(),
            differs,
        }
    };
    let own = |column: &String| place.is_own(column);
    match (op.kind, row.deleted) {
        (OpKind::Create, true) if op.base.is_some() && is_on_base => {
            let mut columns = differing_columns(place, &record, row);
            columns.extend(
                place
                    .mapping
                    .soft_delete
                    .iter()
                    .map(|column| (column.clone(), Value::Null)),
            );
            update(columns, None)
        }
        (OpKind::Update, false) if is_on_base => {
            let columns = match &op.changed {
                ChangedFields::All => differing_columns(place, &record, row),
                ChangedFields::Only(fields) => named_columns(place, &record, fields.iter()),
            };
            update(columns, record.iter().find(|(column, _)| !own(column)))
        }
        (OpKind::Delete, false) if is_on_base => removal(place, &row.updated_at),
        (OpKind::Delete, true) if is_on_base => Step::Settled(PushOutcome::applied(row.version())),
        _ => Step::Settled(PushOutcome::Conflict { current: row.state() }),
    }
}

/// What a write that the project took means, by the row it answered.
pub(super) fn applied(op: &PushOp, row: &Row) -> PushOutcome {
    let (version, server_time) = (row.version(), Some(row.written));
    match (op.kind, row.deleted) {
        (OpKind::Delete, true) => PushOutcome::Applied {
            version,
            record: None,
            server_time,
        },
        (OpKind::Create | OpKind::Update, false) => {
            let stored = row.payload();
            let as_sent = op.payload.as_ref().is_some_and(|sent| sent.same_content(&stored));
            PushOutcome::Applied {
                version,
                record: (!as_sent).then_some(stored),
                server_time,
            }
        }
        // Someone deleted the row within the microsecond of the base, or brought it back.
        _ => PushOutcome::Conflict { current: row.state() },
    }
}

/// Whether a row that was read back shows what the operation makes of it.
pub(super) fn shows_effect(place: &Place<'_>, op: &PushOp, row: Option<&Row>) -> bool {
    let Some(row) = row else {
        return op.kind == OpKind::Delete;
    };
    let Ok(record) = checked_record(place, op) else {
        return false;
    };
    let moved = op.base.as_ref().is_none_or(|base| *base != row.version());
    let same = || match &op.changed {
        ChangedFields::Only(fields) if op.kind == OpKind::Update => {
            let wanted = named_columns(place, &record, fields.iter());
            wanted
                .iter()
                .all(|(column, value)| row.fields.get(column) == Some(value))
        }
        _ => differing_columns(place, &record, row).is_empty(),
    };
    moved && row.deleted == (op.kind == OpKind::Delete) && (row.deleted || same())
}

/// The record's fields, if all of them can be stored as they are.
fn checked_record(place: &Place<'_>, op: &PushOp) -> Result<JsonObject, PushOutcome> {
    let Some(payload) = &op.payload else {
        return Ok(JsonObject::new());
    };
    let refuse = |code: &str, field: &str, message: String| PushOutcome::Rejected {
        code: code.to_owned(),
        message,
        field: Some(field.to_owned()),
    };
    let mut record = match payload.to_object() {
        Ok(record) => record,
        Err(error) => return Err(refuse("invalid_record", "payload", error.message().to_owned())),
    };
    if let Some(id) = record.remove(&place.mapping.id)
        && super::row::id_text(&id).as_deref() != Some(op.key.id.as_str())
    {
        let why = format!("must be the record's id, and is {id}");
        return Err(refuse("invalid_id", &place.mapping.id, why));
    }
    for (column, value) in &place.scope {
        if let Some(found) = record.get(column)
            && super::row::id_text(found).as_deref() != Some(value)
        {
            let why = format!("must be {value:?} as in the scope, and is {found}");
            return Err(refuse("other_scope", column, why));
        }
    }
    if let Some((field, _)) = record.iter().find(|(_, value)| holds_nul(value)) {
        let why = "holds the character U+0000, which PostgreSQL cannot store".to_owned();
        return Err(refuse("22P05", field, why));
    }
    Ok(record)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

fn new_columns(place: &Place<'_>, op: &PushOp, record: JsonObject) -> JsonObject {
    let mut columns: JsonObject = record
        .into_iter()
        .filter(|(column, _)| !place.is_own(column))
        .collect();
    columns.insert(place.mapping.id.clone(), op.key.id.as_str().into());
    let scope = place.scope.iter();
    columns.extend(scope.map(|(column, value)| (column.clone(), value.as_str().into())));
    columns
}

/// Taking the row out, or marking it. The database reads `now` as the time of the transaction.
fn removal(place: &Place<'_>, base: &str) -> Step {
    let base = base.to_owned();
    match &place.mapping.soft_delete {
        None => Step::Remove { base },
        Some(column) => Step::Update {
            columns: JsonObject::from_iter([(column.clone(), "now".into())]),
            base,
            differs: true,
        },
    }
}

/// The named fields; one that the record lacks is set to null.
fn named_columns<'f>(
    place: &Place<'_>,
    record: &JsonObject,
    fields: impl Iterator<Item = &'f String>,
) -> JsonObject {
    fields
        .filter(|field| !place.is_own(field))
        .map(|field| (field.clone(), record.get(field).cloned().unwrap_or_default()))
        .collect()
}

/// The columns that differ from the record as a whole.
fn differing_columns(place: &Place<'_>, record: &JsonObject, row: &Row) -> JsonObject {
    let cleared = row.fields.keys().filter(|column| !record.contains_key(*column));
    let cleared = cleared.map(|column| (column, &Value::Null));
    record
        .iter()
        .chain(cleared)
        .filter(|(column, _)| !place.is_own(column))
        .filter(|(column, wanted)| row.fields.get(*column) != Some(*wanted))
        .map(|(column, wanted)| (column.clone(), wanted.clone()))
        .collect()
}

/// The state of a row, if there is one.
pub(super) fn state_of(row: Option<&Row>) -> RemoteState {
    row.map_or(RemoteState::Missing, Row::state)
}
