//! The thin layer between this crate and a database: run a statement, read a row, hold a transaction.
//!
//! Everything else speaks [`Sql`] and [`Row`]. There are two drivers behind it: [`pooled`] is sea-orm over sqlx, for
//! every database and for connections of the app; [`direct`] calls SQLite within the process, for files and stores
//! in memory that this crate opens itself.

#[cfg(feature = "rusqlite")]
pub(crate) mod direct;
pub(crate) mod pooled;
mod rows;

use std::fmt;
#[cfg(feature = "rusqlite")]
use std::sync::Arc;

use async_trait::async_trait;
#[cfg(feature = "rusqlite")]
use sync_core::{ErrorKind, SyncError};
use sync_core::{RecordKey, Result};

pub(crate) use self::rows::{PerDialect, Rows, Shape, Statement};
use crate::{dialect::Dialect, row::Row, sql::Sql};

/// A database: one way to write, several to read.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) dialect: Dialect,
    driver: Driver,
}

#[derive(Clone, Debug)]
enum Driver {
    Pooled(pooled::Pools),
    #[cfg(feature = "rusqlite")]
    Direct(Arc<direct::DirectDatabase>),
}

/// What reads need: a connection or a transaction.
#[async_trait]
pub(crate) trait Run: Sync {
    fn dialect(&self) -> Dialect;

    /// Runs a statement and returns its rows.
    async fn rows(&self, sql: Sql) -> Result<Vec<Row>>;

    /// Runs a statement that has at most one row.
    async fn row(&self, sql: Sql) -> Result<Option<Row>> {
        Ok(self.rows(sql).await?.into_iter().next())
    }
}

/// A write: the statements of one transaction, and what follows once they are durable.
///
/// It always comes to its end, whatever becomes of the caller.
#[async_trait]
pub(crate) trait Write: fmt::Debug + Send + Sync + 'static {
    /// What the statements leave for [`Write::committed`].
    type Draft: Send;
    /// What the caller gets.
    type Answer: Send + 'static;

    /// How many rows it is about, roughly. A driver may make a short write where others would wait for a long one.
    fn rows(&self) -> usize;

    /// Runs the statements. An error undoes them. May be called again, in a new transaction, after the statements of
    /// the first call were undone.
    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<Self::Draft, Self::Answer>>;

    /// Called once the statements are durable.
    fn committed(&self, draft: Self::Draft) -> Self::Answer;
}

/// What a [`Write`] wants to become of its statements.
#[derive(Debug)]
pub(crate) enum Step<D, A> {
    /// They are to be committed.
    Commit(D),
    /// They are to be undone, with this answer.
    Undo(A),
}

impl Database {
    pub(crate) fn pooled(pools: pooled::Pools) -> Self {
        Self {
            dialect: pools.dialect(),
            driver: Driver::Pooled(pools),
        }
    }

    #[cfg(feature = "rusqlite")]
    pub(crate) fn direct(direct: direct::DirectDatabase) -> Self {
        Self {
            dialect: Dialect::Sqlite,
            driver: Driver::Direct(Arc::new(direct)),
        }
    }

    /// How many commits others made, as the database counts them; `None` if it cannot tell at once.
    pub(crate) fn commits_of_others(&self) -> Option<i64> {
        match &self.driver {
            Driver::Pooled(_) => None,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.commits_of_others(),
        }
    }

    /// As [`Database::commits_of_others`], but waits for the writer's statement under way.
    #[cfg(feature = "rusqlite")]
    pub(crate) fn wait_for_commits_of_others(&self) -> Option<i64> {
        match &self.driver {
            Driver::Pooled(_) => None,
            Driver::Direct(direct) => direct.wait_for_commits_of_others(),
        }
    }

