//! The reference evaluator.

use std::{cmp::Ordering, ops::Range};

use super::{
    keyset::{OrderValue, Position},
    path::FieldPath,
    predicate::{Predicate, checked_operand},
    row::{JsonRow, Row},
    scalar::Scalar,
    spec::{MAX_ORDER_FIELDS, QuerySpec},
};
use crate::{
    error::{Result, SyncError},
    id::RecordId,
    payload::{JsonObject, Payload},
};

/// A query that was checked and can be evaluated.
///
/// [`evaluate`] and [`count`] are made of it. Stores that evaluate only a part themselves, and watchers that have
/// to know whether and where a changed record belongs to an answer, use it directly.
///
/// ```
/// use sync_core::{Payload, RecordId};
/// use sync_core::query::{Filter, OrderBy, Query, QuerySpec};
///
/// let query = Query::new(&QuerySpec::new().filter(Filter::gt("n", 1)).order_by(OrderBy::desc("n")))?;
/// let (a, b) = (RecordId::new("a")?, RecordId::new("b")?);
/// let two = Payload::parse(r#"{"n":2}"#)?.to_object()?;
/// let three = Payload::parse(r#"{"n":3}"#)?.to_object()?;
/// assert!(query.matches(&a, &two));
/// assert!(query.compare(&query.position(&b, &three), &query.position(&a, &two)).is_lt());
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    predicate: Option<Predicate>,
    order: Vec<OrderField>,
    after: Option<Position>,
    offset: u64,
    limit: Option<u64>,
}

#[derive(Clone, Debug)]
struct OrderField {
    path: FieldPath,
    descending: bool,
}

