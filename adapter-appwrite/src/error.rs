//! What Appwrite's refusals mean, in one function.
//!
//! Appwrite answers `{"message", "code", "type", "version"}`. The `type` decides, not the status: 401 is a missing
//! permission as often as a missing sign-in.

use std::time::Duration;

use serde::Deserialize;
use sync_core::{ErrorKind, RetryClass, SyncError};
use sync_http::{HttpResponse, kind_of_status};

use crate::auth::CredentialKind;

/// The types that the adapter acts on.
pub(crate) mod types {
    pub(crate) const ROW_UPDATE_CONFLICT: &str = "row_update_conflict";
    pub(crate) const ROW_ALREADY_EXISTS: &str = "row_already_exists";
    pub(crate) const ROW_UNIQUE_CONSTRAINT: &str = "row_unique_constraint_violation";
    pub(crate) const TRANSACTION_CONFLICT: &str = "transaction_conflict";
    pub(crate) const TRANSACTION_NOT_READY: &str = "transaction_not_ready";
    pub(crate) const TRANSACTION_NOT_FOUND: &str = "transaction_not_found";
    pub(crate) const USER_UNAUTHORIZED: &str = "user_unauthorized";
    pub(crate) const QUERY_INVALID: &str = "general_query_invalid";
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// The error that an answer other than 2xx tells.
pub(crate) fn error_of(response: &HttpResponse, credential: CredentialKind) -> SyncError {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(&response.body) else {
        return not_appwrite(response);
    };
    let (kind, field) = match body.kind.as_str() {
        // A key bypasses permissions, so only a wrong one is refused like this.
        types::USER_UNAUTHORIZED if credential == CredentialKind::ApiKey => {
            (ErrorKind::Unauthenticated, None)
        }
        types::USER_UNAUTHORIZED => (ErrorKind::Forbidden, None),
        "general_unauthorized_scope" if body.message.contains("(role: guests)") => {
            (ErrorKind::Unauthenticated, None)
        }
        "general_unauthorized_scope" => (ErrorKind::Forbidden, None),
        "user_jwt_invalid" | "user_session_not_found" | "user_blocked" | "project_key_expired" => {
            (ErrorKind::Unauthenticated, None)
        }
        "general_access_forbidden" | "project_not_found" => (ErrorKind::Configuration, Some("project")),
        "database_not_found" => (ErrorKind::Configuration, Some("database")),
        "table_not_found" | "collection_not_found" => (ErrorKind::Configuration, Some("table")),
        types::QUERY_INVALID if quoted_column(&body.message).is_some() => (ErrorKind::Configuration, None),
        types::QUERY_INVALID => (ErrorKind::Unsupported, Some("query")),
        types::ROW_UPDATE_CONFLICT
        | types::ROW_ALREADY_EXISTS
        | types::ROW_UNIQUE_CONSTRAINT
        | types::TRANSACTION_CONFLICT
        | types::TRANSACTION_NOT_READY => (ErrorKind::Invalid, None),
        "row_not_found" | "document_not_found" | types::TRANSACTION_NOT_FOUND => (ErrorKind::NotFound, None),
        "general_rate_limit_exceeded" => (ErrorKind::RateLimited, None),
        "database_timeout" | "general_resource_locked" | "transaction_expired" => (ErrorKind::Server, None),
        _ => (kind_of_status(response.status), None),
    };
    let message = if body.message.is_empty() {
        format!("the server answered {}", response.status)
    } else {
        body.message.clone()
    };
    let mut error = SyncError::new(kind, message);
    if !body.kind.is_empty() {
        error = error.with_code(body.kind.clone());
    }
    if let Some(field) = field.map(str::to_owned).or_else(|| quoted_column(&body.message)) {
        error = error.with_field(field);
    }
    match rate_report(response) {
        Some((_, wait)) if kind == ErrorKind::RateLimited => error.with_retry(RetryClass::After(wait)),
        _ => error,
    }
}

/// An answer without Appwrite's error body: a page of a proxy, or of a server that is something else.
fn not_appwrite(response: &HttpResponse) -> SyncError {
    let kind = match kind_of_status(response.status) {
        ErrorKind::Server => ErrorKind::Server,
        ErrorKind::RateLimited => ErrorKind::RateLimited,
        ErrorKind::TooLarge => ErrorKind::TooLarge,
        _ => ErrorKind::Configuration,
    };
    let message = format!(
        "the server answered {} without Appwrite's JSON; the endpoint must be that of the API, like https://host/v1",
        response.status
    );
    let error = SyncError::new(kind, message).with_field("endpoint");
    match sync_http::retry_after(response) {
        Some(pause) if matches!(kind, ErrorKind::Server | ErrorKind::RateLimited) => {
            error.with_retry(RetryClass::After(pause))
        }
        _ => error,
    }
}

/// The column a refusal is about, where its message names one.
fn quoted_column(message: &str) -> Option<String> {
    const BEFORE: [&str; 6] = [
        "ttribute \"",
        "nknown attribute: \"",
        "field '",
        "not found in schema: ",
        "ttribute '",
        "olumn '",
    ];
    let rest = BEFORE
        .iter()
        .find_map(|before| message.split_once(before).map(|(_, rest)| rest))?;
    let name: String = rest
        .chars()
        .take_while(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '$'))
        .collect();
    (!name.is_empty()).then_some(name)
}

