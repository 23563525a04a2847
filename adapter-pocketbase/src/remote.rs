//! The remote on PocketBase.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, CollectionName, Delta, Effects, ErrorKind, IdPage, Poke, PullRequest, PushBatch,
    PushOutcome, RecordId, RemoteState, RemoteStore, Result, SearchPage, SyncError, SyncScope, Target,
    Timestamp, query::QuerySpec,
};
use sync_http::{Credentials, ServerClock, TokenSource, Transport, with_credentials};

use crate::{
    client::{Caller, Client},
    config::PocketBaseConfig,
    error::ADAPTER,
    probe::{Profile, ServerProfile, probe},
    rows::{RowKind, Table},
};

/// A [`RemoteStore`] on PocketBase.
///
/// Guarantees, by [`Profile`]:
///
/// | | plain | feed |
/// |---|---|---|
/// | changes | within the overlap, else by the id sweep | each, in the order of commits |
/// | deletes | by the sweep, or a soft-delete column | tombstones |
/// | concurrent writes | compared before sending | compare-and-set in the write's transaction |
/// | lost answers | read back | the operation's id is kept with its effect |
/// | restored backup | found by the sweep | found by the next pull |
///
/// In both, an expired token is an error of kind `Unauthenticated` and never an empty answer; what is pushed goes
/// through the server's batches, because a single change there can put back what others wrote. If they are switched
/// off while this is in use, operations go one by one, as on a server where they never were on: [`Capabilities`] are
/// then more than what holds, until batches are back or the app connects again. Every ten minutes they are tried.
///
/// Clones share everything.
#[derive(Clone)]
pub struct PocketBaseRemoteStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) effects: Effects,
    pub(crate) overlap: Duration,
    pub(crate) profile: ServerProfile,
    /// It is said once that an index seems to be missing.
    pub(crate) warned_of_slow_pull: AtomicBool,
    batch_requests: BatchRequests,
    capabilities: Capabilities,
    tokens: Arc<dyn TokenSource>,
}

/// How many requests go into one batch.
struct BatchRequests {
    /// Lowered when the server cannot take as many, and raised again while all goes well.
    now: AtomicUsize,
    /// What the server says it takes.
    most: AtomicUsize,
    /// Until when none are sent, as milliseconds of the monotonic clock: they were switched off at the server.
    off_until: AtomicU64,
}

/// How long no batch is tried after the server said that they are switched off.
const BATCHES_OFF: Duration = Duration::from_secs(600);

impl PocketBaseRemoteStore {
    /// Connects, and finds out what the server is.
    ///
    /// # Errors
    /// - `Configuration` if the collections are not as the mappings say, naming the collection and the column; if
    ///   a feed is required and not there;
    /// - `Unauthenticated` if the server does not take the token;
    /// - those of the transport. An app that must start without a network uses [`PocketBaseRemoteStore::open`].
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn connect(
        config: PocketBaseConfig,
        transport: Arc<dyn Transport>,
        tokens: Arc<dyn TokenSource>,
        effects: Effects,
    ) -> Result<Self> {
        config.check()?;
        let client = new_client(&config, transport, &effects);
        let found = with_credentials(&*tokens, |credentials| {
            let (client, config) = (&client, &config);
            async move {
                let caller = Caller {
                    client,
                    credentials: credentials.as_ref(),
                };
                probe(&caller, config).await
            }
        })
        .await?;
        Ok(Self::assemble(config, client, tokens, effects, found))
    }

    /// A remote on a server that is known already, without asking it anything.
    ///
    /// If the server is no longer what `profile` says, calls fail with `Configuration` or `ResyncRequired`;
    /// connect again then.
    ///
    /// # Errors
    /// `Configuration` if the mappings cannot work.
    pub fn open(
        config: PocketBaseConfig,
        transport: Arc<dyn Transport>,
        tokens: Arc<dyn TokenSource>,
        effects: Effects,
        profile: ServerProfile,
    ) -> Result<Self> {
        config.check()?;
        let client = new_client(&config, transport, &effects);
        Ok(Self::assemble(config, client, tokens, effects, profile))
    }

