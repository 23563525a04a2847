//! Records that are taken to be new, inserted where they lie: nothing is looked up, and nothing is copied before
//! SQLite copies it.

use sync_core::{ChangeSet, Confirmation, ConfirmedPage, RecordKey, RemoteVersion, Result};

use super::super::Numbers;
use crate::{
    driver::direct::{Bound, DirectTransaction},
    error::corrupt,
    row::ReadRow,
    row::counter,
    rows::kind_of,
    sql::Param,
};

/// From so many records on, their pages are not kept in memory. Nobody has asked for them, and in the order of ids each
/// is needed once.
const MANY: usize = 1_000;

/// The first five values are the same for all rows of a page.
const INSERT: &str = "INSERT INTO sync_records (target_id, revision, schema_version, touched_at, mark, id, view, \
     base_stamp, base_time, base_kind, version_token, version_order) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (target_id, id) DO NOTHING";

const REVISION_FLOOR: &str = "SELECT revision_floor FROM sync_targets WHERE target_id = ?";

/// Inserts the records of pages that hold only new ones. Returns the first that is there already, if there is one;
/// everything is to be undone then.
pub(in crate::commit) fn insert(
    transaction: &DirectTransaction,
    numbers: &Numbers,
    changes: &ChangeSet,
) -> Result<Option<RecordKey>> {
    let pages = || changes.confirmed.iter().filter(|page| page.only_new);
    let many = pages().map(|page| page.records.len()).sum::<usize>() >= MANY;
    let _small_cache = many.then(|| transaction.with_small_cache()).transpose()?;
    for page in pages() {
        let number = numbers.of(&page.target)?;
        let constants = [
            number.into(),
            (1 + revision_floor(transaction, number)?).into(),
            page.schema_version.into(),
            changes.now.into(),
            counter("mark", page.mark)?.into(),
        ];
        let records = in_order_of_ids(page);
        let rows = records.iter().map(|record| values(record));
        if let Some(place) = transaction.insert_each(INSERT, &constants, rows)? {
            return Ok(Some(RecordKey::new(
                page.target.clone(),
                records[place].id.clone(),
            )));
        }
    }
    Ok(None)
}

/// Neighbours in the index of ids come one after the other, so that each of its pages is looked for once.
fn in_order_of_ids(page: &ConfirmedPage) -> Vec<&Confirmation> {
    let mut records: Vec<&Confirmation> = page.records.iter().collect();
    if !records.is_sorted_by(|a, b| a.id < b.id) {
        records.sort_by(|a, b| a.id.cmp(&b.id));
    }
    records
}

fn values(record: &Confirmation) -> [Bound<'_>; 7] {
    let Confirmation { id, state } = record;
    let version = state.version();
    [
        Bound::Text(id.as_str()),
        state
            .payload()
            .map_or(Bound::Null, |view| Bound::Text(view.as_str())),
        state
            .stamp()
            .map_or(Bound::Null, |stamp| Bound::Made(stamp.to_string())),
        state.server_time().map(|time| time.as_micros()).into(),
        Bound::Int(kind_of(state)),
        version.map_or(Bound::Null, |version| Bound::Text(version.token())),
        version.and_then(RemoteVersion::order).into(),
    ]
}

/// Revisions start above those of removed rows, so that no revision ever stands for two states.
fn revision_floor(transaction: &DirectTransaction, number: i64) -> Result<i64> {
    let mut floor = None;
    let params = [Param::from(number)];
    transaction.rows_each(REVISION_FLOOR, &params, params.len(), |_, row| {
        floor = Some(row.int(0)?);
        Ok(())
    })?;
    floor.ok_or_else(|| corrupt("a target has no row"))
}
