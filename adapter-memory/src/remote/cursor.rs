//! What a sync point of this remote says, and when it is no longer good.

use serde::{Deserialize, Serialize};
use sync_core::{CursorKind, ErrorKind, RecordId, Result, SyncError, SyncPoint};

use super::state::Backend;

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Position {
    /// Commit order: everything up to this sequence was delivered.
    After(i64),
    /// Commit order: within a snapshot, in the order of ids. `mark` was fixed before its first page, and is where
    /// the incremental pull after the snapshot begins.
    Snapshot {
        mark: i64,
        tombstones: bool,
        after: Option<RecordId>,
    },
    /// Timestamps: the latest millisecond that was delivered. The next pass reads the overlap back from it.
    Since(i64),
    /// Timestamps: within a pass; `latest` is the latest millisecond delivered so far.
    Scan { at: i64, after: RecordId, latest: i64 },
    /// No cursor: within a pass over everything, in the order of ids; or before one.
    Everything { after: Option<RecordId> },
}

#[derive(Serialize, Deserialize)]
struct Token {
    epoch: u64,
    position: Position,
}

impl Backend {
    pub(super) fn sync_point(&self, position: Position) -> SyncPoint {
        let token = Token {
            epoch: self.epoch,
            position,
        };
        // A number, ids and a flag always render.
        SyncPoint::new(serde_json::to_string(&token).unwrap_or_default())
    }

    /// Reads a sync point back.
    pub(super) fn position(&self, since: &SyncPoint) -> Result<Position> {
        let token: Token = serde_json::from_str(since.as_str())
            .map_err(|error| resync("the sync point cannot be read").with_source(error))?;
        if self.capabilities.epoch && token.epoch != self.epoch {
            return Err(resync("the backend was reset or restored since"));
        }
        let sequence = match (&token.position, self.capabilities.cursor) {
            (Position::After(sequence), CursorKind::CommitOrdered) => *sequence,
            (Position::Snapshot { mark, .. }, CursorKind::CommitOrdered) => *mark,
            (Position::Since(_) | Position::Scan { .. }, CursorKind::TimestampWithRepair { .. })
            | (Position::Everything { .. }, CursorKind::SnapshotOnly) => return Ok(token.position),
            _ => return Err(resync("the sync point was made for another kind of cursor")),
        };
        // Without epochs, a rewound backend does not know that anything is wrong.
        if self.capabilities.epoch && sequence > self.data.sequence {
            return Err(resync("the sync point is ahead of the backend"));
        }
        if sequence < self.data.horizon {
            return Err(resync("deletes since the sync point were forgotten"));
        }
        Ok(token.position)
    }
}

/// Whether a sync point is behind another one, if both are of one epoch and between passes.
pub(super) fn is_behind(point: &SyncPoint, other: &SyncPoint) -> Option<bool> {
    let [point, other]: [Token; 2] = [
        serde_json::from_str(point.as_str()).ok()?,
        serde_json::from_str(other.as_str()).ok()?,
    ];
    if point.epoch != other.epoch {
        return None;
    }
    match (point.position, other.position) {
        (Position::After(point), Position::After(other)) => Some(point < other),
        (Position::Since(point), Position::Since(other)) => Some(point < other),
        _ => None,
    }
}

pub(super) fn resync(why: &str) -> SyncError {
    SyncError::new(ErrorKind::ResyncRequired, why).with_field("since")
}
