//! Who the adapter speaks as: a user's session, a user's JWT, an API key, or nobody.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use sync_core::{ErrorKind, Result, SyncError, Timestamp};
use sync_http::{
    BaseUrl, Credentials, FixedToken, HttpRequest, HttpResponse, Refresher, Secret, TokenSource, Transport,
};

use crate::error::error_of;

pub(crate) const PROJECT_HEADER: HeaderName = HeaderName::from_static("x-appwrite-project");

/// What kind of token requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    Session,
    Jwt,
    ApiKey,
    Anonymous,
}

impl CredentialKind {
    pub(crate) fn header(self) -> Option<HeaderName> {
        match self {
            Self::Session => Some(HeaderName::from_static("x-appwrite-session")),
            Self::Jwt => Some(HeaderName::from_static("x-appwrite-jwt")),
            Self::ApiKey => Some(HeaderName::from_static("x-appwrite-key")),
            Self::Anonymous => None,
        }
    }

    /// Whether requests are a user's. With an expired sign-in the server takes a user for a guest and answers
    /// less, without an error; a wrong API key is refused outright.
    pub(crate) fn is_user(self) -> bool {
        matches!(self, Self::Session | Self::Jwt)
    }

    /// Whether the realtime connection takes it.
    pub(crate) fn can_listen(self) -> bool {
        self != Self::ApiKey
    }
}

/// The sign-in of an [`AppwriteRemoteStore`](crate::AppwriteRemoteStore).
#[derive(Clone, Debug)]
pub struct Credential {
    pub(crate) kind: CredentialKind,
    pub(crate) source: Arc<dyn TokenSource>,
}

impl Credential {
    /// A user's session: the secret that [`sign_in_with_email`] gives, or the value of the cookie
    /// `a_session_<project>`. A session cannot be renewed, so a [`FixedToken`] will do.
    pub fn session(source: Arc<dyn TokenSource>) -> Self {
        Self {
            kind: CredentialKind::Session,
            source,
        }
    }

    /// A user's JSON web token, good for 15 minutes by default. A [`Session`](sync_http::Session) with a
    /// [`JwtRefresher`] renews it in time.
    pub fn jwt(source: Arc<dyn TokenSource>) -> Self {
        Self {
            kind: CredentialKind::Jwt,
            source,
        }
    }

    /// An API key, for servers: it sees every row, is exempt from rate limits, and cannot listen to realtime.
    pub fn api_key(key: impl Into<Secret>) -> Self {
        Self {
            kind: CredentialKind::ApiKey,
            source: Arc::new(FixedToken::new(Credentials::new(key))),
        }
    }

    /// Nobody: what guests may do.
    pub fn anonymous() -> Self {
        Self {
            kind: CredentialKind::Anonymous,
            source: Arc::new(FixedToken::anonymous()),
        }
    }
}

/// Signs a user in with e-mail and password, and gives the session's secret as the access token.
///
/// # Errors
/// `Unauthenticated` if the server refuses them; those of the transport; `Malformed` if the answer carries no
/// session.
///
/// # Cancel safety
/// A dropped call may leave a session behind at the server.
pub async fn sign_in_with_email(
    transport: &dyn Transport,
    endpoint: &BaseUrl,
    project: &str,
    email: &str,
    password: &Secret,
) -> Result<Credentials> {
    let request = HttpRequest::new(Method::POST, endpoint.join(["account", "sessions", "email"]))
        .with_header(PROJECT_HEADER, project)?
        .with_json(&json!({"email": email, "password": password.reveal()}))?;
    let response = transport.send(request).await?;
    if !response.status.is_success() {
        let error = error_of(&response, CredentialKind::Anonymous);
        return Err(if response.status == 401 {
            SyncError::new(ErrorKind::Unauthenticated, error.message()).with_operation("sign_in")
        } else {
            error.with_operation("sign_in")
        });
    }
    let body: Value = response.json()?;
    let secret = body["secret"]
        .as_str()
        .filter(|secret| !secret.is_empty())
        .map(str::to_owned);
    // Clients are told the secret in a cookie only.
    let secret = secret.or_else(|| cookie_of(&response, project)).ok_or_else(|| {
        SyncError::new(ErrorKind::Malformed, "the answer carries no session").with_field("secret")
    })?;
    let mut credentials = Credentials::new(secret);
    credentials.subject = body["userId"].as_str().map(str::to_owned);
    credentials.expires_at = body["expire"]
        .as_str()
        .and_then(crate::row::read_time)
        .map(Timestamp::from_millis);
    Ok(credentials)
}

/// The session's secret: in the header that stands in for cookies, where it is not escaped, or in a cookie.
fn cookie_of(response: &HttpResponse, project: &str) -> Option<String> {
    let name = format!("a_session_{project}");
    let fallback = response
        .header("x-fallback-cookies")
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .and_then(|cookies| cookies[&name].as_str().map(str::to_owned));
    fallback
        .or_else(|| {
            response.headers.get_all("set-cookie").iter().find_map(|cookie| {
                let (pair, _) = cookie.to_str().ok()?.split_once(';')?;
                pair.strip_prefix(&name)?.strip_prefix('=').map(str::to_owned)
            })
        })
        .filter(|secret| !secret.is_empty())
}

/// Makes JSON web tokens from a session: the credentials' refresh token is the session's secret.
#[derive(Debug)]
pub struct JwtRefresher {
    transport: Arc<dyn Transport>,
    endpoint: BaseUrl,
    project: String,
}

impl JwtRefresher {
    /// A refresher for one project.
    pub fn new(transport: Arc<dyn Transport>, endpoint: BaseUrl, project: impl Into<String>) -> Self {
        Self {
            transport,
            endpoint,
            project: project.into(),
        }
    }

    /// A first token for the session that [`sign_in_with_email`] gave.
    ///
    /// # Errors
    /// As [`Refresher::refresh`].
    pub async fn first(&self, session: &Credentials) -> Result<Credentials> {
        let mut token = self.token_of(&session.access).await?;
        token.subject = session.subject.clone().or(token.subject);
        Ok(token)
    }

    async fn token_of(&self, session: &Secret) -> Result<Credentials> {
        #[derive(Deserialize)]
        struct Made {
            jwt: String,
        }
        let header = HeaderName::from_static("x-appwrite-session");
        let request = HttpRequest::new(Method::POST, self.endpoint.join(["account", "jwts"]))
            .with_header(PROJECT_HEADER, &self.project)?
            .with_secret_header(header, "", session)?
            .with_json(&json!({}))?;
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            return Err(error_of(&response, CredentialKind::Session).with_operation("refresh"));
        }
        let made: Made = response.json()?;
        Ok(Credentials::from_jwt(made.jwt).with_refresh(session.clone()))
    }
}

#[async_trait]
impl Refresher for JwtRefresher {
    async fn refresh(&self, current: &Credentials) -> Result<Credentials> {
        let session = current.refresh.as_ref().ok_or_else(|| {
            SyncError::new(
                ErrorKind::Unauthenticated,
                "there is no session to make a token from",
            )
        })?;
        let mut token = self.token_of(session).await?;
        token.subject = current.subject.clone().or(token.subject);
        Ok(token)
    }
}
