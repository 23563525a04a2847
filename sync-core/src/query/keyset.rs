//! Positions in the order of a query.

use serde::{Deserialize, Serialize};

use super::{scalar::Scalar, spec::OrderBy, value::FilterValue};
use crate::id::RecordId;

/// A position in the order of a query, from which a later query goes on.
///
/// Apps treat it as opaque: made by [`QuerySpec::keyset_after`](super::QuerySpec::keyset_after), given to
/// [`QuerySpec::after`](super::QuerySpec::after), and stored or sent as JSON in between. Stores read it through
/// [`Keyset::position`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    order_by: Vec<OrderBy>,
    position: Position,
}

impl Keyset {
    pub(super) fn new(order_by: Vec<OrderBy>, position: Position) -> Self {
        Self { order_by, position }
    }

    /// The order the position belongs to. In a valid query it is the query's own.
    pub fn order_by(&self) -> &[OrderBy] {
        &self.order_by
    }

    /// The position, with one value for each field of the order.
    pub fn position(&self) -> &Position {
        &self.position
    }
}

/// Where a record stands in an order: the values it is ordered by, and its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    values: Vec<OrderValue>,
    id: RecordId,
}

impl Position {
    pub(super) fn new(values: Vec<OrderValue>, id: RecordId) -> Self {
        Self { values, id }
    }

    /// The values of the fields of the order, in the order's sequence.
    pub fn values(&self) -> &[OrderValue] {
        &self.values
    }

    pub(super) fn scalars(&self) -> impl Iterator<Item = Scalar<'_>> {
        self.values.iter().map(OrderValue::as_scalar)
    }

    /// The record's id, the last tie-break.
    pub fn id(&self) -> &RecordId {
        &self.id
    }
}

/// A value that a record is ordered by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderValue {
    /// Null (also for a missing field), a boolean, a number or a text.
    Scalar(FilterValue),
    /// Some array or object; in the order all of them are equal.
    Composite,
}

impl OrderValue {
    pub(super) fn of(value: Scalar<'_>) -> Self {
        value.to_operand().map_or(Self::Composite, Self::Scalar)
    }

    pub(super) fn as_scalar(&self) -> Scalar<'_> {
        match self {
            Self::Scalar(value) => Scalar::of_operand(value),
            Self::Composite => Scalar::Composite(&[]),
        }
    }
}
