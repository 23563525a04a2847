//! Filters made ready: checked, and lowered to the few tests that define every operator.

use std::cmp::Ordering;

use super::{
    filter::{Comparison, Filter},
    like::LikePattern,
    path::FieldPath,
    row::{JsonRow, Row},
    scalar::Scalar,
    value::FilterValue,
};
use crate::{
    error::{Result, SyncError},
    id::RecordId,
    payload::JsonObject,
};

/// How deep filters may be nested; a comparison alone has depth 1.
pub const MAX_FILTER_DEPTH: usize = 32;

/// How many comparisons, ands, ors and nots a filter may have in all.
pub const MAX_FILTER_NODES: usize = 1_000;

/// How many values all lists of a filter may have together.
pub const MAX_LIST_VALUES: usize = 10_000;

/// A filter that was checked and can be asked about many records.
///
/// ```
/// use sync_core::{Payload, RecordId, query::{Filter, Predicate}};
/// let urgent = Predicate::new(&Filter::gte("priority", 3))?;
/// let fields = Payload::parse(r#"{"priority":3.5}"#)?.to_object()?;
/// assert!(urgent.matches(&RecordId::new("r1")?, &fields));
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Predicate(Node);

#[derive(Clone, Debug)]
enum Node {
    Test(FieldPath, Test),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

#[derive(Clone, Debug)]
enum Test {
    Equals(FilterValue),
    Ordered(FilterValue, fn(Ordering) -> bool),
    Like(LikePattern),
    Contains(FilterValue),
    StartsWith(String),
    OneOf(Vec<FilterValue>),
}

impl Predicate {
    /// Checks a filter and makes it ready.
    ///
    /// # Errors
    /// - `Invalid` naming the field, if a [`FieldPath`] or a [`LikePattern`] is malformed, or if a number is not
    ///   finite;
    /// - `Invalid` naming `filter`, if it goes beyond [`MAX_FILTER_DEPTH`], [`MAX_FILTER_NODES`] or
    ///   [`MAX_LIST_VALUES`].
    pub fn new(filter: &Filter) -> Result<Self> {
        Lowering {
            nodes: 0,
            list_values: 0,
        }
        .node(filter, 1)
        .map(Self)
    }

    /// Whether the filter holds for the record `id` with these fields.
    pub fn matches(&self, id: &RecordId, fields: &JsonObject) -> bool {
        self.matches_row(&JsonRow { id, fields })
    }

    pub(super) fn matches_row(&self, row: &impl Row) -> bool {
        self.0.holds(row)
    }

    /// Adds the fields that are compared.
    pub(super) fn add_paths<'a>(&'a self, paths: &mut Vec<&'a FieldPath>) {
        self.0.add_paths(paths);
    }
}

/// What was counted so far against the limits.
struct Lowering {
    nodes: usize,
    list_values: usize,
}

impl Lowering {
    fn node(&mut self, filter: &Filter, depth: usize) -> Result<Node> {
        self.nodes += 1;
        if depth > MAX_FILTER_DEPTH {
            return Err(too_large(format!(
                "is nested deeper than {MAX_FILTER_DEPTH} levels"
            )));
        }
        if self.nodes > MAX_FILTER_NODES {
            return Err(too_large(format!("has more than {MAX_FILTER_NODES} parts")));
        }
        Ok(match filter {
            Filter::Compare { field, comparison } => self.comparison(FieldPath::new(field)?, comparison)?,
            Filter::And(parts) => Node::All(self.nodes(parts, depth + 1)?),
            Filter::Or(parts) => Node::Any(self.nodes(parts, depth + 1)?),
            Filter::Not(part) => Node::Not(Box::new(self.node(part, depth + 1)?)),
        })
    }

    fn nodes(&mut self, parts: &[Filter], depth: usize) -> Result<Vec<Node>> {
        parts.iter().map(|part| self.node(part, depth)).collect()
    }