/// What the `X-RateLimit-*` headers tell: how many requests remain, and in how long the window ends. The end is a
/// second of the server's clock, so it is compared with the answer's `Date`.
pub(crate) fn rate_report(response: &HttpResponse) -> Option<(u32, Duration)> {
    let number = |name: &str| response.header(name)?.trim().parse::<i64>().ok();
    let remaining = u32::try_from(number("x-ratelimit-remaining")?.max(0)).ok()?;
    let now = response.date()?.as_millis() / 1_000;
    let seconds = (number("x-ratelimit-reset")? - now).clamp(1, 3_600);
    Some((remaining, Duration::from_secs(seconds.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use serde_json::json;

    use super::*;

    fn refused(status: u16, kind: &str, message: &str) -> HttpResponse {
        let body = json!({"message": message, "code": status, "type": kind, "version": "1.9.6"});
        HttpResponse::new(StatusCode::from_u16(status).unwrap(), body.to_string())
    }

    fn kind(status: u16, kind: &str, message: &str) -> ErrorKind {
        error_of(&refused(status, kind, message), CredentialKind::Session).kind()
    }

    #[test]
    fn the_401s_are_told_apart() {
        let no_permission = "The current user is not authorized to perform the requested action.";
        let guest = "User (role: guests) missing scopes ([\"account\"])";
        let no_scope =
            "The current user or API key does not have the required scopes to access the requested resource.";
        assert_eq!(
            kind(401, "user_unauthorized", no_permission),
            ErrorKind::Forbidden
        );
        assert_eq!(
            kind(401, "general_unauthorized_scope", guest),
            ErrorKind::Unauthenticated
        );
        assert_eq!(
            kind(401, "general_unauthorized_scope", no_scope),
            ErrorKind::Forbidden
        );
        assert_eq!(
            kind(401, "user_jwt_invalid", "Failed to verify JWT."),
            ErrorKind::Unauthenticated
        );
        assert_eq!(
            kind(401, "general_access_forbidden", "No Appwrite project"),
            ErrorKind::Configuration
        );
        let bad_key = error_of(
            &refused(401, "user_unauthorized", no_permission),
            CredentialKind::ApiKey,
        );
        assert_eq!(bad_key.kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn refusals_name_the_column() {
        for (message, column) in [
            (
                "Invalid document structure: Attribute \"title\" has invalid type. Value must be a valid string",
                "title",
            ),
            (
                "Invalid document structure: Missing required attribute \"title\"",
                "title",
            ),
            ("Invalid document structure: Unknown attribute: \"due\"", "due"),
            (
                "Invalid document structure: Cannot apply increment operator to non-numeric field 'title'",
                "title",
            ),
        ] {
            let error = error_of(
                &refused(400, "row_invalid_structure", message),
                CredentialKind::Jwt,
            );
            assert_eq!(
                (error.kind(), error.field()),
                (ErrorKind::Invalid, Some(column)),
                "{message}"
            );
        }
        let message = "Invalid query: Attribute not found in schema: deleted";
        let error = error_of(
            &refused(400, "general_query_invalid", message),
            CredentialKind::Jwt,
        );
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Configuration, Some("deleted"))
        );
    }

    #[test]
    fn a_page_of_something_else_is_a_configuration_error_that_tells_the_mend() {
        let page = HttpResponse::new(StatusCode::NOT_FOUND, "<!DOCTYPE html><html></html>");
        let error = error_of(&page, CredentialKind::Session);
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Configuration, Some("endpoint"))
        );
        assert!(error.message().contains("/v1"));
        let gateway = HttpResponse::new(StatusCode::BAD_GATEWAY, "<html>");
        assert_eq!(
            error_of(&gateway, CredentialKind::Session).kind(),
            ErrorKind::Server
        );
    }

    #[test]
    fn a_rate_limit_says_how_long_to_wait_by_the_servers_own_clock() {
        let mut response = refused(429, "general_rate_limit_exceeded", "Rate limit exceeded.");
        for (name, value) in [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1795247400"),
            ("date", "Sat, 21 Nov 2026 07:49:12 GMT"),
        ] {
            response.headers.insert(name, HeaderValue::from_static(value));
        }
        let error = error_of(&response, CredentialKind::Session);
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(error.retry(), RetryClass::After(Duration::from_secs(48)));
    }
}
