//! The store itself: every question and every write passes here.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sea_orm::DatabaseConnection;
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, ErrorKind, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncError,
    SyncScope, Target, TargetState, Timestamp,
    query::{Filter, QuerySpec},
};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

use crate::{
    commit,
    dialect::Dialect,
    driver::{Connection, Database, Run},
    error::stopped,
    lease,
    notify::Notifier,
    open::{self, Opened},
    options::OpenOptions,
    query_sql, read,
    schema::{self, indexes::Schemas},
    sql::Sql,
    targets::TargetNumbers,
};

/// A [`LocalStore`] in a database: SQLite, PostgreSQL or MySQL. Cheap to clone; clones are the same store.
///
/// See the [crate documentation](crate) for what each database guarantees.
#[derive(Clone, Debug)]
pub struct SeaOrmLocalStore(Arc<Shared>);

/// What all clones and tasks of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) targets: TargetNumbers,
    pub(crate) notifier: Notifier,
    pub(crate) schemas: Schemas,
    durable: bool,
    /// Whether the connections are ours to close.
    owned: bool,
    /// Writes take turns in the order they were asked for. A turn outlives a caller that gives up, so that whatever
    /// comes next finds the given-up write done, or not done at all.
    turns: Arc<Mutex<()>>,
    /// Calls under way hold a read lock; closing takes the write lock and sets the flag.
    gate: Arc<RwLock<bool>>,
}

impl SeaOrmLocalStore {
    /// Opens the store, makes its tables if they are missing, and brings those of older versions up to date.
    ///
    /// Takes the same time however many records and operations there are. Two processes may open the same new file
    /// together.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged or belongs to another program, `NewerSchema` if a newer version of this
    /// crate wrote it, `ReadOnly`, `Full` or `Busy` if it had to be written and could not, `Configuration` if it
    /// cannot be reached at all. The file is as it was then.
    ///
    /// # Cancel safety
    /// A dropped call leaves the tables as they were, or complete.
    pub async fn open(options: OpenOptions) -> Result<Self> {
        let opened = open::open(&options)
            .await
            .map_err(|error| error.with_operation("open"))?;
        Ok(Self::new(opened, true))
    }

    /// Takes an open connection, and keeps its tables (all named `sync_...`) beside those of the app.
    ///
    /// The connection's settings are the app's business: for SQLite, WAL mode and a busy timeout are advised, and a
    /// database in memory must have one connection that the pool never retires. [`LocalStore::close`] leaves the
    /// connection open.
    ///
    /// # Errors
    /// As [`SeaOrmLocalStore::open`], but tables of others are welcome.
    ///
    /// # Cancel safety
    /// As [`SeaOrmLocalStore::open`].
    pub async fn with_connection(connection: DatabaseConnection) -> Result<Self> {
        let opened = open::adopt(connection)
            .await
            .map_err(|error| error.with_operation("open"))?;
        Ok(Self::new(opened, false))
    }

    fn new(opened: Opened, owned: bool) -> Self {
        Self(Arc::new(Shared {
            database: opened.database,
            targets: TargetNumbers::default(),
            notifier: Notifier::new(),
            schemas: Schemas::default(),
            durable: opened.durable,
            owned,
            turns: Arc::new(Mutex::new(())),
            gate: Arc::new(RwLock::new(false)),
        }))
    }

    /// Checks whether another process committed to the store since the last check, and if so tells every receiver
    /// of [`LocalStore::changes`] that anything may have changed.
    ///
    /// Every commit of this store checks as well. An app that shares the file with other processes and wants to
    /// hear of them while it only reads calls this now and then; it costs one small read.
    ///
    /// # Errors
    /// The database's own.
    ///
    /// # Cancel safety
    /// A dropped call has no effect, or that of a finished one.
    pub async fn poll_foreign_changes(&self) -> Result<bool> {
        let _open = self.enter().await?;
        let shared = &*self.0;
        let sql = match shared.database.dialect {
            Dialect::Sqlite => "SELECT CAST(data_version AS TEXT) FROM pragma_data_version",
            Dialect::Postgres | Dialect::MySql => "SELECT value FROM sync_meta WHERE name = 'commits'",
        };
        // SQLite's counter tells of commits by other connections than the one that asks, and the writer makes all
        // commits of this store.
        let writer = shared.database.writer();
        let row = writer.row(Sql::new(shared.database.dialect, sql)).await?;
        let now = row
            .map(|row| row.parse(0, |text| text.parse().ok()))
            .transpose()?
            .unwrap_or(0);
        let foreign = shared.notifier.observe(now, now);
        if foreign {
            shared.notifier.send([StoreChange::Anything]);
        }
        Ok(foreign)
    }

