//! Values in columns: what PocketBase keeps as it is, and the refusal of everything else.
//!
//! PocketBase turns what does not fit into something else, in silence: null into an empty text, `"abc"` into the
//! number 0, large integers into their neighbours. So each value is checked here before it is sent.

use serde_json::Value;
use sync_core::{Result, SyncError, Timestamp};

use crate::time_text;

/// The largest integer that a double holds together with both its neighbours.
const LARGEST_EXACT: u64 = 1 << 53;

/// What the column of a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// A text that is never null or missing: `text`, `email`, `url`, `editor`, a required single `select` or
    /// `relation`.
    Text,
    /// A text that may be null or missing, which PocketBase holds as the empty text. The empty text itself is
    /// refused. Also for optional single `select`s and `relation`s.
    OptionalText,
    /// A number: any double, integers up to 2^53. Never null.
    Number,
    /// True or false, never null.
    Bool,
    /// A time as text, `2026-01-02T03:04:05.678Z`, to the millisecond; or null. A `date` column.
    Time,
    /// A time as integer microseconds since 1970, in whole milliseconds; or null. A `date` column.
    TimeMicros,
    /// A `json` column: null, bools, numbers as above, arrays and objects. A text alone is refused where
    /// PocketBase would read JSON in it.
    Json,
    /// An array of different texts: a multiple `select` or `relation`. Missing and null are refused.
    List,
}

impl FieldKind {
    /// The value to send for a record's field. `None` if the record lacks it.
    ///
    /// # Errors
    /// `Invalid` naming the field, if the column would not keep the value.
    pub(crate) fn to_column(self, field: &str, value: Option<&Value>) -> Result<Value> {
        let value = value.unwrap_or(&Value::Null);
        self.checked(value).map_err(|why| SyncError::invalid(field, why))
    }

    fn checked(self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::OptionalText | Self::Time | Self::TimeMicros, Value::Null) => Ok("".into()),
            (Self::Json, Value::Null) => Ok(Value::Null),
            (_, Value::Null) => Err("null or missing cannot be held by this column".to_owned()),
            (Self::OptionalText, Value::String(text)) if text.is_empty() => {
                Err("the empty text cannot be told from null in this column".to_owned())
            }
            (Self::Text | Self::OptionalText, Value::String(_)) | (Self::Bool, Value::Bool(_)) => {
                Ok(value.clone())
            }
            (Self::Number, Value::Number(_)) => exact_numbers(value).map(|()| value.clone()),
            (Self::Time, Value::String(text)) => time_to_column(text),
            (Self::TimeMicros, Value::Number(number)) => number
                .as_i64()
                .filter(|micros| micros % 1_000 == 0)
                .and_then(|micros| time_text::format(Timestamp::from_micros(micros)))
                .map(Value::from)
                .ok_or_else(|| "must be whole milliseconds, in microseconds since 1970".to_owned()),
            (Self::Json, value) => json_to_column(value).map(|()| value.clone()),
            (Self::List, Value::Array(items)) => list_to_column(items).map(|()| value.clone()),
            (kind, _) => Err(format!("a value of another type than the column's ({kind:?})")),
        }
    }

    /// The record's value for what the column holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read_column(self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::OptionalText | Self::Time | Self::TimeMicros, Value::String(text)) if text.is_empty() => {
                Ok(Value::Null)
            }
            (Self::Time, Value::String(text)) => time_text::parse(text)
                .map(|_| text.replacen(' ', "T", 1).into())
                .ok_or_else(|| "not a time".to_owned()),
            (Self::TimeMicros, Value::String(text)) => time_text::parse(text)
                .map(|time| time.as_micros().into())
                .ok_or_else(|| "not a time".to_owned()),
            (Self::Text | Self::OptionalText, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::List, Value::Array(_))
            | (Self::Json, _) => Ok(value.clone()),
            (kind, _) => Err(format!("of another type than {kind:?}")),
        }
    }
}

