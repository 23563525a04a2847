//! Signing in, and staying signed in.

mod token_file;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sync_core::{Effects, ErrorKind, Result, RetryClass, SyncError, Timestamp};
use sync_http::{
    BaseUrl, CredentialStore, Credentials, HeaderName, HttpRequest, Method, RefreshOptions, Refresher,
    Secret, ServerClock, Session, Transport,
};

pub use token_file::TokenFile;

use crate::{
    client::{API_KEY, CLIENT_INFO, CLIENT_NAME, read_json},
    error::{ADAPTER, error_of},
    key::ApiKey,
};

const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-supabase-api-version");
/// The version from which on errors carry their code in one place.
const API_VERSION: &str = "2024-01-01";

/// The refusals after which only a new sign-in helps. Whatever else goes wrong leaves the sign-in as it is.
const FINAL_CODES: [&str; 7] = [
    "invalid_credentials",
    "refresh_token_not_found",
    "refresh_token_already_used",
    "session_not_found",
    "session_expired",
    "user_banned",
    "validation_failed",
];

/// Signs users of a project in, and renews their tokens.
///
/// Each refresh token is good for one refresh, so a renewed one is kept before it is used: see [`Session`]. Processes
/// that share a sign-in share a [`TokenFile`].
///
/// ```no_run
/// # async fn example(transport: std::sync::Arc<dyn sync_http::Transport>) -> sync_core::Result<()> {
/// use std::sync::Arc;
/// use adapter_supabase::{ApiKey, SupabaseAuth, TokenFile};
/// use sync_core::Effects;
///
/// let effects = Effects::tokio();
/// let key = ApiKey::new("sb_publishable_...");
/// let auth = SupabaseAuth::new("https://project.supabase.co", key, transport, &effects)?;
/// let session = auth.session_in_file(TokenFile::new("/data/app/sign-in.json", effects.timer.clone()), effects);
/// if !session.restore().await? {
///     session.sign_in(auth.sign_in("ada@example.com", &"her password".into()).await?).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SupabaseAuth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: BaseUrl,
    key: ApiKey,
    transport: Arc<dyn Transport>,
    clock: Arc<ServerClock>,
}

impl SupabaseAuth {
    /// The sign-in of a project.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server.
    pub fn new(url: &str, key: ApiKey, transport: Arc<dyn Transport>, effects: &Effects) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            base: BaseUrl::parse(url)?,
            key,
            transport,
            clock: Arc::new(ServerClock::new(Arc::clone(&effects.clock))),
        })))
    }

    /// Signs in with a password.
    ///
    /// # Errors
    /// `Unauthenticated` if the project does not accept them; those of the transport.
    ///
    /// # Cancel safety
    /// Nothing is left behind here if it is dropped; the project may have begun a session that nobody uses.
    pub async fn sign_in(&self, email: &str, password: &Secret) -> Result<Credentials> {
        let body = json!({"email": email, "password": password.reveal()});
        let granted = self.grant("password", &body).await;
        granted.map_err(|error| error.with_operation("sign_in"))
    }

    /// A session whose tokens are kept in `store`: the app's keychain, or
    /// [`MemoryCredentialStore`](sync_http::MemoryCredentialStore). It has no sign-in yet.
    pub fn session(&self, store: Arc<dyn CredentialStore>, effects: Effects) -> Session {
        self.session_with(Arc::new(self.clone()), store, effects)
    }

    /// A session whose tokens are kept in a file that other processes may share: at most one of them refreshes at a
    /// time, and the others take what it got. When one signs out, the others' tokens are renewed no more. It has no
    /// sign-in yet.
    pub fn session_in_file(&self, file: TokenFile, effects: Effects) -> Session {
        let refresher = OneAtATime {
            auth: self.clone(),
            file: file.clone(),
        };
        self.session_with(Arc::new(refresher), Arc::new(file), effects)
    }

    fn session_with(
        &self,
        refresher: Arc<dyn Refresher>,
        store: Arc<dyn CredentialStore>,
        effects: Effects,
    ) -> Session {
        let clock = Arc::clone(&self.0.clock);
        Session::new(refresher, store, clock, effects, RefreshOptions::default())
    }

    async fn grant(&self, kind: &str, body: &(impl Serialize + ?Sized)) -> Result<Credentials> {
        let inner = &*self.0;
        let request = HttpRequest::new(Method::POST, inner.base.join(["auth", "v1", "token"]))
            .with_query([("grant_type", kind)])
            .with_header(API_VERSION_HEADER, API_VERSION)?
            .with_header(CLIENT_INFO, CLIENT_NAME)?
            .with_secret_header(API_KEY, "", inner.key.secret())?
            .with_json(body)?;
        let started = inner.clock.start();
        let response = inner.transport.send(request).await.map_err(SyncError::from)?;
        inner.clock.observe(started, &response);
        if !response.status.is_success() {
            return Err(refusal(error_of(&response)));
        }
        read_json::<Granted>(&response).map(Granted::into_credentials)
    }
}

