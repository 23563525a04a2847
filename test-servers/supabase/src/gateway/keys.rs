//! API keys: who may call at all, and as whom if nobody is signed in.

use serde_json::json;

use crate::http::{Answer, Request};

pub(crate) const PUBLISHABLE_KEY: &str = "sb_publishable_tests_of_the_stack_aaaaaaa";
pub(crate) const SECRET_KEY: &str = "sb_secret_tests_of_the_stack_bbbbbbbbbbbbb";

/// The role of a caller without a token of his own, by the key.
pub(super) fn role_of_key(request: &Request) -> Result<&'static str, Box<Answer>> {
    let in_query = request.query("apikey");
    let key = request.header("apikey").or(in_query.as_deref());
    match key {
        Some(PUBLISHABLE_KEY) => Ok("anon"),
        // Browsers must not hold it.
        Some(SECRET_KEY)
            if request
                .header("user-agent")
                .is_some_and(|agent| agent.contains("Mozilla")) =>
        {
            Err(refused(
                "Forbidden use of secret API key in browser",
                "Secret API keys can only be used in a protected environment",
            ))
        }
        Some(SECRET_KEY) => Ok("service_role"),
        Some(_) => Err(refused(
            "Invalid API key",
            "Double check your Supabase `anon` or `service_role` API key.",
        )),
        None => Err(refused(
            "No API key found in request",
            "No `apikey` request header or url param was found.",
        )),
    }
}

fn refused(message: &str, hint: &str) -> Box<Answer> {
    Box::new(Answer::json(401, &json!({"message": message, "hint": hint})))
}

/// The token in the header `Authorization`, unless it is only the key again.
pub(crate) fn own_token(authorization: Option<&str>) -> Option<&str> {
    let token = authorization?.strip_prefix("Bearer ")?;
    (!token.starts_with("sb_")).then_some(token)
}
