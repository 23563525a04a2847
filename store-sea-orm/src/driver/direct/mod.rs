//! The driver that calls SQLite within the process.
//!
//! All writes use one connection. Short ones that need not wait for the disk are made in the calling task, since that
//! takes less time than waking another thread; others go through one thread, which commits those that wait together.
//! Reads use connections of their own: a few records in the calling task too, anything larger on tokio's threads for
//! blocking work. A store in memory has one connection, and the writer's thread does the reading too.

mod checkpoint;
mod committer;
mod connect;
mod statement;
#[cfg(test)]
mod tests;
mod visit;
mod writer;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
    atomic::{AtomicBool, Ordering},
};

use futures::FutureExt;
use sync_core::{ErrorKind, RecordKey, Result, SyncError};

use self::{connect::Settings, writer::Writer};
pub(crate) use self::{
    connect::{Place, open},
    statement::Bound,
    visit::VisitedRow,
};
use super::{Statement, Write};
use crate::{
    dialect::Dialect,
    row::Row,
    sql::{Param, Sql},
};

/// Asks for a number that grows whenever another connection commits.
const DATA_VERSION: &str = "PRAGMA data_version";

/// How large [`SmallCache`] is. Less is slower: pages in use are written and read again.
const SMALL_CACHE_KIB: u32 = 8 * 1_024;

/// One SQLite database, opened by this crate.
#[derive(Debug)]
pub(crate) struct DirectDatabase {
    writer: Writer,
    readers: Readers,
}

/// Where reads get their connections from.
#[derive(Clone, Debug)]
enum Readers {
    /// The writer's connection, the only one there is.
    Writer(Arc<Mutex<rusqlite::Connection>>),
    /// Connections of their own, and the writer's, which tells the commits of others from ours.
    Own(Arc<Idle>, Weak<Mutex<rusqlite::Connection>>),
}

/// Connections for reading that nobody uses at the moment.
#[derive(Debug)]
struct Idle {
    settings: Settings,
    connections: Mutex<Vec<OwnConnection>>,
    /// How many are kept.
    most: usize,
    /// Whether there was one ever.
    needed: AtomicBool,
}

/// Boxed, so that it is not copied when it is taken and given back.
type OwnConnection = Box<Mutex<rusqlite::Connection>>;

/// A connection taken from [`Readers`], until it is dropped.
#[derive(Debug)]
enum Lent {
    Shared(Arc<Mutex<rusqlite::Connection>>),
    Own {
        connection: Option<OwnConnection>,
        home: Arc<Idle>,
    },
}

/// The writer's connection, for a moment between two transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peek<'a>(&'a rusqlite::Connection);

/// A transaction under way. One for reading is rolled back when it is dropped; one for writing is ended by the
/// writer's thread.
#[derive(Debug)]
pub(crate) struct DirectTransaction {
    connection: Lent,
    ends_by_itself: bool,
    /// Set by everything but the plain reads of the hot paths.
    may_have_written: AtomicBool,
}

/// A page cache that is kept small, until this is dropped.
#[derive(Debug)]
pub(crate) struct SmallCache<'a> {
    connection: &'a Lent,
    /// What `PRAGMA cache_size` said before.
    usual: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // SQLite keeps its own state whole; a panic elsewhere does not harm it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], unless somebody has it.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Runs work whose every step ends at once, as all statements of this driver do.
fn finish_now<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    work.now_or_never().unwrap_or_else(|| {
        Err(SyncError::new(
            ErrorKind::Internal,
            "a statement waited where none may wait",
        ))
    })
}

