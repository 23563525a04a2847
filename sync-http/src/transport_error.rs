//! What can go wrong before there is an answer, and what it says about the request's effect.

use std::{error::Error as StdError, fmt, sync::Arc};

use sync_core::{ErrorKind, RetryClass, SyncError};

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The request could not be made; nothing was sent. Sending it again fails again.
    InvalidRequest,
    /// No connection: name not found, refused, no route, TLS refused. Nothing was sent.
    Connect,
    /// No whole answer within the deadline. The effect is unknown.
    Timeout,
    /// The connection was lost after something may have been sent. The effect is unknown.
    Interrupted,
    /// What came back is not HTTP, or not the agreed protocol. The effect is unknown.
    InvalidAnswer,
    /// The answer is larger than this client accepts. The request had its effect.
    AnswerTooLarge,
}

/// A request without a (whole) answer.
///
/// It names neither URL nor header, so it holds no secret. It becomes a [`SyncError`] by `?`; adapters that can
/// use the difference ask [`TransportError::nothing_sent`] first.
#[derive(Clone, Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl TransportError {
    /// An error of `kind`. The message holds neither secrets nor URLs with a query.
    pub fn new(kind: TransportErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the error that caused this one. Its texts must hold no secret either.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// How the request failed.
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Whether it is certain that nothing reached the server, so that the request had no effect.
    pub fn nothing_sent(&self) -> bool {
        matches!(
            self.kind,
            TransportErrorKind::Connect | TransportErrorKind::InvalidRequest
        )
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<TransportError> for SyncError {
    fn from(error: TransportError) -> Self {
        let kind = match error.kind {
            TransportErrorKind::InvalidRequest => ErrorKind::Configuration,
            TransportErrorKind::Connect | TransportErrorKind::Interrupted => ErrorKind::Unreachable,
            TransportErrorKind::Timeout => ErrorKind::Timeout,
            TransportErrorKind::InvalidAnswer | TransportErrorKind::AnswerTooLarge => ErrorKind::Malformed,
        };
        let mapped = SyncError::new(kind, error.message.clone());
        let mapped = match error.kind {
            TransportErrorKind::AnswerTooLarge => mapped.with_retry(RetryClass::Shrink),
            TransportErrorKind::InvalidAnswer => mapped.with_retry(RetryClass::Backoff),
            _ => mapped,
        };
        mapped.with_source(error)
    }
}
