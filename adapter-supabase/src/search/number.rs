//! Numbers as the columns compare them.

use sync_core::query::FilterValue;

/// 2^63, the first float beyond all integers of a column.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// What an order comparison asks of a column of integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// Every number holds.
    All,
    /// None does.
    None,
    /// Compared so with this one.
    At(&'static str, i64),
}

/// The integer that a float is, if it is one.
pub(super) fn as_integer(number: f64) -> Option<i64> {
    let whole = number.fract() == 0.0 && (-BEYOND..BEYOND).contains(&number);
    whole.then_some(number as i64)
}

/// The float that a number is, if it is one.
pub(super) fn as_float(value: &FilterValue) -> Option<f64> {
    match value {
        FilterValue::Float(number) => Some(*number),
        FilterValue::Int(number) => {
            let float = *number as f64;
            (as_integer(float) == Some(*number)).then_some(float)
        }
        _ => None,
    }
}

/// An order comparison with a float, as one with an integer.
pub(super) fn integer_bound(operator: &'static str, number: f64) -> Bound {
    let wants_greater = operator.starts_with('g');
    if number >= BEYOND {
        return if wants_greater { Bound::None } else { Bound::All };
    }
    if number < -BEYOND {
        return if wants_greater { Bound::All } else { Bound::None };
    }
    match as_integer(number) {
        Some(number) => Bound::At(operator, number),
        None if wants_greater => Bound::At("gt", number.floor() as i64),
        None => Bound::At("lte", number.floor() as i64),
    }
}

/// Numbers below and above all those that may be taken for `value` once they are rounded to a float.
pub(super) fn around(value: &FilterValue) -> (String, String) {
    let number = match value {
        FilterValue::Float(number) => *number,
        FilterValue::Int(number) => *number as f64,
        _ => 0.0,
    };
    let (low, high) = (number.next_down().next_down(), number.next_up().next_up());
    (low.max(f64::MIN).to_string(), high.min(f64::MAX).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_bounds_integers_by_the_next_whole_number() {
        for (operator, number, expected) in [
            ("gt", 1.5, Bound::At("gt", 1)),
            ("gte", 1.5, Bound::At("gt", 1)),
            ("lt", 1.5, Bound::At("lte", 1)),
            ("lte", -1.5, Bound::At("lte", -2)),
            ("lt", 2.0, Bound::At("lt", 2)),
            ("gt", 1e19, Bound::None),
            ("lte", 1e19, Bound::All),
            ("gte", -1e19, Bound::All),
            ("lt", -1e19, Bound::None),
            ("gte", -BEYOND, Bound::At("gte", i64::MIN)),
        ] {
            assert_eq!(integer_bound(operator, number), expected, "{operator} {number}");
        }
    }

    #[test]
    fn integers_that_a_float_cannot_hold_are_none() {
        assert_eq!(
            as_float(&FilterValue::Int(1 << 53)),
            Some(9_007_199_254_740_992.0)
        );
        assert_eq!(as_float(&FilterValue::Int((1 << 53) + 1)), None);
        assert_eq!(as_float(&FilterValue::Int(i64::MAX)), None);
        assert_eq!(as_integer(0.5), None);
        assert_eq!(as_integer(-BEYOND), Some(i64::MIN));
    }
}
