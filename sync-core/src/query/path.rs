//! Names of fields: paths into a payload.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Result, SyncError},
    payload::JsonObject,
    scope::check_text,
};

const MAX_PATH_CHARS: usize = 512;
const MAX_STEPS: usize = 32;

/// The place of a field in a payload: the keys that lead to it, joined by dots (`title`, `address.city`).
///
/// Invariants:
/// - 1 to 32 steps, none of them empty; at most 512 characters; no control characters;
/// - [`FieldPath::ID`] (`$id`) stands for the record's id, and has no fields of its own: `$id.x` is refused.
///
/// A key that itself contains a dot cannot be addressed, nor can a key `$id` at the top of a payload.
///
/// ```
/// use sync_core::{Payload, query::FieldPath};
/// let fields = Payload::parse(r#"{"address":{"city":"Oslo"}}"#)?.to_object()?;
/// let city = FieldPath::new("address.city")?;
/// assert_eq!(city.steps().collect::<Vec<_>>(), ["address", "city"]);
/// assert_eq!(city.lookup(&fields).and_then(|value| value.as_str()), Some("Oslo"));
/// assert!(FieldPath::new("address..city").is_err());
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FieldPath(Arc<str>);

impl FieldPath {
    /// The reserved name of the record's id.
    pub const ID: &'static str = "$id";

    /// A validated path.
    ///
    /// # Errors
    /// `Invalid` naming `field path` if the text breaks one of the invariants.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let invalid = |why: &str| Err(SyncError::invalid("field path", format!("{path:?} {why}")));
        check_text("field path", &path, MAX_PATH_CHARS, false)?;
        if path.split('.').any(str::is_empty) {
            return invalid("has an empty step; write the keys joined by single dots");
        }
        if path.split('.').count() > MAX_STEPS {
            return invalid(&format!("has more than {MAX_STEPS} steps"));
        }
        if path.split_once('.').is_some_and(|(first, _)| first == Self::ID) {
            return invalid("leads into the record's id, which has no fields");
        }
        Ok(Self(path.into()))
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the record's id, which is not a part of the payload.
    pub fn is_id(&self) -> bool {
        &*self.0 == Self::ID
    }

    /// The keys from the top of the payload to the field. For [`FieldPath::ID`] the one step `$id`, which is not
    /// a key.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The value at this path; `None` if the field is missing, and always for [`FieldPath::ID`].
    pub fn lookup<'a>(&self, fields: &'a JsonObject) -> Option<&'a Value> {
        if self.is_id() {
            return None;
        }
        let mut steps = self.steps();
        let first = fields.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.as_object()?.get(step))
    }
}

impl FromStr for FieldPath {
    type Err = SyncError;

    fn from_str(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[test]
    fn malformed_paths_are_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a\nb", "a\u{7f}", "$id.x"] {
            assert!(FieldPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(FieldPath::new("a".repeat(MAX_PATH_CHARS)).is_ok());
        assert!(FieldPath::new("a".repeat(MAX_PATH_CHARS + 1)).is_err());
        assert!(FieldPath::new(vec!["a"; MAX_STEPS].join(".")).is_ok());
        assert!(FieldPath::new(vec!["a"; MAX_STEPS + 1].join(".")).is_err());
    }

    #[test]
    fn ordinary_and_odd_keys_are_accepted() {
        for good in [
            "a",
            "a.b.c",
            "$createdAt",
            "a.$id",
            "$ids",
            " ",
            "a'b\"c\\",
            "\u{e9}t\u{e9}",
        ] {
            assert_eq!(FieldPath::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_step_into_anything_but_an_object_is_missing() {
        let fields =
            Payload::parse(r#"{"a":{"b":{"c":null}},"list":[{"x":1}],"text":"t","$id":"no","p.q":1}"#)
                .unwrap()
                .to_object()
                .unwrap();
        let lookup = |path: &str| FieldPath::new(path).unwrap().lookup(&fields).cloned();
        assert_eq!(lookup("a.b.c"), Some(Value::Null));
        for missing in [
            "a.b.c.d", "a.x", "list.0", "list.x", "list.0.x", "text.t", "none", "none.x", "$id", "p.q",
        ] {
            assert_eq!(lookup(missing), None, "{missing}");
        }
    }

    #[test]
    fn deserialising_validates() {
        assert_eq!(
            serde_json::from_str::<FieldPath>(r#""a.b""#).unwrap(),
            FieldPath::new("a.b").unwrap()
        );
        assert!(serde_json::from_str::<FieldPath>(r#""a..b""#).is_err());
    }
}
