//! Which ids and values Appwrite keeps as they are sent. What it would change in silence is refused here, by name.

use chrono::DateTime;
use serde_json::Value;
use sync_core::PushOutcome;

/// The longest id on the SQL back ends.
const MAX_ID_CHARS: usize = 36;

/// The names that Appwrite takes for operators when a text parses as `{"method": ...}`.
const OPERATORS: [&str; 20] = [
    "increment",
    "decrement",
    "multiply",
    "divide",
    "modulo",
    "power",
    "stringConcat",
    "stringReplace",
    "arrayAppend",
    "arrayPrepend",
    "arrayInsert",
    "arrayRemove",
    "arrayUnique",
    "arrayIntersect",
    "arrayDiff",
    "arrayFilter",
    "toggle",
    "dateAddDays",
    "dateSubDays",
    "dateSetNow",
];

/// Why something is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            field: field.into(),
            message: message.into(),
        }
    }

    pub(crate) fn into_outcome(self) -> PushOutcome {
        PushOutcome::Rejected {
            code: self.code.to_owned(),
            message: self.message,
            field: Some(self.field),
        }
    }
}

/// Refuses ids that the server refuses, or would take for others: on MariaDB `Ab` and `ab` are one row, and a
/// write to `aB` renames it.
pub(crate) fn check_id(id: &str) -> Result<(), Refusal> {
    let allowed = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "._-".contains(char);
    let starts_well = id.starts_with(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
    if starts_well && id.len() <= MAX_ID_CHARS && id.chars().all(allowed) {
        return Ok(());
    }
    let why = format!(
        "{id:?} cannot be a row's id: 1 to {MAX_ID_CHARS} characters of a-z 0-9 . _ - that begin with a letter or \
         digit, lower case only, since the server does not tell cases apart; a UUID or ULID in lower case fits"
    );
    Err(Refusal::new("invalid_id", "id", why))
}

/// Whether a row can have this id at all. Rows made by others may have capitals.
pub(crate) fn is_possible_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID_CHARS
        && id
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
}

/// Refuses values that no column holds, and texts that the server would execute.
pub(crate) fn check_value(field: &str, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Array(elements) => elements.iter().try_for_each(|element| match element {
            Value::Array(_) | Value::Object(_) => Err(no_column(field)),
            scalar => check_value(field, scalar),
        }),
        Value::Object(_) => Err(no_column(field)),
        Value::String(text) if is_operator(text) => Err(Refusal::new(
            "operator_text",
            field,
            "the text has the form of an Appwrite operator; the server would execute it instead of storing it",
        )),
        _ => Ok(()),
    }
}

fn no_column(field: &str) -> Refusal {
    Refusal::new(
        "nested_value",
        field,
        "a column holds a scalar or a list of scalars; store anything nested as a JSON text",
    )
}

/// Whether the server would execute this text on an update or a commit.
fn is_operator(text: &str) -> bool {
    if !text.contains("method") && !text.contains('\\') {
        return false;
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => fields
            .get("method")
            .and_then(Value::as_str)
            .is_some_and(|method| {
                OPERATORS
                    .iter()
                    .any(|operator| operator.eq_ignore_ascii_case(method))
            }),
        _ => false,
    }
}

/// Whether the server keeps both as the same value: numbers by value, times to the millisecond, an unset list and
/// an empty one alike.
pub(crate) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && a.is_f64() != b.is_f64())
        }
        (Value::String(a), Value::String(b)) => a == b || is_same_time(a, b),
        (Value::Null, Value::Array(list)) | (Value::Array(list), Value::Null) => list.is_empty(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (a, b) => a == b,
    }
}

fn is_same_time(a: &str, b: &str) -> bool {
    let millis = |text: &str| {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.timestamp_millis())
    };
    millis(a).is_some_and(|a| Some(a) == millis(b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_that_the_server_takes_for_others_are_refused() {
        let long = "a".repeat(37);
        for id in [
            "Ab", "_x", ".x", "-x", "a b", "a/b", "\u{e9}", "", &long, "$id", "unique()",
        ] {
            assert_eq!(check_id(id).unwrap_err().field, "id", "{id:?}");
        }
        let longest = "a".repeat(36);
        for id in [
            "a",
            "7",
            "r00001",
            "a.b_c-d",
            "0190a4c2-7b1e-7000-8000-0123456789ab",
            &longest,
        ] {
            assert_eq!(check_id(id), Ok(()), "{id:?}");
        }
        assert!(is_possible_id("Ab") && !is_possible_id("a/b") && !is_possible_id(&long));
    }

    #[test]
    fn texts_that_the_server_would_execute_are_refused() {
        for operator in OPERATORS {
            let text = json!({"method": operator, "values": [1]}).to_string();
            assert_eq!(check_value("title", &json!(text)).unwrap_err().field, "title");
            assert!(check_value("tags", &json!([text])).is_err());
        }
        for text in [
            " {\"values\":[], \"\\u006dethod\" : \"toggle\"}\n",
            "{\"method\":\"INCREMENT\"}",
        ] {
            assert!(check_value("title", &json!(text)).is_err(), "{text}");
        }
        for text in [
            "{\"method\":\"greet\"}",
            "{\"method\":1}",
            "the method: increment",
            "[{\"method\":\"increment\"}]",
            "{\"inner\":{\"method\":\"increment\"}}",
        ] {
            assert_eq!(check_value("title", &json!(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn nested_values_are_refused_by_name() {
        for value in [json!({"a": 1}), json!([[1]]), json!([{"a": 1}])] {
            assert_eq!(check_value("place", &value).unwrap_err().code, "nested_value");
        }
        for value in [
            json!(null),
            json!(true),
            json!(i64::MIN),
            json!(0.5),
            json!(["a", "b"]),
        ] {
            assert_eq!(check_value("place", &value), Ok(()));
        }
    }

    #[test]
    fn what_the_server_normalises_counts_as_the_same() {
        for (sent, kept) in [
            (
                json!("2026-01-02T03:04:05.678901Z"),
                json!("2026-01-02T03:04:05.678+00:00"),
            ),
            (json!(3), json!(3.0)),
            (json!(null), json!([])),
            (json!([3]), json!([3.0])),
        ] {
            assert!(same_value(&sent, &kept), "{sent} {kept}");
        }
        for (a, b) in [
            (
                json!("2026-01-02T03:04:05.678Z"),
                json!("2026-01-02T03:04:05.679Z"),
            ),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)),
            (json!(null), json!(0)),
            (json!(""), json!(null)),
        ] {
            assert!(!same_value(&a, &b), "{a} {b}");
        }
    }
}
