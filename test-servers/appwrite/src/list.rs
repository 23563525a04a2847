//! Lists of rows: `queries[]`, order, pages, totals and the cache of `ttl`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::{Request, Response};
use crate::machine::{Context, Machine, Place};
use crate::permission::Action;
use crate::query::{Collation, Cursor, ListQuery, Order, attribute_of, invalid_queries_parameter};
use crate::quirk::Quirk;
use crate::row::Row;
use crate::schema::Table;
use crate::time::Timestamp;

/// Rows of a page without a limit.
const DEFAULT_LIMIT: usize = 25;
/// The greatest total that is counted.
const TOTAL_CAP: usize = 5000;

/// Lists that `ttl` keeps, and rows as clients last saw them.
#[derive(Debug, Default)]
pub(crate) struct ListCache {
    kept: BTreeMap<(Place, String, String), (Timestamp, Value)>,
    /// Only kept where a cursor row is not read again.
    seen: BTreeMap<(Place, String), Row>,
}

/// The texts of `queries[]`.
fn query_texts(request: &Request) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for (name, value) in &request.query {
        if name == "queries" {
            return Err(invalid_queries_parameter());
        }
        if name.starts_with("queries[") && name.ends_with(']') {
            texts.push(value.clone());
        }
    }
    Ok(texts)
}

/// The columns that a request for one row selects.
pub(crate) fn requested_columns(context: &Context<'_>, table: &Table) -> Result<Option<Vec<String>>> {
    Ok(ListQuery::parse(&query_texts(context.request)?, table)?.select)
}

impl Machine {
    pub(crate) fn collation(&self) -> Collation {
        Collation {
            text_ignores_case: self.has(Quirk::TextComparedWithoutCase),
            ids_ignore_case: self.has(Quirk::IdsIgnoreCase),
        }
    }

    pub(crate) fn list_rows(&mut self, context: &Context<'_>, place: &Place) -> Result<Response> {
        let table = self.table(place)?;
        if !table.row_security && !context.principal.may(Action::Read, &table.permissions) {
            return Err(ApiError::unauthorized());
        }
        let texts = query_texts(context.request)?;
        let query = ListQuery::parse(&texts, table)?;
        let kept_for = context
            .request
            .parameter("ttl")
            .and_then(|ttl| ttl.parse::<i64>().ok());
        let kept_for = kept_for.filter(|ttl| *ttl > 0 && self.has(Quirk::ListsCachedByTtl));
        let key = (
            place.clone(),
            context.principal.owner().to_owned(),
            texts.join("\n"),
        );
        if kept_for.is_some()
            && let Some((_, body)) = self
                .lists
                .kept
                .get(&key)
                .filter(|(until, _)| *until > context.arrival.at)
        {
            let mut response = Response::json(200, body.clone());
            response.headers.insert("x-appwrite-cache".into(), "hit".into());
            return Ok(response);
        }
        let body = self.run_list(context, place, &query)?;
        let mut response = Response::json(200, body.clone());
        if let Some(seconds) = kept_for {
            self.lists
                .kept
                .insert(key, (context.arrival.at.plus_millis(seconds * 1000), body));
            response.headers.insert("x-appwrite-cache".into(), "miss".into());
        }
        Ok(response)
    }

    fn run_list(&mut self, context: &Context<'_>, place: &Place, query: &ListQuery) -> Result<Value> {
        let rows = self.find(place, query, |row| {
            self.may_see(context, place, row).unwrap_or(false)
        })?;
        let counts = match context.request.parameter("total") {
            Some("0") => false,
            Some("false") => self.has(Quirk::TotalFalseIgnored),
            _ => true,
        };
        let total = if counts { rows.matching.min(TOTAL_CAP) } else { 0 };
        let form = self.row_form(place);
        let shown: Vec<Value> = rows
            .page
            .iter()
            .map(|row| {
                query
                    .select
                    .as_ref()
                    .map_or_else(|| form.show(row), |names| form.show_columns(row, names))
            })
            .collect();
        if !self.has(Quirk::CursorRowReadAgain) {
            let seen = rows
                .page
                .iter()
                .map(|row| ((place.clone(), row.id.clone()), row.clone()));
            self.lists.seen.extend(seen.collect::<Vec<_>>());
        }
        Ok(json!({"total": total, "rows": shown}))
    }