impl DirectDatabase {
    /// Runs a statement that reads, at once.
    pub(super) fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        self.with_reader(false, |connection| statement::rows(connection, sql))
    }

    /// As [`DirectDatabase::rows`], for a few rows.
    pub(super) fn few_rows(&self, sql: Sql) -> Result<Vec<Row>> {
        self.with_reader(true, |connection| statement::rows(connection, sql))
    }

    /// Runs one statement that reads, on the writer's connection if that is free and the statement reads `few` rows:
    /// its page cache holds what was written last, while others give theirs up with each commit. As long as no
    /// connection for reading was needed it serves any statement, which spares a program that starts the opening of
    /// another.
    fn with_reader<T>(&self, few: bool, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        if let Readers::Own(idle, writer) = &self.readers
            && (few || !idle.needed.load(Ordering::Relaxed))
            && let Some(writer) = writer.upgrade()
            && let Some(connection) = try_lock(&writer)
            // Within a transaction for writing it would see what is not committed.
            && connection.is_autocommit()
        {
            return work(&connection);
        }
        self.readers.take()?.with(work)
    }

    /// Runs a statement at once, and shows its rows where they lie.
    pub(super) fn visit(&self, sql: Sql, visit: &mut dyn FnMut(&VisitedRow<'_>) -> Result<()>) -> Result<()> {
        let (text, params) = sql.into_parts();
        self.with_reader(false, |connection| visit::rows(connection, &text, &params, visit))
    }

    /// How many commits of others SQLite has noticed; `None` if the writer is busy.
    pub(super) fn commits_of_others(&self) -> Option<i64> {
        match &self.readers {
            // Nobody else can reach a store in memory.
            Readers::Writer(_) => Some(0),
            Readers::Own(_, writer) => {
                let writer = writer.upgrade()?;
                let connection = try_lock(&writer)?;
                statement::pragma(&connection, DATA_VERSION).ok()
            }
        }
    }

    /// The same, after the writer's statement under way; `None` once the store is closed.
    pub(super) fn wait_for_commits_of_others(&self) -> Option<i64> {
        match &self.readers {
            Readers::Writer(_) => Some(0),
            Readers::Own(_, writer) => {
                let writer = writer.upgrade()?;
                statement::pragma(&lock(&writer), DATA_VERSION).ok()
            }
        }
    }

    /// Runs reads of a few rows on the writer's connection, with the number of [`DirectDatabase::commits_of_others`],
    /// all of one state; `None` if the writer is busy. Reading both on one connection takes half the locks of the
    /// operating system that it takes on two.
    pub(super) fn peek<T>(&self, work: impl FnOnce(i64, Peek<'_>) -> T) -> Option<T> {
        let Readers::Own(_, writer) = &self.readers else {
            return None;
        };
        let writer = writer.upgrade()?;
        let connection = try_lock(&writer)?;
        // Within a transaction for writing it would see what is not committed.
        if !connection.is_autocommit() {
            return None;
        }
        let mut statement = connection.prepare_cached(DATA_VERSION).ok()?;
        // SQLite keeps the state until this statement ends.
        let mut rows = statement.query(()).ok()?;
        let others = rows.next().ok()??.get(0).ok()?;
        Some(work(others, Peek(&connection)))
    }

    pub(super) fn answers_at_once(&self) -> bool {
        matches!(self.readers, Readers::Own(..))
    }

    /// Starts a transaction for reading.
    pub(super) fn begin_read(&self) -> Result<DirectTransaction> {
        let connection = self.readers.take()?;
        connection.with(|connection| statement::control(connection, "BEGIN"))?;
        Ok(DirectTransaction {
            connection,
            ends_by_itself: true,
            may_have_written: AtomicBool::new(false),
        })
    }

    /// As [`DirectDatabase::begin_read`]; what is committed from here on is not seen.
    pub(super) fn fix_state(&self) -> Result<DirectTransaction> {
        let transaction = self.begin_read()?;
        // SQLite takes its snapshot with the first read.
        transaction.run(Sql::new(Dialect::Sqlite, "SELECT 1 FROM sync_meta LIMIT 1"))?;
        Ok(transaction)
    }

    pub(super) async fn ask_writer(&self, sql: Sql) -> Result<Vec<Row>> {
        self.writer
            .read(|connection| statement::rows(&lock(connection), sql))
            .await
    }

    /// Runs reads where they do not hold up the calling task's thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if matches!(self.readers, Readers::Writer(_)) {
            return self.writer.read(|_| finish_now(work)).await;
        }
        self.readers.need_own();
        match tokio::task::spawn_blocking(|| finish_now(work)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(SyncError::new(
                ErrorKind::Internal,
                format!("a read ended early: {error}"),
            )),
        }
    }

    /// Runs reads of a few records.
    pub(super) async fn read_few<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.readers {
            Readers::Writer(_) => self.writer.read(|_| finish_now(work)).await,
            Readers::Own(..) => finish_now(work),
        }
    }

    pub(super) async fn write<W: Write>(&self, write: W, keep: impl Send + 'static) -> Result<W::Answer> {
        self.writer.write(write, keep).await
    }

    /// Ends the writer's thread after what it has to do, and closes the connections.
    pub(super) async fn close(&self) {
        self.writer.close().await;
        if let Readers::Own(idle, _) = &self.readers {
            lock(&idle.connections).clear();
        }
    }
}

