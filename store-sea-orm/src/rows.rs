//! How operations and remote states lie in columns.

use sync_core::{
    OpKind, OpState, OpStateKind, ParkReason, Payload, PendingOp, RecordId, RecordKey, RemoteState,
    RemoteVersion, Result, Stamp, Tombstone, Versioned,
};

use crate::{
    error::corrupt,
    row::{ReadRow, counter, json},
    sql::{Param, Sql},
};

/// The columns of an operation after `seq`, in the order of [`op_values`]. `target_id` comes first.
pub(crate) const OP_COLUMNS: &str = "target_id, id, op_id, kind, state, state_detail, blocked_by, attempts, \
     next_attempt_at, enqueued_at, schema_version, stamp, group_id, changed, base, last_failure, payload";

/// The same columns as they are read, with `seq` first.
pub(crate) const OP_SELECT: &str = "o.seq, o.target_id, o.id, o.op_id, o.kind, o.state, o.state_detail, \
     o.blocked_by, o.attempts, o.next_attempt_at, o.enqueued_at, o.schema_version, o.stamp, o.group_id, o.changed, \
     o.base, o.last_failure, o.payload";

/// The values of an operation for [`OP_COLUMNS`].
pub(crate) fn op_values(target_number: i64, op: &PendingOp) -> Result<Vec<Param>> {
    let (detail, blocked_by) = match &op.state {
        OpState::Parked(reason) => (Some(json("op.state", reason)?), None),
        OpState::Blocked { by } => (None, Some(by.as_uuid())),
        OpState::Queued | OpState::InDoubt | OpState::Deferred => (None, None),
    };
    Ok(vec![
        target_number.into(),
        op.key.id.as_str().into(),
        op.op_id.into(),
        op.kind.as_str().into(),
        op.state.kind().as_str().into(),
        detail.into(),
        blocked_by.into(),
        op.attempts.into(),
        op.next_attempt_at.into(),
        op.enqueued_at.into(),
        op.schema_version.into(),
        op.stamp.to_string().into(),
        op.group.into(),
        Some(json("op.changed", &op.changed)?).into(),
        op.base
            .as_ref()
            .map(|base| json("op.base", base))
            .transpose()?
            .into(),
        op.last_failure
            .as_ref()
            .map(|failure| json("op.last_failure", failure))
            .transpose()?
            .into(),
        op.payload.as_ref().into(),
    ])
}

/// How many columns [`OP_SELECT`] has.
pub(crate) const OP_WIDTH: usize = 18;

/// Reads an operation of this record from the columns of [`OP_SELECT`], which start at `first`.
pub(crate) fn read_op(row: &impl ReadRow, first: usize, key: RecordKey) -> Result<PendingOp> {
    let at = |offset: usize| first + offset;
    let state = match row.parse(at(5), op_state_kind)? {
        OpStateKind::Queued => OpState::Queued,
        OpStateKind::InDoubt => OpState::InDoubt,
        OpStateKind::Deferred => OpState::Deferred,
        OpStateKind::Parked => {
            let reason: Option<ParkReason> = row.opt_json(at(6))?;
            OpState::Parked(reason.ok_or_else(|| corrupt("a parked operation has no reason"))?)
        }
        OpStateKind::Blocked => OpState::Blocked {
            by: row.op_id(at(7))?,
        },
    };
    Ok(PendingOp {
        seq: row.count(at(0))?,
        key,
        op_id: row.op_id(at(3))?,
        kind: row.parse(at(4), op_kind)?,
        state,
        attempts: row.small_count(at(8))?,
        next_attempt_at: row.time(at(9))?,
        enqueued_at: row.time(at(10))?,
        schema_version: row.small_count(at(11))?,
        stamp: row.parse(at(12), |text| text.parse().ok())?,
        group: row.opt_uuid(at(13))?,
        changed: row
            .opt_json(at(14))?
            .ok_or_else(|| corrupt("an operation does not say what it changes"))?,
        base: row.opt_json(at(15))?,
        last_failure: row.opt_json(at(16))?,
        payload: row.opt_record(at(17))?,
    })
}

fn op_kind(text: &str) -> Option<OpKind> {
    [OpKind::Create, OpKind::Update, OpKind::Delete]
        .into_iter()
        .find(|kind| kind.as_str() == text)
}

