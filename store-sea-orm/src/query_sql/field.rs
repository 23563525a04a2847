//! Fields of a payload in SQLite's JSON functions.

use sync_core::query::FieldPath;

/// A name as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The value of a field of the JSON in `column`: a number, a text, 1 or 0 for a boolean, null if missing; arrays and
/// objects as JSON text. Index and query write it the same way, or SQLite would not see that they match.
pub(crate) fn value(column: &str, path: &FieldPath) -> String {
    format!("json_extract({column}, {})", json_path(path))
}

/// The JSON type of a field as a text; null if missing.
pub(crate) fn kind(column: &str, path: &FieldPath) -> String {
    format!("json_type({column}, {})", json_path(path))
}

/// The path as an SQL text: `'$."address"."city"'`.
pub(crate) fn json_path(path: &FieldPath) -> String {
    let mut text = String::from("$");
    for step in path.steps() {
        text.push_str(".\"");
        for c in step.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    format!("'{}'", text.replace('\'', "''"))
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
