//! Evaluating queries at the server: exactly, or not at all.

use sync_core::{Result, SearchPage, SyncError, Target, query::QuerySpec};

use crate::{client::Caller, remote::Inner};

impl Inner {
    /// Answers a query.
    pub(crate) async fn search(
        &self,
        caller: &Caller<'_>,
        target: &Target,
        spec: &QuerySpec,
    ) -> Result<SearchPage> {
        let _ = (caller, target, spec);
        Err(SyncError::unsupported("search", "x"))
    }
}
