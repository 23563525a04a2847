//! Values as they stand in the data API's filters.

/// A value within `in.(...)`, `or=(...)` or `and=(...)`: always in quotes, so that nothing in it is taken for syntax.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The operator `in` with its values: `in.("a","b")`.
pub(crate) fn in_list<'v>(values: impl IntoIterator<Item = &'v str>) -> String {
    let quoted: Vec<String> = values.into_iter().map(quoted).collect();
    format!("in.({})", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_syntax_elsewhere_is_text_within_quotes() {
        assert_eq!(
            in_list(["a", "b,c", "d\"e", "f)\\", "*:."]),
            r#"in.("a","b,c","d\"e","f)\\","*:.")"#
        );
    }
}
