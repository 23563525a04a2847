//! The connection of a simulated process to the remote: everything that goes wrong on the way.

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    future::BoxFuture,
    stream::{BoxStream, StreamExt},
};
use sync_core::{
    Capabilities, Delta, ErrorKind, IdPage, Poke, PullRequest, PushBatch, PushOutcome, RecordId, RecordKey,
    RemoteState, RemoteStore, Result, RetryClass, SearchPage, SyncError, SyncScope, Target, Timestamp,
    query::QuerySpec,
};

use super::{
    coverage::Branch,
    dice::mixed,
    executor::{NOBODY, Owner, Pause},
    fault_kind::FaultKind,
    held::HeldLimits,
    pokes,
    shared::Shared,
    traffic::{self, UnderWay},
};

/// One process's way to the remote.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) remote: Arc<dyn RemoteStore>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) device: usize,
    pub(crate) owner: Owner,
    /// The most operations of a push that the engine was told to send.
    pub(crate) push_batch: usize,
    /// How many pulled rows it may hold.
    pub(crate) held_limits: HeldLimits,
    /// Whether records name parents.
    pub(crate) related: bool,
}

/// The calls that faults tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Pull { continues: bool },
    Push { several: bool },
    Get,
    List,
    Search,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passes,
    Fault(FaultKind, u64),
}

impl Network {
    /// Whether a fault can strike this call.
    fn fits(&self, kind: FaultKind, amount: u64, call: Call) -> bool {
        let push = matches!(call, Call::Push { .. });
        let can = self.remote.capabilities();
        match kind {
            FaultKind::PageCap => matches!(call, Call::Pull { .. }),
            FaultKind::CursorExpired => call == Call::Pull { continues: true },
            FaultKind::PartialPush => matches!(call, Call::Push { several: true }),
            // A doubled or late write overwrites what came between, unless the remote compares versions.
            FaultKind::Redelivered | FaultKind::DelayedPastTimeout => {
                push && can.conditional_write && can.idempotent_push
            }
            FaultKind::Duplicated if push => can.conditional_write,
            FaultKind::AnswerLost | FaultKind::AnswerGarbled | FaultKind::Duplicated => {
                push || amount.is_multiple_of(4)
            }
            _ => true,
        }
    }

    /// What becomes of a request that is about to be sent.
    fn fate(&self, call: Call) -> (Fate, Option<FaultKind>, bool) {
        let mut weather = self.shared.weather();
        let cut = if weather.down {
            Some(FaultKind::RemoteDown)
        } else if weather.devices[self.device].partitioned {
            Some(FaultKind::Partition)
        } else {
            None
        };
        let slow = weather.slow;
        if cut.is_some() {
            return (Fate::Passes, cut, slow);
        }
        let requests = &mut weather.devices[self.device].requests;
        let next = requests
            .iter()
            .position(|(kind, amount)| self.fits(*kind, *amount, call));
        let fate = next
            .and_then(|at| requests.remove(at))
            .map_or(Fate::Passes, |(kind, amount)| Fate::Fault(kind, amount));
        (fate, None, slow)
    }

    /// One request and its answer.
    async fn carry<T: Send + 'static>(
        &self,
        call: Call,
        scope: &SyncScope,
        send: impl Fn(Option<(FaultKind, u64)>) -> BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let _under_way = UnderWay::begin(&self.shared, self.device, self.owner, scope);
        Pause::new().await;
        let (fate, cut, slow) = self.fate(call);
        if let Some(kind) = cut {
            self.shared.struck(kind);
            return Err(SyncError::new(ErrorKind::Unreachable, "the connection is cut"));
        }
        if slow {
            self.shared.struck(FaultKind::RemoteSlow);
            let number = self.shared.executor.polls();
            self.sleep_millis(200 + mixed(number) % 9_000).await;
        }
        let (fault, amount) = match fate {
            Fate::Passes => {
                let answer = send(None).await;
                Pause::new().await;
                self.observe(&answer);
                return answer;
            }
            Fate::Fault(kind, amount) => (kind, amount),
        };
        self.shared.struck(fault);
        self.shared.note(format_args!(
            "device {} process {}: {fault} meets {call:?}",
            self.device, self.owner
        ));
        let error = |kind, text: &str| SyncError::new(kind, text);
        match fault {
            FaultKind::RequestLost => Err(match amount % 2 {
                0 => error(ErrorKind::Unreachable, "the request was lost"),
                _ => error(ErrorKind::Timeout, "the request was lost"),
            }),
            FaultKind::ServerError => Err(error(ErrorKind::Server, "the server failed")),
            FaultKind::RateLimited => Err(error(ErrorKind::RateLimited, "too many requests")),
            FaultKind::RateLimitedWithPause => {
                let pause = Duration::from_secs(1 + amount % 90);
                traffic::ask_for_pause(self, scope, pause);
                Err(error(ErrorKind::RateLimited, "too many requests").with_retry(RetryClass::After(pause)))
            }
            FaultKind::TokenRefused => {
                self.shared.seen(Branch::Unauthenticated);
                Err(error(ErrorKind::Unauthenticated, "the token was refused"))
            }
            FaultKind::CursorExpired => {
                self.shared.seen(Branch::ResyncRequired);
                Err(error(ErrorKind::ResyncRequired, "the sync point has expired"))
            }
            FaultKind::AnswerLost => {
                let _ = send(None).await;
                Pause::new().await;
                Err(match amount % 8 {
                    0..4 => error(ErrorKind::Timeout, "the answer was lost"),
                    _ => error(ErrorKind::Unreachable, "the answer was lost"),
                })
            }
            FaultKind::AnswerGarbled => {
                let _ = send(None).await;
                Pause::new().await;
                Err(error(ErrorKind::Malformed, "the answer cannot be read"))
            }
            FaultKind::Duplicated => {
                let _ = send(None).await;
                Pause::new().await;
                let answer = send(None).await;
                self.observe(&answer);
                answer
            }
            FaultKind::Reordered => {
                self.sleep_millis(1 + amount % 15_000).await;
                let answer = send(None).await;
                self.observe(&answer);
                answer
            }
            FaultKind::DelayedPastTimeout => {
                let (executor, late) = (self.shared.executor.clone(), send(None));
                let delay = Duration::from_secs(20 + amount % 100);
                self.shared.executor.spawn(
                    NOBODY,
                    Box::pin(async move {
                        executor.sleep(delay).await;
                        let _ = late.await;
                    }),
                );
                pending().await
            }
            // What else there is changes the request itself.
            _ => {
                let answer = send(Some((fault, amount))).await;
                Pause::new().await;
                self.observe(&answer);
                answer
            }
        }
    }

    fn sleep_millis(&self, millis: u64) -> impl Future<Output = ()> + Send + use<> {
        self.shared.executor.sleep(Duration::from_millis(millis))
    }

    fn observe<T>(&self, answer: &Result<T>) {
        let Err(error) = answer else {
            self.shared.weather().devices[self.device].answers += 1;
            return;
        };
        match error.kind() {
            ErrorKind::Unauthenticated => {
                self.shared.struck(FaultKind::TokenExpired);
                self.shared.seen(Branch::Unauthenticated);
            }
            ErrorKind::ScopeRevoked => {
                self.shared.struck(FaultKind::AccessRevoked);
                self.shared.seen(Branch::ScopeRevoked);
            }
            ErrorKind::ResyncRequired => self.shared.seen(Branch::ResyncRequired),
            _ => {}
        }
    }
}