    fn assemble(
        config: PocketBaseConfig,
        client: Client,
        tokens: Arc<dyn TokenSource>,
        effects: Effects,
        profile: ServerProfile,
    ) -> Self {
        let kind = match profile.profile {
            Profile::Plain => RowKind::Plain,
            Profile::Feed => RowKind::Feed,
        };
        let tables = config
            .collections
            .iter()
            .map(|mapping| (mapping.name.clone(), Table::new(mapping.clone(), kind)))
            .collect();
        let requests = profile.batch_requests.unwrap_or(1).max(1) as usize;
        let inner = Inner {
            capabilities: profile.capabilities(&config),
            batch_requests: BatchRequests {
                now: AtomicUsize::new(requests),
                most: AtomicUsize::new(requests),
                off_until: AtomicU64::new(0),
            },
            overlap: config.overlap,
            warned_of_slow_pull: AtomicBool::new(false),
            client,
            tables,
            effects,
            profile,
            tokens,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What the server was found to be.
    pub fn profile(&self) -> ServerProfile {
        self.inner.profile
    }

    /// The server's clock, as measured from its answers.
    pub fn server_clock(&self) -> &ServerClock {
        &self.inner.client.server_clock
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn new_client(config: &PocketBaseConfig, transport: Arc<dyn Transport>, effects: &Effects) -> Client {
    Client {
        base: config.url.clone(),
        transport,
        server_clock: ServerClock::new(Arc::clone(&effects.clock)),
        deadline: config.deadline,
    }
}

impl Inner {
    pub(crate) fn table(&self, collection: &CollectionName) -> Result<&Table> {
        self.tables.get(collection.as_str()).ok_or_else(|| {
            let why = format!("there is no mapping for the collection `{collection}`");
            SyncError::new(ErrorKind::Configuration, why).with_field("collection")
        })
    }

    /// The server's time as it is estimated now, if it is.
    pub(crate) fn estimated_time(&self) -> Option<Timestamp> {
        let clock = &self.client.server_clock;
        clock.skew().map(|_| clock.now())
    }

    /// The most requests that go into a batch now.
    pub(crate) fn batch_limit(&self) -> usize {
        self.batch_requests.now.load(Ordering::Relaxed).max(1)
    }

    /// Sends smaller batches for now.
    pub(crate) fn lower_batch_limit(&self, requests: usize) {
        self.batch_requests
            .now
            .fetch_min(requests.max(1), Ordering::Relaxed);
    }

    /// The server told its limit.
    pub(crate) fn told_batch_limit(&self, requests: usize) {
        self.batch_requests.most.fetch_min(requests, Ordering::Relaxed);
        self.lower_batch_limit(requests);
    }

    /// A batch as large as allowed went through, so that a somewhat larger one may.
    pub(crate) fn raise_batch_limit(&self, requests: usize) {
        if requests >= self.batch_limit() {
            let most = self.batch_requests.most.load(Ordering::Relaxed);
            self.batch_requests
                .now
                .fetch_max((requests + 1).min(most), Ordering::Relaxed);
        }
    }

    /// Whether operations go one by one for now.
    pub(crate) fn is_without_batches(&self) -> bool {
        self.profile.batch_requests.is_none()
            || self.monotonic_millis() < self.batch_requests.off_until.load(Ordering::Relaxed)
    }

    /// The server says that batches are switched off. They may be switched on again, so that is not forever.
    pub(crate) fn batches_are_off(&self) {
        tracing::warn!(
            "batches were switched off on the server; operations go one by one, and a write batch no longer takes \
             effect as a whole"
        );
        let until = self.monotonic_millis().saturating_add(millis(BATCHES_OFF));
        self.batch_requests.off_until.store(until, Ordering::Relaxed);
    }

    fn monotonic_millis(&self) -> u64 {
        millis(self.effects.clock.monotonic())
    }

    /// Runs one call of the contract, with a token that is renewed once if the server refuses it.
    async fn call<T, F>(
        &self,
        operation: &'static str,
        scope: Option<&SyncScope>,
        work: impl Fn(Option<Credentials>) -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        with_credentials(&*self.tokens, work).await.map_err(|error| {
            let error = error.with_operation(operation).with_adapter(ADAPTER);
            match scope {
                Some(scope) => error.with_scope(scope),
                None => error,
            }
        })
    }
}

/// Runs `$body` as one call of the contract, with `$caller` signed in.
macro_rules! signed_in {
    ($self:ident, $operation:literal, $scope:expr, |$caller:ident| $body:expr) => {{
        let inner = &*$self.inner;
        inner
            .call($operation, $scope, |credentials| async move {
                let $caller = Caller {
                    client: &inner.client,
                    credentials: credentials.as_ref(),
                };
                $body.await
            })
            .await
    }};
}

#[async_trait]
impl RemoteStore for PocketBaseRemoteStore {
    fn name(&self) -> &str {
        ADAPTER
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let request = &request;
        signed_in!(self, "pull", Some(&request.target.scope), |caller| self
            .inner
            .pull(&caller, request))
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let batch = &batch;
        signed_in!(self, "push", Some(&batch.scope), |caller| self
            .inner
            .push(&caller, batch))
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        signed_in!(self, "get", Some(&target.scope), |caller| self
            .inner
            .get(&caller, target, ids))
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        signed_in!(self, "list_ids", Some(&target.scope), |caller| self
            .inner
            .list_ids(&caller, target, after, limit))
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        signed_in!(self, "search", Some(&target.scope), |caller| self
            .inner
            .search(&caller, target, spec))
    }

    async fn server_time(&self) -> Result<Timestamp> {
        let time = self.inner.client.health_time().await;
        time.map_err(|error| error.with_operation("server_time"))
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        signed_in!(self, "subscribe", Some(scope), |caller| self
            .inner
            .subscribe(&caller, scope))
    }
}

impl fmt::Debug for PocketBaseRemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PocketBaseRemoteStore")
            .field("url", &self.inner.client.base)
            .field("profile", &self.inner.profile)
            .field("collections", &self.inner.tables.keys())
            .finish_non_exhaustive()
    }
}
