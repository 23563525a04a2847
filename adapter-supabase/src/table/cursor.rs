//! What a sync point of table mode says: a watermark on (`updated_at`, id), or a place within a pass.
//!
//! A pass reads from the watermark less the overlap to the newest row that there was when it began, so that a busy
//! table does not keep it going. A quiet table would read the rows of the last overlap again in every pass; so once a
//! pass began two overlaps after the newest row, the watermark counts as *settled*, and the next one begins at it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::{ErrorKind, Result, SyncError, SyncPoint, Timestamp};
use sync_http::count_is_unexplained;

use super::row::write_time;

/// The form of the tokens; another one is not understood.
const FORM: u8 = 1;

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    form: u8,
    /// Who pulled: another user sees other rows.
    pub(super) user: Option<String>,
    pub(super) position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Position {
    /// Between passes.
    At(Watermark),
    /// Within a pass.
    Within(Pass),
}

/// The place of a row: its `updated_at`, as the server wrote it, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place(pub(super) String, pub(super) String);

/// Everything visible that was written up to here was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watermark {
    /// The newest row delivered, and the time of its last write in microseconds of the server's clock.
    pub(super) newest: Option<(Place, i64)>,
    /// Whether the newest row is so old that nothing can commit behind it any more, within the stated bound.
    pub(super) settled: bool,
    /// How many rows there were.
    pub(super) count: Option<u64>,
}

/// One pass under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pass {
    /// Where the pass begins, inclusive.
    from: Option<String>,
    /// The last row delivered, or the settled watermark.
    pub(super) after: Option<Place>,
    /// The newest row when the pass began, and how many rows there were.
    pub(super) until: Place,
    count: Option<u64>,
    delivered: u64,
    newest: Option<(Place, i64)>,
    count_before: Option<u64>,
    /// Whether nothing written before the newest row can commit any more.
    quiet: bool,
    pub(super) skips_tombstones: bool,
}

impl Pass {
    /// A pass that begins at `watermark`, or at nothing. `until` is the newest row now, `count` the number of rows,
    /// `now` the server's time if it is known.
    pub(super) fn begin(
        watermark: Option<&Watermark>,
        until: (Place, Option<Timestamp>),
        count: Option<u64>,
        overlap: Duration,
        now: Option<Timestamp>,
        skips_tombstones: bool,
    ) -> Self {
        let newest = watermark.and_then(|watermark| watermark.newest.clone());
        let settled = watermark.is_some_and(|watermark| watermark.settled);
        let (after, from) = match &newest {
            Some((place, _)) if settled => (Some(place.clone()), None),
            Some((_, time)) => (None, Some(write_time(before(*time, overlap)))),
            None => (None, None),
        };
        let quiet = match (now, until.1) {
            (Some(now), Some(newest)) => before(now.as_micros(), overlap * 2) >= newest,
            _ => false,
        };
        Self {
            from,
            after,
            until: until.0,
            count,
            delivered: 0,
            newest,
            count_before: watermark.map_or(Some(0), |watermark| watermark.count),
            quiet,
            skips_tombstones,
        }
    }

    /// Where the page begins, inclusive.
    pub(super) fn from(&self) -> Option<&str> {
        match &self.after {
            Some(Place(time, _)) => Some(time),
            None => self.from.as_deref(),
        }
    }

    /// Notes that the row at `place` was delivered; `written` is held below `now`, the server's time, since someone may
    /// have written a date of the year 2099.
    pub(super) fn deliver(&mut self, place: Place, written: Option<Timestamp>, now: Option<Timestamp>) {
        self.delivered += 1;
        if let Some(written) = written
            && now.is_none_or(|now| written <= now)
        {
            let written = written.as_micros();
            if self.newest.as_ref().is_none_or(|(_, newest)| *newest <= written) {
                self.newest = Some((place.clone(), written));
            }
        }
        self.after = Some(place);
    }

    /// The watermark after the last page, and whether the number of rows is one that the delivered changes cannot
    /// explain: they are new rows at most, and never fewer.
    pub(super) fn end(self) -> (Watermark, bool) {
        let unexplained = count_is_unexplained(self.count_before, self.count, self.delivered);
        let watermark = Watermark {
            newest: self.newest,
            settled: self.quiet,
            count: self.count,
        };
        (watermark, unexplained)
    }
}

