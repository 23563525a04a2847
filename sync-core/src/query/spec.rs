//! A query as data.

use serde::{Deserialize, Serialize};

use super::{evaluate::Query, filter::Filter, keyset::Keyset};
use crate::{error::Result, id::RecordId, payload::Payload};

/// How many fields a query may be ordered by.
pub const MAX_ORDER_FIELDS: usize = 16;

/// One field that a query is ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBy {
    /// The field, written as a [`FieldPath`](super::FieldPath).
    pub field: String,
    /// Whether large values come first and nulls last.
    #[serde(default)]
    pub descending: bool,
}

impl OrderBy {
    /// Nulls and small values first.
    pub fn asc(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            descending: false,
        }
    }

    /// Large values first, nulls last.
    pub fn desc(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            descending: true,
        }
    }
}

/// Which records to read, in which order, and which part of them. What it means exactly is told in the
/// [module documentation](super).
///
/// Nothing is checked while it is built or read from JSON; [`QuerySpec::validate`] does, and so does every store
/// before it answers.
///
/// Paging by [`QuerySpec::after`] neither repeats nor skips a record when others come and go between the pages,
/// as paging by `offset` does:
///
/// ```
/// use sync_core::{Payload, RecordId};
/// use sync_core::query::{OrderBy, QuerySpec, evaluate};
///
/// let rows: Vec<_> = (0..5)
///     .map(|n| Ok((RecordId::new(format!("r{n}"))?, Payload::parse(format!(r#"{{"n":{}}}"#, n % 2))?)))
///     .collect::<sync_core::Result<_>>()?;
///
/// let first_page = QuerySpec::new().order_by(OrderBy::desc("n")).limit(3);
/// let found = evaluate(&first_page, rows.clone())?;
/// let (id, payload) = found.last().expect("three of five rows");
/// assert_eq!(id.as_str(), "r0");
///
/// let second_page = first_page.clone().after(first_page.keyset_after(id, payload)?);
/// let rest: Vec<_> = evaluate(&second_page, rows)?.into_iter().map(|(id, _)| id.to_string()).collect();
/// assert_eq!(rest, ["r2", "r4"]);
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySpec {
    /// The records to keep; all, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The order, by the first field and then by the next ones. The id always comes last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<OrderBy>,
    /// At most this many records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How many records of the order to skip. Not together with `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Only the records after this position of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Keyset>,
}

impl QuerySpec {
    /// All records, ordered by their ids.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the records for which `filter` holds, and every filter given before.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(earlier) => earlier.and(filter),
            None => filter,
        });
        self
    }

    /// Orders by a field, after the fields given before.
    #[must_use]
    pub fn order_by(mut self, order: OrderBy) -> Self {
        self.order_by.push(order);
        self
    }

    /// Takes at most `limit` records.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Skips the first `offset` records.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Goes on after a position, made by [`QuerySpec::keyset_after`] of a query with the same order.
    #[must_use]
    pub fn after(mut self, keyset: Keyset) -> Self {
        self.after = Some(keyset);
        self
    }

    /// The position of a record in this query's order: usually of the last one of a page, for the next page.
    ///
    /// # Errors
    /// - `Invalid` if this query does not pass [`QuerySpec::validate`];
    /// - `Malformed` if the payload is damaged.
    pub fn keyset_after(&self, id: &RecordId, payload: &Payload) -> Result<Keyset> {
        let position = Query::new(self)?.position(id, &payload.to_object()?);
        Ok(Keyset::new(self.order_by.clone(), position))
    }

    /// Checks everything that can be wrong with a query before it is asked.
    ///
    /// # Errors
    /// As [`Query::new`].
    pub fn validate(&self) -> Result<()> {
        Query::new(self).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn refused(spec: &QuerySpec) -> String {
        let error = spec.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    fn keyset(spec: &QuerySpec) -> Keyset {
        spec.keyset_after(
            &RecordId::new("r1").unwrap(),
            &Payload::parse(r#"{"a":1.5,"t":[1]}"#).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        assert!(refused(&QuerySpec::new().filter(Filter::eq("", 1))).contains("field path"));
        assert!(refused(&QuerySpec::new().order_by(OrderBy::asc("a..b"))).contains("a..b"));
        let by_a = QuerySpec::new().order_by(OrderBy::asc("a"));
        assert!(refused(&by_a.clone().after(keyset(&by_a)).offset(1)).contains("offset"));
        assert!(by_a.clone().after(keyset(&by_a)).limit(1).validate().is_ok());
        let many = |fields| (0..fields).fold(QuerySpec::new(), |spec, _| spec.order_by(OrderBy::asc("a")));
        assert!(many(MAX_ORDER_FIELDS).validate().is_ok());
        assert!(refused(&many(MAX_ORDER_FIELDS + 1)).contains("order_by"));
    }

    #[test]
    fn a_position_of_another_order_is_refused() {
        let by_a = QuerySpec::new().order_by(OrderBy::asc("a"));
        for other in [
            QuerySpec::new(),
            QuerySpec::new().order_by(OrderBy::desc("a")),
            QuerySpec::new().order_by(OrderBy::asc("b")),
            by_a.clone().order_by(OrderBy::asc("b")),
        ] {
            assert!(refused(&other.after(keyset(&by_a))).contains("other order"));
        }
        let mut tampered = serde_json::to_value(keyset(&by_a)).unwrap();
        tampered["position"]["values"] = serde_json::json!([]);
        assert!(refused(&by_a.after(serde_json::from_value(tampered).unwrap())).contains("other order"));
    }

    #[test]
    fn json_round_trips_with_every_part() {
        assert_eq!(serde_json::to_string(&QuerySpec::new()).unwrap(), "{}");
        let ordered = QuerySpec::new()
            .order_by(OrderBy::asc("a"))
            .order_by(OrderBy::desc("t"));
        let spec = ordered
            .clone()
            .filter(Filter::eq("x", 1.0))
            .limit(3)
            .after(keyset(&ordered));
        let json = serde_json::to_string(&spec).unwrap();
        let read: QuerySpec = serde_json::from_str(&json).unwrap();
        assert_eq!(read, spec);
        assert!(read.validate().is_ok());
        assert!(serde_json::from_str::<QuerySpec>(r#"{"distinct":true}"#).is_err());
    }

    #[test]
    fn filters_given_twice_are_both_kept() {
        let spec = QuerySpec::new()
            .filter(Filter::eq("a", 1))
            .filter(Filter::eq("b", 2));
        assert_eq!(spec.filter, Some(Filter::eq("a", 1).and(Filter::eq("b", 2))));
    }
}
