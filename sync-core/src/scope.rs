//! Which part of the remote data a device keeps: scopes, and the scope of one collection.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::error::SyncError;

const MAX_NAME_CHARS: usize = 128;
const MAX_KEY_CHARS: usize = 2_048;

/// A named part of the remote data, narrowed by keys: `project{id=p1}`, `inbox{user=u7}`.
///
/// Scopes are exact. Two scopes are equal if and only if their [`ScopeKey`]s are equal, whatever the order in
/// which keys were added, and no read, write, eviction or clear ever crosses from one to another.
///
/// ```
/// use sync_core::SyncScope;
/// let a = SyncScope::new("tasks")?.with("user", "u1")?.with("project", "p9")?;
/// let b = SyncScope::new("tasks")?.with("project", "p9")?.with("user", "u1")?;
/// assert_eq!(a, b);
/// assert_eq!(a.key().as_str(), "tasks?project=p9&user=u1");
/// # Ok::<(), sync_core::SyncError>(())
/// ```
///
/// Clones share one text, and are cheap.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "ScopeParts", into = "ScopeParts")]
pub struct SyncScope(Arc<Named>);

#[derive(Clone)]
struct Named {
    name: String,
    keys: BTreeMap<String, String>,
    key: ScopeKey,
}

impl PartialEq for SyncScope {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key == other.0.key
    }
}

impl Eq for SyncScope {}

impl PartialOrd for SyncScope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the canonical text.
impl Ord for SyncScope {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.0.key.cmp(&other.0.key)
    }
}

impl Hash for SyncScope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

#[derive(Serialize, Deserialize)]
struct ScopeParts {
    name: String,
    #[serde(default)]
    keys: BTreeMap<String, String>,
}

impl SyncScope {
    /// A scope without keys.
    ///
    /// # Errors
    /// `Invalid` naming the field `scope.name` if the name is empty, longer than 128 characters, or contains a
    /// control character.
    pub fn new(name: impl Into<String>) -> Result<Self, SyncError> {
        let name = name.into();
        check_text("scope.name", &name, MAX_NAME_CHARS, false)?;
        let keys = BTreeMap::new();
        let key = ScopeKey::encode(&name, &keys);
        Ok(Self(Arc::new(Named { name, keys, key })))
    }

    /// The same scope narrowed by one more key. A key given twice keeps the later value.
    ///
    /// # Errors
    /// `Invalid` naming the key if its name is empty, or name or value is too long or has a control character.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, SyncError> {
        let (name, value) = (name.into(), value.into());
        check_text("scope.keys", &name, MAX_NAME_CHARS, false)?;
        check_text(&format!("scope.keys.{name}"), &value, MAX_KEY_CHARS, true)?;
        let named = Arc::make_mut(&mut self.0);
        named.keys.insert(name, value);
        named.key = ScopeKey::encode(&named.name, &named.keys);
        Ok(self)
    }

    /// The scope's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The keys that narrow the scope, sorted by name.
    pub fn keys(&self) -> &BTreeMap<String, String> {
        &self.0.keys
    }

    /// The value of one key.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.keys.get(name).map(String::as_str)
    }

    /// The canonical text of this scope, under which stores file its records.
    pub fn key(&self) -> &ScopeKey {
        &self.0.key
    }
}

impl TryFrom<ScopeParts> for SyncScope {
    type Error = SyncError;

    fn try_from(parts: ScopeParts) -> Result<Self, SyncError> {
        parts
            .keys
            .into_iter()
            .try_fold(SyncScope::new(parts.name)?, |scope, (name, value)| {
                scope.with(name, value)
            })
    }
}

impl From<SyncScope> for ScopeParts {
    fn from(scope: SyncScope) -> Self {
        let Named { name, keys, .. } = Arc::unwrap_or_clone(scope.0);
        Self { name, keys }
    }
}

impl fmt::Debug for SyncScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncScope({})", self.0.key)
    }
}

impl fmt::Display for SyncScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.key.fmt(f)
    }
}

/// The canonical text of a [`SyncScope`].
///
/// Invariants:
/// - the form is `name`, or `name?key=value&key=value` with keys in byte order;
/// - every `%`, `?`, `&`, `=` and control character of a name, key or value is percent-encoded, so distinct
///   scopes have distinct texts;
/// - [`ScopeKey::parse`] is the exact inverse and accepts no other text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeKey(Arc<str>);

