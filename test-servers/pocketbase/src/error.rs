//! What can go wrong with a private server.

use std::{io, path::PathBuf};

/// Why a private server could not be started or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no PocketBase to run.
    #[error("no PocketBase at {0}; run scripts/fetch-pocketbase.sh, or set POCKETBASE_BIN")]
    NoProgram(PathBuf),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended, or did not do in time what was waited for.
    #[error("{what}; the end of its log:\n{log}")]
    Process {
        /// What was waited for.
        what: String,
        /// The end of the server's log.
        log: String,
    },
    /// A request had no answer.
    #[error("{what}: {source}")]
    Request {
        /// The method and the path.
        what: String,
        /// What the HTTP client said.
        source: reqwest::Error,
    },
    /// A request was answered, but not as it should be.
    #[error("{what} was answered {status}: {body}")]
    Answer {
        /// The method and the path.
        what: String,
        /// The status of the answer.
        status: u16,
        /// The body of the answer.
        body: String,
    },
}

impl ServerError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
