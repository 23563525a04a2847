//! Answering queries: exactly, or not at all.
//!
//! The database narrows the records down, and the reference evaluator of sync-core gives the answer from what is left. So
//! an answer is exact by construction; what must be translated exactly is only the order, and the filter of a query that
//! wants the first few of many. A query for which too many records are left is refused by the name of what could not be
//! translated.

mod comparison;
mod condition;
mod number;

use std::collections::BTreeMap;

use sync_core::{
    JsonObject, Payload, RecordId, Result, SyncError, Versioned,
    query::{Query, QuerySpec},
};
use sync_http::Method;

use crate::{
    client::{Call, Client},
    error::ADAPTER,
    table::{NO_SUCH_VALUE, Place, id_text, name},
    table_mapping::{ColumnKind, SupabaseTable},
};
use condition::Condition;

/// The most records that are looked at here.
const MOST: usize = 10_000;

/// The longest filter that is sent: it stands in the address, whose length is limited.
const LONGEST_FILTER: usize = 6_000;

const TOO_MANY: &str =
    "the database cannot evaluate it exactly, and more than 10,000 records are left to look at here";

/// A query, translated as far as it can be.
pub(crate) struct Search<'s> {
    place: &'s Place<'s>,
    query: Query,
    condition: Condition,
    /// The order in the words of the data API, or the field by which it does not sort as the query means it.
    order: Result<String, String>,
    /// How many of the first records answer the query, if the database can tell which they are.
    first: Option<usize>,
    /// Whether rows that are marked as deleted are records like others.
    with_marked: bool,
}

impl<'s> Search<'s> {
    /// # Errors
    /// `Invalid` if the query is.
    pub(crate) fn new(place: &'s Place<'s>, spec: &QuerySpec) -> Result<Self> {
        let query = Query::new(spec)?;
        let mut condition = match &spec.filter {
            Some(filter) => Condition::of(place.mapping, filter),
            None => Condition::always(),
        };
        condition.shorten(LONGEST_FILTER);
        let order = order_of(place.mapping, spec);
        let first = match (&order, spec.limit, &spec.after) {
            (Ok(_), Some(limit), None) if condition.is_exact() => spec.offset.unwrap_or(0).checked_add(limit),
            _ => None,
        };
        let first = first.and_then(|rows| usize::try_from(rows).ok());
        Ok(Self {
            place,
            query,
            condition,
            order,
            first: first.filter(|rows| *rows <= MOST),
            with_marked: false,
        })
    }

    /// Takes rows that are marked as deleted for records, as the feed does.
    pub(crate) fn with_marked(mut self) -> Self {
        self.with_marked = true;
        self
    }

    /// The rows of all records that may answer the query, with these columns, of which one is the id.
    ///
    /// # Errors
    /// `Unsupported` naming what could not be translated if there are too many; those of the requests.
    pub(crate) async fn candidates(
        &self,
        client: &Client,
        page: u32,
        columns: &str,
    ) -> Result<Vec<JsonObject>> {
        if self.condition.is_never() {
            return Ok(Vec::new());
        }
        match (&self.order, self.first) {
            (Ok(order), Some(first)) => self.first_ones(client, page, columns, order, first).await,
            _ => self.all(client, page, columns).await,
        }
        .map_err(refused_value)
    }

    /// The answer, from the records that may belong to it.
    pub(crate) fn answer(&self, found: Vec<(RecordId, Versioned)>) -> Result<Vec<(RecordId, Versioned)>> {
        let rows = found.iter().map(|(id, live)| (id.clone(), live.record.clone()));
        let rows: Vec<(RecordId, Payload)> = rows.collect();
        let mut found: BTreeMap<RecordId, Versioned> = found.into_iter().collect();
        let hits = self.query.run(rows)?.into_iter();
        Ok(hits.filter_map(|(id, _)| found.remove_entry(&id)).collect())
    }

    async fn first_ones(
        &self,
        client: &Client,
        page: u32,
        columns: &str,
        order: &str,
        first: usize,
    ) -> Result<Vec<JsonObject>> {
        let mut found = Vec::new();
        while found.len() < first {
            let limit = (first - found.len()).min(page as usize);
            let call = self
                .call(columns)
                .query("order", order)
                .query("offset", found.len().to_string())
                .query("limit", limit.to_string());
            let rows = client.rows(&call).await?.rows;
            if rows.is_empty() {
                break;
            }
            found.extend(rows);
        }
        Ok(found)
    }

    async fn all(&self, client: &Client, page: u32, columns: &str) -> Result<Vec<JsonObject>> {
        let id = &self.place.mapping.id;
        let (mut found, mut last) = (Vec::new(), None::<String>);
        loop {
            let mut call = self
                .call(columns)
                .query("order", format!("{}.asc", name(id)))
                .query("limit", page.to_string());
            if let Some(last) = &last {
                call = call.query(id, format!("gt.{last}"));
            }
            let rows = client.rows(&call).await?.rows;
            // A short page is not the last one: an empty one is.
            let Some(end) = rows.last().and_then(|row| row.get(id)).and_then(id_text) else {
                return Ok(found);
            };
            last = Some(end);
            found.extend(rows);
            if found.len() > MOST {
                return Err(self.too_many());
            }
        }
    }

    fn call(&self, columns: &str) -> Call {
        let call = self.place.call(Method::GET).query("select", columns);
        let call = match &self.place.mapping.soft_delete {
            Some(column) if !self.with_marked => call.query(column, "is.null"),
            _ => call,
        };
        match self.condition.text() {
            Some(text) => call.query("and", format!("({text})")),
            None => call,
        }
    }

    fn too_many(&self) -> SyncError {
        match (self.condition.inexact(), &self.order) {
            (Some(inexact), _) => inexact
                .operator
                .unsupported(&inexact.field, &format!("{}; {TOO_MANY}", inexact.why)),
            (None, Err(field)) => SyncError::unsupported(field.clone(), format!("as an order: {TOO_MANY}")),
            (None, Ok(_)) => SyncError::unsupported("limit", TOO_MANY),
        }
        .with_adapter(ADAPTER)
    }
}

/// A value that its column cannot hold, which the kinds of the mapping do not tell.
fn refused_value(error: SyncError) -> SyncError {
    match error.code() {
        Some(code) if NO_SUCH_VALUE.contains(&code) => {
            let code = code.to_owned();
            SyncError::unsupported("filter", error.message().to_owned()).with_code(code)
        }
        _ => error,
    }
}

/// The order in the words of the data API.
///
/// # Errors
/// The field by which the database does not sort as the query means it.
fn order_of(mapping: &SupabaseTable, spec: &QuerySpec) -> Result<String, String> {
    let mut order = Vec::new();
    for by in &spec.order_by {
        let sorted = [
            ColumnKind::Uuid,
            ColumnKind::Integer,
            ColumnKind::Float,
            ColumnKind::Boolean,
            ColumnKind::Time,
        ];
        match mapping.columns.get(&by.field) {
            Some(kind) if sorted.contains(kind) => {
                let direction = if by.descending {
                    "desc.nullslast"
                } else {
                    "asc.nullsfirst"
                };
                order.push(format!("{}.{direction}", name(&by.field)));
            }
            _ => return Err(by.field.clone()),
        }
    }
    // Ids of texts are ordered by a collation.
    match mapping.columns.get(&mapping.id) {
        Some(ColumnKind::Uuid) => order.push(format!("{}.asc", name(&mapping.id))),
        _ => return Err(mapping.id.clone()),
    }
    Ok(order.join(","))
}
