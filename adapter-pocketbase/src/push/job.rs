//! One operation on its way: what is sent for it.

use sync_core::{
    ChangedFields, ErrorKind, JsonObject, OpKind, Payload, PushOp, PushOutcome, RemoteState, RemoteVersion,
    Result, SyncError, SyncScope, Timestamp,
};
use sync_http::Url;

use crate::{
    feed::{FIELD_BASE, FIELD_OP, FIELD_STAMP},
    filter,
    rows::{RowKind, Table, revision_of},
    wire::BatchRequest,
};

/// How often an operation without a base is sent again on what was written meanwhile.
pub(super) const MOST_TRIES: u32 = 5;

/// One operation on its way.
#[derive(Clone, Debug)]
pub(super) struct Job<'t> {
    /// The place of its outcome.
    pub(super) place: usize,
    pub(super) op: PushOp,
    pub(super) table: &'t Table,
    pub(super) row_id: String,
    /// The version it is sent on: its own base, or the one that was just read.
    pub(super) base: Option<RemoteVersion>,
    /// What is sent.
    pub(super) requests: Vec<BatchRequest>,
    pub(super) tries: u32,
}

/// What the server did with an operation's row.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) version: RemoteVersion,
    pub(super) record: Option<Payload>,
    pub(super) server_time: Option<Timestamp>,
}

impl<'t> Job<'t> {
    pub(super) fn new(place: usize, op: PushOp, table: &'t Table) -> Self {
        Self {
            place,
            row_id: table.row_id(op.key.scope(), &op.key.id),
            base: op.base.clone(),
            requests: Vec::new(),
            tries: 0,
            op,
            table,
        }
    }

    fn scope(&self) -> &SyncScope {
        self.op.key.scope()
    }

    /// Whether the record must be read before the operation is sent.
    ///
    /// The server cannot be told a scope together with a write, so an operation that names no version, and could
    /// meet a row of another scope, is made on one that was read in the scope. A plain server compares nothing,
    /// so there every change is compared here.
    pub(super) fn needs_reading(&self) -> bool {
        match (self.table.kind, self.op.kind) {
            (RowKind::Feed, OpKind::Create) => false,
            (RowKind::Feed, _) => self.base.is_none(),
            (RowKind::Plain, OpKind::Create) => self.table.mapping.soft_delete.is_some(),
            (RowKind::Plain, _) => true,
        }
    }

    /// Takes notice of the record's state, and makes what is to be sent.
    ///
    /// # Errors
    /// The outcome, if nothing is to be sent.
    pub(super) fn prepare(&mut self, current: Option<&RemoteState>) -> Result<(), PushOutcome> {
        let mut revive = false;
        if let Some(current) = current {
            let same = |base: &RemoteVersion| current.version() == Some(base);
            match (self.op.kind, current) {
                (OpKind::Create, RemoteState::Live(_)) => return Err(self.met(current)),
                (OpKind::Create, RemoteState::Deleted(_)) => revive = true,
                (OpKind::Create, _) => {}
                (_, RemoteState::Missing) => return Err(PushOutcome::Missing),
                (_, RemoteState::Deleted(_)) => return Err(self.met(current)),
                (_, RemoteState::Live(_)) if !self.op.base.as_ref().is_none_or(same) => {
                    return Err(self.met(current));
                }
                (_, RemoteState::Live(live)) => self.base = Some(live.version.clone()),
            }
        }
        self.requests = self
            .requests_for(current, revive)
            .map_err(|error| refused(&error))?;
        Ok(())
    }

    /// The outcome of an operation that met another state than it was made on.
    pub(super) fn met(&self, current: &RemoteState) -> PushOutcome {
        let same_content = self.op.kind == OpKind::Create
            && self.table.kind == RowKind::Plain
            && matches!((current.payload(), &self.op.payload), (Some(a), Some(b)) if a.same_content(b));
        if same_content {
            // A create whose answer was lost, or one that makes what is there: the same to everybody.
            return PushOutcome::Duplicate {
                version: current.version().cloned(),
            };
        }
        match current {
            RemoteState::Missing => PushOutcome::Missing,
            current => PushOutcome::Conflict {
                current: current.clone(),
            },
        }
    }

