//! Measuring the server's clock.

use std::{sync::Arc, time::Duration};

use sync_core::{Clock, Timestamp};
use sync_http::{HeaderValue, HttpResponse, ServerClock, StatusCode};
use sync_testkit::effects::VirtualClock;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);

/// An answer from a server whose clock is `ahead` microseconds ahead, as its `Date` header would tell it.
fn answer(clock: &VirtualClock, ahead: i64) -> HttpResponse {
    let seconds = clock.now().plus_micros(ahead).as_micros().div_euclid(1_000_000);
    let date = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    let text = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut response = HttpResponse::new(StatusCode::OK, "");
    response
        .headers
        .insert("date", HeaderValue::from_str(&text).unwrap());
    response
}

fn exchange(clock: &VirtualClock, server: &ServerClock, ahead: i64, there: u64, back: u64) {
    let started = server.start();
    clock.advance(Duration::from_millis(there));
    let response = answer(clock, ahead);
    clock.advance(Duration::from_millis(back));
    server.observe(started, &response);
}

#[test]
fn the_estimate_lies_within_its_own_bound_for_any_skew_and_round_trip() {
    for ahead in [-86_400_000_000, -1_500_000, 0, 1, 999_999, 3_600_000_000] {
        for (there, back) in [(0, 0), (5, 5), (2_000, 10), (10, 2_000)] {
            let clock = VirtualClock::new(START);
            clock.advance(Duration::from_micros(123_456));
            let server = ServerClock::new(Arc::new(clock.clone()));
            exchange(&clock, &server, ahead, there, back);
            let skew = server.skew().unwrap();
            assert!(
                (skew.micros - ahead).abs() <= skew.error_micros,
                "{ahead}: {skew:?}"
            );
            let round_trip = i64::try_from(there + back).unwrap() * 1_000;
            assert!(skew.error_micros <= (1_000_000 + round_trip) / 2 + 1, "{skew:?}");
        }
    }
}

#[test]
fn more_answers_narrow_the_bound_below_the_second_of_the_header() {
    let clock = VirtualClock::new(START);
    let server = ServerClock::new(Arc::new(clock.clone()));
    for _ in 0..40 {
        exchange(&clock, &server, 250_000, 3, 4);
        clock.advance(Duration::from_millis(61));
    }
    let skew = server.skew().unwrap();
    assert!((skew.micros - 250_000).abs() <= skew.error_micros, "{skew:?}");
    assert!(skew.error_micros < 100_000, "{skew:?}");
}

#[test]
fn nothing_is_known_before_an_answer_or_after_the_device_slept() {
    let clock = VirtualClock::new(START);
    let server = ServerClock::new(Arc::new(clock.clone()));
    assert_eq!(server.skew(), None);
    assert_eq!(server.now(), clock.now());
    server.observe(server.start(), &HttpResponse::new(StatusCode::OK, ""));
    assert_eq!(server.skew(), None, "an answer without a date says nothing");
    exchange(&clock, &server, 5_000_000, 1, 1);
    assert!(server.skew().is_some());
    // The wall clock went on while the monotonic one stood still.
    clock.jump(3_600_000_000);
    assert_eq!(server.skew(), None);
    exchange(&clock, &server, 5_000_000, 1, 1);
    assert!((server.skew().unwrap().micros - 5_000_000).abs() < 600_000);
}

#[test]
fn a_server_whose_clock_is_set_is_measured_anew() {
    let clock = VirtualClock::new(START);
    let server = ServerClock::new(Arc::new(clock.clone()));
    exchange(&clock, &server, 0, 1, 1);
    exchange(&clock, &server, -60_000_000, 1, 1);
    assert!((server.skew().unwrap().micros + 60_000_000).abs() < 600_000);
}

#[test]
fn an_old_measurement_admits_that_clocks_drift() {
    let clock = VirtualClock::new(START);
    let server = ServerClock::new(Arc::new(clock.clone()));
    exchange(&clock, &server, 0, 1, 1);
    let fresh = server.skew().unwrap().error_micros;
    clock.advance(Duration::from_secs(10_000));
    assert!(server.skew().unwrap().error_micros >= fresh + 2_000_000);
}
