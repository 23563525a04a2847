//! How far a pull has come, as the text of a sync point.

use serde::{Deserialize, Serialize};
use sync_core::{ErrorKind, Result, SyncError, SyncPoint, Timestamp};

use crate::error::ADAPTER;

/// The content of a sync point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "profile", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Cursor {
    Plain(PlainCursor),
    Feed(FeedCursor),
}

/// By the time of the last write, which is taken before the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlainCursor {
    /// The latest time that was seen, as the server wrote it; empty if none was.
    pub(crate) seen: String,
    /// Whether everything up to then has been delivered, also what committed late: it was read again when that time
    /// was long over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) settled: bool,
    /// How many rows the scope had at the end of the last pass, if it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// Within a pass: where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scan: Option<Scan>,
}

/// Where a pass over a plain collection goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scan {
    pub(crate) updated: String,
    pub(crate) id: String,
    /// How many rows the pass has delivered.
    pub(crate) delivered: u64,
    /// The server's time when the pass began, or somewhat before; `None` if it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) begun: Option<Timestamp>,
}

/// By the number of the write, which is the order of commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedCursor {
    /// The feed's own name for its history.
    pub(crate) epoch: String,
    /// Everything up to this number was delivered.
    pub(crate) position: i64,
    /// A point of the history that was there.
    pub(crate) anchor: Mark,
    /// Within a pass: whether the tombstones of the rest are still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rest: Option<Rest>,
}

/// A point of a feed's history. A restored backup that wrote on has other nonces from there on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) seq: i64,
    pub(crate) nonce: String,
}

impl Mark {
    /// The id of the mark's row.
    pub(crate) fn id(&self) -> String {
        format!("{:013}-{}", self.seq, self.nonce)
    }
}

/// What a pass over a feed still has to read, up to its anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rest {
    pub(crate) live: bool,
    pub(crate) gone: bool,
}

impl Cursor {
    pub(crate) fn to_sync_point(&self) -> SyncPoint {
        // Texts, numbers and flags always render.
        SyncPoint::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// # Errors
    /// `ResyncRequired` if the text is no cursor of this adapter.
    pub(crate) fn read(point: &SyncPoint) -> Result<Self> {
        serde_json::from_str(point.as_str())
            .map_err(|error| resync("the sync point cannot be read").with_source(error))
    }
}

/// The sync point is no longer good, and why.
pub(crate) fn resync(why: &str) -> SyncError {
    SyncError::new(ErrorKind::ResyncRequired, why)
        .with_field("since")
        .with_adapter(ADAPTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_nothing_else_is_one() {
        let cursors = [
            Cursor::Plain(PlainCursor {
                seen: "2026-01-02 03:04:05.678Z".to_owned(),
                settled: true,
                count: Some(3),
                scan: Some(Scan {
                    updated: "2026-01-02 03:04:05.678Z".to_owned(),
                    id: "a'b".to_owned(),
                    delivered: 7,
                    begun: Some(Timestamp::from_millis(1_767_323_045_678)),
                }),
            }),
            Cursor::Feed(FeedCursor {
                epoch: "e".to_owned(),
                position: 5,
                anchor: Mark {
                    seq: 7,
                    nonce: "n".to_owned(),
                },
                rest: None,
            }),
        ];
        for cursor in cursors {
            assert_eq!(Cursor::read(&cursor.to_sync_point()).unwrap(), cursor);
        }
        for text in ["", "{}", "5", r#"{"profile":"other"}"#, r#"{"profile":"feed"}"#] {
            let error = Cursor::read(&SyncPoint::new(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{text}");
        }
    }
}
