//! What a naive client stands on.

use std::fmt;

use async_trait::async_trait;
use sync_core::{Delta, PullRequest, RemoteStore, Result, Timestamp};

use super::Kept;

/// Moments at which a naive client can be stopped, or come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A write, or pulled rows, are being stored.
    MidApply,
    /// They are stored.
    AfterApply,
}

/// The device under a naive client: its clock, its store, and what happens to both.
#[async_trait]
pub(crate) trait Ground: fmt::Debug + Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// The time of the stamp that the write under way gets, if it is told, in milliseconds.
    fn told_stamp(&self) -> Option<u64> {
        None
    }

    /// Whether the store takes a write now.
    ///
    /// # Errors
    /// What keeps it.
    async fn check_store(&self) -> Result<()>;

    /// A moment has come.
    async fn reach(&self, moment: Moment);

    /// A pull whose answer nobody looks at.
    ///
    /// # Errors
    /// Those of the remote.
    async fn pull_unseen(&self, remote: &dyn RemoteStore, request: PullRequest) -> Result<Delta> {
        remote.pull(request).await
    }

    /// What is kept on the device has changed.
    fn changed(&self, kept: &Kept) {
        let _ = kept;
    }
}
