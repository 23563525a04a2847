//! The sign-in API.

use serde_json::{Value, json};

use super::{Gateway, keys::own_token};
use crate::{
    auth::{Refusal, user_answer},
    http::{Answer, Request},
    jwt,
};

const VERSION: &str = "x-supabase-api-version";

impl Gateway {
    pub(super) fn sign_in(&self, request: &Request, path: &str) -> Answer {
        let answer = self.answer_sign_in(request, path);
        // Clients read errors by the version that the answer says it has.
        match request.header(VERSION) {
            Some(version) => answer.with(VERSION, version),
            None => answer,
        }
    }

    fn answer_sign_in(&self, request: &Request, path: &str) -> Answer {
        let new_style = request
            .header(VERSION)
            .is_some_and(|version| version >= "2024-01-01");
        let refuse = |(status, code, message): Refusal| {
            let body = if new_style {
                json!({"code": code, "message": message})
            } else {
                json!({"code": status, "error_code": code, "msg": message})
            };
            Answer::json(status, &body).with("x-sb-error-code", code)
        };
        let granted = |granted: Result<Value, Refusal>| match granted {
            Ok(session) => Answer::json(200, &session),
            Err(refusal) => refuse(refusal),
        };
        let body = request.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match (request.method.as_str(), path) {
            ("POST", "/token") => match request.query("grant_type").as_deref() {
                Some("password") => granted(self.auth.password_grant(&text("email"), &text("password"))),
                Some("refresh_token") => granted(self.auth.refresh_grant(&text("refresh_token"))),
                _ => refuse((400, "validation_failed", "unsupported_grant_type")),
            },
            ("POST", "/signup") if self.auth.has_user(&text("email")) => {
                refuse((422, "user_already_exists", "User already registered"))
            }
            ("POST", "/signup") => {
                self.auth.add_user(&text("email"), &text("password"));
                granted(self.auth.password_grant(&text("email"), &text("password")))
            }
            ("GET", "/health") => Answer::json(200, &json!({"name": "GoTrue", "version": "stand-in"})),
            ("GET", "/settings") => Answer::json(
                200,
                &json!({"external": {"email": true}, "disable_signup": false}),
            ),
            ("GET", "/.well-known/jwks.json") => Answer::json(200, &json!({"keys": []})),
            ("GET", "/user") | ("POST", "/logout") => match self.claims(request) {
                Err(refusal) => refuse(refusal),
                Ok(claims) if path == "/user" => Answer::json(200, &user_answer(&claims)),
                Ok(claims) => {
                    self.auth.sign_out(&claims);
                    Answer::new(204, crate::http::JSON, "")
                }
            },
            _ => Answer::json(404, &json!({"code": 404, "msg": "404 page not found"})),
        }
    }

    fn claims(&self, request: &Request) -> Result<Value, Refusal> {
        let token = own_token(request.header("authorization"));
        let token = token.ok_or((401, "no_authorization", "This endpoint requires a Bearer token"))?;
        let claims = jwt::verify(token, self.auth.now())
            .map_err(|_| (403, "bad_jwt", "invalid JWT: unable to parse or verify signature"))?;
        if self.auth.is_ended(&claims) {
            return Err((
                403,
                "session_not_found",
                "Session from session_id claim in JWT does not exist",
            ));
        }
        Ok(claims)
    }
}
