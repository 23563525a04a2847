//! What a sync point of this remote says: a watermark on `$updatedAt`, or a place within a pass.
//!
//! `$updatedAt` is stamped before the row's lock is taken and its transaction commits, so a row can appear behind
//! a watermark that was given out before. Each pass therefore reads an overlap back. What still comes later than
//! the overlap is found by the scan of ids.
//!
//! A bulk write gives many rows one `$updatedAt`. A quiet table would read the rows of the last overlap again in
//! every pass; so once a pass began two overlaps after the newest row, the watermark counts as *settled*, and the
//! next pass begins at the watermark itself.

use serde::{Deserialize, Serialize};
use sync_core::{ErrorKind, Result, SyncError, SyncPoint};

use crate::row::Sequence;

/// The form of the tokens; another one is not understood.
const FORM: u8 = 1;

/// `Date` headers are cut to the second.
pub(crate) const DATE_RESOLUTION_MILLIS: i64 = 1_000;

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    form: u8,
    /// Who pulled: another user sees other rows.
    pub(crate) user: Option<String>,
    pub(crate) position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Position {
    /// Between passes.
    At(Watermark),
    /// Within a pass.
    Within(Pass),
}

/// Everything visible that was stamped up to here was delivered. Times are milliseconds of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watermark {
    /// The newest `$updatedAt` delivered, held below the server's time; `None` if there was no row yet.
    pub(crate) newest: Option<i64>,
    /// Whether the newest rows are so old that nothing can commit behind them any more, within the stated bound.
    pub(crate) settled: bool,
    /// When the pass that led here began.
    pub(crate) pulled_at: i64,
}

impl Watermark {
    /// The lower bound of the next pass, inclusive.
    fn lower_bound(&self, overlap: i64) -> Option<i64> {
        let newest = self.newest?;
        Some(if self.settled {
            newest
        } else {
            newest.saturating_sub(overlap)
        })
    }
}

/// One pass under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pass {
    /// Where the pass begins, inclusive.
    pub(crate) from: Option<i64>,
    /// Where it ends, inclusive: about the server's time at its begin, so that a busy table does not keep it going.
    pub(crate) until: i64,
    /// The last row delivered.
    pub(crate) after: Option<(i64, Sequence)>,
    /// The newest `$updatedAt` delivered so far, this pass and those before it.
    pub(crate) newest: Option<i64>,
    /// The watermark that the pass began with.
    pub(crate) begun_with: Option<Watermark>,
    /// Whether tombstones are left out.
    pub(crate) skips_tombstones: bool,
    /// Whether the end was moved, after the server's clock turned out to be ahead of what was thought.
    pub(crate) extended: bool,
}

impl Pass {
    /// A pass that begins at `watermark`, or at nothing. `now` is the latest that the server's clock can be.
    pub(crate) fn begin(
        watermark: Option<Watermark>,
        overlap: i64,
        now: i64,
        skips_tombstones: bool,
    ) -> Self {
        Self {
            from: watermark.and_then(|watermark| watermark.lower_bound(overlap)),
            until: now,
            after: None,
            newest: watermark.and_then(|watermark| watermark.newest),
            begun_with: watermark,
            skips_tombstones,
            extended: false,
        }
    }

    /// Notes that a row was delivered.
    pub(crate) fn deliver(&mut self, updated_at: i64, sequence: Sequence, server_date: i64) {
        self.after = Some((updated_at, sequence));
        // The watermark stays behind the server's clock: a key may have written a date of the year 2099.
        let held = updated_at.min(server_date - DATE_RESOLUTION_MILLIS);
        self.newest = Some(self.newest.map_or(held, |newest| newest.max(held)));
    }

    /// The watermark after the last page of the pass.
    pub(crate) fn end(&self, overlap: i64) -> Watermark {
        let began = self.until;
        let stayed_settled = self
            .begun_with
            .is_some_and(|watermark| watermark.settled && watermark.newest == self.newest);
        let long_ago = self
            .newest
            .is_some_and(|newest| began >= newest.saturating_add(overlap.saturating_mul(2)));
        Watermark {
            newest: self.newest,
            settled: stayed_settled || long_ago,
            pulled_at: began,
        }
    }
}

