//! What the project's refusals mean.
//!
//! The data API hides a deadlock behind 500 and a missing privilege behind 401, so the code in the body decides, and
//! the status only where there is none.

use serde::Deserialize;
use serde_json::Value;
use sync_core::{ErrorKind, RetryClass, SyncError};
use sync_http::{HttpResponse, error_of_kind, kind_of_status};

/// The adapter's name in errors.
pub(crate) const ADAPTER: &str = "supabase";

/// Codes by which callers decide.
pub(crate) mod codes {
    /// The data API knows no function of this name with these arguments (yet).
    pub(crate) const UNKNOWN_FUNCTION: &str = "PGRST202";
}

/// The body of a refusal, as the data API, the sign-in and the gateway send it.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default, alias = "msg")]
    message: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

/// The error that a refused request is.
pub(crate) fn error_of(response: &HttpResponse) -> SyncError {
    let body: Body = serde_json::from_slice(&response.body).unwrap_or_default();
    let code = match (&body.error_code, &body.code) {
        (Some(code), _) => code.clone(),
        (None, Value::String(code)) => code.clone(),
        (None, _) => String::new(),
    };
    let hint = body.hint.unwrap_or_default();
    let mut message = body.message.unwrap_or_default();
    message.truncate(message.floor_char_boundary(500));
    let (kind, retry) = meaning(&code, &hint, response);
    if let Some(advice) = advice(&code, kind, response) {
        message = format!("{message} ({advice})");
    }
    let error = error_of_kind(kind, response, &message).with_adapter(ADAPTER);
    let error = match retry {
        Some(retry) => error.with_retry(retry),
        None => error,
    };
    if code.is_empty() {
        error
    } else {
        error.with_code(code)
    }
}

/// The kind of a refusal, and what to do about it if the kind does not say so.
fn meaning(code: &str, hint: &str, response: &HttpResponse) -> (ErrorKind, Option<RetryClass>) {
    let status = response.status.as_u16();
    let class = code.get(..2).unwrap_or_default();
    let kind = match code {
        "" if status == 401 => ErrorKind::Configuration,
        "" => kind_of_status(response.status),
        // The feed's own.
        "PT403" if hint == "not_a_member" => ErrorKind::ScopeRevoked,
        "PT403" => ErrorKind::Forbidden,
        "PT404" | "PT500" => ErrorKind::Configuration,
        "PT409" => ErrorKind::ResyncRequired,
        "PT413" => ErrorKind::TooLarge,
        // A statement that took too long may not with less to do.
        "57014" => return (ErrorKind::Server, Some(RetryClass::Shrink)),
        "40001" | "40P01" | "55P03" | "25006" => ErrorKind::Server,
        "PGRST000" | "PGRST001" | "PGRST002" | "PGRST003" => ErrorKind::Server,
        "PGRST300" => ErrorKind::Configuration,
        "42501" if status == 401 => ErrorKind::Unauthenticated,
        "42501" => ErrorKind::Forbidden,
        "42883" | "42P01" | "42703" | "3F000" => ErrorKind::Configuration,
        _ if class == "08" || class == "53" || code.starts_with("57P0") => ErrorKind::Server,
        _ if code.starts_with("PGRST30") => ErrorKind::Unauthenticated,
        // Names in the URL that are not there are part of the configuration.
        "PGRST106" | "PGRST125" | "PGRST202" | "PGRST203" | "PGRST204" | "PGRST205" => {
            ErrorKind::Configuration
        }
        _ => match kind_of_status(response.status) {
            // A value that the database does not take.
            ErrorKind::NotFound | ErrorKind::Malformed => ErrorKind::Invalid,
            kind => kind,
        },
    };
    (kind, None)
}

