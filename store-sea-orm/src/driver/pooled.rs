//! The driver over sea-orm and sqlx: pools of connections, each with a thread or a socket behind it.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, IsolationLevel, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, Value,
};
use sync_core::{ErrorKind, Result, SyncError};
use tokio::sync::Mutex;

use super::{Step, Transaction, Write};
use crate::{
    dialect::Dialect,
    error::{corrupt, from_db},
    row::{ReadRow, Row},
    sql::{Param, Sql},
};

/// How many values the statements of one script have at most, together. Larger statements travel alone.
const MAX_SCRIPT_PARAMS: usize = 1_024;

/// Connections to one database.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    dialect: Dialect,
    writer: DatabaseConnection,
    readers: DatabaseConnection,
    /// Writes take turns in the order they were asked for. A turn outlives a caller that gives up, so that whatever
    /// comes next finds the given-up write done, or not done at all.
    turns: Arc<Mutex<()>>,
}

/// A transaction under way. Dropped without [`PooledTransaction::commit`], it is rolled back.
#[derive(Debug)]
pub(crate) struct PooledTransaction {
    inner: DatabaseTransaction,
    pools: Pools,
    /// On servers: how many commits there were when this one got the write lock.
    commits: Option<i64>,
}

async fn query<C: ConnectionTrait>(connection: &C, dialect: Dialect, sql: Sql) -> Result<Vec<Row>> {
    let rows = connection.query_all_raw(statement(dialect, sql)).await;
    let rows = rows.map_err(|error| from_db(&error, dialect))?;
    Ok(rows.into_iter().map(|row| Row::fetched(row, dialect)).collect())
}

fn statement(dialect: Dialect, sql: Sql) -> Statement {
    let (text, params) = sql.into_parts();
    let values = params.into_iter().map(|param| match param {
        Param::Record(record) => Value::String(Some(record.as_str().to_owned())),
        Param::Int(value) => Value::BigInt(value),
        Param::Float(value) => Value::Double(Some(value)),
        Param::Text(value) => Value::String(value),
        Param::Bytes(value) => Value::Bytes(value),
    });
    Statement::from_sql_and_values(dialect.backend(), text, values)
}

impl Pools {
    pub(crate) fn new(dialect: Dialect, writer: DatabaseConnection, readers: DatabaseConnection) -> Self {
        Self {
            dialect,
            writer,
            readers,
            turns: Arc::default(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        query(&self.readers, self.dialect, sql).await
    }

    pub(super) async fn ask_writer(&self, sql: Sql) -> Result<Vec<Row>> {
        query(&self.writer, self.dialect, sql).await
    }

    /// Runs a write in a task of its own.
    pub(super) async fn write<W: Write>(&self, write: W, keep: impl Send + 'static) -> Result<W::Answer> {
        let turn = Arc::clone(&self.turns).lock_owned().await;
        let pools = self.clone();
        let task = tokio::spawn(async move {
            let outcome = match pools.begin_write().await {
                Ok(transaction) => transaction.carry_out(&write).await,
                Err(error) => Err(error),
            };
            drop((turn, keep));
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

    pub(super) async fn change_schema<W: Write>(&self, write: W) -> Result<W::Answer> {
        self.begin_schema_change().await?.carry_out(&write).await
    }

    /// Closes the pools.
    pub(super) async fn close(&self) {
        for connection in [&self.readers, &self.writer] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "a connection did not close cleanly");
            }
        }
    }

    /// Starts a transaction that holds the write lock from the start, so that it never fails halfway because
    /// another writer came between.
    async fn begin_write(&self) -> Result<PooledTransaction> {
        let options = match self.dialect {
            Dialect::Sqlite => TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            },
            // Each statement sees what was committed before it, and the lock below orders the writers.
            Dialect::Postgres | Dialect::MySql => TransactionOptions {
                isolation_level: Some(IsolationLevel::ReadCommitted),
                ..TransactionOptions::default()
            },
        };
        let mut transaction = self.begin(&self.writer, options).await?;
        if self.dialect != Dialect::Sqlite {
            let lock = Sql::new(
                self.dialect,
                "SELECT value FROM sync_meta WHERE name = 'commits' FOR UPDATE",
            );
            let row = transaction
                .rows(lock)
                .await?
                .pop()
                .ok_or_else(|| corrupt("the write lock is gone"))?;
            transaction.commits = Some(row.parse(0, |text| text.parse().ok())?);
        }
        Ok(transaction)
    }

    /// Starts a transaction for changing the schema; there may be no tables yet.
    async fn begin_schema_change(&self) -> Result<PooledTransaction> {
        match self.dialect {
            Dialect::Sqlite => self.begin_write().await,
            Dialect::Postgres => {
                let transaction = self.begin(&self.writer, TransactionOptions::default()).await?;
                // Any number will do that other programs are unlikely to choose; it is "sync" in ASCII.
                let lock = Sql::new(self.dialect, "SELECT 1 FROM pg_advisory_xact_lock(1937337955)");
                transaction.rows(lock).await?;
                Ok(transaction)
            }
            Dialect::MySql => self.begin(&self.writer, TransactionOptions::default()).await,
        }
    }

    /// Starts a transaction for several reads of one state.
    pub(super) async fn begin_read(&self) -> Result<PooledTransaction> {
        let options = match self.dialect {
            Dialect::Sqlite => TransactionOptions::default(),
            Dialect::Postgres | Dialect::MySql => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                ..TransactionOptions::default()
            },
        };
        self.begin(&self.readers, options).await
    }

