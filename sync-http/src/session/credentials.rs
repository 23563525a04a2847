//! What a sign-in gives.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sync_core::Timestamp;

use crate::secret::Secret;

/// Tokens of one sign-in. `Debug` hides them; serialisation, for a [`CredentialStore`](crate::CredentialStore),
/// keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The token that requests carry.
    pub access: Secret,
    /// The token that gets a new access token, where the backend has one apart from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Secret>,
    /// When the server stops accepting the access token, by the server's clock; `None` if never or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The id of the user or key, if known. It says whose data a device holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Credentials {
    /// Credentials of one token that does not expire as far as known.
    pub fn new(access: impl Into<Secret>) -> Self {
        Self {
            access: access.into(),
            refresh: None,
            expires_at: None,
            subject: None,
        }
    }

    /// Credentials of a JSON web token: expiry and subject are read from its `exp` and `sub` (or `id`) claims.
    /// A token of another form is accepted, with nothing known about it. Signatures are the server's business.
    pub fn from_jwt(access: impl Into<Secret>) -> Self {
        let access = access.into();
        let claims: Claims = claims(access.reveal()).unwrap_or_default();
        Self {
            access,
            refresh: None,
            expires_at: claims
                .exp
                .map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000))),
            subject: claims.sub.or(claims.id),
        }
    }

    /// A text claim of the access token, if that is a JSON web token and has it.
    pub fn claim(&self, name: &str) -> Option<String> {
        let claims: serde_json::Value = claims(self.access.reveal())?;
        claims.get(name)?.as_str().map(str::to_owned)
    }

    /// Adds the token that gets a new access token.
    #[must_use]
    pub fn with_refresh(mut self, refresh: impl Into<Secret>) -> Self {
        self.refresh = Some(refresh.into());
        self
    }

    /// Sets when the access token expires, by the server's clock.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }
}

#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<i64>,
    sub: Option<String>,
    id: Option<String>,
}

fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&json).ok()
}
