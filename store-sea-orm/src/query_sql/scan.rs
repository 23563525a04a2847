//! Queries by the reference evaluator, over the rows of a target in pages.

use std::collections::HashMap;

use sync_core::{
    JsonObject, LocalRecord, RecordId, Result,
    query::{Query, QuerySpec},
};

use super::{read_record, select_columns};
use crate::{
    driver::{Run, Transaction},
    store::Shared,
};

/// How many rows are in memory at a time, besides those that match.
const PAGE: u64 = 500;

/// The records that `spec` selects. Takes memory for all that match its filter.
pub(super) async fn query(store: &Shared, number: i64, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
    let query = Query::new(spec)?;
    let mut matching = Vec::new();
    scan(store, number, |record, fields| {
        if query.matches(&record.id, fields) {
            matching.push(record);
        }
    })
    .await?;
    let candidates: Vec<_> = matching
        .iter()
        .map(|record| (record.id.clone(), record.payload.clone()))
        .collect();
    let mut by_id: HashMap<RecordId, LocalRecord> = matching
        .into_iter()
        .map(|record| (record.id.clone(), record))
        .collect();
    Ok(query
        .run(candidates)?
        .into_iter()
        .filter_map(|(id, _)| by_id.remove(&id))
        .collect())
}

/// How many records match the filter.
pub(super) async fn count(store: &Shared, number: i64, query: &Query) -> Result<u64> {
    let mut matching = 0;
    scan(store, number, |record, fields| {
        matching += u64::from(query.matches(&record.id, fields))
    })
    .await?;
    Ok(matching)
}

/// Shows every record of the view to `visit`, all of one state of the store.
async fn scan(store: &Shared, number: i64, visit: impl FnMut(LocalRecord, &JsonObject) + Send) -> Result<()> {
    let transaction = store.database.begin_read().await?;
    let scanned = scan_pages(&transaction, number, visit).await;
    transaction.finish(scanned).await
}

async fn scan_pages(
    transaction: &Transaction,
    number: i64,
    mut visit: impl FnMut(LocalRecord, &JsonObject) + Send,
) -> Result<()> {
    let mut last: Option<RecordId> = None;
    loop {
        let mut sql = select_columns(transaction.dialect());
        sql.push(" WHERE r.view IS NOT NULL AND r.target_id = ")
            .bind(number);
        if let Some(last) = &last {
            sql.push(" AND r.id > ").bind(last.as_str());
        }
        sql.push(" ORDER BY r.id").limit(Some(PAGE));
        let rows = transaction.rows(sql).await?;
        for row in &rows {
            let record = read_record(row)?;
            let fields = record
                .payload
                .to_object()
                .map_err(|error| error.with_field(format!("payload of {}", record.id)))?;
            last = Some(record.id.clone());
            visit(record, &fields);
        }
        if u64::try_from(rows.len()).unwrap_or(u64::MAX) < PAGE {
            return Ok(());
        }
    }
}