    async fn begin(
        &self,
        connection: &DatabaseConnection,
        options: TransactionOptions,
    ) -> Result<PooledTransaction> {
        let begun = connection.begin_with_options(options).await;
        let inner = begun.map_err(|error| from_db(&error, self.dialect))?;
        Ok(PooledTransaction {
            inner,
            pools: self.clone(),
            commits: None,
        })
    }

    /// Brings the writing connection back to a state without a transaction.
    ///
    /// SQLite ends a transaction by itself when the disk is full or fails. sqlx does not notice, and would take the
    /// next BEGIN for a nested one.
    async fn heal_writer(&self) {
        #[cfg(feature = "sqlite")]
        if self.dialect == Dialect::Sqlite {
            use sqlx::Executor;
            use sqlx_core::transaction::TransactionManager;
            type Manager = <sqlx::Sqlite as sqlx::Database>::TransactionManager;

            let Ok(mut connection) = self.writer.get_sqlite_connection_pool().acquire().await else {
                return;
            };
            while Manager::get_transaction_depth(&connection) > 0 {
                // Starts a transaction if SQLite has none, so that the rollback has something to end.
                let healed = connection.execute("SAVEPOINT sync_heal").await.is_ok()
                    && Manager::rollback(&mut connection).await.is_ok();
                if !healed {
                    tracing::warn!("the writing connection could not be brought back and is replaced");
                    connection.close_on_drop();
                    return;
                }
            }
        }
    }
}

impl PooledTransaction {
    pub(super) fn dialect(&self) -> Dialect {
        self.pools.dialect
    }

