//! Filters as data: conditions on fields, joined by and, or, not.

use std::{fmt, ops};

use serde::{Deserialize, Serialize};

use super::{predicate::Predicate, value::FilterValue};
use crate::{
    error::{Result, SyncError},
    id::RecordId,
    payload::JsonObject,
};

/// A condition on a record. What each form means is told in the [module documentation](super).
///
/// Made with the functions below or with a typed [`Field`](super::Field), and joined with [`Filter::and`],
/// [`Filter::or`] and `!`. Names and patterns are checked when the filter is used, or by [`Filter::validate`], so
/// that building one stays free of error handling. A filter read from JSON is bounded by the reader's limit on
/// nesting (128 levels for `serde_json`) and then by `validate`.
///
/// ```
/// use sync_core::{Payload, RecordId, query::Filter};
/// let filter = Filter::eq("done", false).and(!Filter::like("title", "%tea%"));
/// filter.validate()?;
/// let fields = Payload::parse(r#"{"done":false,"title":"milk"}"#)?.to_object()?;
/// assert!(filter.matches(&RecordId::new("r1")?, &fields)?);
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Filter {
    /// A comparison of one field.
    Compare {
        /// The field, written as a [`FieldPath`](super::FieldPath).
        field: String,
        /// What is asked of it.
        comparison: Comparison,
    },
    /// All of these hold; true without parts.
    And(Vec<Filter>),
    /// At least one of these holds; false without parts.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
}

/// What a [`Filter`] asks of a field: an operator with its operand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Equal to the value.
    Eq(FilterValue),
    /// Not equal to the value.
    Neq(FilterValue),
    /// Of the same kind as the value, and greater.
    Gt(FilterValue),
    /// Of the same kind as the value, and greater or equal.
    Gte(FilterValue),
    /// Of the same kind as the value, and less.
    Lt(FilterValue),
    /// Of the same kind as the value, and less or equal.
    Lte(FilterValue),
    /// A text that matches the [`LikePattern`](super::LikePattern).
    Like(String),
    /// A text with the value inside, or an array with an element equal to it.
    Contains(FilterValue),
    /// A text that begins with this one.
    StartsWith(String),
    /// Missing or null.
    IsNull,
    /// Neither missing nor null.
    IsNotNull,
    /// Equal to one of the values.
    InList(Vec<FilterValue>),
}

/// The name of a comparison, as errors and capabilities tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterOperator {
    /// See [`Comparison::Eq`].
    Eq,
    /// See [`Comparison::Neq`].
    Neq,
    /// See [`Comparison::Gt`].
    Gt,
    /// See [`Comparison::Gte`].
    Gte,
    /// See [`Comparison::Lt`].
    Lt,
    /// See [`Comparison::Lte`].
    Lte,
    /// See [`Comparison::Like`].
    Like,
    /// See [`Comparison::Contains`].
    Contains,
    /// See [`Comparison::StartsWith`].
    StartsWith,
    /// See [`Comparison::IsNull`].
    IsNull,
    /// See [`Comparison::IsNotNull`].
    IsNotNull,
    /// See [`Comparison::InList`].
    InList,
}

impl FilterOperator {
    /// All operators.
    pub const ALL: [FilterOperator; 12] = [
        Self::Eq,
        Self::Neq,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::Like,
        Self::Contains,
        Self::StartsWith,
        Self::IsNull,
        Self::IsNotNull,
        Self::InList,
    ];

    /// The name as stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Like => "like",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::IsNull => "is_null",
            Self::IsNotNull => "is_not_null",
            Self::InList => "in_list",
        }
    }

    /// The `Unsupported` error of a store or remote that cannot give this operator's exact meaning on `field`.
    ///
    /// ```
    /// use sync_core::query::FilterOperator;
    /// let error = FilterOperator::Like.unsupported("title", "the server ignores case");
    /// assert_eq!(error.to_string(), "unsupported `title`: operator like: the server ignores case");
    /// ```
    pub fn unsupported(self, field: &str, why: &str) -> SyncError {
        SyncError::unsupported(field, format!("operator {self}: {why}"))
    }
}

impl fmt::Display for FilterOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Comparison {
    /// The operator, without its operand.
    pub fn operator(&self) -> FilterOperator {
        match self {
            Self::Eq(_) => FilterOperator::Eq,
            Self::Neq(_) => FilterOperator::Neq,
            Self::Gt(_) => FilterOperator::Gt,
            Self::Gte(_) => FilterOperator::Gte,
            Self::Lt(_) => FilterOperator::Lt,
            Self::Lte(_) => FilterOperator::Lte,
            Self::Like(_) => FilterOperator::Like,
            Self::Contains(_) => FilterOperator::Contains,
            Self::StartsWith(_) => FilterOperator::StartsWith,
            Self::IsNull => FilterOperator::IsNull,
            Self::IsNotNull => FilterOperator::IsNotNull,
            Self::InList(_) => FilterOperator::InList,
        }
    }
}

impl Filter {
    /// A comparison of `field`.
    pub fn compare(field: impl Into<String>, comparison: Comparison) -> Self {
        Self::Compare {
            field: field.into(),
            comparison,
        }
    }

