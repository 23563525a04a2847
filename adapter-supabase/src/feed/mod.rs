//! Feed mode: pulls and pushes by the functions that the migration made. Exact.

mod pull;
mod push;
mod read;
mod wire;

use std::collections::BTreeMap;

use sync_core::{
    Capabilities, CollectionName, CursorKind, DeleteVisibility, Realtime, Result, RetryClass, SearchSupport,
    SyncError,
};

pub(crate) use wire::Status;

use crate::{
    client::Client,
    config::{Options, refused},
    probe::FeedProfile,
};

/// What the feed's API is, beyond the client that speaks to it.
#[derive(Debug)]
pub(crate) struct Feed {
    profile: FeedProfile,
    page: u32,
    push_batch: u32,
}

impl Feed {
    pub(crate) fn new(profile: FeedProfile, options: &Options) -> Self {
        Self {
            page: options.page.min(profile.max_page).max(1),
            push_batch: options.push_batch.min(profile.max_push).max(1),
            profile,
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            cursor: CursorKind::CommitOrdered,
            deletes: DeleteVisibility::Tombstones,
            conditional_write: true,
            idempotent_push: true,
            atomic_batch: true,
            stamps: true,
            epoch: true,
            id_list: true,
            server_time: true,
            search: SearchSupport::None,
            realtime: Realtime::Poke,
            max_push_batch: self.push_batch,
            max_page: self.page,
        }
    }

    /// Refuses a collection that is not in the feed, of which the feed would say that it holds nothing.
    fn require(&self, collection: &CollectionName) -> Result<()> {
        if self.profile.collections.contains(collection) {
            return Ok(());
        }
        let why = format!(
            "the collection `{collection}` was not in the feed of the project when it was looked at; add its table to the \
             migration, run it, and connect again"
        );
        Err(refused("collection", why))
    }
}

/// Asks the feed what it is.
///
/// # Errors
/// As [`Client::call_once`].
pub(crate) async fn status(client: &Client) -> Result<Status> {
    let started = client.server_clock().start();
    let status: Status = client
        .call_once("sync_status", &BTreeMap::<&str, &str>::new())
        .await?;
    client.server_clock().observe_time(started, status.now, 1);
    Ok(status)
}

/// Runs `attempt` with fewer and fewer items while the project says that it is too much.
pub(crate) async fn shrinking<T, F>(most: u32, attempt: impl Fn(u32) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut items = most;
    loop {
        match attempt(items).await {
            Err(error) if error.retry() == RetryClass::Shrink && items > 1 => items /= 2,
            Err(error) => return Err(at_the_least(error)),
            answer => return answer,
        }
    }
}

/// The error of a request that cannot be made smaller: one that took too long may not the next time.
fn at_the_least(error: SyncError) -> SyncError {
    match (error.retry(), error.kind()) {
        (RetryClass::Shrink, sync_core::ErrorKind::Server) => error.with_retry(RetryClass::Backoff),
        _ => error,
    }
}
