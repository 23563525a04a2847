//! Where a server is.

use std::fmt;

use sync_core::{ErrorKind, Result, SyncError};
use url::Url;

use crate::redact::RedactedUrl;

/// The address of a server: scheme, host, port, and perhaps a path in front of its API.
///
/// ```
/// use sync_http::BaseUrl;
/// let base = BaseUrl::parse("https://example.com/backend/")?;
/// assert_eq!(base.join(["api", "a b/c"]).as_str(), "https://example.com/backend/api/a%20b%2Fc");
/// assert_eq!(base.to_websocket().join(["live"]).as_str(), "wss://example.com/backend/live");
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Reads an `http` or `https` address.
    ///
    /// # Errors
    /// `Configuration` if it is not one, or carries user information, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(SyncError::new(ErrorKind::Configuration, why).with_field("url"));
        let Ok(url) = Url::parse(text) else {
            return refuse("is not a URL; it looks like https://example.com");
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("must begin with http:// or https:// and a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("must not carry a user name or password; sign in instead");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("must have neither a query nor a fragment");
        }
        Ok(Self(url))
    }

    /// The address of a resource below this one; each segment is escaped.
    pub fn join<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The same place for websockets: `ws` for `http`, `wss` for `https`.
    #[must_use]
    pub fn to_websocket(&self) -> Self {
        let mut url = self.0.clone();
        let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
        // Both schemes are special ones with a host, so that this change is always allowed.
        let _ = url.set_scheme(scheme);
        Self(url)
    }

    /// The address.
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", RedactedUrl(&self.0))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}
