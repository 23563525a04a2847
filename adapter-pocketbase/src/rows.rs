//! Records as rows, and rows as records.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sync_core::{
    JsonObject, MalformedRow, Payload, RecordId, RemoteState, RemoteVersion, Result, Stamp, SyncError,
    SyncScope, Tombstone, Versioned,
};
use uuid::Uuid;

use crate::{
    config::{CollectionMapping, Content},
    feed::{FIELD_REV, FIELD_STAMP, FeedNames},
    filter, time_text,
};

/// The namespace of ids and hashes that are made here.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_41f2_9c53_4be0_8a1e_5d1b_7c2a_9e44);

/// How many characters PocketBase wants in an id.
const ID_CHARS: usize = 15;

/// Which kind of server the rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Plain,
    Feed,
}

/// One row, read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The id of the row.
    pub(crate) row_id: String,
    /// When it was last written, as the server writes it; empty if it does not tell.
    pub(crate) updated: String,
    /// The number of its last write; 0 without a feed.
    pub(crate) revision: i64,
    /// The record, or what is wrong with it.
    pub(crate) record: Result<(RecordId, RemoteState), MalformedRow>,
}

/// One collection of the app on one server.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) mapping: CollectionMapping,
    pub(crate) kind: RowKind,
    pub(crate) feed: FeedNames,
    pub(crate) columns: Columns,
}

/// The columns that are read.
///
/// The server takes twice as long to pick columns from rows as to send the rows whole. So it is asked to only if rows
/// turn out to be mostly something else.
#[derive(Debug)]
pub(crate) struct Columns {
    /// As the server takes them.
    names: String,
    picked: AtomicBool,
}

impl Columns {
    fn new(names: &[&str]) -> Self {
        Self {
            names: names.join(","),
            picked: AtomicBool::new(false),
        }
    }

    /// All of them, as the server takes them.
    pub(crate) fn names(&self) -> &str {
        &self.names
    }

    /// What to ask for; empty for whole rows.
    pub(crate) fn wanted(&self) -> &str {
        if self.picked.load(Ordering::Relaxed) {
            &self.names
        } else {
            ""
        }
    }

    /// Takes a look at the first of some rows.
    pub(crate) fn notice(&self, rows: &[JsonObject]) {
        let Some(row) = rows.first().filter(|_| !self.picked.load(Ordering::Relaxed)) else {
            return;
        };
        let is_read = |column: &str| self.names.split(',').any(|name| name == column);
        let (mut read, mut other) = (0, 0);
        for (column, value) in row {
            let size = value.to_string().len();
            *if is_read(column) { &mut read } else { &mut other } += size;
        }
        if other > read + ROW_BYTES {
            self.picked.store(true, Ordering::Relaxed);
        }
    }
}

/// More than the columns take that every row has.
const ROW_BYTES: usize = 200;

impl Table {
    pub(crate) fn new(mapping: CollectionMapping, kind: RowKind) -> Self {
        let feed = match &mapping.feed_prefix {
            Some(prefix) => FeedNames::new(prefix.clone()),
            None => FeedNames::of_collection(&mapping.table),
        };
        let mut columns = vec!["id", mapping.updated.as_str()];
        match &mapping.content {
            Content::Document { column } => columns.push(column),
            Content::Fields { fields, .. } => columns.extend(fields.keys().map(String::as_str)),
        }
        columns.extend(mapping.derived_ids.as_deref());
        match kind {
            RowKind::Plain => columns.extend(mapping.soft_delete.as_deref()),
            RowKind::Feed => columns.extend([FIELD_REV, FIELD_STAMP]),
        }
        Self {
            columns: Columns::new(&columns),
            feed,
            kind,
            mapping,
        }
    }

    /// The name of the PocketBase collection.
    pub(crate) fn table_name(&self) -> &str {
        &self.mapping.table
    }

