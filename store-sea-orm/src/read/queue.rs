//! Operations and their records, read together.

use sync_core::{OpQuery, RecordKey, RecordState, Result};

use super::{ops, records};
use crate::store::Shared;
#[cfg(feature = "rusqlite")]
use crate::{
    driver::{
        Transaction,
        direct::{DirectTransaction, VisitedRow},
    },
    row::ReadRow,
    rows::{OP_WIDTH, read_id, read_op},
};

/// The records of the operations that the query selects, with all their operations.
pub(crate) async fn load_with_records(store: &Shared, query: &OpQuery) -> Result<Vec<RecordState>> {
    #[cfg(feature = "rusqlite")]
    if store.database.is_direct() && query.heads_only {
        let transaction = store.database.begin_read().await?;
        let loaded = load_heads(store, &transaction.as_run(), query).await;
        if let Some(records) = transaction.finish(loaded).await? {
            return Ok(records);
        }
    }
    let ops = ops::load(store, &store.database.reader(), query).await?;
    let keys: Vec<RecordKey> = ops.into_iter().map(|op| op.key).collect();
    records::load(store, &keys).await
}

/// The records whose first operations the query selects; `None` if a target is not known yet. The row of an operation
/// has all of its record, unless others stand behind it; then these are read as well.
#[cfg(feature = "rusqlite")]
async fn load_heads(
    store: &Shared,
    run: &Transaction<'_>,
    query: &OpQuery,
) -> Result<Option<Vec<RecordState>>> {
    let Transaction::Direct(transaction) = run else {
        return Ok(None);
    };
    let Some(sql) = ops::statement(store, run, query, ops::Columns::WithRecord).await? else {
        return Ok(Some(Vec::new()));
    };
    let mut records = Vec::new();
    let mut followed = Vec::new();
    let mut all_known = true;
    transaction.visit(sql, &mut |row| {
        let number = row.int(1)?;
        let Some(target) = store.targets.cached_target(number) else {
            all_known = false;
            return Ok(());
        };
        let key = RecordKey::new(target, read_id(row, 2)?);
        if row.flag(OP_WIDTH + records::RECORD_WIDTH)? {
            followed.push((records.len(), number));
            records.push(RecordState::absent(key));
        } else {
            records.push(read_alone(row, key)?);
        }
        Ok(())
    })?;
    if !all_known {
        return Ok(None);
    }
    complete(transaction, &mut records, &followed)?;
    Ok(Some(records))
}

/// A record with its only operation.
#[cfg(feature = "rusqlite")]
fn read_alone(row: &VisitedRow<'_>, key: RecordKey) -> Result<RecordState> {
    let op = read_op(row, 0, key.clone())?;
    let mut record = RecordState::absent(key);
    if row.opt_int(OP_WIDTH)?.is_some() {
        records::read_record(&mut record, row, OP_WIDTH)?;
    }
    record.ops.push(op);
    Ok(record)
}

/// Reads these records whole.
#[cfg(feature = "rusqlite")]
fn complete(
    transaction: &DirectTransaction,
    records: &mut [RecordState],
    places: &[(usize, i64)],
) -> Result<()> {
    let keys: Vec<RecordKey> = places
        .iter()
        .map(|(place, _)| records[*place].key.clone())
        .collect();
    let numbers: Vec<Option<i64>> = places.iter().map(|(_, number)| Some(*number)).collect();
    let whole = records::load_each(transaction, &keys, &numbers)?;
    for ((place, _), record) in places.iter().zip(whole) {
        records[*place] = record;
    }
    Ok(())
}
