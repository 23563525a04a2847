//! Answering queries: exactly, or not at all.
//!
//! The server narrows the records down, and the reference evaluator of sync-core gives the answer from what is
//! left. So an answer is exact by construction; what must be translated exactly is only the order, and the filter
//! of a query that wants the first few of many. A query that would need more than one page of records is refused
//! by the name of what could not be translated.

mod condition;

use std::collections::BTreeMap;

use sync_core::{
    RemoteState, Result, SearchPage, SyncError, Target,
    query::{Query, QuerySpec},
};

use crate::{
    client::{Caller, LARGEST_PAGE, ListQuery},
    config::Content,
    fields::FieldKind,
    filter,
    remote::Inner,
    rows::{RowKind, Table},
};
use condition::Condition;

/// The server's limit of fields to sort by.
const SORT_FIELDS: usize = 7;

impl Inner {
    /// Answers a query.
    pub(crate) async fn search(
        &self,
        caller: &Caller<'_>,
        target: &Target,
        spec: &QuerySpec,
    ) -> Result<SearchPage> {
        let query = Query::new(spec)?;
        let table = self.table(&target.collection)?;
        let scope = filter::of_scope(&table.mapping, &target.scope)?;
        let condition = match &spec.filter {
            Some(filter) => Condition::of(table, filter),
            None => Condition::anything(),
        };
        let sort = sort_of(table, spec);
        let first = match (&sort, spec.limit, &spec.after) {
            (Ok(_), Some(limit), None) if condition.is_exact() => spec.offset.unwrap_or(0).checked_add(limit),
            _ => None,
        };
        let first = first
            .and_then(|rows| u32::try_from(rows).ok())
            .filter(|rows| *rows <= LARGEST_PAGE);

        let living = match (table.kind, &table.mapping.soft_delete) {
            (RowKind::Plain, Some(column)) => format!("{column} = false"),
            _ => String::new(),
        };
        let filter = filter::all([scope.as_str(), living.as_str(), condition.text()]);
        let request = ListQuery {
            filter: &filter,
            sort: match &sort {
                Ok(sort) if first.is_some() => sort,
                _ => "",
            },
            fields: table.columns.wanted(),
            per_page: first.unwrap_or(LARGEST_PAGE),
            count: false,
        };
        let page = caller.list(table.table_name(), &request).await?;
        caller.ensure_signed_in().await?;
        if page.may_go_on() && first.is_none() {
            return Err(match (condition.inexact(), sort) {
                (Some(inexact), _) => inexact.operator.unsupported(&inexact.field, TOO_MANY),
                (None, Err(field)) => SyncError::unsupported(field, format!("as an order: {TOO_MANY}")),
                (None, Ok(_)) => SyncError::unsupported("limit", TOO_MANY),
            });
        }
        let mut states = BTreeMap::new();
        let mut rows = Vec::with_capacity(page.items.len());
        for row in &page.items {
            // Records that cannot be understood match nothing; pulls report them.
            if let Ok((id, RemoteState::Live(live))) = table.read(row).record {
                rows.push((id.clone(), live.record.clone()));
                states.insert(id, live);
            }
        }
        let hits = query
            .run(rows)?
            .into_iter()
            .filter_map(|(id, _)| {
                let live = states.remove(&id)?;
                Some((id, live))
            })
            .collect();
        Ok(SearchPage {
            hits,
            server_time: self.estimated_time(),
        })
    }
}

const TOO_MANY: &str =
    "the server cannot evaluate it exactly, and more than 1,000 records are left to look at here";

/// The column of a field, with the kind of text, number or bool that it holds; `None` if the server cannot compare
/// it.
fn column_of<'t>(table: &'t Table, field: &str) -> Option<(&'t str, FieldKind)> {
    if field == "$id" {
        return Some((table.id_column(), FieldKind::Text));
    }
    match &table.mapping.content {
        Content::Document { .. } => None,
        Content::Fields { id_field, .. } if field == id_field => Some((table.id_column(), FieldKind::Text)),
        Content::Fields { fields, .. } => {
            let (column, kind) = fields.get_key_value(field)?;
            Some((column.as_str(), *kind))
        }
    }
}

/// The order in the server's words.
///
/// # Errors
/// The field by which the server does not sort as the query means it.
fn sort_of(table: &Table, spec: &QuerySpec) -> Result<String, String> {
    let mut sort = String::new();
    for (place, order) in spec.order_by.iter().enumerate() {
        let sortable = [
            FieldKind::Text,
            FieldKind::OptionalText,
            FieldKind::Number,
            FieldKind::Bool,
        ];
        match column_of(table, &order.field) {
            Some((column, kind)) if sortable.contains(&kind) && place < SORT_FIELDS => {
                if order.descending {
                    sort.push('-');
                }
                sort.push_str(column);
                sort.push(',');
            }
            _ => return Err(order.field.clone()),
        }
    }
    sort.push_str(table.id_column());
    Ok(sort)
}
