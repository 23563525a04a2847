//! Pages of changes.

use sync_core::{Delta, DeltaKind, PullRequest, RemoteChange, Result, SyncPoint};

use super::{
    Feed, shrinking,
    wire::{PullAnswer, PullArguments, read_state},
};
use crate::client::Client;

impl Feed {
    /// One page of changes, smaller than asked for if the project cannot make it in its time.
    pub(crate) async fn pull(&self, client: &Client, request: &PullRequest) -> Result<Delta> {
        let target = &request.target;
        self.require(&target.collection)?;
        let most = request.page_size.clamp(1, self.page);
        let started = client.server_clock().start();
        let answer: PullAnswer = shrinking(most, |limit| async move {
            let arguments = PullArguments {
                p_scope: target.scope.key().as_str(),
                p_collection: target.collection.as_str(),
                p_cursor: request.since.as_ref().map(SyncPoint::as_str),
                p_limit: limit,
                // Only a first page begins a pass.
                p_holds_nothing: request.holds_nothing && request.since.is_none(),
            };
            client.call("sync_pull", &arguments).await
        })
        .await?;
        client.server_clock().observe_time(started, answer.now, 1);
        let mut delta = Delta::empty(SyncPoint::new(answer.cursor));
        delta.has_more = answer.more;
        delta.server_time = Some(answer.now);
        // The pages of a pass from nothing hold all that the caller may see, at one membership that was looked at.
        delta.kind = if answer.first {
            DeltaKind::Snapshot
        } else {
            DeltaKind::Incremental
        };
        for raw in &answer.changes {
            match read_state(raw) {
                Ok((id, state)) => delta.changes.push(RemoteChange { id, state }),
                Err(row) => delta.malformed.push(row),
            }
        }
        Ok(delta)
    }
}
