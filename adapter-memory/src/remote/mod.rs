//! A backend in memory.

mod builder;
mod cursor;
mod pokes;
mod pull;
mod push;
mod read;
mod state;
mod third_party;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, Delta, ErrorKind, IdPage, Poke, PullRequest, PushBatch, PushOutcome, Realtime, RecordId,
    RemoteState, RemoteStore, Result, SearchPage, SyncError, SyncScope, Target, Timer, Timestamp,
    query::QuerySpec,
};

use crate::faults::{Call, Fault, Faults};
use pokes::Subscribers;
use push::PushDisturbance;
use state::Backend;

pub use builder::MemoryRemoteBuilder;
pub use push::Rejection;
pub use third_party::{Backup, LateCommit};

const NAME: &str = "memory";

/// A [`RemoteStore`] in memory: a complete backend that can be as strong or as weak as a test wants, and that
/// misbehaves on demand.
///
/// Guarantees:
/// - Clones are one client. [`MemoryRemoteStore::another_client`] is a second one of the same backend, with its
///   own sign-in and its own faults.
/// - Each call takes effect at one moment, after its delay if it has one: a dropped future had all of its effect
///   or none.
/// - Nothing that a client sends makes it panic.
/// - Equal histories give equal answers, given an injected clock.
///
/// What an operation meets:
/// - A create applies where nothing is, and onto the tombstone whose version is its base. With
///   `conditional_write` it otherwise conflicts; without, it overwrites.
/// - An update applies to a live record, and a delete to a live record or a tombstone, which it raises. With
///   `conditional_write` the version must be that of the base, if the operation has one.
/// - What has the same content as before still gets a new version, stamp and time.
///
/// The log of pushes and the counts of effects grow with every push; a benchmark that pushes for hours should
/// build a new backend now and then.
#[derive(Clone)]
pub struct MemoryRemoteStore {
    server: Arc<Server>,
    client: Arc<Client>,
}

struct Server {
    backend: Mutex<Backend>,
    capabilities: Capabilities,
    subscribers: Subscribers,
    timer: Option<Arc<dyn Timer>>,
}

/// What each client has of its own.
#[derive(Debug)]
struct Client {
    signed_in: AtomicBool,
    faults: Faults,
}

impl Client {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            signed_in: AtomicBool::new(true),
            faults: Faults::default(),
        })
    }
}

/// What a fault changes about the way the backend handles one request.
#[derive(Default)]
struct Disturbance {
    push: PushDisturbance,
    page_cap: Option<u32>,
    expire_cursor: bool,
    redelivered: Option<usize>,
    twice: bool,
    lost_answer: Option<SyncError>,
}

impl MemoryRemoteStore {
    /// An empty backend with the strongest capabilities and the operating system's clock.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets up a backend.
    pub fn builder() -> MemoryRemoteBuilder {
        MemoryRemoteBuilder::new()
    }

    fn connect(backend: Backend, timer: Option<Arc<dyn Timer>>) -> Self {
        let capabilities = backend.capabilities;
        let server = Server {
            backend: Mutex::new(backend),
            capabilities,
            subscribers: Subscribers::default(),
            timer,
        };
        Self {
            server: Arc::new(server),
            client: Client::new(),
        }
    }

    /// Another client of the same backend, signed in and without faults.
    pub fn another_client(&self) -> Self {
        Self {
            server: self.server.clone(),
            client: Client::new(),
        }
    }

    /// The faults of this client.
    pub fn faults(&self) -> Faults {
        self.client.faults.clone()
    }

    /// This client's sign-in expires: every call is `Unauthenticated` until [`MemoryRemoteStore::sign_in`].
    pub fn expire_token(&self) {
        self.client.signed_in.store(false, Ordering::SeqCst);
    }

    /// Signs this client in again.
    pub fn sign_in(&self) {
        self.client.signed_in.store(true, Ordering::SeqCst);
    }

    /// The connections of all subscribers of all clients are lost.
    pub fn disconnect_subscribers(&self) {
        self.server.subscribers.disconnect();
    }

    /// Works on the backend, and then tells subscribers what changed.
    fn backend<T>(&self, work: impl FnOnce(&mut Backend) -> T) -> T {
        let (answer, news) = {
            let mut backend = self.server.backend.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = work(&mut backend);
            (answer, std::mem::take(&mut backend.news))
        };
        self.server.subscribers.announce(news);
        answer
    }

