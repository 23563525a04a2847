//! Which types a record may keep a time in.

use chrono::{DateTime, TimeZone};

use crate::time::Timestamp;

/// A type that a field marked with `#[sync(updated_at)]` or `#[sync(deleted_at)]` can have.
///
/// | Type | Time | Counts as deleted |
/// |---|---|---|
/// | [`Timestamp`] | itself | always, the epoch included |
/// | `i64` | microseconds since the Unix epoch | always, 0 included |
/// | `chrono::DateTime` of any zone | itself, cut to whole microseconds | always |
/// | `String` | RFC 3339, cut to whole microseconds; none if it is not one | unless empty |
/// | `bool` | none | if `true` |
/// | `Option<T>` | that of the `T`, if there is one | if there is a `T` that does |
///
/// "Counts as deleted" is the rule by which stores hide records from queries, so that a record is deleted here if and
/// only if it is hidden there.
///
/// ```
/// use sync_core::{TimeField, Timestamp};
/// let text = "2024-02-29T12:00:00.5+01:00".to_owned();
/// assert_eq!(text.to_timestamp().unwrap().to_string(), "2024-02-29T11:00:00.500000Z");
/// assert_eq!(true.to_deleted_at(), Some(Timestamp::EPOCH));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as a time of a record",
    label = "not a time",
    note = "use sync_core::Timestamp, i64 (microseconds since the Unix epoch), chrono::DateTime, String (RFC 3339), or an Option of these; #[sync(deleted_at)] also takes bool",
    note = "or implement sync_core::TimeField for `{Self}`"
)]
pub trait TimeField {
    /// The time in the field; `None` if it holds none, or one that cannot be understood.
    fn to_timestamp(&self) -> Option<Timestamp>;

    /// When the record was marked as deleted, if this is the field that marks it; `None` for a live record.
    ///
    /// A field that marks the record as deleted without an understandable time gives [`Timestamp::EPOCH`].
    fn to_deleted_at(&self) -> Option<Timestamp> {
        self.to_timestamp()
    }
}

impl TimeField for Timestamp {
    fn to_timestamp(&self) -> Option<Timestamp> {
        Some(*self)
    }
}

impl TimeField for i64 {
    fn to_timestamp(&self) -> Option<Timestamp> {
        Some(Timestamp::from_micros(*self))
    }
}

impl<Zone: TimeZone> TimeField for DateTime<Zone> {
    fn to_timestamp(&self) -> Option<Timestamp> {
        Some(Timestamp::from(self.to_utc()))
    }
}

impl TimeField for String {
    fn to_timestamp(&self) -> Option<Timestamp> {
        DateTime::parse_from_rfc3339(self).ok()?.to_timestamp()
    }

    fn to_deleted_at(&self) -> Option<Timestamp> {
        (!self.is_empty()).then(|| self.to_timestamp().unwrap_or(Timestamp::EPOCH))
    }
}

impl TimeField for bool {
    fn to_timestamp(&self) -> Option<Timestamp> {
        None
    }

    fn to_deleted_at(&self) -> Option<Timestamp> {
        self.then_some(Timestamp::EPOCH)
    }
}

impl<T: TimeField> TimeField for Option<T> {
    fn to_timestamp(&self) -> Option<Timestamp> {
        self.as_ref()?.to_timestamp()
    }

    fn to_deleted_at(&self) -> Option<Timestamp> {
        self.as_ref()?.to_deleted_at()
    }
}