    pub(super) async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        query(&self.inner, self.dialect(), sql).await
    }

    pub(super) async fn run(&self, sql: Sql) -> Result<()> {
        let done = self.inner.execute_raw(statement(self.dialect(), sql)).await;
        done.map(drop).map_err(|error| from_db(&error, self.dialect()))
    }

    /// Runs a script of statements without values.
    pub(super) async fn script(&self, text: &str) -> Result<()> {
        let done = self.inner.execute_unprepared(text).await;
        done.map(drop)
            .map_err(|error| from_db(&error, self.pools.dialect))
    }

    /// Runs statements whose answers are of no interest, in order. On SQLite they travel to the worker thread
    /// together, since each trip costs more than the statement itself.
    pub(super) async fn run_all(&self, statements: Vec<Sql>) -> Result<()> {
        if self.pools.dialect != Dialect::Sqlite {
            for sql in statements {
                self.run(sql).await?;
            }
            return Ok(());
        }
        let mut statements = statements.into_iter().peekable();
        while let Some(mut script) = statements.next() {
            while let Some(next) =
                statements.next_if(|next| script.width() + next.width() <= MAX_SCRIPT_PARAMS)
            {
                script.append(next);
            }
            self.run(script).await?;
        }
        Ok(())
    }

    /// On servers: how many commits there were before this one.
    pub(super) fn counter(&self) -> Option<i64> {
        self.commits
    }

    /// Counts this commit, and returns what [`crate::notify::Notifier`] will see as the state after it. SQLite
    /// counts by itself, and only the commits of others.
    pub(super) async fn advance_counter(&self, before: i64) -> Result<i64> {
        let Some(commits) = self.commits else {
            return Ok(before);
        };
        let mut sql = Sql::new(self.pools.dialect, "UPDATE sync_meta SET value = ");
        sql.bind((commits + 1).to_string())
            .push(" WHERE name = 'commits'");
        self.run(sql).await?;
        Ok(commits + 1)
    }

    /// Runs a write and ends the transaction.
    async fn carry_out<W: Write>(self, write: &W) -> Result<W::Answer> {
        match write.run(Transaction::Pooled(&self)).await {
            Ok(Step::Commit(draft)) => {
                self.commit().await?;
                Ok(write.committed(draft))
            }
            Ok(Step::Undo(answer)) => {
                self.rollback().await;
                Ok(answer)
            }
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Makes the changes durable.
    async fn commit(self) -> Result<()> {
        let Self { inner, pools, .. } = self;
        match inner.commit().await {
            Ok(()) => Ok(()),
            Err(error) => {
                pools.heal_writer().await;
                Err(from_db(&error, pools.dialect))
            }
        }
    }

    /// Gives the changes up. Failures are not told: the database gives up an unfinished transaction anyway.
    async fn rollback(self) {
        let Self { inner, pools, .. } = self;
        if inner.rollback().await.is_err() {
            pools.heal_writer().await;
        }
    }

    /// Commits after success, rolls back after an error.
    pub(super) async fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.rollback().await;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::time::Duration;

    use sync_core::ErrorKind;

    use super::*;
    use crate::{
        OpenOptions, SqliteDriver,
        driver::{Database, Driver},
        open,
    };

    fn pools(database: &Database) -> &Pools {
        match &database.driver {
            Driver::Pooled(pools) => pools,
            #[cfg(feature = "rusqlite")]
            Driver::Direct(_) => panic!("the options name the other driver"),
        }
    }

    /// Whether a writing transaction that has written nothing yet holds the lock already.
    async fn locks_at_once(database: &Pools, other: &Pools) -> bool {
        let transaction = database.begin_write().await.unwrap();
        let locked_out = other
            .begin_write()
            .await
            .is_err_and(|error| error.kind() == ErrorKind::Busy);
        transaction.commit().await.unwrap();
        locked_out
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_leaves_the_writer_as_it_was() {
        let folder = tempfile::TempDir::new().unwrap();
        let options = OpenOptions::file(folder.path().join("store.db"))
            .sqlite_driver(SqliteDriver::Sqlx)
            .busy_timeout(Duration::from_millis(20));
        let database = open::open(&options).await.unwrap().database;
        let other = open::open(&options).await.unwrap().database;
        let (database, other) = (pools(&database), pools(&other));
        assert!(locks_at_once(database, other).await);

        let transaction = database.begin_write().await.unwrap();
        transaction.script("ROLLBACK").await.unwrap();
        transaction.rollback().await;
        assert!(locks_at_once(database, other).await, "after a failed rollback");

        let transaction = database.begin_write().await.unwrap();
        transaction.script("ROLLBACK").await.unwrap();
        transaction.commit().await.unwrap_err();
        assert!(locks_at_once(database, other).await, "after a failed commit");
    }
}