    /// The column that holds the ids of records.
    pub(crate) fn id_column(&self) -> &str {
        self.mapping.derived_ids.as_deref().unwrap_or("id")
    }

    /// The id of a record's row.
    pub(crate) fn row_id(&self, scope: &SyncScope, id: &RecordId) -> String {
        if self.mapping.derived_ids.is_none() {
            return id.as_str().to_owned();
        }
        let name = format!("{}\u{0}{}\u{0}{}", self.mapping.name, scope.key(), id);
        let mut number = Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_u128();
        let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = String::with_capacity(ID_CHARS);
        for _ in 0..ID_CHARS {
            text.push(char::from(digits[(number % 36) as usize]));
            number /= 36;
        }
        text
    }

    /// The record's columns for a row that is made or replaced as a whole.
    ///
    /// # Errors
    /// `Invalid` naming the field that a column would not keep.
    pub(crate) fn whole_body(
        &self,
        scope: &SyncScope,
        id: &RecordId,
        payload: &Payload,
    ) -> Result<JsonObject> {
        let mut body = self.content_body(payload, None)?;
        for (column, value) in filter::scope_columns(&self.mapping, scope)? {
            body.insert(column.to_owned(), value.into());
        }
        body.insert("id".to_owned(), self.row_id(scope, id).into());
        if let Some(column) = &self.mapping.derived_ids {
            body.insert(column.clone(), id.as_str().into());
        }
        if self.kind == RowKind::Plain
            && let Some(column) = &self.mapping.soft_delete
        {
            body.insert(column.clone(), false.into());
        }
        Ok(body)
    }

    /// The record's columns for a change of some fields, or of all.
    ///
    /// # Errors
    /// As [`Table::whole_body`].
    pub(crate) fn content_body(
        &self,
        payload: &Payload,
        only: Option<&std::collections::BTreeSet<String>>,
    ) -> Result<JsonObject> {
        let mut body = JsonObject::new();
        match &self.mapping.content {
            Content::Document { column } => {
                body.insert(column.clone(), payload.as_str().into());
            }
            Content::Fields { id_field, fields } => {
                let record = payload.to_object()?;
                if let Some(unknown) = record
                    .keys()
                    .find(|field| *field != id_field && !fields.contains_key(*field))
                {
                    let why = "there is no column for it; name it in the collection's mapping";
                    return Err(SyncError::invalid(unknown.clone(), why));
                }
                for (field, kind) in fields {
                    if only.is_none_or(|only| only.contains(field)) {
                        body.insert(field.clone(), kind.to_column(field, record.get(field))?);
                    }
                }
            }
        }
        Ok(body)
    }

    /// Whether a change of some fields needs the rest of the record too.
    pub(crate) fn writes_whole_records(&self) -> bool {
        matches!(self.mapping.content, Content::Document { .. })
    }

    /// Reads a row.
    pub(crate) fn read(&self, row: &JsonObject) -> Row {
        let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default();
        let row_id = text("id").to_owned();
        let updated = text(&self.mapping.updated).to_owned();
        let revision = row.get(FIELD_REV).and_then(Value::as_i64).unwrap_or_default();
        let id = RecordId::new(text(self.id_column()));
        let state = self.state(row, &updated, revision, &row_id);
        let record = match (id, state) {
            (Ok(id), Ok(state)) => Ok((id, state)),
            (id, state) => {
                let error = match (&id, state) {
                    (Err(error), _) => error.to_string(),
                    (Ok(_), Err(why)) => why,
                    (Ok(_), Ok(_)) => String::new(),
                };
                Err(MalformedRow {
                    id: id.ok(),
                    raw: Value::Object(row.clone()).to_string(),
                    error,
                })
            }
        };
        Row {
            row_id,
            updated,
            revision,
            record,
        }
    }

