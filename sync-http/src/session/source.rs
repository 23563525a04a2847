//! Where adapters get the token of a request.

use std::fmt;

use async_trait::async_trait;
use sync_core::{ErrorKind, Result, SyncError};

use super::credentials::Credentials;

/// Gives the token for each request.
///
/// [`Session`](crate::Session) is the full implementation; [`FixedToken`] serves keys and tests. An app that
/// signs in by other means implements this itself.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// The credentials to use now; `None` to send the request without any.
    ///
    /// # Errors
    /// `Unauthenticated` if the user must sign in again; `Unreachable` and the like if a needed refresh could
    /// not be done now, in which case the sign-in stands.
    async fn credentials(&self) -> Result<Option<Credentials>>;

    /// New credentials, after the server refused `refused` (or the request without any).
    ///
    /// If the current ones are already others, those are the answer and nothing is refreshed.
    ///
    /// # Errors
    /// As [`TokenSource::credentials`].
    async fn renew(&self, refused: Option<&Credentials>) -> Result<Credentials>;
}

/// Always the same token, or none: API keys, tests.
#[derive(Clone, Debug, Default)]
pub struct FixedToken(Option<Credentials>);

impl FixedToken {
    /// Always these credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self(Some(credentials))
    }

    /// Requests go without a token.
    pub fn anonymous() -> Self {
        Self(None)
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn credentials(&self) -> Result<Option<Credentials>> {
        Ok(self.0.clone())
    }

    async fn renew(&self, _refused: Option<&Credentials>) -> Result<Credentials> {
        Err(SyncError::new(
            ErrorKind::Unauthenticated,
            "the server refused the token, and there is no way to get another",
        ))
    }
}

/// Runs `attempt` with a token; if it fails as `Unauthenticated`, renews the token once and runs it once more.
///
/// # Errors
/// Those of `attempt` and of `source`.
pub async fn with_credentials<T, F>(
    source: &dyn TokenSource,
    attempt: impl Fn(Option<Credentials>) -> F + Send,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let credentials = source.credentials().await?;
    match attempt(credentials.clone()).await {
        Err(error) if error.kind() == ErrorKind::Unauthenticated => {
            let renewed = source.renew(credentials.as_ref()).await?;
            attempt(Some(renewed)).await
        }
        answer => answer,
    }
}
