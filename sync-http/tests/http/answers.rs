//! What statuses, headers and transport failures mean.

use std::time::Duration;

use sync_core::{ErrorKind, RetryClass, SyncError};
use sync_http::{
    BaseUrl, HeaderValue, HttpResponse, StatusCode, TransportError, TransportErrorKind, error_for_status,
    error_of_kind, kind_of_status, parse_http_date, retry_after,
};

fn answer(status: u16, headers: &[(&'static str, &str)]) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::from_u16(status).unwrap(), "");
    for (name, value) in headers {
        response
            .headers
            .insert(*name, HeaderValue::from_str(value).unwrap());
    }
    response
}

#[test]
fn each_status_suggests_a_kind_and_a_retry_class() {
    for (status, kind, retry) in [
        (302, ErrorKind::Configuration, RetryClass::Never),
        (400, ErrorKind::Invalid, RetryClass::Never),
        (401, ErrorKind::Unauthenticated, RetryClass::SignIn),
        (403, ErrorKind::Forbidden, RetryClass::Never),
        (404, ErrorKind::NotFound, RetryClass::Never),
        (408, ErrorKind::Server, RetryClass::Backoff),
        (413, ErrorKind::TooLarge, RetryClass::Shrink),
        (429, ErrorKind::RateLimited, RetryClass::Backoff),
        (500, ErrorKind::Server, RetryClass::Backoff),
        (501, ErrorKind::Unsupported, RetryClass::Never),
        (502, ErrorKind::Server, RetryClass::Backoff),
        (503, ErrorKind::Server, RetryClass::Backoff),
        (520, ErrorKind::Server, RetryClass::Backoff),
    ] {
        assert_eq!(
            kind_of_status(StatusCode::from_u16(status).unwrap()),
            kind,
            "{status}"
        );
        assert_eq!(error_for_status(&answer(status, &[])).retry(), retry, "{status}");
    }
}

#[test]
fn retry_after_is_read_in_seconds_and_as_a_date_of_the_server() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let later = "Sun, 06 Nov 1994 08:49:42 GMT";
    let pause = |headers: &[(&'static str, &str)]| retry_after(&answer(429, headers));
    assert_eq!(pause(&[("retry-after", " 7 ")]), Some(Duration::from_secs(7)));
    assert_eq!(
        pause(&[("retry-after", later), ("date", date)]),
        Some(Duration::from_secs(5))
    );
    assert_eq!(
        pause(&[("retry-after", date), ("date", later)]),
        Some(Duration::ZERO)
    );
    assert_eq!(pause(&[("retry-after", later)]), None, "no clock to compare with");
    assert_eq!(pause(&[("retry-after", "soon"), ("date", date)]), None);
    assert_eq!(pause(&[("retry-after", "-1")]), None);
    assert_eq!(
        pause(&[("retry-after", "99999999")]),
        Some(Duration::from_secs(3_600)),
        "not believed"
    );
    assert_eq!(pause(&[]), None);
}

#[test]
fn a_pause_the_server_asks_for_goes_into_the_error() {
    let error = error_of_kind(
        ErrorKind::RateLimited,
        &answer(429, &[("retry-after", "3")]),
        "slow down",
    );
    assert_eq!(error.retry(), RetryClass::After(Duration::from_secs(3)));
    assert!(error.message().contains("slow down"), "{error}");
    let refused = error_of_kind(ErrorKind::Invalid, &answer(400, &[("retry-after", "3")]), "");
    assert_eq!(refused.retry(), RetryClass::Never, "waiting does not help");
}

#[test]
fn http_dates_of_all_three_forms_are_read_and_others_refused() {
    let expected = Some(784_111_777_000);
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(
            parse_http_date(text).map(|time| time.as_millis()),
            expected,
            "{text}"
        );
    }
    for text in ["", "now", "Sun, 32 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"] {
        assert_eq!(parse_http_date(text), None, "{text}");
    }
}

#[test]
fn transport_failures_tell_what_is_known_of_the_effect() {
    use TransportErrorKind::{AnswerTooLarge, Connect, Interrupted, InvalidAnswer, InvalidRequest, Timeout};
    for (kind, nothing_sent, expected, retry) in [
        (InvalidRequest, true, ErrorKind::Configuration, RetryClass::Never),
        (Connect, true, ErrorKind::Unreachable, RetryClass::Backoff),
        (Timeout, false, ErrorKind::Timeout, RetryClass::Backoff),
        (Interrupted, false, ErrorKind::Unreachable, RetryClass::Backoff),
        (InvalidAnswer, false, ErrorKind::Malformed, RetryClass::Backoff),
        (AnswerTooLarge, false, ErrorKind::Malformed, RetryClass::Shrink),
    ] {
        let error = TransportError::new(kind, "lost");
        assert_eq!(error.nothing_sent(), nothing_sent, "{kind:?}");
        let error = SyncError::from(error);
        assert_eq!((error.kind(), error.retry()), (expected, retry), "{kind:?}");
        assert!(nothing_sent || error.outcome_unknown(), "{kind:?}");
    }
}

#[test]
fn an_answer_that_is_not_the_expected_json_is_told_without_its_content() {
    let response = HttpResponse::new(StatusCode::OK, r#"{"token":"hunter2""#);
    let error = response.json::<Vec<String>>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn addresses_that_cannot_serve_are_refused_with_the_reason() {
    for (text, reason) in [
        ("example.com", "not a URL"),
        ("ftp://example.com", "http://"),
        ("https://me:pw@example.com", "user name"),
        ("https://example.com/?a=1", "query"),
    ] {
        let error = BaseUrl::parse(text).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Configuration, Some("url"))
        );
        assert!(error.message().contains(reason), "{text}: {error}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

#[test]
fn path_segments_cannot_leave_their_place() {
    let base = BaseUrl::parse("http://localhost:8090").unwrap();
    assert_eq!(
        base.join(["api", "../admin?x#y", "\u{e9}"]).as_str(),
        "http://localhost:8090/api/..%2Fadmin%3Fx%23y/%C3%A9"
    );
}