    /// One call of the client, with the fault that meets it.
    async fn call<T>(
        &self,
        call: Call,
        scope: Option<&SyncScope>,
        work: impl Fn(&mut Backend, &Disturbance) -> Result<T> + Send,
    ) -> Result<T> {
        let in_context = |error: SyncError| {
            let error = error.with_operation(call.name()).with_adapter(NAME);
            match scope {
                Some(scope) => error.with_scope(scope),
                None => error,
            }
        };
        let disturbance = self.next_disturbance(call).await.map_err(in_context)?;
        if !self.client.signed_in.load(Ordering::SeqCst) {
            return Err(in_context(SyncError::new(
                ErrorKind::Unauthenticated,
                "the token has expired",
            )));
        }
        let answer = self.backend(|backend| {
            if let Some(steps_back) = disturbance.redelivered {
                let older = backend.push_log.iter().rev().nth(steps_back).cloned();
                // Nobody waits for the answer of a request that was given up.
                let _ = older.map(|batch| backend.push(&batch, &PushDisturbance::default()));
            }
            if disturbance.twice {
                // As above: the first answer was lost on the way.
                let _ = work(backend, &disturbance);
            }
            work(backend, &disturbance)
        });
        match disturbance.lost_answer {
            Some(error) => Err(in_context(error)),
            None => answer.map_err(in_context),
        }
    }

    /// The next fault of this call: played here if it comes before the backend sees the request.
    async fn next_disturbance(&self, call: Call) -> Result<Disturbance> {
        let mut disturbance = Disturbance::default();
        match self.client.faults.next(call) {
            Fault::Pass => {}
            Fault::FailBefore(error) => return Err(error),
            Fault::FailAfter(error) => disturbance.lost_answer = Some(error),
            Fault::Delay(time) => match &self.server.timer {
                Some(timer) => timer.sleep(time).await,
                None => {
                    let why = "a delay was scripted; give the builder a timer";
                    return Err(SyncError::new(ErrorKind::Configuration, why).with_field("timer"));
                }
            },
            Fault::Duplicate => disturbance.twice = true,
            Fault::Redeliver { steps_back } => disturbance.redelivered = Some(steps_back),
            Fault::RetryOps(places) => disturbance.push.retried = places,
            Fault::RejectIds(ids) => {
                let rejection = Rejection::new("refused", "the server refuses this record");
                disturbance.push.rejected = ids.into_iter().map(|id| (id, rejection.clone())).collect();
            }
            Fault::PageCap(cap) => disturbance.page_cap = Some(cap),
            Fault::ExpireCursor => disturbance.expire_cursor = true,
        }
        Ok(disturbance)
    }
}

impl Default for MemoryRemoteStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, head) = self.backend(|backend| (backend.epoch, backend.data.sequence));
        f.debug_struct("MemoryRemoteStore")
            .field("epoch", &epoch)
            .field("head", &head)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RemoteStore for MemoryRemoteStore {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        self.call(Call::Pull, Some(&request.target.scope), |backend, disturbance| {
            if disturbance.expire_cursor && request.since.is_some() {
                return Err(cursor::resync("the sync point has expired"));
            }
            backend.pull(&request, disturbance.page_cap)
        })
        .await
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let push = |backend: &mut Backend, disturbance: &Disturbance| backend.push(&batch, &disturbance.push);
        self.call(Call::Push, Some(&batch.scope), push).await
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.call(Call::Get, Some(&target.scope), |backend, _| {
            backend.get(target, ids)
        })
        .await
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        let list = |backend: &mut Backend, _: &Disturbance| backend.list_ids(target, after, limit);
        self.call(Call::ListIds, Some(&target.scope), list).await
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        self.call(Call::Search, Some(&target.scope), |backend, _| {
            backend.search(target, spec)
        })
        .await
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.call(Call::ServerTime, None, |backend, _| {
            backend
                .told_time()
                .ok_or_else(|| SyncError::unsupported("server_time", "this remote does not tell its time"))
        })
        .await
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        self.call(Call::Subscribe, Some(scope), |backend, _| {
            if backend.capabilities.realtime == Realtime::None {
                return Err(SyncError::unsupported(
                    "subscribe",
                    "this remote announces nothing",
                ));
            }
            backend.check_access(scope)?;
            Ok(self.server.subscribers.subscribe(scope, self.faults()))
        })
        .await
    }
}
