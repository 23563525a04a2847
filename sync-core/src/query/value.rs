//! Operands of filters.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use uuid::Uuid;

use crate::{id::RecordId, time::Timestamp};

/// The value a field is compared with.
///
/// `==` compares the form (`Int(1) != Float(1.0)`); what filters call equal is told in the
/// [module documentation](super). In JSON a value is the plain scalar: `null`, `true`, `1`, `1.5`, `"text"`.
///
/// ```
/// use sync_core::{Timestamp, query::FilterValue};
/// assert_eq!(FilterValue::from(7_u32), FilterValue::Int(7));
/// assert_eq!(FilterValue::from(None::<bool>), FilterValue::Null);
/// assert_eq!(FilterValue::from(Timestamp::from_millis(1)), FilterValue::Int(1_000));
/// ```
///
/// To use an own type in filters, convert it to what serde makes of it in a record:
///
/// ```
/// use sync_core::query::{Field, FilterValue};
/// enum Status { Open }
/// impl From<Status> for FilterValue {
///     fn from(status: Status) -> Self {
///         match status { Status::Open => "open".into() }
///     }
/// }
/// let open = Field::<Status>::new("status").eq(Status::Open);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum FilterValue {
    /// Null, which also stands for a missing field.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction, or beyond the range of `i64`. Must be finite, or the query is refused.
    Float(f64),
    /// A text.
    Text(String),
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for FilterValue {
            fn from(value: $integer) -> Self {
                Self::Int(value.into())
            }
        }
    )*};
}

from_integers!(i8, i16, i32, i64, u8, u16, u32);

impl From<u64> for FilterValue {
    /// An integer beyond the range of `i64` becomes the nearest float, as it does in a record.
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Float(value as f64), Self::Int)
    }
}

impl From<f64> for FilterValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<f32> for FilterValue {
    /// The number a record holds: JSON has the shortest decimal of the `f32` (`0.1`), not its exact binary value.
    fn from(value: f32) -> Self {
        Self::Float(value.to_string().parse().unwrap_or(f64::from(value)))
    }
}

impl From<bool> for FilterValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for FilterValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for FilterValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for FilterValue {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<RecordId> for FilterValue {
    fn from(id: RecordId) -> Self {
        Self::from(&id)
    }
}

impl From<&RecordId> for FilterValue {
    fn from(id: &RecordId) -> Self {
        Self::Text(id.as_str().to_owned())
    }
}

impl From<Uuid> for FilterValue {
    /// The hyphenated text in lower case, as in a record.
    fn from(value: Uuid) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<Timestamp> for FilterValue {
    /// Microseconds since the Unix epoch, as in a record.
    fn from(value: Timestamp) -> Self {
        Self::Int(value.as_micros())
    }
}

impl<T: Into<FilterValue>> From<Option<T>> for FilterValue {
    /// `None` becomes [`FilterValue::Null`].
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for FilterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            // JSON would turn it into null, and the filter into another one.
            Self::Float(_) => Err(ser::Error::custom("a number in a filter must be finite")),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for FilterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilterValueVisitor)
    }
}

struct FilterValueVisitor;

impl<'de> de::Visitor<'de> for FilterValueVisitor {
    type Value = FilterValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a finite number or a text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<FilterValue, E> {
        Ok(FilterValue::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<FilterValue, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<FilterValue, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<FilterValue, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<FilterValue, E> {
        if value.is_finite() {
            Ok(value.into())
        } else {
            Err(E::invalid_value(de::Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<FilterValue, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<FilterValue, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips_keep_the_form() {
        let values = [
            FilterValue::Null,
            FilterValue::Bool(true),
            FilterValue::Int(i64::MIN),
            FilterValue::Int(i64::MAX),
            FilterValue::Float(1.0),
            FilterValue::Float(5e-324),
            FilterValue::Float(0.1 + 0.2),
            FilterValue::Text("1".into()),
        ];
        for value in values {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(
                serde_json::from_str::<FilterValue>(&json).unwrap(),
                value,
                "{json}"
            );
        }
    }

    #[test]
    fn numbers_without_a_json_form_are_not_written_as_null() {
        assert!(serde_json::to_string(&FilterValue::Float(f64::NAN)).is_err());
        assert!(serde_json::to_string(&FilterValue::Float(f64::INFINITY)).is_err());
    }

    #[test]
    fn arrays_and_objects_are_not_operands() {
        assert!(serde_json::from_str::<FilterValue>("[1]").is_err());
        assert!(serde_json::from_str::<FilterValue>("{}").is_err());
    }

    #[test]
    fn conversions_give_what_a_record_holds() {
        assert_eq!(
            FilterValue::from(u64::MAX),
            FilterValue::Float(18_446_744_073_709_551_616.0)
        );
        assert_eq!(FilterValue::from(i64::MAX as u64), FilterValue::Int(i64::MAX));
        assert_eq!(FilterValue::from(0.1_f32), FilterValue::Float(0.1));
        assert_eq!(FilterValue::from(f32::MAX), FilterValue::Float(3.4028235e38));
        assert_eq!(FilterValue::from(Some("x")), FilterValue::Text("x".into()));
        assert_eq!(
            FilterValue::from(Uuid::from_u128(1)),
            FilterValue::Text("00000000-0000-0000-0000-000000000001".into())
        );
        assert_eq!(
            FilterValue::from(RecordId::new("r1").unwrap()),
            FilterValue::Text("r1".into())
        );
    }
}
