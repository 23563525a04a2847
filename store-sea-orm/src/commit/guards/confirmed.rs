//! Records with a revision and confirmed records, looked at one by one where a prepared statement costs less than one about many rows.

use std::collections::{BTreeSet, HashSet};

use sync_core::{ConfirmedPage, RecordKey, Result};

use super::Subjects;
use crate::{driver::direct::DirectTransaction, row::ReadRow, rows::BaseColumns, sql::Param};

const ANY_OPERATION: &str = "SELECT 1 FROM sync_queue WHERE target_id = ? LIMIT 1";
const ANY_RECORD: &str = "SELECT 1 FROM sync_records WHERE target_id = ? LIMIT 1";
const PENDING: &str = "SELECT 1 FROM sync_queue WHERE target_id = ? AND id = ? LIMIT 1";
/// Without a version nobody can tell: no token equals a null.
const SAME: &str = "SELECT 1 FROM sync_records WHERE target_id = ? AND id = ? AND base_kind = ? \
     AND version_token = ? AND version_order IS ?";

const REVISION: &str = "SELECT revision FROM sync_records WHERE target_id = ? AND id = ?";

/// Finds the records that no longer have the revision that was read.
pub(super) fn check_revisions(
    transaction: &DirectTransaction,
    subjects: &Subjects<'_>,
    stale: &mut BTreeSet<RecordKey>,
) -> Result<()> {
    let read = &subjects.revisions;
    let params = read
        .iter()
        .flat_map(|(number, id, _)| [Param::from(*number), Param::from(*id)]);
    let mut found = vec![0; read.len()];
    transaction.rows_each(REVISION, &params.collect::<Vec<_>>(), 2, |place, row| {
        found[place] = row.int(0)?;
        Ok(())
    })?;
    for ((number, id, read), found) in read.iter().zip(found) {
        if *read != found {
            stale.insert(subjects.record(*number, id)?);
        }
    }
    Ok(())
}

/// Finds the confirmed records that have operations, and those that already have the confirmed state. What is taken to
/// be new shows when it is inserted.
pub(super) fn check(
    transaction: &DirectTransaction,
    subjects: &Subjects<'_>,
    stale: &mut BTreeSet<RecordKey>,
    same: &mut HashSet<(i64, String)>,
) -> Result<()> {
    for (number, page) in subjects.pages.iter().filter(|(_, page)| !page.only_new) {
        let any = |text| any(transaction, text, *number);
        if any(ANY_OPERATION)? {
            stale.extend(pending(transaction, *number, page)?);
        }
        if any(ANY_RECORD)? {
            find_same(transaction, *number, page, same)?;
        }
    }
    Ok(())
}

/// Whether there are rows in quarantine, of any target.
pub(super) fn any_quarantined(transaction: &DirectTransaction) -> Result<bool> {
    // Every row has a number above this one.
    any(
        transaction,
        "SELECT 1 FROM sync_quarantine WHERE row_id > ? LIMIT 1",
        0,
    )
}

fn any(transaction: &DirectTransaction, text: &str, number: i64) -> Result<bool> {
    let mut found = false;
    transaction.rows_each(text, &[number.into()], 1, |_, _| {
        found = true;
        Ok(())
    })?;
    Ok(found)
}

fn pending(transaction: &DirectTransaction, number: i64, page: &ConfirmedPage) -> Result<Vec<RecordKey>> {
    let mut found = Vec::new();
    let params = page.records.iter();
    let params: Vec<Param> = params
        .flat_map(|record| [number.into(), record.id.as_str().into()])
        .collect();
    transaction.rows_each(PENDING, &params, 2, |place, _| {
        found.push(RecordKey::new(
            page.target.clone(),
            page.records[place].id.clone(),
        ));
        Ok(())
    })?;
    Ok(found)
}

fn find_same(
    transaction: &DirectTransaction,
    number: i64,
    page: &ConfirmedPage,
    same: &mut HashSet<(i64, String)>,
) -> Result<()> {
    let params = page.records.iter();
    let params: Vec<Param> = params
        .flat_map(|record| {
            let base = BaseColumns::of(&record.state);
            [
                number.into(),
                record.id.as_str().into(),
                base.kind.into(),
                base.version_token.into(),
                base.version_order.into(),
            ]
        })
        .collect();
    transaction.rows_each(SAME, &params, 5, |place, _| {
        same.insert((number, page.records[place].id.as_str().to_owned()));
        Ok(())
    })
}
