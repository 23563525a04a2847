//! The contract of a remote: what an adapter implements for its backend.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{
    capability::Capabilities,
    delta::{Delta, RemoteState, RemoteVersion, SyncPoint, Versioned},
    error::{ErrorKind, Result, SyncError},
    id::{RecordId, RecordKey},
    operation::{PushOp, PushOutcome},
    query::QuerySpec,
    scope::{SyncScope, Target},
    time::Timestamp,
};

/// What the engine asks of [`RemoteStore::pull`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Collection and scope.
    pub target: Target,
    /// Where the last page ended; `None` to start from nothing.
    pub since: Option<SyncPoint>,
    /// The most changes wanted in the page. The remote may give fewer.
    pub page_size: u32,
    /// Whether the client provably holds no record and no tombstone of the target, so that tombstones may be
    /// left out. Without this, a pull from nothing delivers tombstones too. A client that never heard of a delete
    /// can make a record with the same id; the remote then tells it of the tombstone as a conflict.
    pub holds_nothing: bool,
}

/// A batch of operations of one scope, possibly of several collections, in the order to apply them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushBatch {
    /// The scope of every operation in the batch.
    pub scope: SyncScope,
    /// The operations; at most one for each record.
    pub ops: Vec<PushOp>,
    /// Whether the batch must take effect as a whole or not at all. Only set if
    /// [`Capabilities::atomic_batch`] is.
    pub atomic: bool,
}

/// One page of the ids of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdPage {
    /// Ids with their versions, where the listing tells them.
    pub ids: Vec<(RecordId, Option<RemoteVersion>)>,
    /// Where the listing continues; `None` at its end.
    pub next: Option<String>,
}

/// The answer to a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// The records found, in the order asked for.
    pub hits: Vec<(RecordId, Versioned)>,
    /// The server's time when it answered, if it tells.
    pub server_time: Option<Timestamp>,
}

/// News that something changed. It carries no truth: the engine pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Poke {
    /// The subscription stands (again): whatever was missed meanwhile must be pulled.
    Subscribed,
    /// Something changed in this collection, or in any if `None`.
    Changed(Option<crate::scope::CollectionName>),
}

/// A backend that holds the truth. Implement this to plug in your own.
///
/// The contract is small: `capabilities`, `pull`, `push` and `get` are needed; the others have defaults that
/// answer `Unsupported`, and are only called if the capabilities announce them.
///
/// # Contract
///
/// **Errors.** `Err` means that nothing is known about any part of the request, unless its kind says that it
/// was refused as a whole (`Unauthenticated`, `Forbidden`, `TooLarge`, `RateLimited`, `Unsupported`). Answers
/// about single operations are [`PushOutcome`]s. An expired sign-in is always `Unauthenticated`, never an empty
/// answer, a delete or a rejection.
///
/// **Cancellation.** A dropped future may or may not have had its effect at the remote. Implementations keep no
/// state that a dropped future could leave half changed.
///
/// **Deadlines.** Every call ends by itself; a request without an answer is `Timeout`.
///
/// **Scopes.** A call sees and touches records of its own scope only.
///
/// The testkit's conformance suite checks all of this: `sync_testkit::remote_suite`.
#[async_trait]
pub trait RemoteStore: fmt::Debug + Send + Sync + 'static {
    /// A short name for messages: `memory`, `pocketbase`.
    fn name(&self) -> &str;

    /// What this remote can do and guarantee. Constant during the life of the value.
    fn capabilities(&self) -> Capabilities;

    /// One page of changes.
    ///
    /// # Behavior
    /// - Every change committed before the pull that is not behind `since` is in this page or in a later one of
    ///   the pass, within the limits that [`Capabilities::cursor`] states.
    /// - `next` covers exactly what this and earlier pages delivered. A repeated request with the same `since`
    ///   delivers the same changes or newer states of them.
    /// - A pass from `None` that is a snapshot fixes its high-water mark before its first page, so that the
    ///   incremental pull after it delivers what was committed meanwhile.
    /// - A pass without changes still returns a `next` to store.
    /// - Rows that cannot be understood go to `malformed`; they do not fail the page.
    /// - A deleted record is delivered as [`RemoteState::Deleted`], also on a pass from `None` unless
    ///   `holds_nothing`.
    ///
    /// # Errors
    /// `ResyncRequired` if `since` is of another epoch, expired, ahead of the backend, or unreadable;
    /// `ScopeRevoked` if the remote has proved that the client may no longer see the scope.
    async fn pull(&self, request: PullRequest) -> Result<Delta>;

    /// Applies operations, and answers for each of them, in the order of the batch.
    ///
    /// # Behavior
    /// - With `conditional_write`, an operation applies only if the record is in the state of
    ///   [`PushOp::base`], otherwise the outcome is `Conflict` with the current state.
    /// - With `idempotent_push`, an operation id seen before is answered `Duplicate` without a second effect.
    /// - One operation's refusal does not keep others from applying, unless the batch is `atomic`; then the
    ///   others are answered `Retry`.
    /// - Deleting a record that is not there is `Missing`, or `Applied` if the remote keeps a tombstone.
    /// - The answer has exactly one outcome for each operation.
    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>>;

    /// The current states of records, one for each id, in order. `Missing` must be the truth about an
    /// authorised reader's view, never the sign of an expired sign-in.
    ///
    /// # Errors
    /// `Malformed` with an id as its field if that record is there and cannot be understood; the engine asks for
    /// the others again.
    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>>;

    /// One page of the ids of a target, in an order of the remote's choice that does not skip a record which
    /// stays in place during the listing. `after` is `next` of the page before.
    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        let _ = (target, after, limit);
        Err(not_supported("list_ids", self.name()))
    }

    /// Evaluates a query at the remote, with exactly the meaning of [`crate::query`].
    ///
    /// # Errors
    /// `Unsupported` naming the field or operator the remote cannot evaluate with exactly that meaning.
    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        let _ = (target, spec);
        Err(not_supported("search", self.name()))
    }

    /// The server's time. One that is estimated may be corrected by less than a second from call to call.
    async fn server_time(&self) -> Result<Timestamp> {
        Err(not_supported("server_time", self.name()))
    }

    /// Subscribes to news of a scope. The stream begins with [`Poke::Subscribed`] once the subscription stands,
    /// and ends when the connection does; the engine subscribes again.
    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        let _ = scope;
        Err(not_supported("subscribe", self.name()))
    }
}

