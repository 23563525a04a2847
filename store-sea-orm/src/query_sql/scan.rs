//! Queries by the reference evaluator, over the rows of a target in pages.

use std::collections::HashMap;

use sync_core::{LocalRecord, RecordId, Result, query::is_marked_deleted};

use super::{Selection, read_record, select_columns};
use crate::driver::{Database, Run, Transaction};

/// How many rows are in memory at a time, besides those that match.
const PAGE: u64 = 500;

/// The records that are selected. Takes memory for all that match the filter.
pub(super) async fn query(database: &Database, selection: &Selection) -> Result<Vec<LocalRecord>> {
    let mut matching = HashMap::new();
    scan(database, selection, |record| {
        matching.insert(record.id.clone(), record);
    })
    .await?;
    let candidates: Vec<_> = matching
        .values()
        .map(|record| (record.id.clone(), record.payload.clone()))
        .collect();
    let answer = selection.query.run(candidates)?;
    Ok(answer
        .into_iter()
        .filter_map(|(id, _)| matching.remove(&id))
        .collect())
}

/// How many records match the filter.
pub(super) async fn count(database: &Database, selection: &Selection) -> Result<u64> {
    let mut matching = 0;
    scan(database, selection, |_| matching += 1).await?;
    Ok(matching)
}

/// Shows every record that matches the filter to `visit`, all of one state of the store.
async fn scan(
    database: &Database,
    selection: &Selection,
    visit: impl FnMut(LocalRecord) + Send,
) -> Result<()> {
    let transaction = database.begin_read().await?;
    let scanned = scan_pages(transaction.as_run(), selection, visit).await;
    transaction.finish(scanned).await
}

async fn scan_pages(
    transaction: Transaction<'_>,
    selection: &Selection,
    mut visit: impl FnMut(LocalRecord) + Send,
) -> Result<()> {
    let mut last: Option<RecordId> = None;
    loop {
        let mut sql = select_columns(transaction.dialect(), selection.number);
        sql.push(" WHERE r.view IS NOT NULL AND r.target_id = ")
            .bind(selection.number);
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
            let deleted = selection
                .declared
                .deleted_at
                .as_ref()
                .and_then(|field| field.lookup(&fields));
            if !is_marked_deleted(deleted) && selection.query.matches(&record.id, &fields) {
                visit(record);
            }
        }
        if u64::try_from(rows.len()).unwrap_or(u64::MAX) < PAGE {
            return Ok(());
        }
    }
}