    fn state(
        &self,
        row: &JsonObject,
        updated: &str,
        revision: i64,
        row_id: &str,
    ) -> Result<RemoteState, String> {
        let payload = self.payload(row, row_id)?;
        let server_time = time_text::parse(updated);
        let soft_deleted = self
            .mapping
            .soft_delete
            .as_ref()
            .filter(|_| self.kind == RowKind::Plain)
            .is_some_and(|column| row.get(column) == Some(&Value::Bool(true)));
        let version = match self.kind {
            RowKind::Feed => revision_version(revision),
            RowKind::Plain => plain_version(updated, &payload, soft_deleted),
        };
        if soft_deleted {
            return Ok(RemoteState::Deleted(Tombstone {
                version: Some(version),
                stamp: None,
                server_time,
            }));
        }
        let stamp = match self.kind {
            RowKind::Feed => stamp_of(row.get(FIELD_STAMP)),
            RowKind::Plain => None,
        };
        Ok(RemoteState::Live(
            Versioned::new(payload, version)
                .with_stamp(stamp)
                .with_server_time(server_time),
        ))
    }

    fn payload(&self, row: &JsonObject, row_id: &str) -> Result<Payload, String> {
        match &self.mapping.content {
            Content::Document { column } => {
                let text = row.get(column).and_then(Value::as_str);
                let text = text.ok_or_else(|| format!("the column `{column}` is not text"))?;
                Payload::parse(text).map_err(|error| format!("the column `{column}`: {error}"))
            }
            Content::Fields { id_field, fields } => {
                let mut record = JsonObject::new();
                let id = match &self.mapping.derived_ids {
                    Some(column) => row.get(column).cloned().unwrap_or_default(),
                    None => row_id.into(),
                };
                record.insert(id_field.clone(), id);
                for (field, kind) in fields {
                    let value = row
                        .get(field)
                        .ok_or_else(|| format!("there is no column `{field}`"))?;
                    let value = kind
                        .read_column(value)
                        .map_err(|why| format!("the column `{field}` is {why}"))?;
                    record.insert(field.clone(), value);
                }
                Ok(Payload::from_object(&record))
            }
        }
    }

    /// The record that a tombstone is of; `None` if it does not say.
    pub(crate) fn record_of_tombstone(&self, row: &JsonObject, row_id: &str) -> Option<RecordId> {
        match &self.mapping.derived_ids {
            Some(column) => RecordId::new(row.get(column)?.as_str()?).ok(),
            None => RecordId::new(row_id).ok(),
        }
    }

    /// Reads a tombstone of a feed.
    pub(crate) fn read_tombstone(row: &JsonObject) -> (String, i64, RemoteState) {
        let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default();
        let revision = row.get("seq").and_then(Value::as_i64).unwrap_or_default();
        let tombstone = Tombstone {
            version: Some(revision_version(revision)),
            stamp: stamp_of(row.get("stamp")),
            server_time: time_text::parse(text("at")),
        };
        (
            text("record").to_owned(),
            revision,
            RemoteState::Deleted(tombstone),
        )
    }
}

/// The version of a feed: the number of the write.
pub(crate) fn revision_version(revision: i64) -> RemoteVersion {
    RemoteVersion::ordered(revision.to_string(), revision)
}

/// The number that a version of a feed is; 0, which is any, for none.
pub(crate) fn revision_of(version: Option<&RemoteVersion>) -> i64 {
    version
        .and_then(|version| version.token().parse().ok())
        .unwrap_or_default()
}

/// The version of a plain row. Two writes of one millisecond have the same time, so the content is part of it.
/// Writes of one record may commit in another order than their times, so there is no order.
fn plain_version(updated: &str, payload: &Payload, deleted: bool) -> RemoteVersion {
    let name = format!("{deleted}{}", payload.as_str());
    let (hash, _) = Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_u64_pair();
    RemoteVersion::opaque(format!("{updated}~{hash:016x}"))
}

fn stamp_of(value: Option<&Value>) -> Option<Stamp> {
    value?.as_str()?.parse().ok()
}
