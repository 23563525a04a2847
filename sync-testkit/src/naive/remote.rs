//! A remote with one mistake.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, CursorKind, DeleteVisibility, Delta, DeltaKind, ErrorKind, IdPage, OpId, OpKind, Poke,
    PullRequest, PushBatch, PushOutcome, RecordId, RemoteChange, RemoteState, RemoteStore, RemoteStoreExt,
    RemoteVersion, Result, SearchPage, SyncError, SyncPoint, SyncScope, Target, Timestamp, query::QuerySpec,
};
use uuid::Uuid;

use super::cursors;

/// What a [`WrongRemote`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteMistake {
    /// The sync point is the time of the last row delivered, and the next page has later ones only: rows of the
    /// same time are skipped at a page's edge.
    CursorByTime,
    /// The server has a smaller limit than was asked for, and a page shorter than asked is taken for the last.
    ShortPageIsTheEnd,
    /// Deletes are left out of deltas.
    KeepsDeletesToItself,
    /// What the server refused is answered as applied.
    SwallowsRefusals,
    /// Operation ids are not remembered, though the capability is announced.
    ForgetsOperations,
    /// The base of an operation is not compared, though the capability is announced.
    IgnoresConditions,
    /// The scope is not part of the request: all scopes share their records.
    IgnoresScopes,
    /// An expired sign-in is answered as a server with row rules does: with nothing, and no error.
    AnswersEmptyWhenSignedOut,
    /// The sync point is the greatest stamp of a writer that was delivered.
    CursorByStamp,
    /// Pages are counted in an order in which changed rows move to the end.
    OffsetPages,
    /// One row that cannot be understood fails the whole page.
    FailsOnMalformedRows,
    /// Times taken before the commit are announced as the order of commits, and deletes as told.
    ClaimsCommitOrder,
}

/// A remote that passes everything on to another, but for one mistake.
#[derive(Clone, Debug)]
pub struct WrongRemote {
    inner: Arc<dyn RemoteStore>,
    mistake: RemoteMistake,
    new_ids: Arc<AtomicU64>,
}

