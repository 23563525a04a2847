//! Connecting: pools, settings, and the check of what is found.

use std::time::Duration;

use sea_orm::{ConnectOptions, DatabaseConnection};
use sync_core::{ErrorKind, Result, SyncError};

#[cfg(feature = "rusqlite")]
use crate::driver::direct;
#[cfg(feature = "sqlite")]
use crate::options::Durability;
#[cfg(feature = "rusqlite")]
use crate::options::SqliteDriver;
use crate::{
    dialect::Dialect,
    driver::{Database, pooled::Pools},
    error::from_db,
    options::{Location, OpenOptions},
    schema::migrations::{Neighbours, STEPS, migrate},
};

/// How long a pool may be waited for. Writers wait for each other here, so it is longer than any one of them takes.
const POOL_PATIENCE: Duration = Duration::from_secs(60);

/// A database that is ready for use.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) durable: bool,
}

pub(crate) async fn open(options: &OpenOptions) -> Result<Opened> {
    let opened = connect(options).await?;
    let checked = match opened.database.dialect {
        // A file is ours alone; a database on a server is often shared.
        Dialect::Sqlite => migrate(&opened.database, STEPS, Neighbours::Refused).await,
        Dialect::Postgres | Dialect::MySql => migrate(&opened.database, STEPS, Neighbours::Welcome).await,
    };
    if let Err(error) = checked {
        opened.database.close().await;
        return Err(error);
    }
    Ok(opened)
}

/// Takes over a connection that the app opened, and makes our tables beside its own.
pub(crate) async fn adopt(connection: DatabaseConnection) -> Result<Opened> {
    let dialect = Dialect::of(connection.get_database_backend()).ok_or_else(|| {
        SyncError::new(
            ErrorKind::Configuration,
            "the store needs SQLite, PostgreSQL or MySQL",
        )
    })?;
    let database = Database::pooled(Pools::new(dialect, connection.clone(), connection));
    migrate(&database, STEPS, Neighbours::Welcome).await?;
    Ok(Opened {
        database,
        durable: true,
    })
}

async fn connect(options: &OpenOptions) -> Result<Opened> {
    match &options.location {
        #[cfg(feature = "rusqlite")]
        Location::Memory if options.sqlite_driver == SqliteDriver::Direct => {
            connect_directly(options, direct::Place::Memory, false).await
        }
        #[cfg(feature = "rusqlite")]
        Location::File(path) if options.sqlite_driver == SqliteDriver::Direct => {
            connect_directly(options, direct::Place::File(path.clone()), true).await
        }
        #[cfg(feature = "sqlite")]
        Location::Memory => connect_memory(options).await,
        #[cfg(feature = "sqlite")]
        Location::File(path) => {
            let (path, vfs) = (path.clone(), options.vfs.clone());
            let file = move |settings: sqlx::sqlite::SqliteConnectOptions| {
                let settings = settings.filename(&path).create_if_missing(true);
                match &vfs {
                    Some(vfs) => settings.vfs(vfs.clone()),
                    None => settings,
                }
            };
            // The path is set afterwards, so that it may hold any character.
            connect_file(options, "sqlite:store.db", file, false).await
        }
        Location::Url(url) => connect_url(options, url).await,
    }
}

#[cfg(feature = "rusqlite")]
async fn connect_directly(options: &OpenOptions, place: direct::Place, durable: bool) -> Result<Opened> {
    let database = Database::direct(direct::open(options, place).await?);
    Ok(Opened { database, durable })
}

async fn connect_url(options: &OpenOptions, url: &str) -> Result<Opened> {
    #[cfg(feature = "sqlite")]
    if url.starts_with("sqlite:") {
        if url.contains(":memory:") || url.contains("mode=memory") {
            return connect_memory(options).await;
        }
        let read_only =
            url.contains("mode=ro") || url.contains("immutable=1") || url.contains("immutable=true");
        return connect_file(options, url, |settings| settings, read_only).await;
    }
    let server = base_options(url, options.readers + 1);
    let connection = sea_orm::Database::connect(server)
        .await
        .map_err(|error| connect_error(&error, url))?;
    let dialect = Dialect::of(connection.get_database_backend()).ok_or_else(|| {
        SyncError::new(
            ErrorKind::Configuration,
            "the store needs SQLite, PostgreSQL or MySQL",
        )
    })?;
    Ok(Opened {
        database: Database::pooled(Pools::new(dialect, connection.clone(), connection)),
        durable: true,
    })
}

