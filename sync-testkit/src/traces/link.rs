//! The way from one client to the remote, with the faults of the step.

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, Delta, ErrorKind, IdPage, Poke, PullRequest, PushBatch, PushOp, PushOutcome, RecordId,
    RemoteState, RemoteStore, Result, SearchPage, SyncError, SyncScope, Target, Timestamp, query::QuerySpec,
};

use super::{
    script::{Point, Script},
    server::Server,
    vocabulary::{Access, Fault, OpPattern},
};

/// A [`RemoteStore`] that passes on to the server what the step lets pass.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) server: Server,
    pub(super) client: String,
    pub(super) script: Script,
    pub(super) max_rows: Option<u32>,
}

fn failure(kind: ErrorKind, message: &str) -> SyncError {
    SyncError::new(kind, message)
}

/// A request takes a while, in which others get their turn.
async fn travel() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

impl Link {
    /// A request leaves the device, if there is a network.
    fn leave(&self, scope: &SyncScope) -> Result<()> {
        let offline = self.script.has_fault(Some(scope.name()), &Fault::Offline);
        if offline || self.script.is_cut_off(scope.name()) {
            return Err(failure(ErrorKind::Unreachable, "the device has no network"));
        }
        self.script.count(|counts| counts.requests += 1);
        Ok(())
    }

    /// The request comes to the server's door.
    fn enter(&self, scope: &SyncScope) -> Result<()> {
        let name = Some(scope.name());
        if self.script.has_fault(name, &Fault::Unauthenticated) {
            return Err(failure(ErrorKind::Unauthenticated, "401"));
        }
        if self.script.has_fault(name, &Fault::RateLimited) {
            return Err(failure(ErrorKind::RateLimited, "429"));
        }
        Ok(())
    }

    fn check_access(&self, scope: &SyncScope) -> Result<()> {
        match self.server.access(&self.client, scope.name()) {
            Access::None => Err(failure(
                ErrorKind::ScopeRevoked,
                "the client may not see this scope",
            )),
            Access::Read | Access::Full => Ok(()),
        }
    }

    /// A read is about to leave.
    fn leave_for_read(&self, scope: &SyncScope) -> Result<()> {
        self.leave(scope)?;
        self.enter(scope)?;
        let name = Some(scope.name());
        if self.script.has_fault(name, &Fault::PullServerError) {
            return Err(failure(ErrorKind::Server, "500"));
        }
        if self.script.has_fault(name, &Fault::LostRequest) {
            return Err(failure(ErrorKind::Timeout, "the request was lost"));
        }
        self.check_access(scope)
    }

    /// The answer to a pull is on its way.
    fn arrive(&self, scope: &SyncScope, page: Delta) -> Result<Delta> {
        let name = Some(scope.name());
        if self.script.has_fault(name, &Fault::LostPull) {
            return Err(failure(ErrorKind::Timeout, "the answer was lost"));
        }
        if self.script.has_fault(name, &Fault::TruncatedPull) {
            return Err(failure(ErrorKind::Malformed, "the answer ends in the middle"));
        }
        if self.script.has_fault(name, &Fault::BadCursor) {
            return Err(failure(
                ErrorKind::Malformed,
                "the sync point of the page cannot be read",
            ));
        }
        Ok(page)
    }

    /// What the faults of the step, or the client's rights, do to single operations.
    fn struck(&self, batch: &PushBatch) -> Vec<Option<PushOutcome>> {
        let scope = Some(batch.scope.name());
        let retryable = self.script.fault(scope, |fault| match fault {
            Fault::Retryable(ops) => Some(ops.clone()),
            _ => None,
        });
        let refused = self.script.fault(scope, |fault| match fault {
            Fault::Reject(ops) => Some(ops.clone()),
            _ => None,
        });
        let read_only = self.server.access(&self.client, batch.scope.name()) == Access::Read;
        let strikes = |patterns: &Option<Vec<OpPattern>>, op: &PushOp| {
            let fits = |pattern: &OpPattern| {
                pattern.id == op.key.id.as_str() && pattern.kind.is_none_or(|kind| kind == op.kind.as_str())
            };
            patterns
                .as_ref()
                .is_some_and(|patterns| patterns.iter().any(fits))
        };
        let one = |op: &PushOp| {
            if self.server.knows(op.op_id) {
                None
            } else if read_only {
                Some(refusal("forbidden", "the client may only read here"))
            } else if strikes(&refused, op) {
                Some(refusal("refused", "the server does not take this record"))
            } else if strikes(&retryable, op) {
                Some(PushOutcome::Retry {
                    after: None,
                    reason: "the server was busy with this record".to_owned(),
                })
            } else {
                None
            }
        };
        batch.ops.iter().map(one).collect()
    }

