//! Records that are marked as deleted and still exist.

use serde_json::Value;

use super::{filter::Filter, value::FilterValue};

/// Whether the value of a record's delete mark says that the record is deleted: it is neither missing, null,
/// `false` nor the empty text.
///
/// ```
/// use serde_json::json;
/// use sync_core::query::is_marked_deleted;
/// assert!(!is_marked_deleted(None) && !is_marked_deleted(Some(&json!(false))));
/// assert!(is_marked_deleted(Some(&json!("2030-01-01"))));
/// ```
pub fn is_marked_deleted(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// The filter that keeps the records whose mark `field` does not say deleted: the exact negation of
/// [`is_marked_deleted`].
pub fn not_marked_deleted(field: impl Into<String>) -> Filter {
    Filter::in_list(field, [FilterValue::Null, false.into(), "".into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RecordId, payload::Payload};

    #[test]
    fn the_mark_and_its_filter_agree() {
        let id = RecordId::new("r1").unwrap();
        for (payload, deleted) in [
            ("{}", false),
            (r#"{"gone":null}"#, false),
            (r#"{"gone":false}"#, false),
            (r#"{"gone":""}"#, false),
            (r#"{"gone":true}"#, true),
            (r#"{"gone":0}"#, true),
            (r#"{"gone":1700000000}"#, true),
            (r#"{"gone":" "}"#, true),
            (r#"{"gone":[]}"#, true),
            (r#"{"gone":{}}"#, true),
        ] {
            let fields = Payload::parse(payload).unwrap().to_object().unwrap();
            assert_eq!(is_marked_deleted(fields.get("gone")), deleted, "{payload}");
            assert_eq!(
                not_marked_deleted("gone").matches(&id, &fields).unwrap(),
                !deleted,
                "{payload}"
            );
        }
    }
}
