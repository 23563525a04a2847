//! Dates as HTTP writes them.

use chrono::{DateTime, NaiveDateTime, Utc};
use sync_core::Timestamp;

/// Reads an HTTP date in any of the three forms that RFC 9110 section 5.6.7 asks a recipient to accept. Years of
/// two digits are those from 1969 to 2068.
///
/// ```
/// use sync_http::parse_http_date;
/// let expected = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
/// assert_eq!(expected.map(|time| time.as_millis()), Some(784_111_777_000));
/// assert_eq!(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), expected);
/// assert_eq!(parse_http_date("Sun Nov  6 08:49:37 1994"), expected);
/// assert_eq!(parse_http_date("yesterday"), None);
/// ```
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // The day of the week says nothing new and is often wrong, so it is left out.
    let (_, rest) = text.split_once(", ").or_else(|| text.split_once(' '))?;
    let read = |format: &str| NaiveDateTime::parse_from_str(rest, format).ok();
    let time = read("%d %b %Y %H:%M:%S GMT")
        .or_else(|| read("%d-%b-%y %H:%M:%S GMT"))
        .or_else(|| read("%b %e %H:%M:%S %Y"))?;
    Some(DateTime::<Utc>::from_naive_utc_and_offset(time, Utc).into())
}
