//! Fields of a payload in SQLite's JSON functions.

use sync_core::query::{FieldPath, FilterValue};

use crate::sql::Param;

/// A name as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A field of the JSON in `column` as one value that SQLite compares and sorts as the query language does.
/// Index and query write it the same way, or SQLite would not see that they match.
///
/// SQLite sorts null, numbers, texts, blobs. Null, numbers and texts are themselves. Booleans are two numbers below
/// all that a record may hold where SQL is asked (see [`super::is_regular`]); arrays and objects are the empty blob.
pub(crate) fn comparable(column: &str, path: &FieldPath) -> String {
    let path = json_path(path);
    comparable_of(&kind(column, &path), &value(column, &path))
}

/// As [`comparable`], for a column of an index; the id is its own column.
pub(crate) fn column(column: &str, path: &FieldPath) -> String {
    if path.is_id() {
        "id".to_owned()
    } else {
        comparable(column, path)
    }
}

/// The same of a JSON value whose type and value SQL knows already.
pub(super) fn comparable_of(kind: &str, value: &str) -> String {
    format!(
        "CASE {kind} WHEN 'false' THEN -9e999 WHEN 'true' THEN -1e300 WHEN 'array' THEN x'' WHEN 'object' THEN x'' \
         ELSE {value} END"
    )
}

/// Greater than both booleans, less than all numbers of records, as SQL and as a number.
pub(super) const BELOW_NUMBERS: &str = "-1e299";
const LEAST_NUMBER: f64 = -1e299;

/// An operand in the form of [`comparable`].
pub(super) fn comparable_operand(operand: &FilterValue) -> Param {
    match operand {
        FilterValue::Null => Param::Int(None),
        FilterValue::Bool(false) => Param::Float(f64::NEG_INFINITY),
        FilterValue::Bool(true) => Param::Float(-1e300),
        FilterValue::Int(operand) => (*operand).into(),
        // No number of a record lies below, so that nothing comes to be equal that was not.
        FilterValue::Float(operand) => operand.max(LEAST_NUMBER).into(),
        FilterValue::Text(operand) => operand.as_str().into(),
    }
}

/// The JSON type of the field at a [`json_path`] as a text; null if missing.
pub(crate) fn kind(column: &str, path: &str) -> String {
    ["json_type(", column, ", ", path, ")"].concat()
}

/// What SQL makes of the field at a [`json_path`].
pub(super) fn value(column: &str, path: &str) -> String {
    ["json_extract(", column, ", ", path, ")"].concat()
}

/// The path as an SQL text: `'$."address"."city"'`.
pub(crate) fn json_path(path: &FieldPath) -> String {
    let mut text = String::from("'$");
    for step in path.steps() {
        text.push_str(".\"");
        for c in step.chars() {
            match c {
                '"' | '\\' => text.push('\\'),
                '\'' => text.push('\''),
                _ => {}
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_quotes() {
        let path = FieldPath::new("a'b\"c\\d.e").expect("a valid path");
        assert_eq!(json_path(&path), r#"'$."a''b\"c\\d"."e"'"#);
        assert_eq!(quoted("x\"y"), "\"x\"\"y\"");
    }
}
