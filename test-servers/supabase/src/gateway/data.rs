//! The data API: the key's rule, the token's clock, and the server behind it.

use hyper::{
    Method, StatusCode,
    header::{HOST, TRANSFER_ENCODING},
};
use serde_json::{Value, json};

use super::{Gateway, keys::own_token};
use crate::{
    http::{Answer, Request},
    jwt::{self, Refused},
};

impl Gateway {
    pub(super) async fn data(&self, request: Request, path: &str, role: &'static str) -> Answer {
        let claims = match own_token(request.header("authorization")) {
            None => json!({"role": role}),
            Some(token) => match jwt::verify(token, self.auth.now()) {
                Ok(claims) => claims,
                Err(refused) => return refused_token(refused),
            },
        };
        let signed_in = claims["role"] != "anon";
        let request = self.mend_request(request);
        match self.ask_upstream(&request, path, claims).await {
            Ok(answer) => self.mend_answer(&request, answer, signed_in),
            Err(error) => Answer::json(
                502,
                &json!({"message": format!("An invalid response was received from the upstream server: {error}")}),
            ),
        }
    }

    async fn ask_upstream(
        &self,
        request: &Request,
        path: &str,
        mut claims: Value,
    ) -> Result<Answer, reqwest::Error> {
        // Only the stack's own clock says whether a token is good.
        if let Some(claims) = claims.as_object_mut() {
            claims.retain(|name, _| !["exp", "iat"].contains(&name.as_str()));
        }
        let query = request
            .uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let url = format!("http://127.0.0.1:{}{path}{query}", self.upstream_port());
        let mut headers = request.headers.clone();
        for name in ["authorization", "apikey", "accept-encoding", "content-length"] {
            headers.remove(name);
        }
        headers.remove(HOST);
        let answer = self
            .upstream
            .request(request.method.clone(), url)
            .headers(headers)
            .bearer_auth(jwt::sign(&claims))
            .body(request.body.clone())
            .send()
            .await?;
        let status = answer.status();
        let mut headers = answer.headers().clone();
        headers.remove(TRANSFER_ENCODING);
        let is_head = request.method == Method::HEAD;
        let body = if is_head {
            Default::default()
        } else {
            answer.bytes().await?
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

fn refused_token(refused: Refused) -> Answer {
    let (code, message) = match refused {
        Refused::Expired(_) => ("PGRST303", "JWT expired"),
        Refused::Invalid => ("PGRST301", "JWSError JWSInvalidSignature"),
    };
    let body = json!({"code": code, "details": null, "hint": null, "message": message});
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{message}\"");
    Answer::json(StatusCode::UNAUTHORIZED.as_u16(), &body).with("www-authenticate", challenge)
}
