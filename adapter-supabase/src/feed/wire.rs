//! What the feed's functions take and answer.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sync_core::{
    ChangedFields, CollectionName, MalformedRow, OpId, OpKind, Payload, PushOp, RecordId, RemoteState,
    RemoteVersion, Stamp, Timestamp, Tombstone, Versioned,
};

/// The answer of `sync_status`.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) format: u32,
    #[serde(deserialize_with = "micros")]
    pub(crate) now: Timestamp,
    pub(crate) max_page: u32,
    pub(crate) max_push: u32,
    pub(crate) collections: BTreeMap<CollectionName, CollectionStatus>,
}

/// What the feed says of a collection.
#[derive(Debug, Deserialize)]
pub(crate) struct CollectionStatus {
    pub(crate) id: String,
}

/// The arguments of `sync_pull`. What there is not is not sent.
#[derive(Debug, Serialize)]
pub(crate) struct PullArguments<'a> {
    pub(crate) p_scope: &'a str,
    pub(crate) p_collection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p_cursor: Option<&'a str>,
    pub(crate) p_limit: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) p_holds_nothing: bool,
}

/// The answer of `sync_pull`.
#[derive(Debug, Deserialize)]
pub(crate) struct PullAnswer {
    pub(crate) cursor: String,
    pub(crate) more: bool,
    pub(crate) first: bool,
    #[serde(deserialize_with = "micros")]
    pub(crate) now: Timestamp,
    pub(crate) changes: Vec<Box<RawValue>>,
}

/// The arguments of `sync_get`.
#[derive(Debug, Serialize)]
pub(crate) struct GetArguments<'a> {
    pub(crate) p_scope: &'a str,
    pub(crate) p_collection: &'a str,
    pub(crate) p_ids: &'a [RecordId],
}

/// The answer of `sync_get`.
#[derive(Debug, Deserialize)]
pub(crate) struct GetAnswer {
    pub(crate) states: Vec<Option<Box<RawValue>>>,
}

/// The arguments of `sync_list_ids`.
#[derive(Debug, Serialize)]
pub(crate) struct ListArguments<'a> {
    pub(crate) p_scope: &'a str,
    pub(crate) p_collection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p_after: Option<&'a str>,
    pub(crate) p_limit: u32,
}

/// The answer of `sync_list_ids`.
#[derive(Debug, Deserialize)]
pub(crate) struct ListAnswer {
    pub(crate) ids: Vec<(String, String)>,
    pub(crate) next: Option<String>,
}

/// The arguments of `sync_push`.
#[derive(Debug, Serialize)]
pub(crate) struct PushArguments<'a> {
    pub(crate) p_scope: &'a str,
    pub(crate) p_ops: Vec<Operation<'a>>,
    pub(crate) p_atomic: bool,
}

/// One operation as it is sent.
#[derive(Debug, Serialize)]
pub(crate) struct Operation<'a> {
    op: OpId,
    kind: OpKind,
    collection: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<&'a str>>,
    stamp: Stamp,
}

impl<'a> Operation<'a> {
    pub(crate) fn of(op: &'a PushOp) -> Self {
        Self {
            op: op.op_id,
            kind: op.kind,
            collection: op.key.target.collection.as_str(),
            id: op.key.id.as_str(),
            base: op.base.as_ref().map(base_of),
            row: op.payload.as_ref(),
            fields: match (&op.changed, op.kind) {
                (ChangedFields::Only(fields), OpKind::Update) => {
                    Some(fields.iter().map(String::as_str).collect())
                }
                _ => None,
            },
            stamp: op.stamp,
        }
    }
}

/// The version to be met. One that is not of the feed, such as one from before there was a feed, is met by no record.
fn base_of(version: &RemoteVersion) -> &str {
    match read_version(version.token()) {
        Some(_) => version.token(),
        None => "0",
    }
}

/// The answer of `sync_push`.
#[derive(Debug, Deserialize)]
pub(crate) struct PushAnswer {
    pub(crate) results: Vec<OperationResult>,
}

/// What became of one operation.
#[derive(Debug, Deserialize)]
pub(crate) struct OperationResult {
    pub(crate) op: OpId,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// See the table in the migrations' README.
#[derive(Debug, Deserialize)]
#[serde(tag = "st", rename_all = "snake_case")]
pub(crate) enum Outcome {
    Applied {
        v: String,
        at: i64,
        #[serde(default)]
        row: Option<serde_json::Value>,
    },
    Duplicate {
        v: String,
    },
    Conflict {
        #[serde(default)]
        current: Option<serde_json::Value>,
    },
    Missing,
    Rejected {
        code: String,
        #[serde(default)]
        msg: String,
        #[serde(default)]
        field: Option<String>,
    },
    Retry {
        #[serde(default)]
        msg: String,
    },
}

/// A state as it comes.
#[derive(Debug, Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    v: Cow<'a, str>,
    at: i64,
    #[serde(borrow, default)]
    stamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    row: Option<&'a RawValue>,
}

/// Reads one state.
///
/// # Errors
/// The row as it came, if it is not one, or holds what no record can.
pub(crate) fn read_state(raw: &RawValue) -> Result<(RecordId, RemoteState), MalformedRow> {
    let malformed = |id: Option<RecordId>, error: String| MalformedRow {
        id,
        raw: raw.get().to_owned(),
        error,
    };
    let state: State<'_> =
        serde_json::from_str(raw.get()).map_err(|error| malformed(None, error.to_string()))?;
    let id = RecordId::new(state.id).map_err(|error| malformed(None, error.message().to_owned()))?;
    let version = read_version(&state.v).ok_or_else(|| {
        malformed(
            Some(id.clone()),
            format!("the version `{}` is not a number", state.v),
        )
    })?;
    // A stamp that is not ours was set by nobody who takes part in the order of stamps.
    let stamp = state.stamp.and_then(|stamp| stamp.parse().ok());
    let server_time = Some(Timestamp::from_micros(state.at));
    let read = match state.row {
        None => RemoteState::Deleted(Tombstone {
            version: Some(version),
            stamp,
            server_time,
        }),
        Some(row) => {
            let payload = Payload::parse(row.get())
                .map_err(|error| malformed(Some(id.clone()), error.message().to_owned()))?;
            RemoteState::Live(
                Versioned::new(payload, version)
                    .with_stamp(stamp)
                    .with_server_time(server_time),
            )
        }
    };
    Ok((id, read))
}

/// A version: the decimal text of a number that grows.
pub(crate) fn read_version(text: &str) -> Option<RemoteVersion> {
    let order = text.parse().ok()?;
    Some(RemoteVersion::ordered(text, order))
}

fn micros<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    i64::deserialize(deserializer).map(Timestamp::from_micros)
}