    /// The parts, for tests of statements.
    #[cfg(test)]
    #[cfg(feature = "sqlite")]
    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Holds the store open for one call.
    async fn enter(&self) -> Result<OwnedRwLockReadGuard<bool>> {
        let guard = Arc::clone(&self.0.gate).read_owned().await;
        if *guard {
            Err(stopped().with_adapter(self.0.database.dialect.name()))
        } else {
            Ok(guard)
        }
    }

    fn reader(&self) -> Connection<'_, DatabaseConnection> {
        self.0.database.reader()
    }

    /// Runs a write to its end, whatever becomes of the caller.
    async fn detached<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let open = self.enter().await?;
        let turn = Arc::clone(&self.0.turns).lock_owned().await;
        let task = tokio::spawn(async move {
            let outcome = write.await;
            drop((turn, open));
            outcome
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) => Err(SyncError::new(
                ErrorKind::Internal,
                format!("a write ended early: {error}"),
            )),
        }
    }
}

#[async_trait]
impl LocalStore for SeaOrmLocalStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            name: self.0.database.dialect.name().to_owned(),
            durable: self.0.durable,
        }
    }

    async fn register(&self, schemas: &[CollectionSchema]) -> Result<()> {
        let _open = self.enter().await?;
        schema::indexes::register(&self.0, schemas).await
    }

    async fn load_clock(&self) -> Result<Option<Stamp>> {
        let _open = self.enter().await?;
        read::targets::load_clock(&self.reader()).await
    }

    async fn load_setting(&self, name: &str) -> Result<Option<String>> {
        let _open = self.enter().await?;
        read::targets::load_setting(&self.reader(), name).await
    }

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        let _open = self.enter().await?;
        read::records::load(&self.0, keys).await
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        let _open = self.enter().await?;
        read::records::load_summaries(&self.0, target, ids).await
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        let _open = self.enter().await?;
        query_sql::query(&self.0, target, spec).await
    }

    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        let _open = self.enter().await?;
        query_sql::count(&self.0, target, filter).await
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        let _open = self.enter().await?;
        read::targets::load(&self.reader(), target).await
    }

    async fn list_targets(&self) -> Result<Vec<Target>> {
        let _open = self.enter().await?;
        read::targets::list(&self.reader()).await
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        let _open = self.enter().await?;
        read::ops::load(&self.0, &self.reader(), query).await
    }

    async fn count_ops(&self, scope: Option<&SyncScope>) -> Result<OpCounts> {
        let _open = self.enter().await?;
        read::ops::count(&self.reader(), scope).await
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        let _open = self.enter().await?;
        read::conflicts::load(&self.0, &self.reader(), query).await
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        let _open = self.enter().await?;
        read::conflicts::load_quarantine(&self.0, &self.reader(), target, limit).await
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        let _open = self.enter().await?;
        read::space::load_unmarked(&self.0, &self.reader(), target, generation, after, limit).await
    }

    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>> {
        let _open = self.enter().await?;
        read::space::load_eviction_candidates(&self.0, &self.reader(), query).await
    }

    async fn approx_size(&self, target: Option<&Target>) -> Result<u64> {
        let _open = self.enter().await?;
        read::space::approx_size(&self.0, &self.reader(), target).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        self.detached(commit::commit(Arc::clone(&self.0), changes)).await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        self.detached(lease::acquire(
            Arc::clone(&self.0),
            name.to_owned(),
            holder,
            now,
            time,
        ))
        .await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        self.detached(lease::release(Arc::clone(&self.0), fence.clone()))
            .await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        self.0.notifier.subscribe()
    }

    async fn close(&self) -> Result<()> {
        let mut closed = self.0.gate.write().await;
        if *closed {
            return Ok(());
        }
        *closed = true;
        self.0.notifier.close();
        if self.0.owned {
            open::close(&self.0.database).await;
        }
        Ok(())
    }
}
