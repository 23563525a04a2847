//! Why a channel cannot be joined.

use serde_json::Value;
use sync_core::{ErrorKind, SyncError};

/// The error of a refused join. Its code is the server's name for the reason.
pub(super) fn refused_join(response: &Value) -> SyncError {
    let reason = response["reason"].as_str().unwrap_or("no reason was given");
    let code = reason.split_once(':').map_or(reason, |(code, _)| code).trim();
    let kind = match code {
        "InvalidJWTToken" | "InvalidJWTExpiration" | "JwtSignatureError" | "TokenExpired" => {
            ErrorKind::Unauthenticated
        }
        "Unauthorized" | "PrivateOnly" => ErrorKind::Forbidden,
        "RealtimeDisabledForTenant" | "RealtimeDisabledForConfiguration" | "TopicNameRequired" => {
            ErrorKind::Configuration
        }
        limit if limit.contains("RateLimit") || limit.contains("LimitReached") => ErrorKind::RateLimited,
        // Restarts, a database that has no connection left, and whatever a later version names.
        _ => ErrorKind::Server,
    };
    SyncError::new(kind, format!("the realtime channel was refused: {reason}"))
        .with_code(code.to_owned())
        .with_operation("subscribe")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sync_core::RetryClass;

    use super::*;

    #[test]
    fn limits_and_restarts_pass_and_refusals_do_not() {
        for (reason, kind, retry) in [
            (
                "InvalidJWTToken: Token has expired 3 seconds ago",
                ErrorKind::Unauthenticated,
                RetryClass::SignIn,
            ),
            (
                "Unauthorized: You do not have permissions to read from this Channel topic: sync:x",
                ErrorKind::Forbidden,
                RetryClass::Never,
            ),
            (
                "ChannelRateLimitReached: Too many channels",
                ErrorKind::RateLimited,
                RetryClass::Backoff,
            ),
            (
                "ClientJoinRateLimitReached: Too many joins per second",
                ErrorKind::RateLimited,
                RetryClass::Backoff,
            ),
            ("RealtimeRestarting", ErrorKind::Server, RetryClass::Backoff),
            ("SomethingNew: words", ErrorKind::Server, RetryClass::Backoff),
        ] {
            let error = refused_join(&json!({"reason": reason}));
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{reason}");
        }
        assert_eq!(refused_join(&json!({})).kind(), ErrorKind::Server);
    }
}
