//! The mends of the known deviations; see [`crate::deviations`].

use std::sync::PoisonError;

use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::Value;

use super::Gateway;
use crate::{
    deviations::Deviation,
    http::{Answer, JSON, Request},
};

impl Gateway {
    fn mends(&self, deviation: Deviation) -> bool {
        let unmended = self.unmended.lock().unwrap_or_else(PoisonError::into_inner);
        !unmended.contains(&deviation)
    }

    pub(super) fn mend_request(&self, mut request: Request) -> Request {
        let is_call = request.method == Method::POST && request.uri.path().starts_with("/rest/v1/rpc/");
        if self.mends(Deviation::QuotedColumnNames)
            && let Some(query) = request.uri.query().filter(|query| query.contains("columns="))
        {
            let parts = query.split('&').map(|part| match part.strip_prefix("columns=") {
                Some(names) => format!("columns={}", names.replace("%22", "").replace('"', "")),
                None => part.to_owned(),
            });
            let uri = format!("{}?{}", request.uri.path(), parts.collect::<Vec<_>>().join("&"));
            if let Ok(uri) = uri.parse() {
                request.uri = uri;
            }
        }
        if is_call
            && self.mends(Deviation::NullArguments)
            && let Value::Object(mut arguments) = request.json()
            && arguments.values().any(Value::is_null)
        {
            // Arguments that may be null have that default in every function here.
            arguments.retain(|_, value| !value.is_null());
            request.body = Value::Object(arguments).to_string().into();
        }
        request
    }

    pub(super) fn mend_answer(&self, request: &Request, mut answer: Answer, signed_in: bool) -> Answer {
        if answer.status.as_u16() >= 400
            && self.mends(Deviation::ErrorsWithoutCharset)
            && answer.headers.get(CONTENT_TYPE) == Some(&HeaderValue::from_static("application/json"))
        {
            answer.headers.insert(CONTENT_TYPE, JSON);
        }
        if answer.status == StatusCode::UNAUTHORIZED
            && signed_in
            && request.method != Method::HEAD
            && self.mends(Deviation::RefusalOfSignedInUsers)
        {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if body["code"] == "42501" {
                answer.status = StatusCode::FORBIDDEN;
                answer.headers.remove(WWW_AUTHENTICATE);
            }
        }
        answer
    }
}