fn connect_error(error: &sea_orm::DbErr, url: &str) -> SyncError {
    let dialect = match url.split(':').next() {
        Some("postgres" | "postgresql") => Dialect::Postgres,
        Some("mysql" | "mariadb") => Dialect::MySql,
        _ => Dialect::Sqlite,
    };
    let converted = from_db(error, dialect);
    if converted.kind() != ErrorKind::Internal {
        return converted;
    }
    SyncError::new(
        ErrorKind::Configuration,
        format!(
            "{}; check the URL and that the crate has the feature for this database",
            converted.message()
        ),
    )
}

fn base_options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(POOL_PATIENCE)
        .connect_timeout(POOL_PATIENCE)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .test_before_acquire(false);
    options
}

/// One connection for everything, kept for the life of the store: a second one would be another database, and one
/// that the pool retires takes the data with it.
#[cfg(feature = "sqlite")]
async fn connect_memory(options: &OpenOptions) -> Result<Opened> {
    let mut memory = base_options("sqlite::memory:", 1);
    memory.min_connections(1).idle_timeout(None).max_lifetime(None);
    let cache_kib = options.cache_kib;
    memory.map_sqlx_sqlite_opts(move |settings| {
        settings
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", format!("-{cache_kib}"))
            .statement_cache_capacity(256)
    });
    let connection = sea_orm::Database::connect(memory)
        .await
        .map_err(|error| from_db(&error, Dialect::Sqlite))?;
    let database = Database::pooled(Pools::new(Dialect::Sqlite, connection.clone(), connection));
    Ok(Opened {
        database,
        durable: false,
    })
}

#[cfg(feature = "sqlite")]
async fn connect_file(
    options: &OpenOptions,
    url: &str,
    file: impl Fn(sqlx::sqlite::SqliteConnectOptions) -> sqlx::sqlite::SqliteConnectOptions
    + Clone
    + Send
    + Sync
    + 'static,
    read_only: bool,
) -> Result<Opened> {
    let writer = pool(options, url, file.clone(), Access::Writer { read_only }).await?;
    match pool(options, url, file, Access::Reader).await {
        Ok(readers) => {
            let database = Database::pooled(Pools::new(Dialect::Sqlite, writer, readers));
            Ok(Opened {
                database,
                durable: true,
            })
        }
        Err(error) => {
            if let Err(error) = writer.close_by_ref().await {
                tracing::warn!(%error, "a connection did not close cleanly");
            }
            Err(error)
        }
    }
}

#[cfg(feature = "sqlite")]
#[derive(Clone, Copy, Debug)]
enum Access {
    Writer { read_only: bool },
    Reader,
}

#[cfg(feature = "sqlite")]
async fn pool(
    options: &OpenOptions,
    url: &str,
    file: impl Fn(sqlx::sqlite::SqliteConnectOptions) -> sqlx::sqlite::SqliteConnectOptions
    + Clone
    + Send
    + Sync
    + 'static,
    access: Access,
) -> Result<DatabaseConnection> {
    use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

    let connections = if matches!(access, Access::Reader) {
        options.readers
    } else {
        1
    };
    let mut pool = base_options(url, connections);
    // A reader that is not needed yet costs a thread and a file handle.
    pool.connect_lazy(matches!(access, Access::Reader))
        .idle_timeout(None)
        .max_lifetime(None);
    let (durability, busy_timeout, cache_kib) = (options.durability, options.busy_timeout, options.cache_kib);
    let wal_pages = options.wal_pages;
    pool.map_sqlx_sqlite_opts(move |settings| {
        let settings = file(settings)
            .busy_timeout(busy_timeout)
            .statement_cache_capacity(256)
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", format!("-{cache_kib}"))
            .synchronous(match durability {
                Durability::Full => SqliteSynchronous::Full,
                Durability::Normal => SqliteSynchronous::Normal,
            });
        match access {
            Access::Writer { read_only: false } => settings
                .journal_mode(SqliteJournalMode::Wal)
                .pragma("wal_autocheckpoint", wal_pages.to_string())
                .pragma("journal_size_limit", "67108864"),
            Access::Writer { read_only: true } => settings,
            Access::Reader => settings.pragma("query_only", "ON"),
        }
    });
    // Real time, as SQLite's own busy timeout, which this stands in for: other processes do not know ours.
    let deadline = tokio::time::Instant::now() + options.busy_timeout;
    loop {
        match sea_orm::Database::connect(pool.clone()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                let error = from_db(&error, Dialect::Sqlite);
                // Switching a new file to WAL does not honour the busy timeout when two processes do it together.
                if error.kind() != ErrorKind::Busy || tokio::time::Instant::now() >= deadline {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