    fn requests_for(&self, current: Option<&RemoteState>, revive: bool) -> Result<Vec<BatchRequest>> {
        let rows = ["api", "collections", self.table.table_name(), "records"];
        let row = || rows.into_iter().chain([self.row_id.as_str()]);
        let columns = Some(self.table.columns.wanted()).filter(|columns| !columns.is_empty());
        let request = |method, url, body| BatchRequest { method, url, body };
        Ok(match self.op.kind {
            OpKind::Create => {
                let mut body = self
                    .table
                    .whole_body(self.scope(), &self.op.key.id, self.payload()?)?;
                self.add_feed_fields(&mut body);
                if revive {
                    vec![request("PATCH", path(row(), columns), Some(body))]
                } else {
                    vec![request("POST", path(rows, columns), Some(body))]
                }
            }
            OpKind::Update => {
                let mut body = self.changes(current)?;
                self.add_feed_fields(&mut body);
                vec![request("PATCH", path(row(), columns), Some(body))]
            }
            OpKind::Delete => match (self.table.kind, &self.table.mapping.soft_delete) {
                (RowKind::Plain, Some(column)) => {
                    let body = [(column.clone(), true.into())].into_iter().collect();
                    vec![request("PATCH", path(row(), columns), Some(body))]
                }
                (RowKind::Plain, None) => vec![request("DELETE", path(row(), None), None)],
                (RowKind::Feed, _) => vec![
                    request("POST", self.intent_path(), Some(self.intent()?)),
                    request("DELETE", path(row(), None), None),
                ],
            },
        })
    }

    fn payload(&self) -> Result<&Payload> {
        self.op
            .payload
            .as_ref()
            .ok_or_else(|| SyncError::invalid("payload", "the operation has none"))
    }

    /// The columns that an update changes.
    fn changes(&self, current: Option<&RemoteState>) -> Result<JsonObject> {
        let payload = self.payload()?;
        let ChangedFields::Only(fields) = &self.op.changed else {
            return self.table.content_body(payload, None);
        };
        if !self.table.writes_whole_records() {
            return self.table.content_body(payload, Some(fields));
        }
        // The payload is the whole record as it was on the base. On another state only its changes count.
        match current.and_then(RemoteState::payload) {
            Some(other) if self.op.base.is_none() => {
                let mut merged = other.to_object()?;
                let ours = payload.to_object()?;
                for field in fields {
                    match ours.get(field) {
                        Some(value) => merged.insert(field.clone(), value.clone()),
                        None => merged.remove(field),
                    };
                }
                self.table.content_body(&Payload::from_object(&merged), None)
            }
            _ => self.table.content_body(payload, None),
        }
    }

    fn add_feed_fields(&self, body: &mut JsonObject) {
        if self.table.kind == RowKind::Feed {
            body.insert(FIELD_BASE.to_owned(), revision_of(self.base.as_ref()).into());
            body.insert(FIELD_OP.to_owned(), self.op_id().into());
            body.insert(FIELD_STAMP.to_owned(), self.op.stamp.to_string().into());
        }
    }

    /// The operation's id as the feed keeps it.
    pub(super) fn op_id(&self) -> String {
        self.op.op_id.to_string()
    }

    fn intent_path(&self) -> String {
        path(
            ["api", "collections", &self.table.feed.ops(), "records"],
            Some("id"),
        )
    }

    /// What a delete cannot say itself, in the same transaction.
    fn intent(&self) -> Result<JsonObject> {
        let mut body = JsonObject::new();
        for (column, value) in filter::scope_columns(&self.table.mapping, self.scope())? {
            body.insert(column.to_owned(), value.into());
        }
        body.insert("id".to_owned(), self.op_id().into());
        body.insert("record".to_owned(), self.row_id.clone().into());
        body.insert("base".to_owned(), revision_of(self.base.as_ref()).into());
        body.insert("stamp".to_owned(), self.op.stamp.to_string().into());
        Ok(body)
    }

    /// What a plain server's answer to the last of the requests says.
    ///
    /// # Errors
    /// `Malformed` if it says nothing of the record.
    pub(super) fn written(&self, row: Option<&JsonObject>) -> Result<Written> {
        let Some(row) = row else {
            // Nothing is left of the row that could have a version.
            return Ok(Written {
                version: RemoteVersion::opaque(format!("deleted~{}", self.op.op_id)),
                record: None,
                server_time: None,
            });
        };
        let row = self.table.read(row);
        let (_, state) = row
            .record
            .map_err(|malformed| SyncError::new(ErrorKind::Malformed, malformed.error))?;
        let version = state
            .version()
            .cloned()
            .ok_or_else(|| SyncError::new(ErrorKind::Malformed, "the written row has no version"))?;
        let changed = match (state.payload(), &self.op.payload) {
            (Some(stored), Some(sent)) if !stored.same_content(sent) => Some(stored.clone()),
            _ => None,
        };
        Ok(Written {
            version,
            record: changed,
            server_time: state.server_time(),
        })
    }
}

/// The outcome of an operation that cannot be sent.
pub(super) fn refused(error: &SyncError) -> PushOutcome {
    PushOutcome::Rejected {
        code: error.code().unwrap_or("refused_before_sending").to_owned(),
        message: error.message().to_owned(),
        field: error.field().map(str::to_owned),
    }
}

/// A path of the API, escaped, with the columns to answer.
fn path<'p>(segments: impl IntoIterator<Item = &'p str>, fields: Option<&str>) -> String {
    let mut url = Url::parse("http://host").expect("a constant is a URL");
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    if let Some(fields) = fields {
        url.query_pairs_mut().append_pair("fields", fields);
    }
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
