//! What may be shown of requests and answers.

use std::fmt;

use http::HeaderMap;
use url::Url;

/// Stands where a secret was.
const HIDDEN: &str = "***";

/// Parts of names of headers and query parameters whose values are secrets.
const SECRET_WORDS: [&str; 9] = [
    "auth",
    "cookie",
    "jwt",
    "key",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
];

/// Whether a header or query parameter of this name holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Headers as they may be shown: the values of secret ones are hidden.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use sync_http::RedactedHeaders;
/// let mut headers = HeaderMap::new();
/// headers.insert("authorization", HeaderValue::from_static("Bearer abc"));
/// assert_eq!(format!("{:?}", RedactedHeaders(&headers)), r#"{"authorization": ***}"#);
/// ```
pub struct RedactedHeaders<'a>(pub &'a HeaderMap);

impl fmt::Debug for RedactedHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.0 {
            if value.is_sensitive() || is_secret_name(name.as_str()) {
                map.entry(&name.as_str(), &format_args!("{HIDDEN}"));
            } else {
                map.entry(&name.as_str(), value);
            }
        }
        map.finish()
    }
}

/// A URL as it may be shown: no user information, no fragment, and secret query values hidden.
///
/// ```
/// use sync_http::RedactedUrl;
/// let url = "https://me:pw@host/path?page=2&apikey=abc".parse().unwrap();
/// assert_eq!(RedactedUrl(&url).to_string(), "https://host/path?page=2&apikey=***");
/// ```
pub struct RedactedUrl<'a>(pub &'a Url);

impl fmt::Display for RedactedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        let mut separator = '?';
        for (name, value) in url.query_pairs() {
            let shown = if is_secret_name(&name) { HIDDEN } else { &value };
            write!(f, "{separator}{name}={shown}")?;
            separator = '&';
        }
        Ok(())
    }
}

impl fmt::Debug for RedactedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