fn not_supported(operation: &'static str, adapter: &str) -> SyncError {
    SyncError::new(ErrorKind::Unsupported, "this remote cannot do that")
        .with_field(operation)
        .with_operation(operation)
        .with_adapter(adapter)
}

/// Conveniences on top of [`RemoteStore`], for every implementation.
#[async_trait]
pub trait RemoteStoreExt: RemoteStore {
    /// The current state of one record.
    ///
    /// # Errors
    /// As [`RemoteStore::get`].
    async fn get_one(&self, key: &RecordKey) -> Result<RemoteState> {
        let mut states = self.get(&key.target, std::slice::from_ref(&key.id)).await?;
        states.pop().ok_or_else(|| {
            SyncError::new(
                ErrorKind::Malformed,
                "one id was asked for, no state was answered",
            )
            .with_operation("get")
            .with_adapter(self.name())
        })
    }

    /// Applies operations of one scope, not necessarily as a whole.
    ///
    /// # Errors
    /// As [`RemoteStore::push`]; `Malformed` if the number of outcomes is not the number of operations.
    async fn push_ops(&self, scope: &SyncScope, ops: Vec<PushOp>) -> Result<Vec<PushOutcome>> {
        let expected = ops.len();
        let outcomes = self
            .push(PushBatch {
                scope: scope.clone(),
                ops,
                atomic: false,
            })
            .await?;
        check_outcomes(self.name(), expected, outcomes)
    }

    /// Every page from `since` to the end of the pass, for tests and small tools: memory grows with the answer.
    ///
    /// # Errors
    /// As [`RemoteStore::pull`].
    async fn pull_all(
        &self,
        target: &Target,
        since: Option<SyncPoint>,
        page_size: u32,
    ) -> Result<Vec<Delta>> {
        let mut pages = Vec::new();
        let mut request = PullRequest {
            target: target.clone(),
            since,
            page_size,
            holds_nothing: false,
        };
        loop {
            let page = self.pull(request.clone()).await?;
            request.since = Some(page.next.clone());
            let more = page.has_more;
            pages.push(page);
            if !more {
                return Ok(pages);
            }
        }
    }
}

impl<R: RemoteStore + ?Sized> RemoteStoreExt for R {}

/// Refuses an answer that does not have one outcome for each operation.
pub(crate) fn check_outcomes(
    adapter: &str,
    expected: usize,
    outcomes: Vec<PushOutcome>,
) -> Result<Vec<PushOutcome>> {
    if outcomes.len() == expected {
        return Ok(outcomes);
    }
    let message = format!(
        "{expected} operations were sent, {} outcomes answered",
        outcomes.len()
    );
    Err(SyncError::new(ErrorKind::Malformed, message)
        .with_operation("push")
        .with_adapter(adapter))
}

#[cfg(test)]
fn _object_safe(_: &dyn RemoteStore) {}
