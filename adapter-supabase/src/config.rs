//! Where the project is, who speaks to it, and which tables hold what.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sync_core::{CollectionName, Effects, ErrorKind, Result, SyncError};
use sync_http::{BaseUrl, TokenSource, Transport, WebSocketConnector};

use crate::{key::ApiKey, probe::Mode, realtime::RealtimeOptions, table_mapping::SupabaseTable};

/// The schema that a project exposes unless told otherwise.
pub(crate) const PUBLIC: &str = "public";

/// How a [`SupabaseRemoteStore`](crate::SupabaseRemoteStore) is set up.
///
/// ```
/// use std::sync::Arc;
/// use adapter_supabase::{ApiKey, SupabaseConfig, SupabaseTable};
/// use sync_core::Effects;
/// use sync_http::{Credentials, FixedToken};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sync_core::Result<()> {
/// let tokens = Arc::new(FixedToken::new(Credentials::from_jwt("the user's token")));
/// let key = ApiKey::new("sb_publishable_...");
/// let config = SupabaseConfig::new("https://project.supabase.co", key, Effects::tokio())?
///     .signed_in(tokens)
///     .with_collection(SupabaseTable::new("todos").with_scope_key("project", "project_id"))?;
/// # let _ = config;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SupabaseConfig {
    pub(crate) url: BaseUrl,
    pub(crate) key: ApiKey,
    pub(crate) effects: Effects,
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) sockets: Option<Arc<dyn WebSocketConnector>>,
    pub(crate) schema: String,
    pub(crate) collections: BTreeMap<CollectionName, SupabaseTable>,
    pub(crate) options: Options,
}

/// Settings with sound defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) required: Option<Mode>,
    pub(crate) deadline: Duration,
    pub(crate) push_batch: u32,
    pub(crate) page: u32,
    pub(crate) overlap: Duration,
    pub(crate) schema_patience: Duration,
    pub(crate) realtime: RealtimeOptions,
}

impl SupabaseConfig {
    /// A project without collections, to which nobody signs in: requests have the rights of the key alone.
    ///
    /// # Errors
    /// `Configuration` if `url` is not the address of a server, or the key is empty.
    pub fn new(url: &str, key: ApiKey, effects: Effects) -> Result<Self> {
        if key.is_empty() {
            return Err(refused("key", "must not be empty"));
        }
        Ok(Self {
            url: BaseUrl::parse(url)?,
            key,
            effects,
            tokens: None,
            transport: None,
            sockets: None,
            schema: PUBLIC.to_owned(),
            collections: BTreeMap::new(),
            options: Options {
                required: None,
                deadline: sync_http::DEFAULT_DEADLINE,
                push_batch: 100,
                page: 1_000,
                overlap: Duration::from_secs(30),
                schema_patience: Duration::from_secs(30),
                realtime: RealtimeOptions::default(),
            },
        })
    }

    /// Who speaks: the source of the user's tokens, such as a [`Session`](sync_http::Session) of
    /// [`SupabaseAuth`](crate::SupabaseAuth).
    #[must_use]
    pub fn signed_in(mut self, tokens: Arc<dyn TokenSource>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Adds a collection. A project with the feed needs no table for one that is never searched there.
    ///
    /// # Errors
    /// `Configuration` if a name is refused, if the collection is there already, or a column has two purposes.
    pub fn with_collection(mut self, table: SupabaseTable) -> Result<Self> {
        table.check()?;
        let name = CollectionName::new(table.collection.as_str())?;
        if self.collections.insert(name, table).is_some() {
            return Err(refused("collection", "a collection was given twice"));
        }
        Ok(self)
    }

    /// The schema of the tables, if it is not `public`. It must be among the exposed ones.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Refuses a project that cannot be used in this mode, rather than using it with other guarantees.
    #[must_use]
    pub fn require(mut self, mode: Mode) -> Self {
        self.options.required = Some(mode);
        self
    }

    /// How requests are sent. The default is [`ReqwestTransport`](sync_http::ReqwestTransport).
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How the realtime connection is made. The default is
    /// [`TlsWebSocketConnector`](sync_http::TlsWebSocketConnector).
    #[must_use]
    pub fn with_sockets(mut self, sockets: Arc<dyn WebSocketConnector>) -> Self {
        self.sockets = Some(sockets);
        self
    }

    /// How long one request may take; 30 seconds unless said otherwise. The platform's own limits are 8 seconds
    /// for a statement of a user and 60 for a request.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// The most operations in one push, from 1 to 500; 100 unless said otherwise.
    #[must_use]
    pub fn with_push_batch(mut self, operations: u32) -> Self {
        self.options.push_batch = operations.clamp(1, 500);
        self
    }

    /// The most records in one page, at least 1; 1,000 unless said otherwise. Lower limits of the project hold.
    #[must_use]
    pub fn with_page(mut self, records: u32) -> Self {
        self.options.page = records.max(1);
        self
    }

    /// How far every pull in table mode reads back: longer than the longest transaction that writes. 30 seconds
    /// unless said otherwise. What commits later still is found by the id sweep.
    #[must_use]
    pub fn with_overlap(mut self, overlap: Duration) -> Self {
        self.options.overlap = overlap;
        self
    }

    /// How the realtime connection is kept.
    #[must_use]
    pub fn with_realtime(mut self, options: RealtimeOptions) -> Self {
        self.options.realtime = options;
        self
    }

    /// For how long a function that the data API does not know is asked for again: it learns of a migration some
    /// time after it. 30 seconds unless said otherwise.
    #[must_use]
    pub fn with_schema_patience(mut self, patience: Duration) -> Self {
        self.options.schema_patience = patience;
        self
    }
}

/// `Configuration`, naming the field.
pub(crate) fn refused(field: &str, why: impl Into<String>) -> SyncError {
    SyncError::new(ErrorKind::Configuration, why).with_field(field)
}
