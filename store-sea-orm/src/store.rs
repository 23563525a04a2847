//! The store itself: every question and every write passes here.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use sea_orm::DatabaseConnection;
use sync_core::{
    ChangeSet, CollectionSchema, CommitOutcome, ConflictQuery, ConflictRecord, EvictionCandidate,
    EvictionQuery, Fence, LeaseAnswer, LocalRecord, LocalStore, OpCounts, OpQuery, PendingOp, QuarantinedRow,
    RecordId, RecordKey, RecordState, RecordSummary, Result, Stamp, StoreChange, StoreInfo, SyncScope,
    Target, TargetState, Timestamp, View, ViewChange, WorkOut,
    query::{Filter, QuerySpec},
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

#[cfg(feature = "rusqlite")]
use crate::query_sql::columns::Columns;
use crate::{
    cache::{Cache, Looked},
    commit::{Commit, Update, tail::KnownTail},
    dialect::Dialect,
    driver::{Database, Write},
    error::stopped,
    lease,
    notify::Notifier,
    open::{self, Opened},
    options::{CacheSizes, OpenOptions},
    query_sql, read,
    row::ReadRow,
    schema::{self, indexes::Schemas},
    sql::Sql,
    targets::TargetNumbers,
};

/// A [`LocalStore`] in a database: SQLite, PostgreSQL or MySQL. Cheap to clone; clones are the same store.
///
/// See the [crate documentation](crate) for what each database guarantees.
///
/// Close it ([`LocalStore::close`]) before its file is deleted or replaced. One that is dropped ends a little later, on
/// its own thread, and SQLite removes the write-ahead log then by its name, whose ever that is.
#[derive(Clone, Debug)]
pub struct SeaOrmLocalStore(Arc<Shared>);

/// What all clones and tasks of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) targets: TargetNumbers,
    pub(crate) notifier: Notifier,
    pub(crate) cache: Cache,
    #[cfg(feature = "rusqlite")]
    pub(crate) columns: Columns,
    pub(crate) schemas: Schemas,
    pub(crate) tail: KnownTail,
    durable: bool,
    /// Whether the connections are ours to close.
    owned: bool,
    /// Calls under way hold a read lock; closing takes the write lock and sets the flag.
    gate: Arc<RwLock<bool>>,
}

/// A commit that is writing; see [`Cache::begin`]. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.cache.end();
    }
}

impl Shared {
    /// Takes what the change set is about to change out of the cache.
    pub(crate) fn begin_commit(self: &Arc<Self>, changes: &ChangeSet) -> UnderWay {
        self.cache.begin(changes);
        UnderWay(Arc::clone(self))
    }

