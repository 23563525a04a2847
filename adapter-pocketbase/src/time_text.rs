//! Times as PocketBase writes them.
//!
//! PocketBase compares times as text, so a time in a filter must have exactly its own form: `T` sorts behind the
//! blank, and a filter with `...T...` finds nothing, in silence.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use sync_core::Timestamp;

const FORMAT: &str = "%Y-%m-%d %H:%M:%S%.3fZ";

/// What it looks like; `0` stands for a digit.
const FORM: &[u8; 24] = b"0000-00-00 00:00:00.000Z";

/// Reads `2026-01-02 03:04:05.678Z`.
///
/// By hand: every row has one, and reading it by a format string takes as long as the rest of the row.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    };
    if !bytes.iter().zip(FORM).all(fits) {
        return None;
    }
    let number = |digits: std::ops::Range<usize>| {
        let digits = bytes[digits].iter();
        digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0..4)).ok()?, number(5..7), number(8..10))?;
    let time = date.and_hms_milli_opt(number(11..13), number(14..16), number(17..19), number(20..23))?;
    Some(DateTime::<Utc>::from_naive_utc_and_offset(time, Utc).into())
}

/// Writes a time, cut to the millisecond; `None` outside the years 0 to 9999.
pub(crate) fn format(time: Timestamp) -> Option<String> {
    let text = DateTime::<Utc>::from_timestamp_millis(time.as_millis())?
        .format(FORMAT)
        .to_string();
    // Other years are longer, and do not sort.
    (text.len() == "2026-01-02 03:04:05.678Z".len()).then_some(text)
}

/// The text of the time that lies `by` before `text`; empty, which is before everything, if that cannot be said.
pub(crate) fn before(text: &str, by: Duration) -> String {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    parse(text)
        .and_then(|time| format(time.plus_micros(micros.saturating_neg())))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_form_is_read_and_written() {
        let text = "2026-01-02 03:04:05.678Z";
        assert_eq!(format(parse(text).unwrap()).as_deref(), Some(text));
        for other in [
            "2026-01-02T03:04:05.678Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02 03:04:05.678",
            "2026-02-30 03:04:05.678Z",
            "2026-01-02 24:04:05.678Z",
            "2026-01-02 03:04:60.678Z",
            "2026-01-02 03:04:05.6\u{e9}Z",
            "",
            "now",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(format(Timestamp::from_millis(i64::MAX / 1_000)), None);
    }

    #[test]
    fn the_overlap_is_taken_off_in_the_same_form() {
        let low = before("2026-01-01 00:00:05.000Z", Duration::from_secs(10));
        assert_eq!(low, "2025-12-31 23:59:55.000Z");
        assert_eq!(before("", Duration::from_secs(10)), "");
    }
}
