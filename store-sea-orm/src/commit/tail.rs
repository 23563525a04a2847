//! The end of the queue in SQLite: which number was given last, and the latest stamp that is kept.
//!
//! Both are what the last operation of the queue says, or its row in `sync_meta` if that says more. So a write that only
//! appends has nothing to update: its operation carries the number and the stamp. Before operations leave, their
//! numbers and stamps are noted, so that no number is given twice and the clock never goes back.

use std::sync::{Mutex, PoisonError};

use sync_core::{ChangeSet, OpChange, Result, Stamp};

use super::Batch;
use crate::{
    dialect::Dialect,
    error::corrupt,
    row::{ReadRow, Row},
};

/// Reads a tail: its number and its stamp.
pub(crate) const SELECT: &str = "MAX(m.last_seq, COALESCE(q.seq, 0)), MAX(m.value, COALESCE(q.stamp, '')) \
     FROM sync_meta m LEFT JOIN (SELECT seq, stamp FROM sync_queue ORDER BY seq DESC LIMIT 1) q ON TRUE \
     WHERE m.name = 'clock'";

/// Notes what the last operation says, if that is not noted yet.
const KEEP: &str = "UPDATE sync_meta SET last_seq = MAX(sync_meta.last_seq, q.seq), \
     value = MAX(sync_meta.value, q.stamp) \
     FROM (SELECT seq, stamp FROM sync_queue ORDER BY seq DESC LIMIT 1) AS q \
     WHERE name = 'clock' AND (sync_meta.last_seq < q.seq OR sync_meta.value < q.stamp)";

/// The end of the queue. Either part may be later than what the database holds, never earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    seq: i64,
    stamp: Option<Stamp>,
}

/// Whether a change set needs to know the end of the queue.
pub(super) fn matters(dialect: Dialect, changes: &ChangeSet) -> bool {
    dialect == Dialect::Sqlite && (changes.clock.is_some() || !changes.ops.is_empty())
}

impl Tail {
    /// Reads the columns of [`SELECT`], which start at `first`.
    pub(super) fn read(row: &Row, first: usize) -> Result<Self> {
        Ok(Self {
            seq: row.int(first)?,
            stamp: read_stamp(row, first + 1)?,
        })
    }

    /// A number for an operation to append.
    pub(super) fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    /// To be done before the operations are written.
    pub(super) fn keep_what_goes(&self, batch: &mut Batch, changes: &ChangeSet) {
        let goes = |op: &OpChange| matches!(op, OpChange::Remove(_) | OpChange::Replace(_));
        if changes.ops.iter().any(goes) {
            batch.add(batch.sql(KEEP));
        }
    }

    /// The stamp to note; `None` if the last operation carries it.
    pub(super) fn clock_to_write(&mut self, changes: &ChangeSet) -> Option<Stamp> {
        self.stamp = self.stamp.max(changes.clock);
        let appended = changes.ops.iter().rev().find_map(|op| match op {
            OpChange::Append(op) => Some(op.stamp),
            _ => None,
        });
        match appended {
            Some(stamp) if Some(stamp) >= self.stamp => {
                self.stamp = Some(stamp);
                None
            }
            // The last operation must not hide a later stamp of one before it.
            Some(_) => self.stamp,
            None => changes.clock,
        }
    }
}

/// Reads a stamp as the clock is kept: an empty text if there is none yet.
pub(crate) fn read_stamp(row: &Row, column: usize) -> Result<Option<Stamp>> {
    match row.text(column)?.as_str() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(stamp) => Ok(Some(stamp)),
            Err(_) => Err(corrupt("the clock cannot be read")),
        },
    }
}

/// The end of the queue after our own last commit, and the database's count of commits by others then.
#[derive(Debug, Default)]
pub(crate) struct KnownTail(Mutex<Option<(i64, Tail)>>);

impl KnownTail {
    /// The end of the queue, if nobody else has committed since it was remembered.
    pub(super) fn known(&self, others: i64) -> Option<Tail> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(then, _)| *then == others).map(|(_, tail)| tail)
    }

    /// Remembers a tail. The transaction may still be undone: numbers are left out then, and nothing else follows.
    pub(super) fn remember(&self, others: i64, tail: Tail) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((others, tail));
    }
}