impl ScopeKey {
    fn encode(name: &str, keys: &BTreeMap<String, String>) -> Self {
        let mut text = String::new();
        escape(name, &mut text);
        for (index, (key, value)) in keys.iter().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            escape(key, &mut text);
            text.push('=');
            escape(value, &mut text);
        }
        Self(text.into())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a canonical text back into the scope it stands for.
    ///
    /// # Errors
    /// `Invalid` naming the field `scope` if the text is not exactly what [`SyncScope::key`] produces.
    pub fn parse(text: &str) -> Result<SyncScope, SyncError> {
        let bad = || SyncError::invalid("scope", format!("{text:?} is not a canonical scope key"));
        let (name, rest) = match text.split_once('?') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let mut scope = SyncScope::new(unescape(name).ok_or_else(bad)?)?;
        for pair in rest.into_iter().flat_map(|rest| rest.split('&')) {
            let (key, value) = pair.split_once('=').ok_or_else(bad)?;
            scope = scope.with(unescape(key).ok_or_else(bad)?, unescape(value).ok_or_else(bad)?)?;
        }
        if scope.key().as_str() == text {
            Ok(scope)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() || matches!(c, '%' | '?' | '&' | '=') {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Refuses text that cannot be a name, saying which field and why.
pub(crate) fn check_text(
    field: &str,
    text: &str,
    max_chars: usize,
    may_be_empty: bool,
) -> Result<(), SyncError> {
    if text.is_empty() && !may_be_empty {
        return Err(SyncError::invalid(field, "must not be empty"));
    }
    // What nearly all ids and names are needs no look at single characters.
    if text.len() <= max_chars && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    let chars = text.chars().count();
    if chars > max_chars {
        return Err(SyncError::invalid(
            field,
            format!("has {chars} characters, at most {max_chars} are allowed"),
        ));
    }
    match text.chars().position(char::is_control) {
        Some(at) => Err(SyncError::invalid(
            field,
            format!("has a control character at position {at}; remove it"),
        )),
        None => Ok(()),
    }
}

/// The name of a record type, as stores and remotes know it: a table, a collection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// A validated collection name.
    ///
    /// # Errors
    /// `Invalid` naming the field `collection` if the name is empty, longer than 128 characters, or contains a
    /// control character.
    pub fn new(name: impl Into<String>) -> Result<Self, SyncError> {
        let name = name.into();
        check_text("collection", &name, MAX_NAME_CHARS, false)?;
        Ok(Self(name.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for CollectionName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One collection within one scope: the unit that has a sync point, and that queries run over.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The record type.
    pub collection: CollectionName,
    /// The scope.
    pub scope: SyncScope,
}

impl Target {
    /// The collection `collection` within `scope`.
    pub fn new(collection: CollectionName, scope: SyncScope) -> Self {
        Self { collection, scope }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.collection, self.scope)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn scope_keys_round_trip_and_are_distinct(
            name in "[^\\p{Cc}]{1,8}",
            keys in proptest::collection::btree_map("[^\\p{Cc}]{1,4}", "[^\\p{Cc}]{0,4}", 0..4),
            other in proptest::collection::btree_map("[^\\p{Cc}]{1,4}", "[^\\p{Cc}]{0,4}", 0..4),
        ) {
            let build = |keys: &BTreeMap<String, String>| {
                keys.iter().fold(SyncScope::new(name.clone()).unwrap(), |s, (k, v)| s.with(k, v).unwrap())
            };
            let (a, b) = (build(&keys), build(&other));
            prop_assert_eq!(&ScopeKey::parse(a.key().as_str()).unwrap(), &a);
            prop_assert_eq!(keys == other, a.key() == b.key());
        }
    }

    #[test]
    fn a_value_cannot_smuggle_in_another_key() {
        let honest = SyncScope::new("s")
            .unwrap()
            .with("a", "1")
            .unwrap()
            .with("b", "2")
            .unwrap();
        let smuggled = SyncScope::new("s").unwrap().with("a", "1&b=2").unwrap();
        assert_ne!(honest.key(), smuggled.key());
    }

    #[test]
    fn bad_names_are_refused_with_the_field() {
        assert!(SyncScope::new("").unwrap_err().to_string().contains("scope.name"));
        assert!(
            SyncScope::new("a\nb")
                .unwrap_err()
                .to_string()
                .contains("position 1")
        );
        assert!(
            ScopeKey::parse("s?b=1&a=2").is_err(),
            "unsorted keys are not canonical"
        );
        assert!(ScopeKey::parse("s?").is_err());
    }
}
