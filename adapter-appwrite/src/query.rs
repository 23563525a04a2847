//! Appwrite's query language, as far as this adapter speaks it.
//!
//! Each query is a JSON text `{"method","attribute","values"}` in one `queries[]` parameter. Only the methods below
//! are ever sent: `cursorAfter` skips rows that change between pages, and `offset` repeats and skips.

use serde_json::{Value, json};

use crate::row::{Sequence, write_time};

/// The longest query text the server accepts, in characters.
pub(crate) const MAX_QUERY_CHARS: usize = 4_096;

/// The most values in one query.
pub(crate) const MAX_QUERY_VALUES: usize = 500;

/// The most queries in one request.
pub(crate) const MAX_QUERIES: usize = 100;

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query(Value);

impl Query {
    fn on(method: &str, attribute: &str, values: Vec<Value>) -> Self {
        Self(json!({"method": method, "attribute": attribute, "values": values}))
    }

    pub(crate) fn equal(attribute: &str, values: Vec<Value>) -> Self {
        Self::on("equal", attribute, values)
    }

    pub(crate) fn not_equal(attribute: &str, value: Value) -> Self {
        Self::on("notEqual", attribute, vec![value])
    }

    pub(crate) fn less_than(attribute: &str, value: Value) -> Self {
        Self::on("lessThan", attribute, vec![value])
    }

    pub(crate) fn less_than_equal(attribute: &str, value: Value) -> Self {
        Self::on("lessThanEqual", attribute, vec![value])
    }

    pub(crate) fn greater_than(attribute: &str, value: Value) -> Self {
        Self::on("greaterThan", attribute, vec![value])
    }

    pub(crate) fn greater_than_equal(attribute: &str, value: Value) -> Self {
        Self::on("greaterThanEqual", attribute, vec![value])
    }

    pub(crate) fn is_null(attribute: &str) -> Self {
        Self::on("isNull", attribute, Vec::new())
    }

    pub(crate) fn starts_with(attribute: &str, prefix: &str) -> Self {
        Self::on("startsWith", attribute, vec![prefix.into()])
    }

    pub(crate) fn contains(attribute: &str, part: &str) -> Self {
        Self::on("contains", attribute, vec![part.into()])
    }

    fn joined(method: &str, parts: Vec<Query>) -> Self {
        let values: Vec<Value> = parts.into_iter().map(|part| part.0).collect();
        Self(json!({"method": method, "values": values}))
    }

    /// Both or more hold.
    pub(crate) fn and(parts: Vec<Query>) -> Self {
        Self::joined("and", parts)
    }

    /// At least one of two or more holds.
    pub(crate) fn or(parts: Vec<Query>) -> Self {
        Self::joined("or", parts)
    }

    pub(crate) fn order_asc(attribute: &str) -> Self {
        Self::on("orderAsc", attribute, Vec::new())
    }

    pub(crate) fn limit(rows: u32) -> Self {
        Self(json!({"method": "limit", "values": [rows]}))
    }

    /// Only these columns, besides the server's own fields, which always come.
    pub(crate) fn select(columns: &[&str]) -> Self {
        Self(json!({"method": "select", "values": columns}))
    }

    /// What comes after a row in the order of `$updatedAt` and then `$sequence`.
    pub(crate) fn after_update(updated_at: i64, sequence: &Sequence) -> Self {
        let time = write_time(updated_at);
        Self::or(vec![
            Self::greater_than("$updatedAt", time.as_str().into()),
            Self::and(vec![
                Self::equal("$updatedAt", vec![time.as_str().into()]),
                Self::greater_than("$sequence", sequence.to_value()),
            ]),
        ])
    }

    /// Whether the server takes a text of this length.
    pub(crate) fn fits(&self) -> bool {
        self.text().chars().count() <= MAX_QUERY_CHARS
    }

    /// The text to send.
    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_have_the_recorded_form() {
        let value: Value = serde_json::from_str(&Query::equal("$id", vec!["a".into()]).text()).unwrap();
        assert_eq!(
            value,
            json!({"method": "equal", "attribute": "$id", "values": ["a"]})
        );
        let value: Value = serde_json::from_str(&Query::limit(500).text()).unwrap();
        assert_eq!(value, json!({"method": "limit", "values": [500]}));
        let after = Query::after_update(1_795_247_014_558, &Sequence::Text("24".into()));
        let value: Value = serde_json::from_str(&after.text()).unwrap();
        let time = "2026-11-21T07:43:34.558+00:00";
        assert_eq!(
            value,
            json!({"method": "or", "values": [
                {"method": "greaterThan", "attribute": "$updatedAt", "values": [time]},
                {"method": "and", "values": [
                    {"method": "equal", "attribute": "$updatedAt", "values": [time]},
                    {"method": "greaterThan", "attribute": "$sequence", "values": ["24"]},
                ]},
            ]})
        );
    }

    #[test]
    fn the_longest_query_is_known() {
        assert!(Query::contains("title", &"a".repeat(4_000)).fits());
        assert!(!Query::contains("title", &"a".repeat(4_096)).fits());
    }
}
