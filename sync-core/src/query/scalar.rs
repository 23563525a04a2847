//! How values compare: the one place where equality and order are defined.

use std::cmp::Ordering;

use serde_json::Value;

use super::value::FilterValue;

/// A JSON value or an operand, as filters and orders see it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    /// Null or missing.
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    /// An array, with its elements, or an object.
    Composite(&'a [Value]),
}

impl<'a> Scalar<'a> {
    pub(super) fn of_field(value: Option<&'a Value>) -> Self {
        value.map_or(Self::Null, Self::of_json)
    }

    pub(super) fn of_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Number(Number::Int(integer)),
                (None, Some(float)) => Self::Number(Number::Float(float)),
                // A JSON number too large for a float; the parser refuses these.
                (None, None) => Self::Null,
            },
            Value::String(text) => Self::Text(text),
            Value::Array(elements) => Self::Composite(elements),
            Value::Object(_) => Self::Composite(&[]),
        }
    }

    pub(super) fn of_operand(value: &'a FilterValue) -> Self {
        match value {
            FilterValue::Null => Self::Null,
            FilterValue::Bool(value) => Self::Bool(*value),
            FilterValue::Int(value) => Self::Number(Number::Int(*value)),
            FilterValue::Float(value) => Self::Number(Number::Float(*value)),
            FilterValue::Text(text) => Self::Text(text),
        }
    }

    /// The same value as an operand; `None` for arrays and objects.
    pub(super) fn to_operand(self) -> Option<FilterValue> {
        Some(match self {
            Self::Null => FilterValue::Null,
            Self::Bool(value) => FilterValue::Bool(value),
            Self::Number(Number::Int(value)) => FilterValue::Int(value),
            Self::Number(Number::Float(value)) => FilterValue::Float(value),
            Self::Text(text) => FilterValue::Text(text.to_owned()),
            Self::Composite(_) => return None,
        })
    }

    /// The operator `eq`.
    pub(super) fn equals(self, other: Scalar<'_>) -> bool {
        matches!((self, other), (Self::Null, Scalar::Null))
            || self.compare_kin(other) == Some(Ordering::Equal)
    }

    /// The order that `gt` and its kin see: only between two booleans, two numbers or two texts.
    pub(super) fn compare_kin(self, other: Scalar<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Scalar::Bool(b)) => Some(a.cmp(&b)),
            (Self::Number(a), Scalar::Number(b)) => Some(a.compare(b)),
            (Self::Text(a), Scalar::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The order of a query: total, over all kinds.
    pub(super) fn compare(self, other: Scalar<'_>) -> Ordering {
        self.compare_kin(other)
            .unwrap_or_else(|| self.rank().cmp(&other.rank()))
    }

    fn rank(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
            Self::Composite(_) => 4,
        }
    }
}

/// A number in the form in which it is exact. A float is never NaN: JSON has none, and operands are checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Int(a), Self::Float(b)) => compare_exactly(a, b),
            (Self::Float(a), Self::Int(b)) => compare_exactly(b, a).reverse(),
        }
    }
}

/// Compares without rounding the integer to a float, which would make neighbours beyond 2^53 equal.
fn compare_exactly(integer: i64, float: f64) -> Ordering {
    const TWO_TO_THE_63: f64 = 9_223_372_036_854_775_808.0;
    if float >= TWO_TO_THE_63 {
        Ordering::Less
    } else if float < -TWO_TO_THE_63 {
        Ordering::Greater
    } else {
        let whole = float.trunc();
        let fraction = float - whole;
        integer
            .cmp(&(whole as i64))
            .then(0.0.partial_cmp(&fraction).unwrap_or(Ordering::Equal))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (integer, float, expected) in [
            (1, 1.0, Equal),
            (0, -0.0, Equal),
            (1, 1.5, Less),
            (-1, -1.5, Greater),
            (2, 1.5, Greater),
            (0, 5e-324, Less),
            (0, -5e-324, Greater),
            ((1 << 53) + 1, 9_007_199_254_740_992.0, Greater),
            (1 << 53, 9_007_199_254_740_992.0, Equal),
            (i64::MAX, 9_223_372_036_854_775_807.0, Less),
            (i64::MAX, 9_223_372_036_854_774_784.0, Greater),
            (i64::MIN, -9_223_372_036_854_775_808.0, Equal),
            (i64::MIN, -9_223_372_036_854_777_856.0, Greater),
            (i64::MAX, f64::MAX, Less),
            (i64::MIN, f64::MIN, Greater),
        ] {
            assert_eq!(compare_exactly(integer, float), expected, "{integer} and {float}");
        }
    }

    fn any_number() -> impl Strategy<Value = Number> {
        let edges = prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 53, -(1 << 53), 0]);
        let near_edges = (edges, -2_i64..=2).prop_map(|(edge, by)| edge.saturating_add(by));
        prop_oneof![
            near_edges.clone().prop_map(Number::Int),
            near_edges.prop_map(|integer| Number::Float(integer as f64)),
            any::<i64>().prop_map(Number::Int),
            (-4_i32..=4).prop_map(|quarters| Number::Float(f64::from(quarters) / 4.0)),
            prop::num::f64::NORMAL.prop_map(Number::Float),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_numbers_is_total(a in any_number(), b in any_number(), c in any_number()) {
            prop_assert_eq!(a.compare(b), b.compare(a).reverse());
            if a.compare(b).is_le() && b.compare(c).is_le() {
                prop_assert!(a.compare(c).is_le());
            }
        }

        #[test]
        fn integers_and_floats_compare_like_wide_integers(
            integer in any::<i64>(), other in any::<i64>(),
        ) {
            let float = other as f64;
            prop_assert_eq!(compare_exactly(integer, float), i128::from(integer).cmp(&(float as i128)));
            let float = integer as f64;
            prop_assert_eq!(compare_exactly(integer, float), i128::from(integer).cmp(&(float as i128)));
        }
    }
}