    /// Runs reads of a few rows at once, with the number of [`Database::commits_of_others`], all of one state; `None`
    /// if the database cannot do that now.
    #[cfg(feature = "rusqlite")]
    pub(crate) fn peek<T>(&self, work: impl FnOnce(i64, direct::Peek<'_>) -> T) -> Option<T> {
        match &self.driver {
            Driver::Pooled(_) => None,
            Driver::Direct(direct) => direct.peek(work),
        }
    }

    /// Whether reads end in the calling task, without waiting for another.
    pub(crate) fn answers_at_once(&self) -> bool {
        match &self.driver {
            Driver::Pooled(_) => false,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.answers_at_once(),
        }
    }

    /// The connections for reading single statements.
    pub(crate) fn reader(&self) -> Connection<'_> {
        Connection {
            database: self,
            few: false,
        }
    }

    /// As [`Database::reader`], for statements that read a few rows by their keys.
    pub(crate) fn reader_of_few(&self) -> Connection<'_> {
        Connection {
            database: self,
            few: true,
        }
    }

    /// Runs a statement where it sees the commits of others as such: on the connection that makes our own.
    pub(crate) async fn ask_writer(&self, sql: Sql) -> Result<Vec<Row>> {
        match &self.driver {
            Driver::Pooled(pools) => pools.ask_writer(sql).await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.ask_writer(sql).await,
        }
    }

    /// Starts a transaction for several reads of one state.
    pub(crate) async fn begin_read(&self) -> Result<ReadTransaction> {
        match &self.driver {
            Driver::Pooled(pools) => pools.begin_read().await.map(ReadTransaction::Pooled),
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.begin_read().map(ReadTransaction::Direct),
        }
    }

    /// Whether statements run within the process.
    pub(crate) fn is_direct(&self) -> bool {
        match &self.driver {
            Driver::Pooled(_) => false,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(_) => true,
        }
    }

    /// Runs a statement within the process and shows its rows where they lie.
    ///
    /// # Errors
    /// `Internal` if statements do not run within the process.
    #[cfg(feature = "rusqlite")]
    pub(crate) fn visit(
        &self,
        sql: Sql,
        visit: &mut dyn FnMut(&direct::VisitedRow<'_>) -> Result<()>,
    ) -> Result<()> {
        match &self.driver {
            Driver::Pooled(_) => Err(SyncError::new(
                ErrorKind::Internal,
                "rows of another thread or process cannot be visited",
            )),
            Driver::Direct(direct) => direct.visit(sql, visit),
        }
    }

    /// Starts a transaction for reading and fixes the state that it reads; `None` if statements do not run within the
    /// process.
    #[cfg(feature = "rusqlite")]
    pub(crate) fn fix_state(&self) -> Result<Option<direct::DirectTransaction>> {
        match &self.driver {
            Driver::Pooled(_) => Ok(None),
            Driver::Direct(direct) => direct.fix_state().map(Some),
        }
    }

    /// Runs reads that may take a while, where they do not hold up other tasks.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match &self.driver {
            Driver::Pooled(_) => work.await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.read(work).await,
        }
    }

    /// Runs reads of a few records that are likely in memory already.
    pub(crate) async fn read_few<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match &self.driver {
            Driver::Pooled(_) => work.await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.read_few(work).await,
        }
    }

    /// Runs a write to its end; writes take turns in the order of their calls. `keep` is dropped after it.
    ///
    /// # Cancel safety
    /// Once polled, the write goes on by itself.
    pub(crate) async fn write<W: Write>(&self, write: W, keep: impl Send + 'static) -> Result<W::Answer> {
        match &self.driver {
            Driver::Pooled(pools) => pools.write(write, keep).await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.write(write, keep).await,
        }
    }

    /// Runs changes of the schema; there may be no tables yet.
    pub(crate) async fn change_schema<W: Write>(&self, write: W) -> Result<W::Answer> {
        match &self.driver {
            Driver::Pooled(pools) => pools.change_schema(write).await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.write(write, ()).await,
        }
    }

    /// Closes the connections, after the writes under way. Failures have no consequence: what was acknowledged is
    /// committed.
    pub(crate) async fn close(&self) {
        match &self.driver {
            Driver::Pooled(pools) => pools.close().await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.close().await,
        }
    }
}

/// Anything single statements can be read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    database: &'a Database,
    few: bool,
}