/// The state kind with this name.
pub(crate) fn op_state_kind(text: &str) -> Option<OpStateKind> {
    OpStateKind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// Reads a record's id.
pub(crate) fn read_id(row: &impl ReadRow, column: usize) -> Result<RecordId> {
    known_id(row.text(column)?)
}

/// An id as the database has it.
pub(crate) fn known_id(text: String) -> Result<RecordId> {
    RecordId::new(text).map_err(|error| corrupt(format!("a record's id cannot be read: {error}")))
}

/// The columns of a remote state, as they are named in the records table.
#[derive(Clone, Debug)]
pub(crate) struct BaseColumns {
    pub(crate) kind: i64,
    pub(crate) version_token: Option<String>,
    pub(crate) version_order: Option<i64>,
    pub(crate) stamp: Option<String>,
    pub(crate) server_time: Option<i64>,
}

/// The numbers of the kinds of remote states.
const MISSING: i64 = 0;
pub(crate) const LIVE: i64 = 1;
pub(crate) const DELETED: i64 = 2;

/// The number of the state's kind.
pub(crate) fn kind_of(state: &RemoteState) -> i64 {
    match state {
        RemoteState::Missing => MISSING,
        RemoteState::Live(_) => LIVE,
        RemoteState::Deleted(_) => DELETED,
    }
}

impl BaseColumns {
    pub(crate) fn of(state: &RemoteState) -> Self {
        let version = state.version();
        Self {
            kind: kind_of(state),
            version_token: version.map(|version| version.token().to_owned()),
            version_order: version.and_then(RemoteVersion::order),
            stamp: state.stamp().map(|stamp| stamp.to_string()),
            server_time: state.server_time().map(|time| time.as_micros()),
        }
    }
}

/// The columns that [`read_base`] reads.
pub(crate) const BASE_SELECT: &str =
    "r.base_kind, r.version_token, r.version_order, r.base_stamp, r.base_time, r.base_payload";

/// Reads a remote state from the columns of [`BASE_SELECT`], which start at `first`. A live state without a payload
/// of its own has that of the view.
pub(crate) fn read_base(row: &impl ReadRow, first: usize, view: Option<&Payload>) -> Result<RemoteState> {
    let version = read_version(row, first + 1)?;
    let stamp = row
        .opt_text(first + 3)?
        .map(|text| text.parse::<Stamp>().map_err(|error| corrupt(error.to_string())))
        .transpose()?;
    let server_time = row.opt_time(first + 4)?;
    match row.int(first)? {
        MISSING => Ok(RemoteState::Missing),
        LIVE => {
            let own = row.opt_record(first + 5)?;
            let record = own
                .or_else(|| view.cloned())
                .ok_or_else(|| corrupt("a live record has no content"))?;
            let version = version.ok_or_else(|| corrupt("a live record has no version"))?;
            Ok(RemoteState::Live(
                Versioned::new(record, version)
                    .with_stamp(stamp)
                    .with_server_time(server_time),
            ))
        }
        DELETED => Ok(RemoteState::Deleted(Tombstone {
            version,
            stamp,
            server_time,
        })),
        other => Err(corrupt(format!("{other} is no kind of remote state"))),
    }
}

/// Reads a version from its columns for token and order.
pub(crate) fn read_version(row: &impl ReadRow, first: usize) -> Result<Option<RemoteVersion>> {
    Ok(match (row.opt_text(first)?, row.opt_int(first + 1)?) {
        (Some(token), Some(order)) => Some(RemoteVersion::ordered(token, order)),
        (Some(token), None) => Some(RemoteVersion::opaque(token)),
        (None, _) => None,
    })
}

/// Appends the assignment list `column = ?, ...` for the columns of [`OP_COLUMNS`].
pub(crate) fn assign_op(sql: &mut Sql, values: Vec<Param>) {
    for (index, (column, value)) in OP_COLUMNS.split(", ").zip(values).enumerate() {
        if index > 0 {
            sql.push(", ");
        }
        sql.push(column.trim()).push(" = ").bind(value);
    }
}

/// A revision or mark as the database keeps it.
pub(crate) fn revision(value: u64) -> Result<i64> {
    counter("revision", value)
}
