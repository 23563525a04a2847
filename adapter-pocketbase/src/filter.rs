//! Filters in PocketBase's language.

use sync_core::{ErrorKind, Result, SyncError, SyncScope};

use crate::config::CollectionMapping;

/// Below the server's limits of 3,500 characters and 200 expressions, with room for the rest of the filter.
const IDS_CHARS: usize = 2_500;
const IDS_TERMS: usize = 100;

/// A text as a literal.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `column` has this text.
pub(crate) fn equals(column: &str, text: &str) -> String {
    format!("{column} = {}", quote(text))
}

/// Every part holds; parts that are empty say nothing.
pub(crate) fn all<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [single] => (*single).to_owned(),
        _ => parts
            .iter()
            .map(|part| format!("({part})"))
            .collect::<Vec<_>>()
            .join(" && "),
    }
}

/// The records of a scope; empty if the collection has no scope fields.
///
/// # Errors
/// `Configuration` naming the key, if the scope has not exactly the keys that are mapped.
pub(crate) fn of_scope(mapping: &CollectionMapping, scope: &SyncScope) -> Result<String> {
    let columns = scope_columns(mapping, scope)?;
    let parts: Vec<String> = columns
        .iter()
        .map(|(column, value)| equals(column, value))
        .collect();
    Ok(all(parts.iter().map(String::as_str)))
}

/// The scope's columns with their values.
///
/// # Errors
/// As [`of_scope`].
pub(crate) fn scope_columns<'a>(
    mapping: &'a CollectionMapping,
    scope: &'a SyncScope,
) -> Result<Vec<(&'a str, &'a str)>> {
    let unfit = |key: &str, why: &str| {
        let message = format!("the scope {scope} {why} of the collection `{}`", mapping.name);
        Err(SyncError::new(ErrorKind::Configuration, message).with_field(key.to_owned()))
    };
    for key in scope.keys().keys() {
        if !mapping.scope.contains_key(key) {
            return unfit(key, "has a key that is no scope field");
        }
    }
    let mut columns = Vec::new();
    for (key, column) in &mapping.scope {
        match scope.value(key) {
            Some(value) if !value.is_empty() => columns.push((column.as_str(), value)),
            // An empty text would also match rows without a value.
            _ => return unfit(key, "has no value for a scope field"),
        }
    }
    Ok(columns)
}

/// Filters that together find the rows with these ids, with the ids each is for.
pub(crate) fn of_ids<'a>(column: &str, ids: &'a [String]) -> Vec<(String, &'a [String])> {
    let mut filters = Vec::new();
    let (mut begin, mut text) = (0, String::new());
    for (place, id) in ids.iter().enumerate() {
        let term = equals(column, id);
        let full = place - begin >= IDS_TERMS || text.len() + term.len() > IDS_CHARS;
        if full && place > begin {
            filters.push((std::mem::take(&mut text), &ids[begin..place]));
            begin = place;
        }
        if !text.is_empty() {
            text.push_str(" || ");
        }
        text.push_str(&term);
    }
    if begin < ids.len() {
        filters.push((text, &ids[begin..]));
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_end_early() {
        assert_eq!(quote("it's"), r"'it\'s'");
        assert_eq!(quote(r"a\"), r"'a\\'");
        assert_eq!(quote(r"a\' || 1=1 || '"), r"'a\\\' || 1=1 || \''");
    }

    #[test]
    fn a_scope_must_have_exactly_the_mapped_keys() {
        let mapping = CollectionMapping::document("todos", "doc").with_scope_field("user", "owner");
        let scope = SyncScope::new("s").unwrap();
        assert_eq!(of_scope(&mapping, &scope).unwrap_err().field(), Some("user"));
        let scope = scope.with("user", "o'brien").unwrap();
        assert_eq!(of_scope(&mapping, &scope).unwrap(), r"owner = 'o\'brien'");
        let scope = scope.with("team", "t").unwrap();
        assert_eq!(of_scope(&mapping, &scope).unwrap_err().field(), Some("team"));
    }

    #[test]
    fn many_ids_make_several_filters_within_the_limits() {
        let ids: Vec<String> = (0..250).map(|number| format!("{number:015}")).collect();
        let filters = of_ids("id", &ids);
        assert!(
            filters
                .iter()
                .all(|(text, ids)| text.len() < 3_500 && ids.len() <= IDS_TERMS)
        );
        let found: Vec<&String> = filters.iter().flat_map(|(_, ids)| *ids).collect();
        assert_eq!(found, ids.iter().collect::<Vec<_>>());
        assert_eq!(of_ids("id", &["x".repeat(3_000)]).len(), 1);
        assert!(of_ids("id", &[]).is_empty());
    }
}
