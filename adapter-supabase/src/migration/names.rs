//! Names of tables and columns, and texts, as they stand in SQL.

use sync_core::{Result, SyncError};

/// PostgreSQL cuts longer names, so two of them could become one.
const MAX_BYTES: usize = 63;

/// Checks a name of a schema, table or column.
pub(super) fn check_name(field: &str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "must not be empty"
    } else if name.len() > MAX_BYTES {
        "is longer than the 63 bytes that PostgreSQL keeps of a name"
    } else if name.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(SyncError::invalid(field, format!("the name {name:?} {problem}")))
}

/// A name in quotes, whatever it contains.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal, whatever it contains and however the server reads backslashes.
pub(super) fn literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''").replace('\\', "\\\\"));
    if text.contains('\\') {
        format!("E{quoted}")
    } else {
        quoted
    }
}

/// Texts as an array literal.
pub(super) fn text_array<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<_> = texts.into_iter().map(|text| literal(text)).collect();
    format!("array[{}]::text[]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_and_texts_do_not_end_them() {
        assert_eq!(
            quoted_name("a\"; drop table x; --"),
            "\"a\"\"; drop table x; --\""
        );
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(
            text_array([&"a".to_owned(), &"b'".to_owned()]),
            "array['a', 'b''']::text[]"
        );
    }

    #[test]
    fn names_that_postgresql_would_cut_are_refused() {
        assert!(check_name("table", &"x".repeat(63)).is_ok());
        for bad in ["", "a\nb", &"x".repeat(64)] {
            assert_eq!(
                check_name("table", bad).unwrap_err().field(),
                Some("table"),
                "{bad:?}"
            );
        }
    }
}
