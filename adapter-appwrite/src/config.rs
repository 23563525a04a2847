//! Where the server is, who speaks to it, and which tables hold what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sync_core::{CollectionName, Effects, ErrorKind, Result, SyncError, SyncScope};
use sync_http::{BaseUrl, Transport, WebSocketConnector};

use crate::{
    auth::Credential,
    table::{Place, Table},
};

/// How an [`AppwriteRemoteStore`](crate::AppwriteRemoteStore) is set up.
///
/// ```no_run
/// use adapter_appwrite::{AppwriteConfig, Credential, RowPermissions, Table};
/// use sync_core::Effects;
///
/// # fn main() -> sync_core::Result<()> {
/// let config = AppwriteConfig::new(
///     "https://cloud.example/v1",
///     "my-project",
///     Credential::api_key("..."),
///     Effects::tokio(),
/// )?
/// .table("inbox", "todos", Table::new("main", "todos").scope_column("user", "owner"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AppwriteConfig {
    pub(crate) endpoint: BaseUrl,
    pub(crate) project: String,
    pub(crate) credential: Credential,
    pub(crate) effects: Effects,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) sockets: Option<Arc<dyn WebSocketConnector>>,
    pub(crate) tables: BTreeMap<(String, CollectionName), Arc<Table>>,
    pub(crate) options: Options,
}

/// Settings with sound defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) overlap: Duration,
    pub(crate) sweep_after_gap: Duration,
    pub(crate) request_deadline: Duration,
    pub(crate) transactions_from: Option<u32>,
    pub(crate) most_searched: u32,
}

impl AppwriteConfig {
    /// How far every pass reads back, unless [`AppwriteConfig::overlap`] says otherwise: longer than a request
    /// takes at the server (15 s) and than InnoDB waits for a lock (50 s), with some skew between servers.
    pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(60);

    /// A server without tables. The endpoint is that of the API: `https://host/v1`.
    ///
    /// # Errors
    /// `Configuration` if the endpoint is not an `http` or `https` URL, or the project's id is empty.
    pub fn new(
        endpoint: &str,
        project: impl Into<String>,
        credential: Credential,
        effects: Effects,
    ) -> Result<Self> {
        let project = project.into();
        if project.is_empty() {
            return Err(SyncError::new(ErrorKind::Configuration, "must not be empty").with_field("project"));
        }
        Ok(Self {
            endpoint: BaseUrl::parse(endpoint).map_err(|error| error.with_field("endpoint"))?,
            project,
            credential,
            effects,
            transport: None,
            sockets: None,
            tables: BTreeMap::new(),
            options: Options {
                overlap: Self::DEFAULT_OVERLAP,
                sweep_after_gap: Duration::from_secs(6 * 3_600),
                request_deadline: Duration::from_secs(15),
                transactions_from: Some(5),
                most_searched: 5_000,
            },
        })
    }

    /// Puts a collection of the scopes with this name into a table.
    ///
    /// # Errors
    /// `Configuration` if the collection's name is refused, if it has a table already, or if the table is another
    /// collection's: their records would mix.
    pub fn table(mut self, scope_name: impl Into<String>, collection: &str, table: Table) -> Result<Self> {
        let refuse = |why: String| Err(SyncError::new(ErrorKind::Configuration, why).with_field("table"));
        let scope_name = scope_name.into();
        let names: BTreeSet<&str> = table
            .own_columns()
            .chain(table.scope_columns.iter().map(|(_, column)| column.as_str()))
            .collect();
        let expected = table.own_columns().count() + table.scope_columns.len();
        if names.len() < expected || names.contains(table.id_field.as_str()) {
            return refuse(format!("one column of `{}` was given two purposes", table.table));
        }
        let taken = self
            .tables
            .values()
            .any(|other| (&other.database, &other.table) == (&table.database, &table.table));
        if taken {
            return refuse(format!(
                "the table `{}` holds another collection already",
                table.table
            ));
        }
        let name = (scope_name, CollectionName::new(collection)?);
        if self.tables.contains_key(&name) {
            return refuse(format!(
                "the collection `{collection}` of `{}` has a table already",
                name.0
            ));
        }
        self.tables.insert(name, Arc::new(table));
        Ok(self)
    }

    /// How requests are sent. The default is [`ReqwestTransport`](sync_http::ReqwestTransport).
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How the realtime connection is made. The default is
    /// [`TlsWebSocketConnector`](sync_http::TlsWebSocketConnector).
    #[must_use]
    pub fn sockets(mut self, sockets: Arc<dyn WebSocketConnector>) -> Self {
        self.sockets = Some(sockets);
        self
    }

    /// How far every pass reads back; the stated bound of [`sync_core::CursorKind::TimestampWithRepair`]. A row
    /// that becomes visible later than this after its `$updatedAt` is found by the scan of ids.
    #[must_use]
    pub fn overlap(mut self, overlap: Duration) -> Self {
        self.options.overlap = overlap;
        self
    }

    /// Asks for a scan of ids when the last pull is longer ago than this, by the server's clock. The default is 6
    /// hours. The engine scans at its own interval as well.
    #[must_use]
    pub fn sweep_after_gap(mut self, gap: Duration) -> Self {
        self.options.sweep_after_gap = gap;
        self
    }

    /// How long one request may take. The default is 15 seconds.
    #[must_use]
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.options.request_deadline = deadline;
        self
    }

    /// Sends batches of at least this many operations as one transaction. The default is 5: a transaction takes
    /// six requests, none of which counts against a rate limit.
    #[must_use]
    pub fn transactions_from(mut self, operations: u32) -> Self {
        self.options.transactions_from = Some(operations.max(1));
        self
    }

    /// Never uses transactions: for servers before 1.8. Write batches are then not applied as a whole.
    #[must_use]
    pub fn without_transactions(mut self) -> Self {
        self.options.transactions_from = None;
        self
    }

    /// The most rows that a search reads from the server before it is refused. The default is 5,000.
    #[must_use]
    pub fn most_searched(mut self, rows: u32) -> Self {
        self.options.most_searched = rows;
        self
    }

    /// The table of a collection in a scope.
    pub(crate) fn place(&self, scope: &SyncScope, collection: &CollectionName) -> Result<Place> {
        let name = (scope.name().to_owned(), collection.clone());
        let Some(table) = self.tables.get(&name) else {
            let why = format!(
                "the collection `{collection}` of the scopes `{}` has no table",
                scope.name()
            );
            return Err(SyncError::new(ErrorKind::Configuration, why).with_field("table"));
        };
        Place::new(Arc::clone(table), scope)
    }

    /// The tables of a scope, with the collections they hold.
    pub(crate) fn tables_of<'c>(
        &'c self,
        scope: &'c SyncScope,
    ) -> impl Iterator<Item = (&'c CollectionName, &'c Arc<Table>)> + 'c {
        self.tables
            .iter()
            .filter(move |((name, _), _)| name == scope.name())
            .map(|((_, collection), table)| (collection, table))
    }
}