impl WrongRemote {
    /// `inner` with a mistake.
    pub fn new(inner: Arc<dyn RemoteStore>, mistake: RemoteMistake) -> Self {
        Self {
            inner,
            mistake,
            new_ids: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The remote that does it right.
    pub fn inner(&self) -> &Arc<dyn RemoteStore> {
        &self.inner
    }

    fn scope(&self, scope: &SyncScope) -> Result<SyncScope> {
        if self.mistake == RemoteMistake::IgnoresScopes {
            SyncScope::new("everyone")
        } else {
            Ok(scope.clone())
        }
    }

    fn target(&self, target: &Target) -> Result<Target> {
        Ok(Target::new(target.collection.clone(), self.scope(&target.scope)?))
    }

    /// `answer`, or `nothing` where the mistake is to hide an expired sign-in.
    fn or_empty<T>(&self, answer: Result<T>, nothing: impl FnOnce() -> T) -> Result<T> {
        match answer {
            Err(error)
                if error.kind() == ErrorKind::Unauthenticated
                    && self.mistake == RemoteMistake::AnswersEmptyWhenSignedOut =>
            {
                Ok(nothing())
            }
            other => other,
        }
    }

    /// Three rows in a row share a time, as they do where it has a coarse grain or a transaction writes several.
    async fn pull_by_time(&self, request: &PullRequest) -> Result<Delta> {
        const ROWS_OF_ONE_TIME: usize = 3;
        let since = match &request.since {
            None => None,
            Some(point) => Some(
                point
                    .as_str()
                    .parse::<usize>()
                    .map_err(|_| SyncError::new(ErrorKind::ResyncRequired, "the sync point is no time"))?,
            ),
        };
        let pages = self.inner.pull_all(&request.target, None, 1_000).await?;
        let rows = pages.into_iter().flat_map(|page| page.changes).enumerate();
        let mut later: Vec<(usize, RemoteChange)> = rows
            .map(|(index, change)| (index / ROWS_OF_ONE_TIME, change))
            .filter(|(time, _)| since.is_none_or(|since| *time > since))
            .collect();
        let has_more = later.len() > request.page_size as usize;
        later.truncate(request.page_size as usize);
        let next = later.last().map(|(time, _)| *time).or(since).unwrap_or(0);
        Ok(Delta {
            changes: later.into_iter().map(|(_, change)| change).collect(),
            has_more,
            kind: DeltaKind::Incremental,
            ..Delta::empty(SyncPoint::new(next.to_string()))
        })
    }

    async fn pull_with_server_limit(&self, request: PullRequest) -> Result<Delta> {
        const SERVER_LIMIT: u32 = 2;
        let asked = request.page_size;
        let page = self
            .inner
            .pull(PullRequest {
                page_size: asked.min(SERVER_LIMIT),
                ..request
            })
            .await?;
        Ok(Delta {
            has_more: page.changes.len() == asked as usize,
            ..page
        })
    }

    fn spoil_batch(&self, batch: &mut PushBatch) -> Result<()> {
        for op in &mut batch.ops {
            op.key.target = self.target(&op.key.target)?;
            match self.mistake {
                RemoteMistake::ForgetsOperations => {
                    let number = self.new_ids.fetch_add(1, Ordering::Relaxed);
                    op.op_id = OpId::from_uuid(Uuid::from_u128(
                        op.op_id.as_uuid().as_u128() ^ u128::from(number + 1),
                    ));
                }
                RemoteMistake::IgnoresConditions if op.kind != OpKind::Create => op.base = None,
                _ => {}
            }
        }
        batch.scope = self.scope(&batch.scope)?;
        Ok(())
    }
}

fn swallowed(outcome: PushOutcome) -> PushOutcome {
    match outcome {
        PushOutcome::Conflict { .. } | PushOutcome::Missing | PushOutcome::Rejected { .. } => {
            PushOutcome::applied(RemoteVersion::opaque("made up"))
        }
        other => other,
    }
}

#[async_trait]
impl RemoteStore for WrongRemote {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let honest = self.inner.capabilities();
        if self.mistake == RemoteMistake::ClaimsCommitOrder {
            return Capabilities {
                cursor: CursorKind::CommitOrdered,
                deletes: DeleteVisibility::Tombstones,
                ..honest
            };
        }
        honest
    }

    async fn pull(&self, mut request: PullRequest) -> Result<Delta> {
        request.target = self.target(&request.target)?;
        match self.mistake {
            RemoteMistake::CursorByTime => self.pull_by_time(&request).await,
            RemoteMistake::ShortPageIsTheEnd => self.pull_with_server_limit(request).await,
            RemoteMistake::CursorByStamp => cursors::pull_by_stamp(&*self.inner, &request).await,
            RemoteMistake::OffsetPages => cursors::pull_by_offset(&*self.inner, &request).await,
            RemoteMistake::FailsOnMalformedRows => {
                let page = self.inner.pull(request).await?;
                match page.malformed.first() {
                    Some(row) => Err(SyncError::new(ErrorKind::Malformed, row.error.clone())),
                    None => Ok(page),
                }
            }
            RemoteMistake::KeepsDeletesToItself => {
                let mut page = self.inner.pull(request).await?;
                page.changes.retain(|change| change.state.is_live());
                Ok(page)
            }
            _ => {
                let point = request
                    .since
                    .clone()
                    .unwrap_or_else(|| SyncPoint::new("nothing yet"));
                self.or_empty(self.inner.pull(request).await, || Delta::empty(point))
            }
        }
    }

    async fn push(&self, mut batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.spoil_batch(&mut batch)?;
        let outcomes = self.inner.push(batch).await?;
        if self.mistake == RemoteMistake::SwallowsRefusals {
            return Ok(outcomes.into_iter().map(swallowed).collect());
        }
        Ok(outcomes)
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let answer = self.inner.get(&self.target(target)?, ids).await;
        self.or_empty(answer, || vec![RemoteState::Missing; ids.len()])
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        let answer = self.inner.list_ids(&self.target(target)?, after, limit).await;
        self.or_empty(answer, IdPage::default)
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        self.inner.search(&self.target(target)?, spec).await
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.inner.server_time().await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        self.inner.subscribe(&self.scope(scope)?).await
    }
}