/// What a person should do about it, where the message does not say so.
fn advice(code: &str, kind: ErrorKind, response: &HttpResponse) -> Option<&'static str> {
    match (code, kind) {
        ("", ErrorKind::Configuration) if response.status == 401 => {
            Some("check the API key and the project's URL")
        }
        ("PGRST106", _) => Some("expose the schema in the settings of the data API"),
        ("42501", ErrorKind::Unauthenticated) => Some("sign in"),
        ("PT500", _) => Some("run the feed's migration again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sync_http::{StatusCode, header};

    use super::*;

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse::new(StatusCode::from_u16(status).unwrap(), body.to_owned())
    }

    fn coded(status: u16, code: &str) -> SyncError {
        error_of(&answer(
            status,
            &format!(r#"{{"code":"{code}","message":"m","details":null,"hint":null}}"#),
        ))
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        use ErrorKind::{
            Configuration, Forbidden, Invalid, ResyncRequired, Server, TooLarge, Unauthenticated,
        };
        for (status, code, kind, retry) in [
            (500, "40P01", Server, RetryClass::Backoff),
            (500, "40001", Server, RetryClass::Backoff),
            (500, "55P03", Server, RetryClass::Backoff),
            (500, "57014", Server, RetryClass::Shrink),
            (500, "57P03", Server, RetryClass::Backoff),
            (503, "53300", Server, RetryClass::Backoff),
            (503, "08006", Server, RetryClass::Backoff),
            (503, "PGRST002", Server, RetryClass::Backoff),
            (504, "PGRST003", Server, RetryClass::Backoff),
            (405, "25006", Server, RetryClass::Backoff),
            (401, "42501", Unauthenticated, RetryClass::SignIn),
            (403, "42501", Forbidden, RetryClass::Never),
            (401, "PGRST301", Unauthenticated, RetryClass::SignIn),
            (401, "PGRST303", Unauthenticated, RetryClass::SignIn),
            (403, "PT403", Forbidden, RetryClass::Never),
            (404, "PT404", Configuration, RetryClass::Never),
            (409, "PT409", ResyncRequired, RetryClass::Resync),
            (413, "PT413", TooLarge, RetryClass::Shrink),
            (500, "PT500", Configuration, RetryClass::Never),
            (404, "PGRST202", Configuration, RetryClass::Never),
            (404, "PGRST205", Configuration, RetryClass::Never),
            (404, "42P01", Configuration, RetryClass::Never),
            (409, "23505", Invalid, RetryClass::Never),
            (400, "22P02", Invalid, RetryClass::Never),
            (416, "PGRST103", Invalid, RetryClass::Never),
            (500, "XX000", Server, RetryClass::Backoff),
        ] {
            let error = coded(status, code);
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{status} {code}");
            assert_eq!(error.code(), Some(code));
        }
    }

    #[test]
    fn only_the_feed_can_say_that_a_scope_is_revoked() {
        let body = r#"{"code":"PT403","message":"m","details":"s","hint":"not_a_member"}"#;
        assert_eq!(error_of(&answer(403, body)).kind(), ErrorKind::ScopeRevoked);
        let read_only = r#"{"code":"PT403","message":"m","details":null,"hint":"read_only"}"#;
        assert_eq!(error_of(&answer(403, read_only)).kind(), ErrorKind::Forbidden);
    }

    #[test]
    fn proxies_without_a_code_are_read_by_their_status() {
        for status in [502, 503, 504, 520, 525, 530] {
            let error = error_of(&answer(status, "<html>"));
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Server, RetryClass::Backoff),
                "{status}"
            );
        }
        assert_eq!(error_of(&answer(413, "")).retry(), RetryClass::Shrink);
        let mut limited = answer(429, "{}");
        limited
            .headers
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("7"));
        let error = error_of(&limited);
        assert_eq!(
            error.retry(),
            RetryClass::After(std::time::Duration::from_secs(7))
        );
        let no_key = error_of(&answer(
            401,
            r#"{"message":"Invalid API key","hint":"Double check"}"#,
        ));
        assert_eq!(no_key.kind(), ErrorKind::Configuration);
        assert!(no_key.message().contains("API key"), "{no_key}");
    }
}
