//! What the server's refusals mean.
//!
//! PocketBase answers many different things alike: a rule that is not met, a record that is not there and an
//! expired token are all "not found", and a refused create is a 400 without a reason. What can only be told by
//! asking further is marked so here, and asked by the caller.

use serde_json::Value;
use sync_core::{ErrorKind, PushOutcome, SyncError};
use sync_http::{HttpResponse, StatusCode, error_of_kind};

use crate::wire::{ErrorBody, FieldError};

pub(crate) const ADAPTER: &str = "pocketbase";

/// A refusal, read.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: u16,
    body: ErrorBody,
}

/// What one operation's refusal means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// There is a row with this id.
    IdTaken,
    /// The row is not there, or not for this client, or the client is not signed in.
    NotThere,
    /// Refused without a reason: a rule, the feed's guard, or the client is not signed in.
    Unexplained,
    /// A hook of the server says that the record changed.
    Changed,
    /// Too many requests.
    RateLimited,
    /// Refused for a reason.
    Rejected {
        code: String,
        message: String,
        field: Option<String>,
    },
    /// The server failed.
    Failed,
}

/// What a whole batch's refusal means.
#[derive(Clone, Debug)]
pub(crate) enum BatchRefusal {
    /// Batches are switched off.
    Off,
    /// At most this many requests go into one.
    TooMany(usize),
    /// More bytes than the server takes. Nothing was applied.
    TooLarge,
    /// It took longer than the server allows. Nothing was applied.
    TimedOut,
    /// The request at this place was refused, and so nothing was applied.
    At(usize, Refusal),
    /// Refused as a whole for another reason.
    Whole(SyncError),
}

impl Refusal {
    pub(crate) fn of(response: &HttpResponse) -> Self {
        let mut body: ErrorBody = serde_json::from_slice(&response.body).unwrap_or_default();
        body.message.truncate(body.message.floor_char_boundary(500));
        Self {
            status: response.status.as_u16(),
            body,
        }
    }

    fn nested(value: &Value) -> Self {
        let body: ErrorBody = serde_json::from_value(value.clone()).unwrap_or_default();
        Self {
            status: body.status,
            body,
        }
    }

    /// The first field that is refused, with the reason.
    fn field(&self) -> Option<(&str, FieldError)> {
        self.body.data.iter().find_map(|(field, value)| {
            let error = serde_json::from_value(value.clone()).ok()?;
            Some((field.as_str(), error))
        })
    }

    /// What the refusal of an operation means.
    pub(crate) fn meaning(&self) -> Meaning {
        match self.status {
            404 => Meaning::NotThere,
            409 => Meaning::Changed,
            429 => Meaning::RateLimited,
            500..=599 => Meaning::Failed,
            _ => match self.field() {
                Some(("id", error))
                    if ["validation_not_unique", "validation_pk_invalid"].contains(&error.code.as_str()) =>
                {
                    Meaning::IdTaken
                }
                Some((field, error)) => Meaning::Rejected {
                    message: describe(&error),
                    code: error.code,
                    field: Some(field.to_owned()),
                },
                None if self.status == 403 => Meaning::Rejected {
                    code: "forbidden".to_owned(),
                    message: self.body.message.clone(),
                    field: None,
                },
                None => Meaning::Unexplained,
            },
        }
    }

    /// The outcome of an operation that was refused for good, once everything else is out of the question.
    pub(crate) fn denied(&self) -> PushOutcome {
        PushOutcome::Rejected {
            code: "denied".to_owned(),
            message: format!(
                "the server refused it without a reason, as it does when a rule is not met: {}",
                self.body.message
            ),
            field: None,
        }
    }

    /// The error of a request that was refused as a whole.
    pub(crate) fn error(&self, response: &HttpResponse) -> SyncError {
        let kind = match self.status {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Forbidden,
            413 => ErrorKind::TooLarge,
            429 => ErrorKind::RateLimited,
            400 => ErrorKind::Invalid,
            // The collections and their paths are part of the configuration.
            404 => ErrorKind::Configuration,
            _ => sync_http::kind_of_status(response.status),
        };
        let error = error_of_kind(kind, response, &self.body.message);
        match self.field() {
            Some((field, detail)) => error.with_field(field).with_code(detail.code),
            None => error,
        }
        .with_adapter(ADAPTER)
    }
}

/// The message of a refused field, with its limits.
fn describe(error: &FieldError) -> String {
    if error.params.is_empty() {
        return error.message.clone();
    }
    format!("{} {}", error.message, Value::Object(error.params.clone()))
}

