//! The seam between adapters and the network.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use sync_core::{ErrorKind, Result, SyncError, Timestamp};
use url::Url;

use crate::{
    http_date::parse_http_date,
    redact::{RedactedHeaders, RedactedUrl},
    secret::Secret,
    transport_error::TransportError,
};

/// How long a request may take, unless it says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Sends requests.
///
/// Implementations do not retry, do not follow redirects to another origin, and add no sign-in: adapters decide
/// about all of these.
///
/// # Contract
/// - A call ends within the request's deadline, or soon after.
/// - An answer of any status is `Ok`.
/// - The kind of an error says truly whether something may have reached the server, see
///   [`TransportError::nothing_sent`].
/// - A dropped call may or may not have had its effect at the server.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// See [`TransportError`].
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;

    /// Sends a request and gives the answer's body as it comes. The deadline holds until the headers are there.
    ///
    /// # Errors
    /// See [`TransportError`].
    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError>;
}

/// A request. `Debug` hides secrets and the body.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// The headers, without those that the transport makes (`Host`, `Content-Length`).
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// How long the request may take, from connecting to the last byte of the answer.
    pub deadline: Duration,
}

impl HttpRequest {
    /// A request without headers and body, with [`DEFAULT_DEADLINE`].
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// Adds query parameters, percent-encoded, to those the URL has.
    #[must_use]
    pub fn with_query<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs = pairs.into_iter().peekable();
        if pairs.peek().is_some() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// Sets a header.
    ///
    /// # Errors
    /// `Invalid`, naming the header, if the value cannot stand in a header.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        self.headers.insert(name.clone(), header_value(&name, value)?);
        Ok(self)
    }

    /// Sets a header whose value is never shown: `prefix` and the secret behind it.
    ///
    /// # Errors
    /// `Invalid`, naming the header, if the value cannot stand in a header.
    pub fn with_secret_header(mut self, name: HeaderName, prefix: &str, secret: &Secret) -> Result<Self> {
        let mut value = header_value(&name, &format!("{prefix}{}", secret.reveal()))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets the body to `value` as JSON.
    ///
    /// # Errors
    /// `Invalid` if the value cannot be written as JSON.
    pub fn with_json(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let body = serde_json::to_vec(value)
            .map_err(|error| SyncError::invalid("body", error.to_string()).with_source(error))?;
        self.body = body.into();
        self.headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Ok(self)
    }

    /// Sets how long the request may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue> {
    // The value may be a secret, so the error does not tell it.
    HeaderValue::from_str(value)
        .map_err(|_| SyncError::invalid(name.as_str(), "the value cannot stand in an HTTP header"))
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &RedactedUrl(&self.url))
            .field("headers", &RedactedHeaders(&self.headers))
            .field("body_length", &self.body.len())
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// An answer. `Debug` hides secrets and the body.
#[derive(Clone)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl HttpResponse {
    /// An answer without headers.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// A header as text; `None` if it is not there or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's time when it answered, to the second, from the `Date` header.
    pub fn date(&self) -> Option<Timestamp> {
        parse_http_date(self.header("date")?)
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// `Malformed` if it is something else. The message tells the place, not the content.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let message = format!(
                "the answer ({}, {} bytes) is not the expected JSON: {:?} error at line {}, column {}",
                self.status,
                self.body.len(),
                error.classify(),
                error.line(),
                error.column()
            );
            SyncError::new(ErrorKind::Malformed, message).with_field("answer")
        })
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &RedactedHeaders(&self.headers))
            .field("body_length", &self.body.len())
            .finish()
    }
}

/// An answer whose body is still coming. Dropping it closes the connection.
pub struct HttpStream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, in pieces with borders anywhere. It ends with the body, or with one error.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStream")
            .field("status", &self.status)
            .field("headers", &RedactedHeaders(&self.headers))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
fn _object_safe(_: &dyn Transport) {}
