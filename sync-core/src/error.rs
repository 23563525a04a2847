//! One error type for stores, remotes and the engine: a kind, a retry class, and where it happened.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The remote could not be reached: no route, refused, name not found, connection lost.
    Unreachable,
    /// No answer within the deadline. The effect of the request is unknown.
    Timeout,
    /// The remote asks for fewer requests.
    RateLimited,
    /// The remote failed (HTTP 5xx, deadlock, restart).
    Server,
    /// There is no valid sign-in: no token, an expired token, a refused token.
    Unauthenticated,
    /// Signed in, but not allowed.
    Forbidden,
    /// The remote has proved that this client may no longer see the scope at all.
    ScopeRevoked,
    /// What was asked for does not exist.
    NotFound,
    /// A value was refused; [`SyncError::field`] names it.
    Invalid,
    /// The other side cannot do this; [`SyncError::field`] names the field or the operator.
    Unsupported,
    /// The sync point is no longer good: other epoch, expired, ahead of a restored backup.
    ResyncRequired,
    /// The request was larger than the other side accepts.
    TooLarge,
    /// Something could not be understood: damaged JSON, an unexpected answer.
    Malformed,
    /// The local store is locked by another writer.
    Busy,
    /// The disk, or the quota, is full. Nothing was written.
    Full,
    /// The local store cannot be written: read-only file or folder.
    ReadOnly,
    /// The local store is damaged, or is not one of ours.
    Corrupt,
    /// The local store was written by a newer version of this framework.
    NewerSchema,
    /// Another engine holds the lease of this scope, or took it over.
    LeaseLost,
    /// The action would discard pending operations and was not told to.
    PendingOps,
    /// The configuration cannot work; the message says what to change.
    Configuration,
    /// The engine was stopped.
    Stopped,
    /// A defect in the framework or in a plugged-in part, such as a resolver that panicked.
    Internal,
}

