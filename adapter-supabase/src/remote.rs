//! The remote on a Supabase project.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, Delta, IdPage, Poke, PullRequest, PushBatch, PushOutcome, RecordId, RemoteState,
    RemoteStore, Result, SearchPage, SearchSupport, SyncError, SyncScope, Target, Timestamp,
    query::QuerySpec,
};
use sync_http::{ReqwestTransport, ServerClock, Transport};

use crate::{
    client::Client,
    config::{SupabaseConfig, refused},
    error::ADAPTER,
    feed::{self, Feed},
    probe::{Mode, ProjectProfile, probe},
    realtime::{Channel, Realtime},
    table::{Place, Tables},
};

/// A [`RemoteStore`] on a Supabase project.
///
/// Guarantees in feed mode: each change arrives, in the order of commits; deletes, moves to another scope and rows
/// that a policy begins to hide with a change of the row arrive as tombstones; writes are conditional, take effect
/// once, and are answered one by one; a restored backup is noticed by the next pull. An expired token is renewed
/// once for each request, and never taken for an answer.
///
/// Clones share everything.
#[derive(Clone)]
pub struct SupabaseRemoteStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: SupabaseConfig,
    pub(crate) client: Client,
    profile: ProjectProfile,
    access: Access,
}

/// The mode, with what it needs.
enum Access {
    Feed(Feed),
    Table(Tables),
}

impl SupabaseRemoteStore {
    /// Connects, and finds out what the project offers.
    ///
    /// # Errors
    /// - `Configuration` if the project has no feed, one of another format, or not the collections of the
    ///   configuration; if the key or a name is wrong. The message says what to do;
    /// - `Unauthenticated` if nobody is signed in, or the project does not take the token;
    /// - those of the transport. An app that must start without a network uses [`SupabaseRemoteStore::open`].
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn connect(config: SupabaseConfig) -> Result<Self> {
        let client = Client::new(&config, transport(&config)?);
        let profile = probe(&client, &config)
            .await
            .map_err(|error| error.with_operation("connect").with_adapter(ADAPTER))?;
        Self::assemble(config, client, profile)
    }

    /// A remote on a project that is known already, without asking it anything.
    ///
    /// If the project is no longer what `profile` says, calls fail with `Configuration` or `ResyncRequired`;
    /// connect again then.
    ///
    /// # Errors
    /// `Configuration` if the configuration requires another mode, or no transport can be made.
    pub fn open(config: SupabaseConfig, profile: ProjectProfile) -> Result<Self> {
        let client = Client::new(&config, transport(&config)?);
        Self::assemble(config, client, profile)
    }

    fn assemble(config: SupabaseConfig, client: Client, profile: ProjectProfile) -> Result<Self> {
        if let Some(required) = config.options.required
            && required != profile.mode()
        {
            let why = format!(
                "the project offers {:?}, {required:?} is required",
                profile.mode()
            );
            return Err(refused("mode", why).with_adapter(ADAPTER));
        }
        let access = match &profile {
            ProjectProfile::Feed(feed) => Access::Feed(Feed::new(feed.clone(), &config.options)),
            ProjectProfile::Table(_) => Access::Table(Tables::new(&config)),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                client,
                profile,
                access,
            }),
        })
    }

    /// What the project was found to offer.
    pub fn profile(&self) -> &ProjectProfile {
        &self.inner.profile
    }

    /// How the project is synchronized with.
    pub fn mode(&self) -> Mode {
        self.inner.profile.mode()
    }

    /// The project's clock, as measured from its answers.
    pub fn server_clock(&self) -> &ServerClock {
        self.inner.client.server_clock()
    }
}

fn transport(config: &SupabaseConfig) -> Result<Arc<dyn Transport>> {
    Ok(match &config.transport {
        Some(transport) => Arc::clone(transport),
        None => Arc::new(ReqwestTransport::new(Arc::clone(&config.effects.timer))?),
    })
}

#[async_trait]
impl RemoteStore for SupabaseRemoteStore {
    fn name(&self) -> &str {
        ADAPTER
    }

    fn capabilities(&self) -> Capabilities {
        match &self.inner.access {
            Access::Feed(feed) => Capabilities {
                search: if self.inner.config.collections.is_empty() {
                    SearchSupport::None
                } else {
                    SearchSupport::Partial
                },
                ..feed.capabilities()
            },
            Access::Table(tables) => tables.capabilities(),
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let delta = match &self.inner.access {
            Access::Feed(feed) => feed.pull(&self.inner.client, &request).await,
            Access::Table(tables) => tables.pull(&self.inner.client, &request).await,
        };
        delta.map_err(in_context("pull", &request.target.scope))
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let outcomes = match &self.inner.access {
            Access::Feed(feed) => feed.push(&self.inner.client, &batch).await,
            Access::Table(tables) => tables.push(&self.inner.client, &batch).await,
        };
        outcomes.map_err(in_context("push", &batch.scope))
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let states = match &self.inner.access {
            Access::Feed(feed) => feed.get(&self.inner.client, target, ids).await,
            Access::Table(tables) => tables.get(&self.inner.client, target, ids).await,
        };
        states.map_err(in_context("get", &target.scope))
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        let page = match &self.inner.access {
            Access::Feed(feed) => feed.list_ids(&self.inner.client, target, after, limit).await,
            Access::Table(tables) => tables.list_ids(&self.inner.client, target, after, limit).await,
        };
        page.map_err(in_context("list_ids", &target.scope))
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        let Inner { client, config, .. } = &*self.inner;
        let page = match &self.inner.access {
            Access::Feed(feed) => match config.collections.get(&target.collection) {
                Some(mapping) => match Place::new(mapping, &target.scope) {
                    Ok(place) => feed.search(client, &place, target, spec).await,
                    Err(error) => Err(error),
                },
                None => Err(SyncError::unsupported(
                    "collection",
                    format!(
                        "the configuration names no table of the collection `{}`",
                        target.collection
                    ),
                )),
            },
            Access::Table(tables) => tables.search(client, target, spec).await,
        };
        page.map_err(in_context("search", &target.scope))
    }

    async fn server_time(&self) -> Result<Timestamp> {
        let time = match &self.inner.access {
            Access::Feed(_) => feed::status(&self.inner.client).await.map(|status| status.now),
            Access::Table(tables) => tables.server_time(&self.inner.client).await,
        };
        time.map_err(|error| error.with_operation("server_time").with_adapter(ADAPTER))
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        let channel = match &self.inner.access {
            Access::Feed(_) => Channel::of_feed(scope.key()),
            Access::Table(tables) => tables.channel(scope)?,
        };
        let listening = Realtime::of(&self.inner.config)?.listen(channel).await;
        listening.map_err(in_context("subscribe", scope))
    }
}

fn in_context(operation: &'static str, scope: &SyncScope) -> impl FnOnce(SyncError) -> SyncError {
    move |error| {
        error
            .with_operation(operation)
            .with_scope(scope)
            .with_adapter(ADAPTER)
    }
}

impl fmt::Debug for SupabaseRemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupabaseRemoteStore")
            .field("url", &self.inner.config.url)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