#[async_trait]
impl Run for Connection<'_> {
    fn dialect(&self) -> Dialect {
        self.database.dialect
    }

    async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        match &self.database.driver {
            Driver::Pooled(pools) => pools.rows(sql).await,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) if self.few => direct.few_rows(sql),
            #[cfg(feature = "rusqlite")]
            Driver::Direct(direct) => direct.rows(sql),
        }
    }
}

/// A transaction under way, as those who run statements in it see it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transaction<'a> {
    Pooled(&'a pooled::PooledTransaction),
    #[cfg(feature = "rusqlite")]
    Direct(&'a direct::DirectTransaction),
}

#[async_trait]
impl Run for Transaction<'_> {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Pooled(transaction) => transaction.dialect(),
            #[cfg(feature = "rusqlite")]
            Self::Direct(_) => Dialect::Sqlite,
        }
    }

    async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        match self {
            Self::Pooled(transaction) => transaction.rows(sql).await,
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.rows(sql),
        }
    }
}

impl Transaction<'_> {
    /// Runs a statement whose rows, if any, are of no interest.
    pub(crate) async fn run(&self, sql: Sql) -> Result<()> {
        match self {
            Self::Pooled(transaction) => transaction.run(sql).await,
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.run(sql),
        }
    }

    /// Runs statements in order. Returns the records that a guarded statement did not find as they were read; then
    /// what was written is to be undone.
    pub(crate) async fn run_all(&self, statements: Vec<Statement>) -> Result<Vec<RecordKey>> {
        match self {
            Self::Pooled(transaction) => {
                let dialect = transaction.dialect();
                let statements = statements
                    .into_iter()
                    .flat_map(|statement| statement.joined(dialect));
                transaction.run_all(statements.collect()).await?;
                Ok(Vec::new())
            }
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.run_all(statements),
        }
    }

    /// Runs a script of statements without values.
    pub(crate) async fn script(&self, text: &str) -> Result<()> {
        match self {
            Self::Pooled(transaction) => transaction.script(text).await,
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.script(text),
        }
    }

    /// Whether running a prepared statement for each row is better than one statement for many rows.
    pub(crate) fn runs_row_by_row(&self) -> bool {
        match self {
            Self::Pooled(_) => false,
            #[cfg(feature = "rusqlite")]
            Self::Direct(_) => true,
        }
    }

    /// The database's change counter before this commit; `None` if it takes a statement to ask for it.
    pub(crate) fn counter(&self) -> Result<Option<i64>> {
        match self {
            Self::Pooled(transaction) => Ok(transaction.counter()),
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.foreign_commits().map(Some),
        }
    }

    /// Whether [`Transaction::counter`] stays the same for as long as nobody else commits.
    pub(crate) fn sees_foreign_commits(&self) -> bool {
        match self {
            // A connection may be replaced by another, which counts anew.
            Self::Pooled(_) => false,
            #[cfg(feature = "rusqlite")]
            Self::Direct(_) => true,
        }
    }

    /// Counts this commit, and returns what [`crate::notify::Notifier`] will see as the state after it. SQLite
    /// counts by itself, and only the commits of others.
    pub(crate) async fn advance_counter(&self, before: i64) -> Result<i64> {
        match self {
            Self::Pooled(transaction) => transaction.advance_counter(before).await,
            #[cfg(feature = "rusqlite")]
            Self::Direct(_) => Ok(before),
        }
    }
}

/// A transaction for several reads of one state. Dropped without being finished, it is rolled back.
#[derive(Debug)]
pub(crate) enum ReadTransaction {
    Pooled(pooled::PooledTransaction),
    #[cfg(feature = "rusqlite")]
    Direct(direct::DirectTransaction),
}

impl ReadTransaction {
    pub(crate) fn as_run(&self) -> Transaction<'_> {
        match self {
            Self::Pooled(transaction) => Transaction::Pooled(transaction),
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => Transaction::Direct(transaction),
        }
    }

    /// Ends the transaction and hands on what came of it.
    pub(crate) async fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        match self {
            Self::Pooled(transaction) => transaction.finish(outcome).await,
            #[cfg(feature = "rusqlite")]
            Self::Direct(transaction) => transaction.finish(outcome),
        }
    }
}