/// What the refusal of a batch means.
pub(crate) fn batch_refusal(response: &HttpResponse) -> BatchRefusal {
    let refusal = Refusal::of(response);
    if response.status == StatusCode::PAYLOAD_TOO_LARGE {
        return BatchRefusal::TooLarge;
    }
    if response.status == StatusCode::FORBIDDEN {
        return BatchRefusal::Off;
    }
    if response.status != StatusCode::BAD_REQUEST {
        return BatchRefusal::Whole(refusal.error(response));
    }
    match refusal.body.data.get("requests") {
        None if refusal.body.data.is_empty() => BatchRefusal::TimedOut,
        Some(requests) => {
            let limit = || requests.get("params")?.get("max")?.as_u64();
            let code = requests.get("code").and_then(Value::as_str);
            if code == Some("validation_length_too_long")
                && let Some(limit) = limit()
            {
                return BatchRefusal::TooMany(usize::try_from(limit).unwrap_or(usize::MAX).max(1));
            }
            let first = requests.as_object().and_then(|requests| {
                requests.iter().find_map(|(place, failure)| {
                    let place = place.parse().ok()?;
                    Some((place, Refusal::nested(failure.get("response")?)))
                })
            });
            match first {
                Some((place, nested)) => BatchRefusal::At(place, nested),
                None => BatchRefusal::Whole(refusal.error(response)),
            }
        }
        None => BatchRefusal::Whole(refusal.error(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse::new(StatusCode::from_u16(status).unwrap(), body.to_owned())
    }

    #[test]
    fn refusals_of_single_operations_are_told_apart() {
        for (status, body, expected) in [
            (
                404,
                r#"{"data":{},"message":"The requested resource wasn't found.","status":404}"#,
                Meaning::NotThere,
            ),
            (
                400,
                r#"{"data":{},"message":"Failed to create record.","status":400}"#,
                Meaning::Unexplained,
            ),
            (
                400,
                r#"{"data":{"id":{"code":"validation_not_unique","message":"x"}},"status":400}"#,
                Meaning::IdTaken,
            ),
            (
                400,
                r#"{"data":{"id":{"code":"validation_pk_invalid","message":"x"}},"status":400}"#,
                Meaning::IdTaken,
            ),
            (
                429,
                r#"{"data":{},"message":"Too Many Requests.","status":429}"#,
                Meaning::RateLimited,
            ),
            (
                409,
                r#"{"data":{},"message":"Version conflict.","status":409}"#,
                Meaning::Changed,
            ),
            (502, "<html>", Meaning::Failed),
            (
                400,
                r#"{"data":{"t":{"code":"validation_max_text_constraint","message":"Too long.","params":{"max":5}}},"status":400}"#,
                Meaning::Rejected {
                    code: "validation_max_text_constraint".to_owned(),
                    message: r#"Too long. {"max":5}"#.to_owned(),
                    field: Some("t".to_owned()),
                },
            ),
        ] {
            assert_eq!(
                Refusal::of(&answer(status, body)).meaning(),
                expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn refusals_of_batches_are_told_apart() {
        let too_long = r#"{"data":{"requests":{"code":"validation_length_too_long","params":{"max":10,"min":0}}},"status":400}"#;
        assert!(matches!(
            batch_refusal(&answer(400, too_long)),
            BatchRefusal::TooMany(10)
        ));
        let timed_out = r#"{"data":{},"message":"Batch transaction failed.","status":400}"#;
        assert!(matches!(
            batch_refusal(&answer(400, timed_out)),
            BatchRefusal::TimedOut
        ));
        assert!(matches!(
            batch_refusal(&answer(413, "{}")),
            BatchRefusal::TooLarge
        ));
        let off = r#"{"data":{},"message":"Batch requests are not allowed.","status":403}"#;
        assert!(matches!(batch_refusal(&answer(403, off)), BatchRefusal::Off));
        let nested = r#"{"data":{"requests":{"17":{"code":"batch_request_failed","message":"Batch request failed.","response":{"data":{},"message":"Too Many Requests.","status":429}}}},"message":"Batch transaction failed.","status":400}"#;
        match batch_refusal(&answer(400, nested)) {
            BatchRefusal::At(17, refusal) => assert_eq!(refusal.meaning(), Meaning::RateLimited),
            other => panic!("{other:?}"),
        }
        match batch_refusal(&answer(502, "Bad Gateway")) {
            BatchRefusal::Whole(error) => assert_eq!(error.kind(), ErrorKind::Server),
            other => panic!("{other:?}"),
        }
    }
}