    /// Delivers what is not struck, and puts the answers together.
    async fn deliver(&self, batch: PushBatch, times: u32) -> Result<Vec<PushOutcome>> {
        let mut struck = self.struck(&batch);
        if batch.atomic && struck.iter().any(Option::is_some) {
            for outcome in &mut struck {
                outcome.get_or_insert_with(|| PushOutcome::Retry {
                    after: None,
                    reason: "another operation of the batch did not apply".to_owned(),
                });
            }
        }
        let (mut ops, mut places) = (Vec::new(), Vec::new());
        for (place, (op, outcome)) in batch.ops.into_iter().zip(&struck).enumerate() {
            if outcome.is_none() {
                ops.push(op);
                places.push(place);
            }
        }
        let rest = PushBatch { ops, ..batch };
        let mut answered = self.server.deliver(rest.clone()).await?;
        for _ in 1..times {
            answered = self.server.deliver(rest.clone()).await?;
        }
        for (place, outcome) in places.into_iter().zip(answered) {
            struck[place] = Some(outcome);
        }
        struck
            .into_iter()
            .map(|outcome| {
                outcome.ok_or_else(|| failure(ErrorKind::Malformed, "an operation was not answered"))
            })
            .collect()
    }
}

fn refusal(code: &str, message: &str) -> PushOutcome {
    PushOutcome::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
        field: None,
    }
}

#[async_trait]
impl RemoteStore for Link {
    fn name(&self) -> &str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        self.server.front().capabilities()
    }

    async fn pull(&self, mut request: PullRequest) -> Result<Delta> {
        let scope = request.target.scope.clone();
        self.script.reach(Point::BeforePull).await;
        travel().await;
        if self.script.expects_page() {
            self.script.reach_second_page().await;
        }
        self.leave_for_read(&scope)?;
        let limit = self.script.fault(Some(scope.name()), |fault| match fault {
            Fault::FailAfterPages(pages) => Some(*pages),
            _ => None,
        });
        if limit.is_some_and(|limit| self.script.pages() >= limit) {
            return Err(failure(ErrorKind::Unreachable, "the connection broke"));
        }
        if let Some(max_rows) = self.max_rows {
            request.page_size = request.page_size.min(max_rows);
        }
        let page = self.server.front().pull(request).await?;
        let before = self.script.note_page(page.has_more);
        let rows = (page.changes.len() + page.malformed.len()) as u64;
        self.script.count(|counts| {
            counts.last_pull_rows = if before == 0 {
                rows
            } else {
                counts.last_pull_rows + rows
            };
        });
        self.script.reach(Point::PullAnswered).await;
        self.arrive(&scope, page)
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let scope = batch.scope.clone();
        let name = Some(scope.name());
        self.script.reach(Point::BeforePush).await;
        travel().await;
        self.leave(&scope)?;
        self.script.count(|counts| counts.pushes += 1);
        self.server.note_request(&self.client, &batch);
        if self.script.has_fault(name, &Fault::LostRequest) {
            return Err(failure(ErrorKind::Timeout, "the request was lost"));
        }
        self.enter(&scope)?;
        if self.script.has_fault(name, &Fault::PushServerError) {
            return Err(failure(ErrorKind::Server, "500"));
        }
        self.check_access(&scope)?;
        let times = if self.script.has_fault(name, &Fault::Duplicate) {
            2
        } else {
            1
        };
        let answer = self.deliver(batch, times).await;
        self.script.reach(Point::PushApplied).await;
        if self.script.has_fault(name, &Fault::LostAnswer) {
            return Err(failure(ErrorKind::Timeout, "the answer was lost"));
        }
        answer
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.leave_for_read(&target.scope)?;
        self.server.front().get(target, ids).await
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.leave_for_read(&target.scope)?;
        self.server.front().list_ids(target, after, limit).await
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        self.leave_for_read(&target.scope)?;
        self.server.front().search(target, spec).await
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.server.front().server_time().await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        self.leave(scope)?;
        self.server.front().subscribe(scope).await
    }
}
