//! What an answer's status and headers say when its body says nothing better.

use std::time::Duration;

use http::StatusCode;
use sync_core::{ErrorKind, RetryClass, SyncError};

use crate::{http_date::parse_http_date, transport::HttpResponse};

/// Longer pauses than this are not believed: a mistaken header must not stop a client for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The kind that a status suggests by itself.
///
/// It is the last resort of an adapter: backends hide refusals behind 400, missing sign-ins behind 404 and
/// deadlocks behind 500, so the body is read first.
pub fn kind_of_status(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 407 => ErrorKind::Unauthenticated,
        402 | 403 | 451 => ErrorKind::Forbidden,
        404 | 410 => ErrorKind::NotFound,
        413 | 414 | 431 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        501 | 505 => ErrorKind::Unsupported,
        408 | 421 | 425 | 500..=599 => ErrorKind::Server,
        // Redirects to other origins are not followed: they would carry the sign-in there.
        300..=399 => ErrorKind::Configuration,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Malformed,
    }
}

/// How long the answer asks to wait: its `Retry-After`, in seconds or as a date, held to one hour.
///
/// A date is compared with the answer's own `Date`, so that the device's clock plays no part; without a `Date`,
/// a date is not believed.
///
/// ```
/// use sync_http::{HttpResponse, retry_after};
/// use std::time::Duration;
/// let mut answer = HttpResponse::new(http::StatusCode::SERVICE_UNAVAILABLE, "");
/// answer.headers.insert("retry-after", http::HeaderValue::from_static("7"));
/// assert_eq!(retry_after(&answer), Some(Duration::from_secs(7)));
/// ```
pub fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_http_date(text)?.since(response.date()?),
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// An error of `kind` for an answer, with a message that tells the status, and the pause that the answer asks for.
pub fn error_of_kind(kind: ErrorKind, response: &HttpResponse, message: &str) -> SyncError {
    let text = if message.is_empty() {
        format!("the server answered {}", response.status)
    } else {
        format!("the server answered {}: {message}", response.status)
    };
    let error = SyncError::new(kind, text);
    match (error.retry(), retry_after(response)) {
        (RetryClass::Backoff, Some(pause)) => error.with_retry(RetryClass::After(pause)),
        _ => error,
    }
}

/// The error that the status suggests by itself, see [`kind_of_status`].
pub fn error_for_status(response: &HttpResponse) -> SyncError {
    error_of_kind(kind_of_status(response.status), response, "")
}