    /// The rows that fit a query.
    pub(crate) fn find(
        &self,
        place: &Place,
        query: &ListQuery,
        visible: impl Fn(&Row) -> bool,
    ) -> Result<Found> {
        let collation = self.collation();
        let table = self.table(place)?;
        let cursor = query
            .cursor
            .as_ref()
            .map(|cursor| self.cursor_row(place, table, query, cursor))
            .transpose()?;
        let matches = |row: &&Row| query.filters.iter().all(|filter| filter.matches(row, collation));
        let mut rows: Vec<&Row> = table.rows().filter(matches).filter(|row| visible(row)).collect();
        rows.sort_by(|left, right| compare_rows(&query.orders, collation, left, right));
        let matching = rows.len();
        if let Some((row, after)) = &cursor {
            let side = if *after { Ordering::Greater } else { Ordering::Less };
            rows.retain(|other| compare_rows(&query.orders, collation, other, row) == side);
        }
        let limit = query
            .limit
            .unwrap_or(DEFAULT_LIMIT)
            .min(self.tuning.page_cap.unwrap_or(usize::MAX));
        let from_end = cursor.as_ref().is_some_and(|(_, after)| !after);
        let skipped = if from_end {
            rows.len().saturating_sub(limit)
        } else {
            query.offset
        };
        let page = rows.into_iter().skip(skipped).take(limit).cloned().collect();
        Ok(Found { matching, page })
    }

    fn cursor_row(
        &self,
        place: &Place,
        table: &Table,
        query: &ListQuery,
        cursor: &Cursor,
    ) -> Result<(Row, bool)> {
        let current = table.row(&cursor.row).ok_or_else(|| {
            ApiError::new(
                400,
                "general_cursor_not_found",
                format!("Row '{}' for the 'cursor' value not found.", cursor.row),
            )
        })?;
        let seen = self.lists.seen.get(&(place.clone(), cursor.row.clone()));
        let row = seen
            .filter(|_| !self.has(Quirk::CursorRowReadAgain))
            .unwrap_or(current);
        for order in &query.orders {
            if attribute_of(row, &order.attribute).is_null() {
                return Err(ApiError::new(
                    400,
                    "database_query_order_null",
                    format!(
                        "The order column '{}' had a null value. Cursor pagination requires all rows order column \
                         values are non-null.",
                        order.attribute
                    ),
                ));
            }
        }
        Ok((row.clone(), cursor.after))
    }
}

/// What a query found.
#[derive(Debug)]
pub(crate) struct Found {
    /// How many rows fit, on all pages.
    pub(crate) matching: usize,
    pub(crate) page: Vec<Row>,
}

/// The order of two rows; the sequence decides at last, in the direction of an order by date.
fn compare_rows(orders: &[Order], collation: Collation, left: &Row, right: &Row) -> Ordering {
    for order in orders {
        let values = (
            attribute_of(left, &order.attribute),
            attribute_of(right, &order.attribute),
        );
        let found = collation.order(&values.0, &values.1).unwrap_or(Ordering::Equal);
        let found = if order.descending { found.reverse() } else { found };
        if found != Ordering::Equal {
            return found;
        }
    }
    let by_date = orders
        .first()
        .filter(|order| matches!(order.attribute.as_str(), "$createdAt" | "$updatedAt"));
    let found = left.sequence.cmp(&right.sequence);
    if by_date.is_some_and(|order| order.descending) {
        found.reverse()
    } else {
        found
    }
}