/// Makes sure that only a final refusal counts as one, and that no other says anything of the request for which the
/// token was wanted: a push whose token cannot be renewed just now is not refused.
fn refusal(error: SyncError) -> SyncError {
    let is_final = error.code().is_some_and(|code| FINAL_CODES.contains(&code));
    let code = error.code().unwrap_or_default().to_owned();
    if is_final {
        return SyncError::new(ErrorKind::Unauthenticated, error.message())
            .with_code(code)
            .with_adapter(ADAPTER);
    }
    match error.kind() {
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::Invalid => {
            SyncError::new(ErrorKind::Server, error.message())
                .with_code(code)
                .with_adapter(ADAPTER)
                .with_retry(RetryClass::Backoff)
        }
        _ => error,
    }
}

/// The answer to a grant.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    refresh_token: String,
    #[serde(default)]
    expires_at: Option<i64>,
}

impl Granted {
    fn into_credentials(self) -> Credentials {
        let mut credentials = Credentials::from_jwt(self.access_token).with_refresh(self.refresh_token);
        // For a token that tells nothing itself.
        let told = self.expires_at;
        credentials.expires_at = credentials
            .expires_at
            .or_else(|| told.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000))));
        credentials
    }
}

#[async_trait]
impl Refresher for SupabaseAuth {
    async fn refresh(&self, current: &Credentials) -> Result<Credentials> {
        let Some(token) = &current.refresh else {
            let why = "there is no refresh token; sign in again";
            return Err(SyncError::new(ErrorKind::Unauthenticated, why).with_adapter(ADAPTER));
        };
        let body = json!({"refresh_token": token.reveal()});
        let granted = self.grant("refresh_token", &body).await;
        granted.map_err(|error| error.with_operation("refresh"))
    }
}

/// Refreshes while it holds the lock of a file, and keeps the result in it before it lets go.
#[derive(Debug)]
struct OneAtATime {
    auth: SupabaseAuth,
    file: TokenFile,
}

#[async_trait]
impl Refresher for OneAtATime {
    async fn refresh(&self, current: &Credentials) -> Result<Credentials> {
        let lock = self.file.lock().await?;
        let newer = match self.file.read() {
            Ok(Some(saved)) => {
                (saved.access != current.access && saved.subject == current.subject).then_some(saved)
            }
            Ok(None) => {
                let why = "another process has signed out";
                return Err(SyncError::new(ErrorKind::Unauthenticated, why).with_adapter(ADAPTER));
            }
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "the file of the sign-in is made anew");
                None
            }
        };
        let now = self.auth.0.clock.now();
        let spent = match newer {
            Some(good) if good.expires_at.is_none_or(|end| now < end) => return Ok(good),
            // The refresh token of the newer ones is the one that is not spent.
            Some(expired) => expired,
            None => current.clone(),
        };
        let renewed = self.auth.refresh(&spent).await?;
        if let Err(error) = self.file.write(&renewed) {
            // The old token is spent, so the new one must be used even if it cannot be kept.
            tracing::warn!(kind = %error.kind(), "renewed credentials could not be saved");
        }
        drop(lock);
        Ok(renewed)
    }
}

#[cfg(test)]
mod tests {
    use sync_http::{HttpResponse, StatusCode};

    use super::*;

    #[test]
    fn a_refresh_that_fails_for_now_says_nothing_of_the_request_that_wanted_it() {
        let refused = |status: u16, code: &str| {
            let body = json!({"code": code, "message": "x"}).to_string();
            let status = StatusCode::from_u16(status).unwrap();
            refusal(error_of(&HttpResponse::new(status, body)))
        };
        for (status, code) in [
            (400, "unexpected_failure"),
            (403, "unexpected_failure"),
            (422, "odd"),
        ] {
            let error = refused(status, code);
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Server, RetryClass::Backoff),
                "{status}"
            );
        }
        assert_eq!(refused(400, "session_expired").kind(), ErrorKind::Unauthenticated);
    }
}
