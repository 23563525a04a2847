//! A row as Appwrite answers it.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sync_core::JsonObject;

/// The number of a row in the order of insertion: an integer up to Appwrite 1.8, a text from 1.9. It is only
/// ever sent back as it came; the server compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sequence {
    Number(i64),
    Text(String),
}

impl Sequence {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// A row, with the server's own fields apart from the columns of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) sequence: Sequence,
    /// Milliseconds since the Unix epoch.
    pub(crate) updated_at: i64,
    pub(crate) columns: JsonObject,
}

/// A row that cannot be read, with what could be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnreadableRow {
    pub(crate) id: Option<String>,
    pub(crate) raw: String,
    pub(crate) error: String,
}

impl Row {
    /// Reads a row.
    pub(crate) fn read(value: Value) -> Result<Self, UnreadableRow> {
        let raw = value.to_string();
        let id = value["$id"].as_str().map(str::to_owned);
        let refuse = |error: String| UnreadableRow {
            id: id.clone(),
            raw: raw.clone(),
            error,
        };
        let Value::Object(mut fields) = value else {
            return Err(refuse("the row is not a JSON object".to_owned()));
        };
        let Some(id) = id.clone() else {
            return Err(refuse("`$id` is missing or no text".to_owned()));
        };
        let sequence = match fields.get("$sequence") {
            Some(Value::Number(number)) if number.is_i64() => number.as_i64().map(Sequence::Number),
            Some(Value::String(text)) if !text.is_empty() => Some(Sequence::Text(text.clone())),
            _ => None,
        };
        let Some(sequence) = sequence else {
            return Err(refuse("`$sequence` is neither an integer nor a text".to_owned()));
        };
        let Some(updated_at) = fields
            .get("$updatedAt")
            .and_then(Value::as_str)
            .and_then(read_time)
        else {
            return Err(refuse("`$updatedAt` is not a time".to_owned()));
        };
        fields.retain(|name, _| !name.starts_with('$'));
        Ok(Self {
            id,
            sequence,
            updated_at,
            columns: fields,
        })
    }
}

/// Reads a time with its zone, to the millisecond: what is finer is cut, as the server does.
pub(crate) fn read_time(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis())
}

/// A time as the server writes it.
pub(crate) fn write_time(millis: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH);
    time.to_rfc3339_opts(SecondsFormat::Millis, false)
}

/// The version of a row: its `$updatedAt`, and the operation that wrote it last where the table keeps that.
///
/// `$updatedAt` alone does not tell two writes of one millisecond apart, and does not move at all when nothing
/// changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowVersion {
    pub(crate) updated_at: i64,
    pub(crate) op: Option<String>,
}

impl RowVersion {
    /// Reads a version back; `None` if it is none of ours.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let (time, op) = match token.split_once('~') {
            Some((time, op)) => (time, Some(op.to_owned())),
            None => (token, None),
        };
        Some(Self {
            updated_at: read_time(time)?,
            op,
        })
    }
}

impl fmt::Display for RowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_time(self.updated_at))?;
        match &self.op {
            Some(op) => write!(f, "~{op}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(sequence: Value) -> Value {
        json!({
            "title": "a", "count": 0, "tags": [], "body": null, "deleted": false,
            "$id": "r1", "$sequence": sequence, "$permissions": [],
            "$createdAt": "2026-11-21T07:36:47.135+00:00", "$updatedAt": "2026-11-21T07:36:47.135+00:00",
            "$databaseId": "db1", "$tableId": "notes",
        })
    }

    #[test]
    fn both_forms_of_the_sequence_are_read_and_sent_back_as_they_came() {
        for sequence in [json!(1), json!("1")] {
            let row = Row::read(recorded(sequence.clone())).unwrap();
            assert_eq!(row.sequence.to_value(), sequence);
            assert_eq!(row.updated_at, 1_795_246_607_135);
            assert_eq!(row.columns.len(), 5);
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_says_why_and_keeps_its_id() {
        for (field, value) in [
            ("$sequence", json!("")),
            ("$sequence", json!(1.5)),
            ("$updatedAt", json!("yesterday")),
            ("$updatedAt", json!(null)),
        ] {
            let mut raw = recorded(json!("1"));
            raw[field] = value;
            let unreadable = Row::read(raw).unwrap_err();
            assert_eq!(unreadable.id.as_deref(), Some("r1"));
            assert!(unreadable.error.contains(field), "{}", unreadable.error);
        }
        let mut nameless = recorded(json!("1"));
        nameless["$id"] = json!(7);
        assert_eq!(Row::read(nameless).unwrap_err().id, None);
        assert!(Row::read(json!([1])).is_err());
    }

    #[test]
    fn versions_read_back_as_they_were_written() {
        for op in [None, Some("018f-op".to_owned())] {
            let version = RowVersion {
                updated_at: 1_795_246_607_135,
                op,
            };
            assert_eq!(RowVersion::read(&version.to_string()), Some(version));
        }
        assert_eq!(RowVersion::read("v1"), None);
        assert_eq!(write_time(1_795_246_607_135), "2026-11-21T07:36:47.135+00:00");
    }
}