impl Cursor {
    pub(crate) fn new(user: Option<String>, position: Position) -> Self {
        Self {
            form: FORM,
            user,
            position,
        }
    }

    /// The text of the sync point.
    pub(crate) fn to_sync_point(&self) -> SyncPoint {
        // Numbers and texts always render.
        SyncPoint::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads a sync point back.
    ///
    /// # Errors
    /// `ResyncRequired` if it is none of ours.
    pub(crate) fn read(since: &SyncPoint) -> Result<Self> {
        let unreadable = |why: &str| SyncError::new(ErrorKind::ResyncRequired, why).with_field("since");
        let cursor: Self = serde_json::from_str(since.as_str())
            .map_err(|error| unreadable("the sync point cannot be read").with_source(error))?;
        if cursor.form == FORM {
            Ok(cursor)
        } else {
            Err(unreadable("the sync point has the form of another version"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: i64 = 60_000;

    fn sequence(text: &str) -> Sequence {
        Sequence::Text(text.to_owned())
    }

    fn ended(watermark: Option<Watermark>, now: i64, rows: &[i64]) -> Watermark {
        let mut pass = Pass::begin(watermark, OVERLAP, now, false);
        for (number, row) in rows.iter().enumerate() {
            pass.deliver(*row, sequence(&number.to_string()), now);
        }
        pass.end(OVERLAP)
    }

    #[test]
    fn a_sync_point_reads_back_as_it_was_written() {
        let mut pass = Pass::begin(None, OVERLAP, 5_000, true);
        pass.deliver(3, Sequence::Number(7), 5_000);
        for position in [Position::Within(pass.clone()), Position::At(pass.end(OVERLAP))] {
            let cursor = Cursor::new(Some("ada".into()), position);
            assert_eq!(Cursor::read(&cursor.to_sync_point()).unwrap(), cursor);
        }
    }

    #[test]
    fn anything_else_demands_a_resync() {
        let other_form =
            r#"{"form":2,"user":null,"position":{"at":{"newest":1,"settled":true,"pulled_at":1}}}"#;
        for text in ["", "-1", "{}", "\u{1F980}", other_form] {
            let error = Cursor::read(&SyncPoint::new(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{text}");
        }
    }

    #[test]
    fn the_next_pass_reads_the_overlap_back() {
        let watermark = ended(None, 1_000_000, &[990_000, 995_000]);
        assert_eq!(watermark.newest, Some(995_000));
        let next = Pass::begin(Some(watermark), OVERLAP, 1_001_000, false);
        assert_eq!(next.from, Some(935_000));
    }

    #[test]
    fn a_date_in_the_future_does_not_move_the_watermark_past_the_server_clock() {
        let watermark = ended(None, 1_000_000, &[5, 99_000_000]);
        assert_eq!(watermark.newest, Some(999_000));
    }

    #[test]
    fn a_pass_without_rows_moves_nothing() {
        assert_eq!(ended(None, 9, &[]).newest, None);
        let watermark = ended(None, 1_000_000, &[990_000]);
        assert_eq!(ended(Some(watermark), 1_010_000, &[]).newest, Some(990_000));
    }

    #[test]
    fn a_quiet_table_is_read_from_the_watermark_once_two_overlaps_have_passed() {
        let watermark = ended(None, 1_000_000, &[990_000]);
        let soon = ended(Some(watermark), 990_000 + 2 * OVERLAP - 1, &[990_000]);
        assert!(!soon.settled);
        let late = ended(Some(soon), 990_000 + 2 * OVERLAP, &[990_000]);
        assert!(late.settled);
        assert_eq!(
            Pass::begin(Some(late), OVERLAP, 2_000_000, false).from,
            Some(990_000)
        );
        let again = ended(Some(late), 2_000_000, &[990_000, 1_999_000]);
        assert!(!again.settled, "new rows unsettle the watermark");
    }
}
