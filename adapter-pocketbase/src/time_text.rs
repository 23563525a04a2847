//! Times as PocketBase writes them.
//!
//! PocketBase compares times as text, so a time in a filter must have exactly its own form: `T` sorts behind the
//! blank, and a filter with `...T...` finds nothing, in silence.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use sync_core::Timestamp;

const FORMAT: &str = "%Y-%m-%d %H:%M:%S%.3fZ";

/// Reads `2026-01-02 03:04:05.678Z`.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let time = NaiveDateTime::parse_from_str(text, FORMAT).ok()?;
    let time: Timestamp = DateTime::<Utc>::from_naive_utc_and_offset(time, Utc).into();
    (format(time)? == text).then_some(time)
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