impl ErrorKind {
    /// The name as stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate limited",
            Self::Server => "server failure",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::ScopeRevoked => "scope revoked",
            Self::NotFound => "not found",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::ResyncRequired => "resync required",
            Self::TooLarge => "too large",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Corrupt => "corrupt",
            Self::NewerSchema => "newer schema",
            Self::LeaseLost => "lease lost",
            Self::PendingOps => "pending operations",
            Self::Configuration => "configuration",
            Self::Stopped => "stopped",
            Self::Internal => "internal",
        }
    }

    /// What to do about an error of this kind, unless the error says otherwise.
    pub fn retry(self) -> RetryClass {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::RateLimited
            | Self::Server
            | Self::Busy
            | Self::LeaseLost => RetryClass::Backoff,
            Self::Unauthenticated => RetryClass::SignIn,
            Self::ResyncRequired => RetryClass::Resync,
            Self::TooLarge => RetryClass::Shrink,
            _ => RetryClass::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller should do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetryClass {
    /// The same request fails again; something must change first.
    Never,
    /// Try again later, with growing pauses.
    Backoff,
    /// Try again, but not before this pause (a `Retry-After`).
    After(Duration),
    /// Sign in, then try again.
    SignIn,
    /// Start the scope over with a full resync.
    Resync,
    /// Try again with a smaller request.
    Shrink,
}

/// The error of every fallible call of stores, remotes and the engine.
///
/// It is small (one pointer), cheap to clone, and carries no secret: adapters put neither tokens nor full URLs
/// into messages. `Display` is one line; `Debug` lists every part.
#[derive(Clone)]
pub struct SyncError(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    retry: RetryClass,
    message: String,
    field: Option<String>,
    code: Option<String>,
    operation: Option<&'static str>,
    scope: Option<String>,
    adapter: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl SyncError {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            retry: kind.retry(),
            message: message.into(),
            field: None,
            code: None,
            operation: None,
            scope: None,
            adapter: None,
            source: None,
        }))
    }

    /// `Invalid`: the value of `field` was refused, and why.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, why).with_field(field)
    }

    /// `Unsupported`: the other side cannot do what `field` asks for.
    pub fn unsupported(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, why).with_field(field)
    }

    /// `Malformed`: `what` could not be understood.
    pub fn malformed(what: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Malformed, source.to_string())
            .with_field(what)
            .with_source(source)
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Names the field, key or operator the error is about.
    pub fn with_field(self, field: impl Into<String>) -> Self {
        self.edit(|inner| inner.field = Some(field.into()))
    }

    /// Adds the other side's own code (`23505`, `validation_not_unique`).
    pub fn with_code(self, code: impl Into<String>) -> Self {
        self.edit(|inner| inner.code = Some(code.into()))
    }

    /// Names the operation that failed, unless one deeper inside is named already.
    pub fn with_operation(self, operation: &'static str) -> Self {
        self.edit(|inner| {
            inner.operation.get_or_insert(operation);
        })
    }

    /// Names the scope, unless it is named already.
    pub fn with_scope(self, scope: impl fmt::Display) -> Self {
        self.edit(|inner| {
            inner.scope.get_or_insert_with(|| scope.to_string());
        })
    }

    /// Names the store or remote, unless it is named already.
    pub fn with_adapter(self, adapter: impl Into<String>) -> Self {
        self.edit(|inner| {
            inner.adapter.get_or_insert_with(|| adapter.into());
        })
    }

    /// Keeps the error that caused this one.
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Overrides what to do about it.
    pub fn with_retry(self, retry: RetryClass) -> Self {
        self.edit(|inner| inner.retry = retry)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it.
    pub fn retry(&self) -> RetryClass {
        self.0.retry
    }

    /// The message for people, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field, key or operator the error is about.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The other side's own code.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The operation that failed.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The scope in which it failed.
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// The store or remote that failed.
    pub fn adapter(&self) -> Option<&str> {
        self.0.adapter.as_deref()
    }

    /// Whether the effect of the request is unknown: it may or may not have happened.
    pub fn outcome_unknown(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Timeout | ErrorKind::Unreachable | ErrorKind::Server | ErrorKind::Malformed
        )
    }

    /// Whether the remote could not be asked at all, as when the device is offline.
    pub fn is_offline(&self) -> bool {
        matches!(self.kind(), ErrorKind::Timeout | ErrorKind::Unreachable)
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        write!(f, "{}", inner.kind)?;
        if let Some(field) = &inner.field {
            write!(f, " `{field}`")?;
        }
        write!(f, ": {}", inner.message)?;
        let context = [
            ("code", &inner.code),
            ("scope", &inner.scope),
            ("in", &inner.adapter),
        ];
        let context: Vec<_> = context
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name} {v}")))
            .collect();
        if context.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", context.join(", "))
        }
    }
}

impl fmt::Debug for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("SyncError")
            .field("kind", &inner.kind)
            .field("retry", &inner.retry)
            .field("message", &inner.message)
            .field("field", &inner.field)
            .field("code", &inner.code)
            .field("operation", &inner.operation)
            .field("scope", &inner.scope)
            .field("adapter", &inner.adapter)
            .field("source", &inner.source.as_ref().map(ToString::to_string))
            .finish()
    }
}

impl StdError for SyncError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// The result of every fallible call.
pub type Result<T, E = SyncError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_context() {
        let error = SyncError::invalid("title", "must not be empty")
            .with_operation("enqueue_create")
            .with_scope("todos?user=u1")
            .with_adapter("memory");
        assert_eq!(
            error.to_string(),
            "enqueue_create: invalid `title`: must not be empty (scope todos?user=u1, in memory)"
        );
        assert_eq!(error.with_operation("outer").operation(), Some("enqueue_create"));
    }

    #[test]
    fn the_error_is_one_pointer() {
        assert_eq!(size_of::<SyncError>(), size_of::<usize>());
    }
}
