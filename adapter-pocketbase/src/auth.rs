//! Signing in.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use sync_core::{ErrorKind, Result, SyncError};
use sync_http::{
    BaseUrl, Credentials, HttpRequest, HttpResponse, Method, Refresher, Secret, StatusCode, Transport, header,
};

use crate::{
    error::{ADAPTER, Refusal},
    wire::SignedIn,
};

/// Signs users of one auth collection in, and renews their tokens for a [`Session`](sync_http::Session).
///
/// PocketBase has no token for refreshing: the access token gets the next one, as long as it has not expired.
/// Let the session refresh at half of the token's life ([`RefreshOptions`](sync_http::RefreshOptions)); a device
/// that is offline for longer than a token lives must sign in again, and keeps its queue until then.
///
/// ```no_run
/// # async fn example(transport: std::sync::Arc<dyn sync_http::Transport>) -> sync_core::Result<()> {
/// use std::sync::Arc;
/// use adapter_pocketbase::PocketBaseAuth;
/// use sync_core::Effects;
/// use sync_http::{MemoryCredentialStore, RefreshOptions, ServerClock, Session};
///
/// let effects = Effects::tokio();
/// let auth = Arc::new(PocketBaseAuth::new("https://example.com", "users", transport)?);
/// let clock = Arc::new(ServerClock::new(effects.clock.clone()));
/// let options = RefreshOptions { at_half_life: true, ..RefreshOptions::default() };
/// let store = Arc::new(MemoryCredentialStore::default());
/// let session = Session::new(auth.clone(), store, clock, effects, options);
/// session.sign_in(auth.sign_in("ada@example.com", &"her password".into()).await?).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PocketBaseAuth {
    base: BaseUrl,
    collection: String,
    transport: Arc<dyn Transport>,
}

impl PocketBaseAuth {
    /// For the users of an auth collection: `users`, or `_superusers`.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server.
    pub fn new(url: &str, collection: impl Into<String>, transport: Arc<dyn Transport>) -> Result<Self> {
        Ok(Self {
            base: BaseUrl::parse(url)?,
            collection: collection.into(),
            transport,
        })
    }

    /// Signs in with a password. `identity` is the e-mail address, or whatever else the collection allows.
    ///
    /// # Errors
    /// `Unauthenticated` if the server does not accept them; those of the transport.
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn sign_in(&self, identity: &str, password: &Secret) -> Result<Credentials> {
        let path = ["api", "collections", &self.collection, "auth-with-password"];
        let body = json!({"identity": identity, "password": password.reveal()});
        let request = HttpRequest::new(Method::POST, self.base.join(path)).with_json(&body)?;
        let response = self.transport.send(request).await?;
        // Wrong passwords are a 400.
        if response.status == StatusCode::BAD_REQUEST {
            let why = "the server does not accept this name and password";
            return Err(SyncError::new(ErrorKind::Unauthenticated, why).with_adapter(ADAPTER));
        }
        credentials(&response)
    }
}

#[async_trait]
impl Refresher for PocketBaseAuth {
    async fn refresh(&self, current: &Credentials) -> Result<Credentials> {
        let collection = auth_collection_of(current);
        let path = ["api", "collections", &collection, "auth-refresh"];
        let request = HttpRequest::new(Method::POST, self.base.join(path)).with_secret_header(
            header::AUTHORIZATION,
            "",
            &current.access,
        )?;
        let response = self.transport.send(request).await?;
        match response.status.as_u16() {
            401 | 403 | 404 => Err(SyncError::new(
                ErrorKind::Unauthenticated,
                "the token has expired or was revoked; sign in again",
            )
            .with_adapter(ADAPTER)),
            _ => credentials(&response),
        }
    }
}

fn credentials(response: &HttpResponse) -> Result<Credentials> {
    if response.status != StatusCode::OK {
        return Err(Refusal::of(response).error(response));
    }
    let answer: SignedIn = response.json().map_err(|error| error.with_adapter(ADAPTER))?;
    Ok(Credentials::from_jwt(answer.token))
}

/// The auth collection that a token is of, as its claims say; `users` if they do not.
pub(crate) fn auth_collection_of(credentials: &Credentials) -> String {
    credentials
        .claim("collectionId")
        .unwrap_or_else(|| "users".to_owned())
}
