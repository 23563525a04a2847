//! What can go wrong with a private stack.

use std::io;

/// Why a private stack could not be started or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Something that the stack runs on is not there.
    #[error("{what} is not there: {mend}")]
    Missing {
        /// What.
        what: String,
        /// How to get it.
        mend: &'static str,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused something.
    #[error("{what}: {source}")]
    Sql {
        /// What was tried.
        what: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The data API's server ended, or did not listen in time.
    #[error("{what}; the end of its log:\n{log}")]
    Process {
        /// What was waited for.
        what: String,
        /// The end of the server's log.
        log: String,
    },
}

impl StackError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Sql { what, source }
    }
}
