//! Server time: milliseconds, as MariaDB's `datetime(3)` keeps them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

/// An instant of the server, in whole milliseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant so many milliseconds after 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The instant so many milliseconds later, or earlier for a negative number.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Reads the date forms that Appwrite reads: with `Z`, any offset or none, with `T` or a space, with any
    /// number of digits after the second. What is finer than a millisecond is cut off.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let spaced = text.replacen(' ', "T", 1);
        if let Ok(date) = DateTime::parse_from_rfc3339(&spaced) {
            return Some(Self(date.timestamp_millis()));
        }
        for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
            if let Ok(date) = NaiveDateTime::parse_from_str(&spaced, form) {
                return Some(Self(date.and_utc().timestamp_millis()));
            }
        }
        let day = NaiveDate::parse_from_str(&spaced, "%Y-%m-%d").ok()?;
        Some(Self(
            day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis(),
        ))
    }

    /// The form of every date in an answer, such as `2026-11-21T07:42:39.517+00:00`.
    #[must_use]
    pub fn to_wire(self) -> String {
        self.date().to_rfc3339_opts(SecondsFormat::Millis, false)
    }

    /// The form in which the database keeps a date, such as `2026-11-21 07:42:39.517`.
    pub(crate) fn to_database(self) -> String {
        self.date().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    /// The form of the `Date` header, which has whole seconds only.
    #[must_use]
    pub fn to_http_date(self) -> String {
        self.date().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// The form of the `expires` of a cookie.
    pub(crate) fn to_cookie_date(self) -> String {
        self.date().format("%a, %d-%b-%Y %H:%M:%S GMT").to_string()
    }

    fn date(self) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}