    fn comparison(&mut self, field: FieldPath, comparison: &Comparison) -> Result<Node> {
        let operand = |value: &FilterValue| checked_operand(&field, value);
        let (test, negated) = match comparison {
            Comparison::Eq(value) => (Test::Equals(operand(value)?), false),
            Comparison::Neq(value) => (Test::Equals(operand(value)?), true),
            Comparison::IsNull => (Test::Equals(FilterValue::Null), false),
            Comparison::IsNotNull => (Test::Equals(FilterValue::Null), true),
            Comparison::Gt(value) => (Test::Ordered(operand(value)?, Ordering::is_gt), false),
            Comparison::Gte(value) => (Test::Ordered(operand(value)?, Ordering::is_ge), false),
            Comparison::Lt(value) => (Test::Ordered(operand(value)?, Ordering::is_lt), false),
            Comparison::Lte(value) => (Test::Ordered(operand(value)?, Ordering::is_le), false),
            Comparison::Like(pattern) => {
                let pattern = LikePattern::parse(pattern).map_err(|error| {
                    SyncError::invalid(field.as_str(), format!("operator like: {}", error.message()))
                })?;
                (Test::Like(pattern), false)
            }
            Comparison::Contains(value) => (Test::Contains(operand(value)?), false),
            Comparison::StartsWith(prefix) => (Test::StartsWith(prefix.clone()), false),
            Comparison::InList(values) => {
                self.list_values += values.len();
                if self.list_values > MAX_LIST_VALUES {
                    return Err(too_large(format!(
                        "has more than {MAX_LIST_VALUES} values in lists"
                    )));
                }
                (
                    Test::OneOf(values.iter().map(operand).collect::<Result<_>>()?),
                    false,
                )
            }
        };
        let node = Node::Test(field, test);
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }
}

fn too_large(why: String) -> SyncError {
    SyncError::invalid("filter", why)
}

/// A copy of an operand, unless it is a number that no record can hold.
pub(super) fn checked_operand(field: &FieldPath, value: &FilterValue) -> Result<FilterValue> {
    match value {
        FilterValue::Float(number) if !number.is_finite() => Err(SyncError::invalid(
            field.as_str(),
            format!("cannot be compared with {number}, which is not finite"),
        )),
        value => Ok(value.clone()),
    }
}

impl Node {
    fn holds(&self, row: &impl Row) -> bool {
        match self {
            Self::Test(path, test) => test.holds(row.read(path)),
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
        }
    }

    fn add_paths<'a>(&'a self, paths: &mut Vec<&'a FieldPath>) {
        match self {
            Self::Test(path, _) => paths.push(path),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.add_paths(paths)),
            Self::Not(part) => part.add_paths(paths),
        }
    }
}

impl Test {
    fn holds(&self, value: Scalar<'_>) -> bool {
        match (self, value) {
            (Self::Equals(operand), value) => value.equals(Scalar::of_operand(operand)),
            (Self::Ordered(operand, accepts), value) => value
                .compare_kin(Scalar::of_operand(operand))
                .is_some_and(accepts),
            (Self::OneOf(operands), value) => operands
                .iter()
                .any(|operand| value.equals(Scalar::of_operand(operand))),
            (Self::Like(pattern), Scalar::Text(text)) => pattern.matches(text),
            (Self::StartsWith(prefix), Scalar::Text(text)) => text.starts_with(prefix),
            (Self::Contains(FilterValue::Text(part)), Scalar::Text(text)) => text.contains(part),
            (Self::Contains(operand), Scalar::Composite(elements)) => elements
                .iter()
                .any(|element| Scalar::of_json(element).equals(Scalar::of_operand(operand))),
            (Self::Like(_) | Self::StartsWith(_) | Self::Contains(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Filter {
        (1..depth).fold(Filter::is_null("a"), |inner, _| Filter::Not(Box::new(inner)))
    }

    #[test]
    fn the_limits_are_exact() {
        assert!(Predicate::new(&nested(MAX_FILTER_DEPTH)).is_ok());
        assert!(
            Predicate::new(&nested(MAX_FILTER_DEPTH + 1))
                .unwrap_err()
                .to_string()
                .contains("deeper than 32")
        );

        let wide = |parts: usize| Filter::Or(vec![Filter::is_null("a"); parts]);
        assert!(Predicate::new(&wide(MAX_FILTER_NODES - 1)).is_ok());
        assert!(
            Predicate::new(&wide(MAX_FILTER_NODES))
                .unwrap_err()
                .to_string()
                .contains("more than 1000 parts")
        );

        let half = || Filter::in_list("a", vec![1; MAX_LIST_VALUES / 2]);
        assert!(Predicate::new(&half().and(half())).is_ok());
        assert!(Predicate::new(&half().and(half()).and(Filter::in_list("a", [1]))).is_err());
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_by_name() {
        let message = |filter: Filter| Predicate::new(&filter).unwrap_err().to_string();
        assert!(message(Filter::eq("a..b", 1)).contains("\"a..b\" has an empty step"));
        assert!(message(Filter::like("title", "a\\")).contains("`title`: operator like: the pattern"));
        assert!(message(Filter::eq("n", f64::NAN)).contains("`n`: cannot be compared with NaN"));
        assert!(message(Filter::in_list("n", [f64::INFINITY])).contains("`n`"));
        assert!(message(!Filter::Or(vec![Filter::contains("n", f64::NEG_INFINITY)])).contains("`n`"));
    }
}
