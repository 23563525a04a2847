//! What the types of time fields mean.

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::json;
use sync_core::{TimeField, Timestamp, query::is_marked_deleted};

fn both(field: &impl TimeField) -> (Option<Timestamp>, Option<Timestamp>) {
    (field.to_timestamp(), field.to_deleted_at())
}

#[test]
fn integers_and_timestamps_are_microseconds_and_zero_is_a_time() {
    for micros in [0, -1, 1_700_000_000_000_001, i64::MAX, i64::MIN] {
        let time = Some(Timestamp::from_micros(micros));
        assert_eq!(both(&micros), (time, time));
        assert_eq!(both(&Timestamp::from_micros(micros)), (time, time));
    }
}

#[test]
fn chrono_times_of_any_zone_are_cut_to_whole_microseconds_towards_the_past() {
    let utc = DateTime::<Utc>::from_timestamp_nanos(1_999);
    assert_eq!(utc.to_timestamp(), Some(Timestamp::from_micros(1)));
    let zone = FixedOffset::east_opt(3_600).unwrap();
    assert_eq!(
        utc.with_timezone(&zone).to_timestamp(),
        Some(Timestamp::from_micros(1))
    );
    let before_epoch = DateTime::<Utc>::from_timestamp_nanos(-1);
    assert_eq!(
        both(&before_epoch),
        (Some(Timestamp::from_micros(-1)), Some(Timestamp::from_micros(-1)))
    );
}

#[test]
fn a_text_is_a_time_only_if_it_is_rfc_3339() {
    let cases = [
        ("1970-01-01T00:00:01Z", Some(1_000_000)),
        ("1970-01-01T00:00:01.000001999Z", Some(1_000_001)),
        ("1970-01-01T01:00:00+01:00", Some(0)),
        ("1970-01-01 00:00:01.5Z", Some(1_500_000)),
        ("1970-01-01", None),
        ("1970-01-01T00:00:01", None),
        ("yesterday", None),
        ("1", None),
        ("", None),
    ];
    for (text, micros) in cases {
        let expected: Option<Timestamp> = micros.map(Timestamp::from_micros);
        assert_eq!(text.to_owned().to_timestamp(), expected, "{text:?}");
    }
}

#[test]
fn a_deletion_mark_without_an_understandable_time_still_marks() {
    assert_eq!(both(&"yesterday".to_owned()), (None, Some(Timestamp::EPOCH)));
    assert_eq!(both(&String::new()), (None, None));
    assert_eq!(both(&true), (None, Some(Timestamp::EPOCH)));
    assert_eq!(both(&false), (None, None));
}

#[test]
fn an_option_is_as_deleted_as_what_it_holds() {
    assert_eq!(both(&None::<i64>), (None, None));
    let time = Some(Timestamp::from_micros(7));
    assert_eq!(both(&Some(7_i64)), (time, time));
    assert_eq!(both(&Some(false)), (None, None));
    assert_eq!(both(&Some(true)), (None, Some(Timestamp::EPOCH)));
    assert_eq!(both(&Some(String::new())), (None, None));
}

#[test]
fn a_field_marks_a_deletion_exactly_when_stores_hide_the_record() {
    fn agree<T: TimeField + serde::Serialize>(values: impl IntoIterator<Item = T>) {
        for value in values {
            let stored = json!(value);
            assert_eq!(
                value.to_deleted_at().is_some(),
                is_marked_deleted(Some(&stored)),
                "{stored}"
            );
        }
    }
    agree([true, false]);
    agree([None, Some(true), Some(false)]);
    agree([0_i64, -1, 1]);
    agree([None, Some(Timestamp::EPOCH)]);
    agree(["", " ", "no time", "1970-01-01T00:00:00Z"].map(str::to_owned));
}
