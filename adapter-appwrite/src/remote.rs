//! The [`RemoteStore`] on an Appwrite server.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sync_core::{
    Capabilities, CursorKind, DeleteVisibility, Delta, ErrorKind, IdPage, Poke, PullRequest, PushBatch,
    PushOutcome, Realtime, RecordId, RemoteState, RemoteStore, Result, SearchPage, SearchSupport, SyncError,
    SyncScope, Target, Timestamp, query::QuerySpec,
};
use sync_http::{
    ReqwestTransport, Secret, TlsWebSocketConnector, Transport, WebSocketConnector, WebSocketOptions,
};

use crate::{
    client::{Client, Signed},
    config::{AppwriteConfig, Options},
    push::MAX_BATCH,
    realtime,
    table::{Place, RowPermissions},
};

const NAME: &str = "appwrite";

/// The most rows in one page. The server has no limit of its own.
pub(crate) const MAX_PAGE: u32 = 1_000;

/// A remote on the tables of an Appwrite project.
///
/// Guarantees, beside those of the [`Capabilities`] it states:
/// - A change is received by pulls if it becomes visible within the overlap
///   ([`AppwriteConfig::DEFAULT_OVERLAP`]) after its `$updatedAt`; one that comes later, or with a date that a key
///   set, is found by the engine's scan of ids.
/// - A record is reported missing only if the sign-in was proved good before and after it was looked for.
/// - Only columns that change are written, on the condition that the row was not written since. Two writes within
///   one millisecond, and a writer whose stamp is older than its commit, pass that condition.
/// - Clones share the sign-in, the estimate of the server's clock and the count of writes.
#[derive(Clone)]
pub struct AppwriteRemoteStore(Arc<Inner>);

struct Inner {
    config: AppwriteConfig,
    client: Client,
    sockets: Arc<dyn WebSocketConnector>,
    /// The user of the token that was last asked about.
    me: Mutex<Option<(Secret, Option<String>)>>,
}

impl AppwriteRemoteStore {
    /// A remote that has not spoken to the server yet.
    ///
    /// # Errors
    /// `Configuration` if no transport can be made.
    pub fn new(config: AppwriteConfig) -> Result<Self> {
        let transport: Arc<dyn Transport> = match &config.transport {
            Some(transport) => Arc::clone(transport),
            None => Arc::new(ReqwestTransport::new(Arc::clone(&config.effects.timer))?),
        };
        let sockets: Arc<dyn WebSocketConnector> = match &config.sockets {
            Some(sockets) => Arc::clone(sockets),
            None => Arc::new(TlsWebSocketConnector::new(
                config.effects.clone(),
                WebSocketOptions::default(),
            )?),
        };
        let client = Client::new(
            transport,
            config.endpoint.clone(),
            config.project.clone(),
            config.credential.clone(),
            config.effects.clone(),
            config.options.request_deadline,
        );
        Ok(Self(Arc::new(Inner {
            config,
            client,
            sockets,
            me: Mutex::default(),
        })))
    }

    /// A remote whose tables were looked at: see [`AppwriteRemoteStore::check`].
    ///
    /// # Errors
    /// As [`AppwriteRemoteStore::new`] and [`AppwriteRemoteStore::check`].
    pub async fn connect(config: AppwriteConfig) -> Result<Self> {
        let remote = Self::new(config)?;
        remote.check().await?;
        Ok(remote)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn config(&self) -> &AppwriteConfig {
        &self.0.config
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.config.options
    }

    pub(crate) fn sockets(&self) -> &Arc<dyn WebSocketConnector> {
        &self.0.sockets
    }

    pub(crate) fn place(&self, target: &Target) -> Result<Place> {
        self.0.config.place(&target.scope, &target.collection)
    }

    /// The permissions of new rows in a place.
    pub(crate) async fn permissions(&self, signed: &Signed<'_>, place: &Place) -> Result<Vec<String>> {
        let names_me = match &place.table.permissions {
            RowPermissions::TableOnly => false,
            RowPermissions::Owner => true,
            RowPermissions::Listed(permissions) => permissions.iter().any(|text| text.contains("{me}")),
        };
        let me = if names_me { self.me(signed).await? } else { None };
        place.permissions(me.as_deref())
    }

    /// The signed-in user.
    async fn me(&self, signed: &Signed<'_>) -> Result<Option<String>> {
        let Some(token) = signed.token() else {
            return Ok(None);
        };
        let known = self.0.me.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, me)) = known.filter(|(of, _)| of == token) {
            return Ok(me);
        }
        let me = signed.prove().await?;
        *self.0.me.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), me.clone()));
        Ok(me)
    }
}

impl fmt::Debug for AppwriteRemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppwriteRemoteStore")
            .field("endpoint", &self.0.config.endpoint)
            .field("project", &self.0.config.project)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl RemoteStore for AppwriteRemoteStore {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cursor: CursorKind::TimestampWithRepair {
                overlap_ms: u64::try_from(self.options().overlap.as_millis()).unwrap_or(u64::MAX),
            },
            deletes: DeleteVisibility::SoftDeleteField,
            conditional_write: true,
            idempotent_push: false,
            atomic_batch: self.options().transactions_from.is_some(),
            // A stamp of ours would outlive an edit by someone who does not know the column.
            stamps: false,
            epoch: false,
            id_list: true,
            server_time: true,
            search: SearchSupport::Partial,
            realtime: if self.0.config.credential.kind.can_listen() {
                Realtime::Poke
            } else {
                Realtime::None
            },
            max_push_batch: MAX_BATCH as u32,
            max_page: MAX_PAGE,
        }
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        self.pull_page(&request)
            .await
            .map_err(|error| in_context(error, "pull", &request.target.scope))
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.push_batch(&batch)
            .await
            .map_err(|error| in_context(error, "push", &batch.scope))
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        self.read_states(target, ids)
            .await
            .map_err(|error| in_context(error, "get", &target.scope))
    }

    async fn list_ids(&self, target: &Target, after: Option<&str>, limit: u32) -> Result<IdPage> {
        self.read_ids(target, after, limit.clamp(1, MAX_PAGE))
            .await
            .map_err(|error| in_context(error, "list_ids", &target.scope))
    }

    async fn search(&self, target: &Target, spec: &QuerySpec) -> Result<SearchPage> {
        self.find(target, spec)
            .await
            .map_err(|error| in_context(error, "search", &target.scope))
    }

    async fn server_time(&self) -> Result<Timestamp> {
        self.client()
            .ping()
            .await
            .map_err(|error| error.with_operation("server_time").with_adapter(NAME))
    }

    async fn subscribe(&self, scope: &SyncScope) -> Result<BoxStream<'static, Poke>> {
        if self.capabilities().realtime == Realtime::None {
            let why = "an API key cannot listen; pull at intervals";
            return Err(in_context(
                SyncError::new(ErrorKind::Unsupported, why).with_field("subscribe"),
                "subscribe",
                scope,
            ));
        }
        realtime::listen(self, scope)
            .await
            .map_err(|error| in_context(error, "subscribe", scope))
    }
}

fn in_context(error: SyncError, operation: &'static str, scope: &SyncScope) -> SyncError {
    error
        .with_operation(operation)
        .with_scope(scope)
        .with_adapter(NAME)
}