    /// `field` is equal to `value`.
    pub fn eq(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Eq(value.into()))
    }

    /// `field` is not equal to `value`; true for a missing field, unless `value` is null.
    pub fn neq(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Neq(value.into()))
    }

    /// `field` is greater than `value`, and of the same kind.
    pub fn gt(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Gt(value.into()))
    }

    /// `field` is greater than or equal to `value`, and of the same kind.
    pub fn gte(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Gte(value.into()))
    }

    /// `field` is less than `value`, and of the same kind.
    pub fn lt(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Lt(value.into()))
    }

    /// `field` is less than or equal to `value`, and of the same kind.
    pub fn lte(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Lte(value.into()))
    }

    /// `field` is a text that matches the [`LikePattern`](super::LikePattern) `pattern`.
    pub fn like(field: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::compare(field, Comparison::Like(pattern.into()))
    }

    /// `field` is a text with `value` inside, or an array with an element equal to `value`.
    pub fn contains(field: impl Into<String>, value: impl Into<FilterValue>) -> Self {
        Self::compare(field, Comparison::Contains(value.into()))
    }

    /// `field` is a text that begins with `prefix`.
    pub fn starts_with(field: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self::compare(field, Comparison::StartsWith(prefix.into()))
    }

    /// `field` is missing or null.
    pub fn is_null(field: impl Into<String>) -> Self {
        Self::compare(field, Comparison::IsNull)
    }

    /// `field` is neither missing nor null.
    pub fn is_not_null(field: impl Into<String>) -> Self {
        Self::compare(field, Comparison::IsNotNull)
    }

    /// `field` is equal to one of `values`.
    pub fn in_list<V: Into<FilterValue>>(
        field: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::compare(
            field,
            Comparison::InList(values.into_iter().map(Into::into).collect()),
        )
    }

    /// Both hold. A chain of `and` is one [`Filter::And`], not a nest.
    #[must_use]
    pub fn and(self, other: Filter) -> Self {
        match self {
            Self::And(mut parts) => {
                parts.push(other);
                Self::And(parts)
            }
            first => Self::And(vec![first, other]),
        }
    }

    /// At least one holds. A chain of `or` is one [`Filter::Or`], not a nest.
    #[must_use]
    pub fn or(self, other: Filter) -> Self {
        match self {
            Self::Or(mut parts) => {
                parts.push(other);
                Self::Or(parts)
            }
            first => Self::Or(vec![first, other]),
        }
    }

    /// Checks field names, patterns, numbers and the size; a filter that passes can be evaluated.
    ///
    /// # Errors
    /// As [`Predicate::new`].
    pub fn validate(&self) -> Result<()> {
        Predicate::new(self).map(drop)
    }

    /// Whether the filter holds for one record. To ask about many records, make a [`Predicate`] once.
    ///
    /// # Errors
    /// As [`Predicate::new`].
    pub fn matches(&self, id: &RecordId, fields: &JsonObject) -> Result<bool> {
        Ok(Predicate::new(self)?.matches(id, fields))
    }
}

impl ops::Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        match self {
            Self::Not(inner) => *inner,
            filter => Self::Not(Box::new(filter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_stay_flat_and_double_negation_vanishes() {
        let [a, b, c] = ["a", "b", "c"].map(Filter::is_null);
        assert_eq!(
            a.clone().and(b.clone()).and(c.clone()),
            Filter::And(vec![a.clone(), b.clone(), c.clone()])
        );
        assert_eq!(
            a.clone().or(b.clone()).or(c.clone()),
            Filter::Or(vec![a.clone(), b, c])
        );
        assert_eq!(!!a.clone(), a);
    }

    #[test]
    fn json_round_trips_and_is_readable() {
        let filter = Filter::eq("done", false)
            .and(!Filter::is_null("title"))
            .and(Filter::in_list("n", [FilterValue::Null, 1.into(), 1.5.into()]).or(Filter::like("t", "a%")));
        let json = serde_json::to_string(&filter).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"and":[{"compare":{"field":"done","comparison":{"eq":false}}},"#,
                r#"{"not":{"compare":{"field":"title","comparison":"is_null"}}},"#,
                r#"{"or":[{"compare":{"field":"n","comparison":{"in_list":[null,1,1.5]}}},"#,
                r#"{"compare":{"field":"t","comparison":{"like":"a%"}}}]}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
    }

    #[test]
    fn hostile_nesting_in_json_is_an_error() {
        let nested = format!(
            "{}{}{}",
            r#"{"not":"#.repeat(100_000),
            r#"{"and":[]}"#,
            "}".repeat(100_000)
        );
        assert!(serde_json::from_str::<Filter>(&nested).is_err());
        let just_readable = format!("{}{}{}", r#"{"not":"#.repeat(60), r#"{"and":[]}"#, "}".repeat(60));
        assert!(
            serde_json::from_str::<Filter>(&just_readable)
                .unwrap()
                .validate()
                .is_err()
        );
    }

    #[test]
    fn unknown_members_are_refused() {
        let json = r#"{"compare":{"field":"a","comparison":"is_null","collation":"nocase"}}"#;
        assert!(serde_json::from_str::<Filter>(json).is_err());
    }

    #[test]
    fn operator_names_are_the_names_in_json() {
        for operator in FilterOperator::ALL {
            assert_eq!(serde_json::to_value(operator).unwrap(), operator.as_str());
        }
    }
}