impl Readers {
    /// Keeps reads away from the writer's connection from now on: more than single statements are read.
    fn need_own(&self) {
        if let Self::Own(idle, _) = self {
            idle.needed.store(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Result<Lent> {
        self.need_own();
        match self {
            Self::Writer(connection) => Ok(Lent::Shared(Arc::clone(connection))),
            Self::Own(idle, _) => {
                let kept = lock(&idle.connections).pop();
                let connection = match kept {
                    Some(connection) => connection,
                    None => Box::new(Mutex::new(connect::reader(&idle.settings)?)),
                };
                Ok(Lent::Own {
                    connection: Some(connection),
                    home: Arc::clone(idle),
                })
            }
        }
    }
}

impl Lent {
    fn with<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        match self {
            Self::Shared(connection) => work(&lock(connection)),
            Self::Own { connection, .. } => {
                let connection = connection.as_ref().expect("taken in drop only");
                work(&lock(connection))
            }
        }
    }
}

impl Peek<'_> {
    /// Runs a statement and shows its rows where they lie.
    pub(crate) fn visit(
        &self,
        text: &str,
        params: &[Param],
        visit: &mut dyn FnMut(&VisitedRow<'_>) -> Result<()>,
    ) -> Result<()> {
        visit::rows(self.0, text, params, visit)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Self::Own { connection, home } = self
            && let Some(connection) = connection.take()
        {
            let mut kept = lock(&home.connections);
            if kept.len() < home.most {
                kept.push(connection);
            }
        }
    }
}

impl DirectTransaction {
    /// Whether there may be something to undo.
    fn may_have_written(&self) -> bool {
        self.may_have_written.load(Ordering::Relaxed)
    }

    /// Notes that a statement is about to run which may write.
    fn note_write(&self) {
        self.may_have_written.store(true, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self, sql: Sql) -> Result<Vec<Row>> {
        self.note_write();
        self.connection
            .with(|connection| statement::rows(connection, sql))
    }

    /// Runs a statement and shows its rows where they lie.
    pub(crate) fn visit(&self, sql: Sql, visit: &mut dyn FnMut(&VisitedRow<'_>) -> Result<()>) -> Result<()> {
        let (text, params) = sql.into_parts();
        self.connection
            .with(|connection| visit::rows(connection, &text, &params, visit))
    }

    pub(super) fn run(&self, sql: Sql) -> Result<()> {
        self.note_write();
        self.connection.with(|connection| statement::run(connection, sql))
    }

    pub(super) fn run_all(&self, statements: Vec<Statement>) -> Result<Vec<RecordKey>> {
        self.note_write();
        for statement in statements {
            let rows = match statement {
                Statement::One(sql) => {
                    self.run(sql)?;
                    continue;
                }
                Statement::Rows(rows) => rows,
            };
            let (text, width) = (rows.shape.of_one(), rows.shape.width());
            let without_effect = self
                .connection
                .with(|connection| statement::run_each(connection, text, &rows.params, width))?;
            if let Some(mut records) = rows.guarded
                && !without_effect.is_empty()
            {
                return Ok(without_effect
                    .into_iter()
                    .rev()
                    .map(|place| records.swap_remove(place))
                    .collect());
            }
        }
        Ok(Vec::new())
    }

    /// See [`statement::rows_each`]. Only for statements that read.
    pub(crate) fn rows_each(
        &self,
        text: &str,
        params: &[Param],
        width: usize,
        take: impl FnMut(usize, &VisitedRow<'_>) -> Result<()>,
    ) -> Result<()> {
        self.connection
            .with(|connection| statement::rows_each(connection, text, params, width, take))
    }

    /// Keeps the page cache small until the answer is dropped: pages that were changed go to the WAL meanwhile.
    pub(crate) fn with_small_cache(&self) -> Result<SmallCache<'_>> {
        self.connection.with(|connection| {
            let usual = statement::pragma(connection, "PRAGMA cache_size")?;
            statement::script(connection, &format!("PRAGMA cache_size = -{SMALL_CACHE_KIB}"))?;
            Ok(SmallCache {
                connection: &self.connection,
                usual,
            })
        })
    }

    /// See [`statement::insert_each`].
    pub(crate) fn insert_each<'a, const N: usize>(
        &self,
        text: &str,
        constants: &[Param],
        rows: impl Iterator<Item = [Bound<'a>; N]>,
    ) -> Result<Option<usize>> {
        self.note_write();
        self.connection
            .with(|connection| statement::insert_each(connection, text, constants, rows))
    }

    /// Grows whenever another connection commits.
    pub(super) fn foreign_commits(&self) -> Result<i64> {
        self.connection
            .with(|connection| statement::pragma(connection, DATA_VERSION))
    }

    pub(super) fn script(&self, text: &str) -> Result<()> {
        self.note_write();
        self.connection
            .with(|connection| statement::script(connection, text))
    }

    /// Ends a transaction that only read. A failure to end it has no consequence for what was read.
    pub(super) fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        outcome
    }
}

impl Drop for SmallCache<'_> {
    fn drop(&mut self) {
        let text = format!("PRAGMA cache_size = {}", self.usual);
        let restored = self
            .connection
            .with(|connection| statement::script(connection, &text));
        if let Err(error) = restored {
            tracing::warn!(%error, "the size of the page cache could not be restored");
        }
    }
}

impl Drop for DirectTransaction {
    fn drop(&mut self) {
        if self.ends_by_itself {
            let ended = self
                .connection
                .with(|connection| statement::control(connection, "ROLLBACK"));
            if let Err(error) = ended {
                tracing::warn!(%error, "a transaction for reading did not end cleanly");
            }
        }
    }
}