fn before(micros: i64, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(micros.saturating_sub(span))
}

impl Cursor {
    pub(super) fn new(user: Option<String>, position: Position) -> Self {
        Self {
            form: FORM,
            user,
            position,
        }
    }

    /// The text of the sync point.
    pub(super) fn to_sync_point(&self) -> SyncPoint {
        // Numbers and texts always render.
        SyncPoint::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads a sync point back.
    ///
    /// # Errors
    /// `ResyncRequired` if it is none of ours.
    pub(super) fn read(since: &SyncPoint) -> Result<Self> {
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

    const OVERLAP: Duration = Duration::from_secs(30);
    const SECOND: i64 = 1_000_000;

    fn row(seconds: i64) -> (Place, Option<Timestamp>) {
        let time = Timestamp::from_micros(seconds * SECOND);
        (Place(write_time(time), "x".to_owned()), Some(time))
    }

    /// A pass at `now` that delivers rows written at these seconds.
    fn pass(watermark: Option<&Watermark>, now: i64, count: u64, rows: &[i64]) -> (Watermark, bool) {
        let newest = row(rows.last().copied().unwrap_or_default());
        let now = Some(Timestamp::from_micros(now * SECOND));
        let mut pass = Pass::begin(watermark, newest, Some(count), OVERLAP, now, false);
        for seconds in rows {
            let (place, written) = row(*seconds);
            pass.deliver(place, written, now);
        }
        pass.end()
    }

    #[test]
    fn the_next_pass_reads_the_overlap_back_until_the_table_was_quiet_for_two() {
        let (watermark, _) = pass(None, 100, 2, &[80, 90]);
        assert!(!watermark.settled);
        let next = Pass::begin(Some(&watermark), row(95), Some(3), OVERLAP, None, false);
        assert_eq!(next.from(), Some(row(60).0.0.as_str()));
        assert_eq!(next.after, None);
        let (watermark, _) = pass(Some(&watermark), 150, 2, &[80, 90]);
        assert!(watermark.settled);
        let next = Pass::begin(Some(&watermark), row(155), Some(3), OVERLAP, None, false);
        assert_eq!(next.after, Some(row(90).0));
    }

    #[test]
    fn a_date_in_the_future_does_not_move_the_watermark() {
        let (watermark, _) = pass(None, 100, 2, &[80, 99_999]);
        assert_eq!(watermark.newest.unwrap().1, 80 * SECOND);
        assert!(!watermark.settled);
    }

    #[test]
    fn a_count_is_explained_by_as_many_new_rows_as_were_delivered() {
        let (before, unexplained) = pass(None, 100, 10, &[80; 10]);
        assert!(!unexplained);
        for (now, delivered, unexplained) in [
            (10, 0, false),
            (11, 1, false),
            (10, 5, false),
            (9, 0, true),
            (9, 5, true),
            (12, 1, true),
        ] {
            let told = pass(Some(&before), 101, now, &vec![90; delivered]).1;
            assert_eq!(told, unexplained, "{now} {delivered}");
        }
        assert!(pass(None, 100, 5, &[80; 4]).1, "a first pass that misses a row");
    }

    #[test]
    fn a_sync_point_reads_back_as_it_was_written_and_another_demands_a_resync() {
        let (watermark, _) = pass(None, 100, 1, &[80]);
        let within = Pass::begin(Some(&watermark), row(95), None, OVERLAP, None, true);
        for position in [Position::At(watermark), Position::Within(within)] {
            let cursor = Cursor::new(Some("ada".to_owned()), position);
            assert_eq!(Cursor::read(&cursor.to_sync_point()).unwrap(), cursor);
        }
        let other = r#"{"form":2,"user":null,"position":{"at":{"newest":null,"settled":true,"count":1}}}"#;
        for text in ["", "-1", "{}", other] {
            let error = Cursor::read(&SyncPoint::new(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResyncRequired, "{text}");
        }
    }
}
