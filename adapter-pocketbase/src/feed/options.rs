//! For which collection a feed is, and how it is kept.

use sync_core::{ErrorKind, Result, SyncError};

use super::names::FeedNames;

/// How many changes of history are kept, unless said otherwise.
const HISTORY: u64 = 250_000;

/// One collection's feed.
///
/// ```
/// use adapter_pocketbase::feed::FeedOptions;
/// let options = FeedOptions::new("todos")?.with_scope_field("owner")?;
/// assert_eq!(options.names().gone(), "sync_todos_gone");
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedOptions {
    collection: String,
    names: FeedNames,
    scope_fields: Vec<String>,
    copied_fields: Vec<String>,
    read_rule: Option<Option<String>>,
    history: u64,
}

impl FeedOptions {
    /// The feed of a collection, without scope fields.
    ///
    /// # Errors
    /// `Configuration` if the name is not one of letters, digits and underscores.
    pub fn new(collection: impl Into<String>) -> Result<Self> {
        let collection = collection.into();
        check_name("collection", &collection)?;
        Ok(Self {
            names: FeedNames::of_collection(&collection),
            collection,
            scope_fields: Vec::new(),
            copied_fields: Vec::new(),
            read_rule: None,
            history: HISTORY,
        })
    }

    /// What the names of the feed's parts begin with, instead of `sync_` and the collection's name. Needed to set
    /// up again after the collection was renamed.
    ///
    /// # Errors
    /// `Configuration` if it is not one of letters, digits and underscores.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Result<Self> {
        let prefix = prefix.into();
        check_name("prefix", &prefix)?;
        self.names = FeedNames::new(prefix);
        Ok(self)
    }

    /// Adds a field by which clients choose their records, such as the owner. Tombstones carry its value, and a
    /// record whose value changes leaves a tombstone in the scope it had. A field of text, e-mail, URL, number,
    /// bool, date, one choice or one relation.
    ///
    /// # Errors
    /// `Configuration` if it is not a name of letters, digits and underscores, or one the feed uses itself.
    pub fn with_scope_field(mut self, field: impl Into<String>) -> Result<Self> {
        let field = field.into();
        check_field("scope field", &field)?;
        if !self.scope_fields.contains(&field) {
            self.scope_fields.push(field);
        }
        Ok(self)
    }

    /// Adds a field that tombstones carry on besides the scope fields: the one with the records' own ids, if the ids
    /// of rows are derived from them. Of the types that a scope field can have.
    ///
    /// # Errors
    /// As [`FeedOptions::with_scope_field`].
    pub fn with_copied_field(mut self, field: impl Into<String>) -> Result<Self> {
        let field = field.into();
        check_field("copied field", &field)?;
        if !self.copied_fields.contains(&field) && !self.scope_fields.contains(&field) {
            self.copied_fields.push(field);
        }
        Ok(self)
    }

    /// Who may read tombstones: a rule on the scope fields; `None` for superusers only, an empty one for everybody.
    /// Without this, it is the list rule of the collection, which then may name no field but the scope fields.
    #[must_use]
    pub fn with_read_rule(mut self, rule: Option<String>) -> Self {
        self.read_rule = Some(rule);
        self
    }

    /// How many changes of history are kept, 250,000 unless said otherwise. A client that is further behind starts
    /// over with a full resync; the id of an operation is remembered as long.
    #[must_use]
    pub fn with_history(mut self, changes: u64) -> Self {
        self.history = changes.max(1);
        self
    }

    /// The collection.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The names of the feed's parts.
    pub fn names(&self) -> &FeedNames {
        &self.names
    }

    /// The fields by which clients choose their records.
    pub fn scope_fields(&self) -> &[String] {
        &self.scope_fields
    }

    pub(super) fn copied_fields(&self) -> &[String] {
        &self.copied_fields
    }

    pub(super) fn read_rule(&self) -> Option<&Option<String>> {
        self.read_rule.as_ref()
    }

    pub(super) fn history(&self) -> u64 {
        self.history
    }
}

/// Refuses what would need quoting in SQL or in a filter.
fn check_name(what: &'static str, name: &str) -> Result<()> {
    let mut chars = name.chars();
    let sound = chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_');
    if sound && name.len() <= 60 {
        return Ok(());
    }
    let why = format!("`{name}` must be a name of at most 60 letters, digits and underscores");
    Err(SyncError::new(ErrorKind::Configuration, why).with_field(what))
}

/// Refuses what cannot be a further field of tombstones.
fn check_field(what: &'static str, field: &str) -> Result<()> {
    check_name(what, field)?;
    if ["id", "seq", "record", "stamp", "at", "why", "base"].contains(&field) {
        let why = format!("tombstones have a field `{field}` of their own; use another name");
        return Err(SyncError::new(ErrorKind::Configuration, why).with_field(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        for name in [
            "",
            "1st",
            "a b",
            "a\"b",
            "a;b",
            "a.b",
            "\u{e9}t\u{e9}",
            &"x".repeat(61),
        ] {
            let error = FeedOptions::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
        }
        let options = FeedOptions::new("_Todos_2").unwrap();
        assert!(options.clone().with_prefix("a-b").is_err());
        assert!(options.with_scope_field("owner'").is_err());
    }

    #[test]
    fn a_scope_field_cannot_take_the_place_of_a_field_of_tombstones() {
        let error = FeedOptions::new("todos")
            .unwrap()
            .with_scope_field("stamp")
            .unwrap_err();
        assert_eq!(error.field(), Some("scope field"));
    }
}