impl Query {
    /// Checks a query and makes it ready.
    ///
    /// # Errors
    /// `Invalid`, naming the part, if
    /// - the filter is refused by [`Predicate::new`];
    /// - a field of the order is not a [`FieldPath`], or there are more than [`MAX_ORDER_FIELDS`];
    /// - `after` is given together with `offset`, or was made for another order.
    pub fn new(spec: &QuerySpec) -> Result<Self> {
        let predicate = spec.filter.as_ref().map(Predicate::new).transpose()?;
        if spec.order_by.len() > MAX_ORDER_FIELDS {
            return Err(SyncError::invalid(
                "order_by",
                format!("has more than {MAX_ORDER_FIELDS} fields"),
            ));
        }
        let order = spec
            .order_by
            .iter()
            .map(|by| {
                Ok(OrderField {
                    path: FieldPath::new(&by.field)?,
                    descending: by.descending,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let query = Self {
            predicate,
            order,
            after: None,
            offset: spec.offset.unwrap_or(0),
            limit: spec.limit,
        };
        query.with_after(spec)
    }

    fn with_after(mut self, spec: &QuerySpec) -> Result<Self> {
        let Some(keyset) = &spec.after else {
            return Ok(self);
        };
        if spec.offset.is_some() {
            return Err(SyncError::invalid(
                "offset",
                "cannot be combined with `after`; use one of them",
            ));
        }
        if keyset.order_by() != spec.order_by || keyset.position().values().len() != spec.order_by.len() {
            return Err(SyncError::invalid(
                "after",
                "was made for some other order than that of this query",
            ));
        }
        for (field, value) in self.order.iter().zip(keyset.position().values()) {
            if let OrderValue::Scalar(value) = value {
                checked_operand(&field.path, value)?;
            }
        }
        self.after = Some(keyset.position().clone());
        Ok(self)
    }

    /// Whether the filter holds for a record. Order, `after`, `offset` and `limit` play no part.
    pub fn matches(&self, id: &RecordId, fields: &JsonObject) -> bool {
        self.matches_row(&JsonRow { id, fields })
    }

    pub(super) fn matches_row(&self, row: &impl Row) -> bool {
        self.predicate
            .as_ref()
            .is_none_or(|predicate| predicate.matches_row(row))
    }

    /// Where a record stands in this query's order.
    pub fn position(&self, id: &RecordId, fields: &JsonObject) -> Position {
        let row = JsonRow { id, fields };
        let values = self
            .order
            .iter()
            .map(|field| OrderValue::of(row.read(&field.path)))
            .collect();
        Position::new(values, id.clone())
    }

    /// The fields that decide what the query answers, without the id, each once.
    pub fn fields(&self) -> Vec<&FieldPath> {
        let mut paths: Vec<_> = self.order.iter().map(|field| &field.path).collect();
        if let Some(predicate) = &self.predicate {
            predicate.add_paths(&mut paths);
        }
        paths.retain(|path| !path.is_id());
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Whether a position lies after [`QuerySpec::after`], if the query has one.
    pub fn admits(&self, position: &Position) -> bool {
        self.after
            .as_ref()
            .is_none_or(|after| self.compare(position, after).is_gt())
    }

    /// The order of two positions of this query. Total, and equal only for the same id with values that the order
    /// does not tell apart.
    pub fn compare(&self, a: &Position, b: &Position) -> Ordering {
        self.compare_values(a.scalars(), b.scalars())
            .then_with(|| a.id().cmp(b.id()))
    }

    /// As [`Query::compare`].
    pub(super) fn compare_rows(&self, a: &impl Row, b: &impl Row) -> Ordering {
        self.compare_values(self.values_of(a), self.values_of(b))
            .then_with(|| a.id().cmp(b.id()))
    }

    /// As [`Query::admits`].
    pub(super) fn admits_row(&self, row: &impl Row) -> bool {
        self.after.as_ref().is_none_or(|after| {
            self.compare_values(self.values_of(row), after.scalars())
                .then_with(|| row.id().cmp(after.id().as_str()))
                .is_gt()
        })
    }

    fn values_of<'a>(&'a self, row: &'a impl Row) -> impl Iterator<Item = Scalar<'a>> {
        self.order.iter().map(|field| row.read(&field.path))
    }

    fn compare_values<'a, 'b>(
        &self,
        a: impl Iterator<Item = Scalar<'a>>,
        b: impl Iterator<Item = Scalar<'b>>,
    ) -> Ordering {
        self.order
            .iter()
            .zip(a.zip(b))
            .map(|(field, (a, b))| {
                let ascending = a.compare(b);
                if field.descending {
                    ascending.reverse()
                } else {
                    ascending
                }
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// Which part of all that match, in order, is the answer.
    pub(super) fn window(&self) -> Range<usize> {
        let first = saturating(self.offset);
        first..first.saturating_add(self.limit.map_or(usize::MAX, saturating))
    }

    /// The answer: the rows that match, in order, from `after` on, without the first `offset`, at most `limit`.
    ///
    /// Takes memory for all rows that match.
    ///
    /// # Errors
    /// `Malformed` naming the record, if the payload of a row is damaged.
    pub fn run(
        &self,
        rows: impl IntoIterator<Item = (RecordId, Payload)>,
    ) -> Result<Vec<(RecordId, Payload)>> {
        let mut found = Vec::new();
        for (id, payload) in rows {
            let fields = read_fields(&id, &payload)?;
            if !self.matches(&id, &fields) {
                continue;
            }
            let position = self.position(&id, &fields);
            if self.admits(&position) {
                found.push((position, id, payload));
            }
        }
        found.sort_by(|(a, ..), (b, ..)| self.compare(a, b));
        let window = self.window();
        let rows = found.into_iter().map(|(_, id, payload)| (id, payload));
        Ok(rows.skip(window.start).take(window.len()).collect())
    }

    /// How many rows match the filter. Order, `after`, `offset` and `limit` play no part.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub fn count(&self, rows: impl IntoIterator<Item = (RecordId, Payload)>) -> Result<u64> {
        let mut matching = 0;
        for (id, payload) in rows {
            if self.matches(&id, &read_fields(&id, &payload)?) {
                matching += 1;
            }
        }
        Ok(matching)
    }
}

/// Answers a query from the given rows, whose ids are distinct: the definition that every store agrees with.
///
/// # Errors
/// - `Invalid` if the query does not pass [`QuerySpec::validate`];
/// - `Malformed` if the payload of a row is damaged.
pub fn evaluate(
    spec: &QuerySpec,
    rows: impl IntoIterator<Item = (RecordId, Payload)>,
) -> Result<Vec<(RecordId, Payload)>> {
    Query::new(spec)?.run(rows)
}

/// How many of the rows match the query's filter. Order, `after`, `offset` and `limit` play no part, so the count
/// is that of all pages.
///
/// # Errors
/// As [`evaluate`].
pub fn count(spec: &QuerySpec, rows: impl IntoIterator<Item = (RecordId, Payload)>) -> Result<u64> {
    Query::new(spec)?.count(rows)
}

fn read_fields(id: &RecordId, payload: &Payload) -> Result<JsonObject> {
    payload
        .to_object()
        .map_err(|error| error.with_field(format!("payload of {id}")))
}

/// No slice is longer than `usize::MAX`, so a larger number means the same.
fn saturating(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
