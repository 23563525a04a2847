//! The content of a record: one JSON object, kept as text.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::error::SyncError;

/// A JSON object with the fields of a record.
pub type JsonObject = Map<String, Value>;

/// The content of one record: a JSON object, kept as the text it arrived in.
///
/// Keeping text means that a pulled page is stored without being parsed and rendered again, and that numbers
/// keep every digit. Cloning is cheap (a shared pointer). Two payloads are *equal* when their texts are equal;
/// [`Payload::same_content`] compares their meaning.
///
/// ```
/// use sync_core::Payload;
/// let a = Payload::parse(r#"{"title":"tea","n":1}"#)?;
/// let b = Payload::parse(r#"{ "n": 1, "title": "tea" }"#)?;
/// assert!(a != b && a.same_content(&b));
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Takes a JSON text that must be one object.
    ///
    /// # Errors
    /// `Malformed` with the place of the fault if it is not JSON, not an object, or names a key twice in one
    /// object (of which readers of JSON disagree which one counts).
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, SyncError> {
        let text = text.into();
        let checked: Unambiguous =
            serde_json::from_str(&text).map_err(|error| SyncError::malformed("payload", error))?;
        if checked.is_object {
            Ok(Self(text))
        } else {
            Err(
                SyncError::new(crate::ErrorKind::Malformed, "a record is a JSON object")
                    .with_field("payload"),
            )
        }
    }

    /// Wraps a text that came out of a `Payload` before, as a store does with its own column.
    ///
    /// The text is not checked here; a damaged one shows as `Malformed` when it is decoded.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The payload with these fields.
    pub fn from_object(object: &JsonObject) -> Self {
        Self(
            serde_json::to_string(object)
                .unwrap_or_else(|_| "{}".to_owned())
                .into(),
        )
    }

    /// Renders a value that serialises to a JSON object.
    ///
    /// # Errors
    /// `Invalid` if it does not serialise, or not to an object.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, SyncError> {
        let text = serde_json::to_string(value)
            .map_err(|error| SyncError::invalid("record", format!("does not serialise to JSON: {error}")))?;
        if text.starts_with('{') {
            Ok(Self(text.into()))
        } else {
            Err(SyncError::invalid(
                "record",
                "must serialise to a JSON object, as a struct with fields does",
            ))
        }
    }

    /// Reads the payload as a typed value.
    ///
    /// # Errors
    /// `Malformed` with serde's message, which names the field.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SyncError> {
        serde_json::from_str(&self.0).map_err(|error| SyncError::malformed("payload", error))
    }

    /// The fields.
    ///
    /// # Errors
    /// `Malformed` if the stored text was damaged.
    pub fn to_object(&self) -> Result<JsonObject, SyncError> {
        self.decode()
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both stand for the same JSON value, whatever the order of keys and the white space.
    pub fn same_content(&self, other: &Payload) -> bool {
        self.0 == other.0
            || match (self.to_object(), other.to_object()) {
                (Ok(a), Ok(b)) => a == b,
                _ => false,
            }
    }
}

/// Any JSON value whose objects name each key once.
struct Unambiguous {
    is_object: bool,
}

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor)
    }
}

struct UnambiguousVisitor;

/// A key, borrowed from the text unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of one object. Up to a few, looking through them is faster than hashing them.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    more: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    const FEW: usize = 16;

    fn knows(&self, name: &str) -> bool {
        self.few.iter().any(|known| known == name) || (!self.more.is_empty() && self.more.contains(name))
    }

    fn add(&mut self, name: Cow<'a, str>) {
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.more.insert(name);
        }
    }
}

/// The visits of values that are not objects: they are fine as they are.
macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {$(
        fn $visit<E>(self, _: $type) -> Result<Unambiguous, E> {
            Ok(Unambiguous { is_object: false })
        }
    )*};
}

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous { is_object: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous { is_object: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Unambiguous, A::Error> {
        let mut names = Names::default();
        while let Some(Name(name)) = fields.next_key::<Name<'de>>()? {
            fields.next_value::<Unambiguous>()?;
            if names.knows(&name) {
                return Err(serde::de::Error::custom(format!("the key {name:?} occurs twice")));
            }
            names.add(name);
        }
        Ok(Unambiguous { is_object: true })
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Payload::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let text =
            r#"{"a":9007199254740993,"b":5e-324,"c":0.1000000000000000055511151231257827,"d":"\u0000"}"#;
        let payload = Payload::parse(text).unwrap();
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
        assert_eq!(payload.to_object().unwrap()["a"], 9_007_199_254_740_993_i64);
    }

    #[test]
    fn only_objects_are_payloads() {
        assert!(Payload::parse("[1]").is_err());
        assert!(Payload::parse("{").is_err());
        assert!(Payload::encode(&5).is_err());
        assert!(
            Payload::parse(r#"{"a":{"b":1,"\u0062":2}}"#)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }

    #[test]
    fn a_key_that_comes_again_is_found_among_few_and_among_many() {
        for count in [1, Names::FEW - 1, Names::FEW, Names::FEW + 1, 100] {
            let fields: Vec<String> = (0..count).map(|n| format!(r#""k{n}":{n}"#)).collect();
            let fields = fields.join(",");
            Payload::parse(format!("{{{fields}}}")).unwrap();
            for again in [0, count - 1] {
                let text = format!(r#"{{{fields},"\u006b{again}":0}}"#);
                let error = Payload::parse(text).unwrap_err().to_string();
                assert!(error.contains(&format!("\"k{again}\" occurs twice")), "{error}");
            }
        }
    }
}
