//! The thin layer between this crate and sea-orm: run a statement, read a row, hold a transaction.
//!
//! Everything else speaks [`Sql`] and [`Row`], so another driver needs changes here only.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, IsolationLevel, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, Value,
};
use sync_core::Result;

use crate::{
    dialect::Dialect,
    error::{corrupt, from_db},
    row::Row,
    sql::{Param, Sql},
};

/// How many values the statements of one script have at most, together. Larger statements travel alone.
const MAX_SCRIPT_PARAMS: usize = 1_024;

/// A database: one way to write, several to read.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) dialect: Dialect,
    pub(crate) writer: DatabaseConnection,
    pub(crate) readers: DatabaseConnection,
}

/// Anything statements can be run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a, C> {
    inner: &'a C,
    dialect: Dialect,
}

/// A transaction under way. Dropped without [`Transaction::commit`], it is rolled back.
#[derive(Debug)]
pub(crate) struct Transaction {
    inner: DatabaseTransaction,
    database: Database,
    /// On servers: how many commits there were when this one got the write lock.
    commits: Option<i64>,
}

/// What reads need: a pool or a transaction.
#[async_trait::async_trait]
pub(crate) trait Run: Sync {
    fn dialect(&self) -> Dialect;

    /// Runs a statement and returns its rows.
    async fn rows(&self, sql: Sql) -> Result<Vec<Row>>;

    /// Runs a statement and returns how many rows it changed.
    async fn run(&self, sql: Sql) -> Result<u64>;

    /// Runs a statement that has at most one row.
    async fn row(&self, sql: Sql) -> Result<Option<Row>> {
        Ok(self.rows(sql).await?.into_iter().next())
    }
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> Run for Connection<'_, C> {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        let rows = self.inner.query_all_raw(statement(self.dialect, sql)).await;
        let rows = rows.map_err(|error| from_db(&error, self.dialect))?;
        Ok(rows.into_iter().map(|row| Row::new(row, self.dialect)).collect())
    }

    async fn run(&self, sql: Sql) -> Result<u64> {
        let done = self.inner.execute_raw(statement(self.dialect, sql)).await;
        Ok(done
            .map_err(|error| from_db(&error, self.dialect))?
            .rows_affected())
    }
}

#[async_trait::async_trait]
impl Run for Transaction {
    fn dialect(&self) -> Dialect {
        self.database.dialect
    }

    async fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        self.connection().rows(sql).await
    }

    async fn run(&self, sql: Sql) -> Result<u64> {
        self.connection().run(sql).await
    }
}

fn statement(dialect: Dialect, sql: Sql) -> Statement {
    let (text, params) = sql.into_parts();
    let values = params.into_iter().map(|param| match param {
        Param::Int(value) => Value::BigInt(value),
        Param::Float(value) => Value::Double(Some(value)),
        Param::Text(value) => Value::String(value),
        Param::Bytes(value) => Value::Bytes(value),
    });
    Statement::from_sql_and_values(dialect.backend(), text, values)
}

impl Database {
    /// The connections for reading single statements.
    pub(crate) fn reader(&self) -> Connection<'_, DatabaseConnection> {
        Connection {
            inner: &self.readers,
            dialect: self.dialect,
        }
    }

    /// The connection for statements outside a transaction that must see what the writer sees.
    pub(crate) fn writer(&self) -> Connection<'_, DatabaseConnection> {
        Connection {
            inner: &self.writer,
            dialect: self.dialect,
        }
    }

    /// Starts a transaction that holds the write lock from the start, so that it never fails halfway because
    /// another writer came between.
    pub(crate) async fn begin_write(&self) -> Result<Transaction> {
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
                .row(lock)
                .await?
                .ok_or_else(|| corrupt("the write lock is gone"))?;
            transaction.commits = Some(row.parse(0, |text| text.parse().ok())?);
        }
        Ok(transaction)
    }

    /// Starts a transaction for changing the schema; there may be no tables yet.
    pub(crate) async fn begin_schema_change(&self) -> Result<Transaction> {
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
    pub(crate) async fn begin_read(&self) -> Result<Transaction> {
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
    ) -> Result<Transaction> {
        let begun = connection.begin_with_options(options).await;
        let inner = begun.map_err(|error| from_db(&error, self.dialect))?;
        Ok(Transaction {
            inner,
            database: self.clone(),
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

impl Transaction {
    fn connection(&self) -> Connection<'_, DatabaseTransaction> {
        Connection {
            inner: &self.inner,
            dialect: self.database.dialect,
        }
    }

    /// Runs a script of statements without values.
    pub(crate) async fn script(&self, text: &str) -> Result<()> {
        let done = self.inner.execute_unprepared(text).await;
        done.map(drop)
            .map_err(|error| from_db(&error, self.database.dialect))
    }

    /// Runs statements whose answers are of no interest, in order. On SQLite they travel to the worker thread
    /// together, since each trip costs more than the statement itself.
    pub(crate) async fn run_all(&self, statements: Vec<Sql>) -> Result<()> {
        if self.database.dialect != Dialect::Sqlite {
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
    pub(crate) fn counter(&self) -> Option<i64> {
        self.commits
    }

    /// Counts this commit, and returns what [`crate::notify::Notifier`] will see as the state after it. SQLite
    /// counts by itself, and only the commits of others.
    pub(crate) async fn advance_counter(&self, before: i64) -> Result<i64> {
        let Some(commits) = self.commits else {
            return Ok(before);
        };
        let mut sql = Sql::new(self.database.dialect, "UPDATE sync_meta SET value = ");
        sql.bind((commits + 1).to_string())
            .push(" WHERE name = 'commits'");
        self.run(sql).await?;
        Ok(commits + 1)
    }

    /// Makes the changes durable.
    pub(crate) async fn commit(self) -> Result<()> {
        let Self { inner, database, .. } = self;
        match inner.commit().await {
            Ok(()) => Ok(()),
            Err(error) => {
                database.heal_writer().await;
                Err(from_db(&error, database.dialect))
            }
        }
    }

    /// Gives the changes up. Failures are not told: the database gives up an unfinished transaction anyway.
    pub(crate) async fn rollback(self) {
        let Self { inner, database, .. } = self;
        if inner.rollback().await.is_err() {
            database.heal_writer().await;
        }
    }

    /// Commits after success, rolls back after an error.
    pub(crate) async fn finish<T>(self, outcome: Result<T>) -> Result<T> {
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
    use crate::{OpenOptions, open};

    /// Whether a writing transaction that has written nothing yet holds the lock already.
    async fn locks_at_once(database: &Database, other: &Database) -> bool {
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
        let options =
            OpenOptions::file(folder.path().join("store.db")).busy_timeout(Duration::from_millis(20));
        let database = open::open(&options).await.unwrap().database;
        let other = open::open(&options).await.unwrap().database;
        assert!(locks_at_once(&database, &other).await);

        let transaction = database.begin_write().await.unwrap();
        transaction.script("ROLLBACK").await.unwrap();
        transaction.rollback().await;
        assert!(locks_at_once(&database, &other).await, "after a failed rollback");

        let transaction = database.begin_write().await.unwrap();
        transaction.script("ROLLBACK").await.unwrap();
        transaction.commit().await.unwrap_err();
        assert!(locks_at_once(&database, &other).await, "after a failed commit");
    }
}
