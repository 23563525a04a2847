//! A row as the data API answers it, and the record in it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use sync_core::{
    JsonObject, MalformedRow, Payload, RecordId, RemoteState, RemoteVersion, Timestamp, Tombstone, Versioned,
};

use crate::table_mapping::SupabaseTable;

/// A row that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) id: RecordId,
    /// As the server wrote it: its version.
    pub(super) updated_at: String,
    pub(super) written: Timestamp,
    pub(super) deleted: bool,
    /// What the record holds.
    pub(super) fields: JsonObject,
}

impl Row {
    /// # Errors
    /// The row as it came, if it is none of a record's.
    pub(super) fn read(mapping: &SupabaseTable, row: JsonObject) -> Result<Self, MalformedRow> {
        let id = row.get(&mapping.id).and_then(id_text);
        let id = id.and_then(|text| RecordId::new(text).ok());
        let malformed = |id: Option<RecordId>, error: String, row: JsonObject| MalformedRow {
            id,
            raw: Value::Object(row).to_string(),
            error,
        };
        let Some(id) = id else {
            let why = format!("the column `{}` holds nothing that can be an id", mapping.id);
            return Err(malformed(None, why, row));
        };
        let updated_at = row.get(&mapping.updated_at).and_then(Value::as_str);
        let read = updated_at.and_then(|text| Some((text.to_owned(), read_time(text)?)));
        let Some((updated_at, written)) = read else {
            let why = format!("the column `{}` holds no time with a zone", mapping.updated_at);
            return Err(malformed(Some(id), why, row));
        };
        let mut fields = row;
        let deleted = mapping
            .soft_delete
            .as_ref()
            .and_then(|column| fields.remove(column));
        if !mapping.columns.is_empty() && !mapping.columns.contains_key(&mapping.updated_at) {
            fields.remove(&mapping.updated_at);
        }
        Ok(Self {
            id,
            updated_at,
            written,
            deleted: deleted.is_some_and(|at| !at.is_null()),
            fields,
        })
    }

    pub(super) fn version(&self) -> RemoteVersion {
        RemoteVersion::opaque(self.updated_at.as_str())
    }

    pub(super) fn payload(&self) -> Payload {
        Payload::from_object(&self.fields)
    }

    pub(super) fn state(&self) -> RemoteState {
        let (version, server_time) = (self.version(), Some(self.written));
        if self.deleted {
            return RemoteState::Deleted(Tombstone {
                version: Some(version),
                stamp: None,
                server_time,
            });
        }
        RemoteState::Live(Versioned::new(self.payload(), version).with_server_time(server_time))
    }
}

/// The text of an id: of a text or uuid column, or of a column of integers.
pub(crate) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// Reads a time with its zone.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_micros(time.timestamp_micros()))
}

/// Whether a text is a time as the database writes it in UTC: other texts of the same moment equal nothing that it
/// writes.
pub(crate) fn is_canonical_time(text: &str) -> bool {
    read_time(text).is_some_and(|time| {
        let written = write_time(time);
        let (moment, zone) = written.split_at(written.len() - "+00:00".len());
        let moment = moment.trim_end_matches('0').trim_end_matches('.');
        // What is trimmed off a moment without a fraction is put back.
        let seconds = "2026-11-21T07:36:47".len();
        let moment = if moment.len() < seconds {
            &written[..seconds]
        } else {
            moment
        };
        text == format!("{moment}{zone}")
    })
}

/// A time as filters take it.
pub(super) fn write_time(time: Timestamp) -> String {
    let time = DateTime::<Utc>::from_timestamp_micros(time.as_micros()).unwrap_or(DateTime::UNIX_EPOCH);
    time.to_rfc3339_opts(SecondsFormat::Micros, false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: &SupabaseTable, row: Value) -> Result<Row, MalformedRow> {
        let Value::Object(row) = row else {
            panic!("an object")
        };
        Row::read(table, row)
    }

    #[test]
    fn a_row_holds_the_record_its_version_and_whether_it_is_deleted() {
        let table = SupabaseTable::new("todos").with_soft_delete("deleted_at");
        let time = "2026-11-21T07:36:47.135001+00:00";
        let row = read(
            &table,
            json!({"id": 7, "title": "a", "updated_at": time, "deleted_at": null}),
        )
        .unwrap();
        assert_eq!((row.id.as_str(), row.deleted), ("7", false));
        assert_eq!(row.version().token(), time);
        assert_eq!(row.payload().to_object().unwrap()["title"], "a");
        assert!(!row.fields.contains_key("deleted_at"));
        assert_eq!(write_time(row.written), time);
        let gone = read(&table, json!({"id": "x", "updated_at": time, "deleted_at": time})).unwrap();
        assert!(matches!(gone.state(), RemoteState::Deleted(_)));
    }

    #[test]
    fn only_times_as_the_database_writes_them_are_canonical() {
        for text in [
            "2026-11-21T07:36:47+00:00",
            "2026-11-21T07:36:40+00:00",
            "2026-11-21T07:30:00+00:00",
            "2026-11-21T07:36:47.13+00:00",
            "2026-11-21T07:36:47.000001+00:00",
        ] {
            assert!(is_canonical_time(text), "{text}");
        }
        for text in [
            "2026-11-21T07:36:47Z",
            "2026-11-21T07:36:47.10+00:00",
            "2026-11-21T08:36:47+01:00",
            "2026-11-21T07:36:47.0000001+00:00",
            "2026-11-21",
        ] {
            assert!(!is_canonical_time(text), "{text}");
        }
    }

    #[test]
    fn a_row_without_an_id_or_a_time_is_kept_as_it_came() {
        let table = SupabaseTable::new("todos");
        for (row, id) in [
            (
                json!({"id": null, "updated_at": "2026-11-21T07:36:47+00:00"}),
                None,
            ),
            (json!({"id": "x", "updated_at": "infinity"}), Some("x")),
            (json!({"id": "x", "updated_at": null}), Some("x")),
            (json!({"id": "x"}), Some("x")),
        ] {
            let malformed = read(&table, row.clone()).unwrap_err();
            assert_eq!(malformed.id.as_ref().map(RecordId::as_str), id, "{row}");
            assert_eq!(serde_json::from_str::<Value>(&malformed.raw).unwrap(), row);
        }
    }
}