#[async_trait]
impl RemoteStore for Network {
    fn name(&self) -> &str {
        self.remote.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.remote.capabilities()
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let (scope, target) = (request.target.scope.clone(), request.target.clone());
        let since = request.since.clone();
        let continues = since.is_some();
        traffic::check_pull(self, &request).await?;
        let send = |fault: Option<(FaultKind, u64)>| -> BoxFuture<'static, Result<Delta>> {
            let (remote, mut request) = (Arc::clone(&self.remote), request.clone());
            if let Some((FaultKind::PageCap, amount)) = fault {
                let cap = u32::try_from(1 + amount % 2).unwrap_or(1);
                request.page_size = request.page_size.min(cap);
            }
            Box::pin(async move { remote.pull(request).await })
        };
        let answer = self.carry(Call::Pull { continues }, &scope, send).await;
        if let Ok(delta) = &answer {
            traffic::note_delta(self, &target, since.as_ref(), delta);
        }
        answer
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        traffic::check_push(self, &batch).await?;
        let scope = batch.scope.clone();
        let several = batch.ops.len() > 1 && !batch.atomic;
        let send = |fault: Option<(FaultKind, u64)>| -> BoxFuture<'static, Result<Vec<PushOutcome>>> {
            let (network, batch) = (self.clone(), batch.clone());
            Box::pin(async move {
                match fault {
                    Some((FaultKind::PartialPush, amount)) => {
                        traffic::deliver_partly(&network, batch, amount).await
                    }
                    Some((FaultKind::Redelivered, amount)) => {
                        traffic::redeliver(&network, amount).await;
                        traffic::deliver(&network, batch).await
                    }
                    _ => traffic::deliver(&network, batch).await,
                }
            })
        };
        self.carry(Call::Push { several }, &scope, send).await
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.shared.seen(Branch::ReadBack);
        let send = |_| -> BoxFuture<'static, Result<Vec<RemoteState>>> {
            let (remote, target, ids) = (Arc::clone(&self.remote), target.clone(), ids.to_vec());
            Box::pin(async move { remote.get(&target, &ids).await })
        };
        let states = self.carry(Call::Get, &target.scope, send).await?;
        let mut ledger = self.shared.ledger();
        for (id, state) in ids.iter().zip(&states) {
            ledger.tell(&RecordKey::new(target.clone(), id.clone()), state);
        }
        Ok(states)
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.shared.seen(Branch::Listed);
        let send = |_| -> BoxFuture<'static, Result<IdPage>> {
            let (remote, target) = (Arc::clone(&self.remote), target.clone());
            let after = after.map(str::to_owned);
            Box::pin(async move { remote.list_ids(&target, after.as_deref(), limit).await })
        };
        self.carry(Call::List, &target.scope, send).await
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        let send = |_| -> BoxFuture<'static, Result<SearchPage>> {
            let (remote, target, spec) = (Arc::clone(&self.remote), target.clone(), spec.clone());
            Box::pin(async move { remote.search(&target, &spec).await })
        };
        let page = self.carry(Call::Search, &target.scope, send).await?;
        self.shared.seen(Branch::Searched);
        let mut ledger = self.shared.ledger();
        for (id, hit) in &page.hits {
            let key = RecordKey::new(target.clone(), id.clone());
            ledger.tell(&key, &RemoteState::Live(hit.clone()));
        }
        drop(ledger);
        Ok(page)
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.remote.server_time().await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        Pause::new().await;
        let cut = {
            let weather = self.shared.weather();
            weather.down || weather.devices[self.device].partitioned
        };
        if cut {
            return Err(SyncError::new(ErrorKind::Unreachable, "the connection is cut"));
        }
        let stream = self.remote.subscribe(scope).await?;
        Ok(pokes::disturbed(&self.shared, self.device, stream).boxed())
    }
}
