//! Opening connections, with the settings of readers and writers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use sync_core::{ErrorKind, Result, SyncError};

use super::{
    DirectDatabase, Idle, Readers,
    checkpoint::{self, Checkpoints},
    committer::Committer,
    writer::Writer,
};
use crate::{
    error::from_rusqlite,
    options::{Durability, OpenOptions},
};

/// Statements that stay prepared, for each connection.
const STATEMENTS: usize = 256;

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Memory,
    File(PathBuf),
}

/// How connections to one database are opened.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    place: Place,
    durability: Durability,
    busy_timeout: Duration,
    cache_kib: u32,
    pub(super) wal_pages: u32,
    vfs: Option<String>,
}

impl Settings {
    /// Whether a commit ends without waiting for the disk.
    fn commits_without_waiting(&self) -> bool {
        matches!(self.place, Place::Memory) || self.durability == Durability::Normal
    }
}

/// Opens a database; makes the file if there is none.
pub(crate) async fn open(options: &OpenOptions, place: Place) -> Result<DirectDatabase> {
    let settings = Settings {
        place,
        durability: options.durability,
        busy_timeout: options.busy_timeout,
        cache_kib: options.cache_kib,
        wal_pages: options.wal_pages,
        vfs: options.vfs.clone(),
    };
    let most = usize::try_from(options.readers).unwrap_or(usize::MAX);
    let opened = tokio::task::spawn_blocking(move || {
        let connection = Arc::new(Mutex::new(writer(&settings)?));
        let committer = Committer::new(
            Arc::clone(&connection),
            Checkpoints::new(settings.clone()),
            settings.busy_timeout,
        );
        let is_quick = settings.commits_without_waiting();
        let readers = match settings.place {
            Place::Memory => Readers::Writer(connection),
            Place::File(_) => Readers::Own(
                Arc::new(Idle {
                    settings,
                    connections: Mutex::default(),
                    most,
                    needed: AtomicBool::new(false),
                }),
                Arc::downgrade(&connection),
            ),
        };
        let writer = Writer::new(committer, is_quick);
        Ok(DirectDatabase { writer, readers })
    });
    opened.await.unwrap_or_else(|error| {
        Err(SyncError::new(
            ErrorKind::Internal,
            format!("opening ended early: {error}"),
        ))
    })
}

/// Opens a connection for writing.
fn writer(settings: &Settings) -> Result<Connection> {
    // Switching a new file to WAL does not honour the busy timeout when two processes do it together. Real time, as
    // SQLite's own busy timeout, which this stands in for: other processes do not know ours.
    let deadline = Instant::now() + settings.busy_timeout;
    loop {
        match try_writer(settings).map_err(|error| from_rusqlite(&error)) {
            Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn try_writer(settings: &Settings) -> rusqlite::Result<Connection> {
    let connection = connect(settings, OpenFlags::SQLITE_OPEN_CREATE)?;
    if let Place::File(_) = settings.place {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous(settings))?;
        connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
        checkpoint::count_pages(&connection);
    }
    Ok(connection)
}

fn synchronous(settings: &Settings) -> &'static str {
    match settings.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    }
}

/// Opens a connection that moves pages from the write-ahead log into the file.
pub(super) fn checkpointer(settings: &Settings) -> Result<Connection> {
    let open = || {
        let connection = connect(settings, OpenFlags::empty())?;
        connection.pragma_update(None, "synchronous", synchronous(settings))?;
        Ok(connection)
    };
    open().map_err(|error| from_rusqlite(&error))
}

/// Opens a connection for reading.
pub(super) fn reader(settings: &Settings) -> Result<Connection> {
    let open = || {
        let connection = connect(settings, OpenFlags::empty())?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| from_rusqlite(&error))
}

fn connect(settings: &Settings, more: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread at a time uses a connection, so SQLite needs no lock of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = match (&settings.place, &settings.vfs) {
        (Place::Memory, _) => Connection::open_in_memory_with_flags(flags)?,
        (Place::File(path), None) => Connection::open_with_flags(path, flags)?,
        (Place::File(path), Some(vfs)) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
    };
    connection.busy_timeout(settings.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan must not depend on bound values: SQLite would plan such statements anew at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -i64::from(settings.cache_kib))?;
    Ok(connection)
}
