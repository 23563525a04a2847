//! What a remote can guarantee, as data.

use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Result, SyncError};

/// How the sync point of a remote orders changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CursorKind {
    /// In the order of commits: a change that commits later is never behind a sync point given out before.
    CommitOrdered,
    /// By a time that is taken before the commit. Changes can appear behind the sync point. The adapter reads
    /// `overlap_ms` back on every pull, and the engine sweeps ids for what still slipped through.
    TimestampWithRepair {
        /// How far every pull reads back, in milliseconds.
        overlap_ms: u64,
    },
    /// There is no cursor: every pull is a snapshot of everything.
    SnapshotOnly,
}

/// How a client learns that a record was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeleteVisibility {
    /// Deltas carry a tombstone for every delete, hard deletes included.
    Tombstones,
    /// A soft-delete field is delivered like any change; hard deletes by others are found by the id sweep.
    SoftDeleteField,
    /// Only the id sweep finds deletes.
    SweepOnly,
    /// Every pull is a snapshot, so absence tells.
    Snapshot,
}

/// Whether the remote announces changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Realtime {
    /// No.
    None,
    /// It pokes: "something changed". A poke may be lost, doubled or late; the truth is always pulled.
    Poke,
}

/// Which [`crate::query::QuerySpec`]s the remote evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SearchSupport {
    /// None.
    None,
    /// Some; what it cannot do is an `Unsupported` error that names the field or operator.
    Partial,
    /// All.
    Full,
}

/// What a remote can do and guarantee.
///
/// Field names follow a grammar: a plain noun is a bool ("the remote has it"), `max_*` is a limit (0 = none),
/// and an enum says *how*. The engine picks the strongest sound strategy for the combination, and
/// [`Capabilities::check`] refuses those for which there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// How the sync point orders changes.
    pub cursor: CursorKind,
    /// How deletes become known.
    pub deletes: DeleteVisibility,
    /// Whether a push takes effect only if the record still has the version it was made on. Without it, the
    /// engine reads the record before each push, and a write that falls between the two can be overwritten.
    pub conditional_write: bool,
    /// Whether the remote remembers operation ids, so that a repeated push has no second effect. Without it, the
    /// engine reads the record back before it repeats a push whose answer was lost.
    pub idempotent_push: bool,
    /// Whether a batch marked atomic takes effect as a whole or not at all.
    pub atomic_batch: bool,
    /// Whether the remote keeps our stamps, so that last-write-wins compares them; otherwise it compares our
    /// time with the server's, corrected by the measured offset.
    pub stamps: bool,
    /// Whether the remote detects that it was reset or restored, and answers `ResyncRequired`.
    pub epoch: bool,
    /// Whether ids can be listed, for the id sweep.
    pub id_list: bool,
    /// Whether the remote tells its time.
    pub server_time: bool,
    /// Which queries the remote evaluates.
    pub search: SearchSupport,
    /// Whether the remote announces changes.
    pub realtime: Realtime,
    /// The most operations in one push; 0 = no limit.
    pub max_push_batch: u32,
    /// The most records in one page; 0 = no limit.
    pub max_page: u32,
}

impl Capabilities {
    /// The least a remote can be: every pull is a snapshot, pushes are unconditional, nothing else is known.
    ///
    /// A good start for a new adapter, with struct update syntax:
    /// ```
    /// use sync_core::Capabilities;
    /// let mine = Capabilities { conditional_write: true, ..Capabilities::minimal() };
    /// mine.check().unwrap();
    /// ```
    pub const fn minimal() -> Self {
        Self {
            cursor: CursorKind::SnapshotOnly,
            deletes: DeleteVisibility::Snapshot,
            conditional_write: false,
            idempotent_push: false,
            atomic_batch: false,
            stamps: false,
            epoch: false,
            id_list: false,
            server_time: false,
            search: SearchSupport::None,
            realtime: Realtime::None,
            max_push_batch: 0,
            max_page: 0,
        }
    }

    /// Refuses combinations for which there is no sound strategy.
    ///
    /// # Errors
    /// `Configuration` naming the field that does not fit, and the mend.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |field: &str, why: &str| Err(SyncError::new(ErrorKind::Configuration, why).with_field(field));
        let needs_sweep = matches!(
            self.deletes,
            DeleteVisibility::SweepOnly | DeleteVisibility::SoftDeleteField
        ) || matches!(self.cursor, CursorKind::TimestampWithRepair { .. });
        if needs_sweep && !self.id_list {
            return refuse(
                "capabilities.id_list",
                "a timestamp cursor, or deletes without tombstones, need the id sweep; implement `list_ids`",
            );
        }
        let snapshot_cursor = self.cursor == CursorKind::SnapshotOnly;
        if snapshot_cursor != (self.deletes == DeleteVisibility::Snapshot) {
            return refuse(
                "capabilities.deletes",
                "`snapshot` deletes and the `snapshot_only` cursor go together; set both or neither",
            );
        }
        Ok(())
    }

    /// Whether the engine must run id sweeps against this remote.
    pub fn needs_sweep(&self) -> bool {
        matches!(
            self.deletes,
            DeleteVisibility::SweepOnly | DeleteVisibility::SoftDeleteField
        ) || matches!(self.cursor, CursorKind::TimestampWithRepair { .. })
    }

    /// `wanted`, held to a limit of these capabilities (0 = no limit), and at least 1.
    pub(crate) fn within(limit: u32, wanted: u32) -> u32 {
        if limit == 0 {
            wanted.max(1)
        } else {
            wanted.clamp(1, limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsound_combinations_are_refused_by_field() {
        let swept = Capabilities {
            cursor: CursorKind::TimestampWithRepair { overlap_ms: 1 },
            deletes: DeleteVisibility::SweepOnly,
            ..Capabilities::minimal()
        };
        assert_eq!(swept.check().unwrap_err().field(), Some("capabilities.id_list"));
        assert!(
            Capabilities {
                id_list: true,
                ..swept
            }
            .check()
            .is_ok()
        );
        let mixed = Capabilities {
            cursor: CursorKind::CommitOrdered,
            ..Capabilities::minimal()
        };
        assert_eq!(mixed.check().unwrap_err().field(), Some("capabilities.deletes"));
    }
}