    /// The database's change counter. SQLite's tells of commits by other connections than the one that asks, and the
    /// writer makes all commits of this store.
    async fn ask_commits(&self) -> Result<i64> {
        let sql = match self.database.dialect {
            Dialect::Sqlite => "SELECT CAST(data_version AS TEXT) FROM pragma_data_version",
            Dialect::Postgres | Dialect::MySql => "SELECT value FROM sync_meta WHERE name = 'commits'",
        };
        let sql = Sql::new(self.database.dialect, sql);
        let rows = self.database.ask_writer(sql).await?;
        let commits = rows.first().map(|row| row.parse(0, |text| text.parse().ok()));
        Ok(commits.transpose()?.unwrap_or(0))
    }
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
        Self::new(opened, true, CacheSizes::of(&options)).begun().await
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
        // The connection is others' as well, so that nothing is certain to stay.
        Self::new(opened, false, CacheSizes::default()).begun().await
    }

    /// Takes notice of the commits made so far, so that later ones are told from them.
    async fn begun(self) -> Result<Self> {
        let at_once = self.0.database.answers_at_once();
        let commits = match self.0.database.commits_of_others().filter(|_| at_once) {
            Some(commits) => commits,
            None => self.0.ask_commits().await?,
        };
        self.0.notifier.observe(commits, commits);
        Ok(self)
    }

    fn new(opened: Opened, owned: bool, sizes: CacheSizes) -> Self {
        Self(Arc::new(Shared {
            database: opened.database,
            targets: TargetNumbers::default(),
            notifier: Notifier::new(),
            cache: Cache::new(sizes.records),
            #[cfg(feature = "rusqlite")]
            columns: Columns::new(sizes.columns),
            schemas: Schemas::default(),
            tail: KnownTail::default(),
            durable: opened.durable,
            owned,
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
        let now = shared.ask_commits().await?;
        let foreign = shared.notifier.observe(now, now);
        if foreign {
            shared.notifier.send_anything();
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

    /// Runs reads that may take a while.
    async fn read<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _open = self.enter().await?;
        self.0.database.read(work(Arc::clone(&self.0))).await
    }

    /// Runs reads of a few rows.
    async fn read_few<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _open = self.enter().await?;
        self.0.database.read_few(work(Arc::clone(&self.0))).await
    }

    /// Runs a write to its end, whatever becomes of the caller.
    async fn write<W: Write>(&self, write: W) -> Result<W::Answer> {
        let open = self.enter().await?;
        self.0.database.write(write, open).await
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
        self.read_few(|store| async move { read::targets::load_clock(&store.database.reader_of_few()).await })
            .await
    }

    async fn load_setting(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.read_few(|store| async move {
            read::targets::load_setting(&store.database.reader_of_few(), &name).await
        })
        .await
    }

    async fn load_records(&self, keys: &[RecordKey]) -> Result<Vec<RecordState>> {
        let (few, keys) = (keys.len() <= read::FEW, keys.to_vec());
        let work = |store: Arc<Shared>| async move { read::records::load(&store, &keys).await };
        if few {
            self.read_few(work).await
        } else {
            self.read(work).await
        }
    }

    async fn load_view(&self, key: &RecordKey) -> Result<Option<View>> {
        let key = key.clone();
        self.read_few(|store| async move { read::records::load_view(&store, &key).await })
            .await
    }

    fn view_at_once(&self, key: &RecordKey) -> Option<Option<View>> {
        let closed = self.0.gate.try_read().ok()?;
        if *closed {
            return None;
        }
        read::records::view_at_once(&self.0, key)
    }

    async fn load_summaries(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RecordSummary>> {
        let (few, target, ids) = (ids.len() <= read::FEW, target.clone(), ids.to_vec());
        let work =
            |store: Arc<Shared>| async move { read::records::load_summaries(&store, &target, &ids).await };
        if few {
            self.read_few(work).await
        } else {
            self.read(work).await
        }
    }

    async fn query(&self, target: &Target, spec: &QuerySpec) -> Result<Vec<LocalRecord>> {
        #[cfg(feature = "rusqlite")]
        {
            let _open = self.enter().await?;
            if let Some(records) = query_sql::query_at_once(&self.0, target, spec)? {
                return Ok(records);
            }
        }
        let quick = query_sql::is_quick(spec, &self.0.schemas.of(&target.collection));
        let (target, spec) = (target.clone(), spec.clone());
        // Boxed, or this future would be several times as large, and be moved for answers that need none of it.
        let work =
            |store: Arc<Shared>| Box::pin(async move { query_sql::query(&store, &target, &spec).await });
        if quick {
            self.read_few(work).await
        } else {
            self.read(work).await
        }
    }

    async fn count(&self, target: &Target, filter: Option<&Filter>) -> Result<u64> {
        let (target, filter) = (target.clone(), filter.cloned());
        self.read(|store| async move { query_sql::count(&store, &target, filter.as_ref()).await })
            .await
    }

    async fn load_target(&self, target: &Target) -> Result<TargetState> {
        let ticket = {
            let _open = self.enter().await?;
            match self.0.cache.target(self.0.database.commits_of_others(), target) {
                Looked::Found(state) => return Ok(state),
                Looked::Missing(ticket) => ticket,
            }
        };
        let target = target.clone();
        let loaded = self
            .read_few(
                |store| async move { read::targets::load(&store.database.reader_of_few(), &target).await },
            )
            .await?;
        self.0.cache.keep_target(ticket, &loaded);
        Ok(loaded)
    }

    async fn list_targets(&self) -> Result<Vec<Target>> {
        self.read(|store| async move { read::targets::list(&store.database.reader()).await })
            .await
    }

    async fn load_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        let query = query.clone();
        self.read(|store| async move { read::ops::load(&store, &store.database.reader(), &query).await })
            .await
    }

    async fn load_ops_with_records(&self, query: &OpQuery) -> Result<Vec<RecordState>> {
        let query = query.clone();
        self.read(|store| async move { read::queue::load_with_records(&store, &query).await })
            .await
    }

    async fn count_ops(&self, scope: Option<&SyncScope>) -> Result<OpCounts> {
        let mut ticket = None;
        if scope.is_none() {
            let _open = self.enter().await?;
            match self.0.cache.counts(self.0.database.commits_of_others()) {
                Looked::Found(counts) => return Ok(counts),
                Looked::Missing(given) => ticket = given,
            }
        }
        let scope = scope.cloned();
        let counts = self
            .read(|store| async move { read::ops::count(&store.database.reader(), scope.as_ref()).await })
            .await?;
        self.0.cache.keep_counts(ticket, &counts);
        Ok(counts)
    }

    async fn load_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
        let mut ticket = None;
        if *query == all_open() {
            let _open = self.enter().await?;
            match self
                .0
                .cache
                .no_open_conflicts(self.0.database.commits_of_others())
            {
                Looked::Found(()) => return Ok(Vec::new()),
                Looked::Missing(given) => ticket = given,
            }
        }
        let query = query.clone();
        let found = self
            .read(
                |store| async move { read::conflicts::load(&store, &store.database.reader(), &query).await },
            )
            .await?;
        if found.is_empty() {
            self.0.cache.keep_no_open_conflicts(ticket);
        }
        Ok(found)
    }

    async fn load_quarantine(&self, target: Option<&Target>, limit: u64) -> Result<Vec<QuarantinedRow>> {
        let target = target.cloned();
        self.read(|store| async move {
            let reader = store.database.reader();
            read::conflicts::load_quarantine(&store, &reader, target.as_ref(), limit).await
        })
        .await
    }

    async fn load_unmarked(
        &self,
        target: &Target,
        generation: u64,
        after: Option<&RecordId>,
        limit: u64,
    ) -> Result<Vec<RecordId>> {
        let (target, after) = (target.clone(), after.cloned());
        self.read(|store| async move {
            let reader = store.database.reader();
            read::space::load_unmarked(&store, &reader, &target, generation, after.as_ref(), limit).await
        })
        .await
    }

    async fn load_eviction_candidates(&self, query: &EvictionQuery) -> Result<Vec<EvictionCandidate>> {
        let query = query.clone();
        self.read(|store| async move {
            read::space::load_eviction_candidates(&store, &store.database.reader(), &query).await
        })
        .await
    }

    async fn approx_size(&self, target: Option<&Target>) -> Result<u64> {
        let target = target.cloned();
        self.read(|store| async move {
            read::space::approx_size(&store, &store.database.reader(), target.as_ref()).await
        })
        .await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        self.write(Commit::new(Arc::clone(&self.0), changes)).await
    }

    async fn update(&self, keys: &[RecordKey], work: WorkOut) -> Result<Option<CommitOutcome>> {
        self.write(Update::new(Arc::clone(&self.0), keys.to_vec(), work))
            .await
    }

    async fn acquire_lease(
        &self,
        name: &str,
        holder: Uuid,
        now: Timestamp,
        time: Duration,
    ) -> Result<LeaseAnswer> {
        let name = name.to_owned();
        self.write(lease::Acquire {
            name,
            holder,
            now,
            time,
        })
        .await
    }

    async fn release_lease(&self, fence: &Fence) -> Result<()> {
        self.write(lease::Release(fence.clone())).await
    }

    fn changes(&self) -> BoxStream<'static, StoreChange> {
        self.0.notifier.subscribe()
    }

    fn view_changes(&self) -> BoxStream<'static, ViewChange> {
        self.0.notifier.subscribe_to_views()
    }

    fn settled_commit(&self) -> Option<u64> {
        self.0.cache.settled_commit()
    }

    async fn close(&self) -> Result<()> {
        let mut closed = self.0.gate.write().await;
        if *closed {
            return Ok(());
        }
        *closed = true;
        self.0.notifier.close();
        if self.0.owned {
            self.0.database.close().await;
        }
        Ok(())
    }
}

/// The query that asks for all open conflicts.
fn all_open() -> ConflictQuery {
    ConflictQuery {
        open: Some(true),
        ..ConflictQuery::default()
    }
}