fn time_to_column(text: &str) -> Result<Value, String> {
    let own_form = text.replacen('T', " ", 1);
    if text.contains('T') && time_text::parse(&own_form).is_some() {
        Ok(own_form.into())
    } else {
        Err("must have the form 2026-01-02T03:04:05.678Z".to_owned())
    }
}

/// Refuses numbers that a double does not hold, at any depth.
fn exact_numbers(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => {
            let too_large = number
                .as_i64()
                .map(i64::unsigned_abs)
                .or(number.as_u64())
                .is_some_and(|size| size > LARGEST_EXACT);
            if too_large {
                return Err(format!(
                    "{number} is beyond 2^53, where PocketBase changes integers"
                ));
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(exact_numbers),
        Value::Object(fields) => fields.values().try_for_each(exact_numbers),
        _ => Ok(()),
    }
}

fn json_to_column(value: &Value) -> Result<(), String> {
    if let Value::String(text) = value {
        let trimmed = text.trim();
        let looks_like_json = trimmed.starts_with(['{', '[', '"', '-'])
            || trimmed.starts_with(|first: char| first.is_ascii_digit())
            || ["true", "false", "null"].contains(&trimmed);
        if looks_like_json {
            return Err("PocketBase would read JSON in this text; use a text column".to_owned());
        }
    }
    exact_numbers(value)
}

fn list_to_column(items: &[Value]) -> Result<(), String> {
    for (place, item) in items.iter().enumerate() {
        if item.as_str().is_none_or(str::is_empty) {
            return Err("must hold texts that are not empty".to_owned());
        }
        if items[..place].contains(item) {
            return Err(format!("holds {item} twice, of which PocketBase keeps one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_column_keeps_comes_back_as_it_was() {
        for (kind, value) in [
            (FieldKind::Text, json!("")),
            (FieldKind::Text, json!("a\u{0}\u{1F980}")),
            (FieldKind::OptionalText, json!(null)),
            (FieldKind::OptionalText, json!("x")),
            (FieldKind::Number, json!(9_007_199_254_740_992_u64)),
            (FieldKind::Number, json!(-0.1)),
            (FieldKind::Bool, json!(false)),
            (FieldKind::Time, json!("2026-01-02T03:04:05.678Z")),
            (FieldKind::Time, json!(null)),
            (FieldKind::TimeMicros, json!(1_500_000)),
            (FieldKind::TimeMicros, json!(null)),
            (FieldKind::Json, json!({"a": [1, "5", null]})),
            (FieldKind::Json, json!("plain words")),
            (FieldKind::List, json!(["b", "a"])),
        ] {
            let column = kind.to_column("f", Some(&value)).unwrap();
            assert_eq!(kind.read_column(&column).unwrap(), value, "{kind:?}");
        }
    }

    #[test]
    fn what_the_server_would_change_is_refused_by_the_name_of_the_field() {
        for (kind, value) in [
            (FieldKind::Text, json!(null)),
            (FieldKind::Text, json!(5)),
            (FieldKind::OptionalText, json!("")),
            (FieldKind::Number, json!(null)),
            (FieldKind::Number, json!("5")),
            (FieldKind::Number, json!(9_007_199_254_740_993_u64)),
            (FieldKind::Number, json!(i64::MIN)),
            (FieldKind::Bool, json!(null)),
            (FieldKind::Time, json!("2026-01-02 03:04:05.678Z")),
            (FieldKind::Time, json!("2026-01-02T03:04:05.678901Z")),
            (FieldKind::Time, json!("garbage")),
            (FieldKind::TimeMicros, json!(1_500_001)),
            (FieldKind::Json, json!("5")),
            (FieldKind::Json, json!("{\"a\":1}")),
            (FieldKind::Json, json!({"deep": [9_007_199_254_740_993_u64]})),
            (FieldKind::List, json!(["a", "a"])),
            (FieldKind::List, json!(null)),
        ] {
            let error = kind.to_column("f", Some(&value)).unwrap_err();
            assert_eq!(error.field(), Some("f"), "{kind:?} {value}");
        }
        assert!(FieldKind::Number.to_column("f", None).is_err());
    }
}
