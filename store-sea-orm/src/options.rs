//! How a store is opened.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::time::Duration;

/// What a commit that was acknowledged survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power. SQLite waits for the disk at every commit.
    #[default]
    Full,
    /// The end of the process. At a loss of power the last acknowledged writes may be gone; the store is never
    /// damaged. Several times faster for single writes.
    Normal,
}

/// What calls SQLite for a store that [`OpenOptions::file`] or [`OpenOptions::memory`] opens.
#[cfg(feature = "sqlite")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqliteDriver {
    /// rusqlite, in the process: a thread of the store makes writes and commits those that wait together, but for short
    /// ones that need not wait for the disk ([`Durability::Normal`], and stores in memory); those and reads of a few
    /// records happen in the calling task, other reads on tokio's threads for blocking work.
    #[cfg(feature = "rusqlite")]
    #[default]
    Direct,
    /// sea-orm over sqlx: a thread for each connection.
    #[cfg_attr(not(feature = "rusqlite"), default)]
    Sqlx,
}

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Location {
    #[cfg(feature = "sqlite")]
    Memory,
    #[cfg(feature = "sqlite")]
    File(PathBuf),
    Url(String),
}

/// How many bytes of memory a store may take for what it read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheSizes {
    /// For records that were read by id.
    pub(crate) records: usize,
    /// For fields that queries asked for.
    #[cfg_attr(
        not(feature = "rusqlite"),
        expect(dead_code, reason = "only that driver has tables")
    )]
    pub(crate) columns: usize,
}

impl CacheSizes {
    pub(crate) fn of(options: &OpenOptions) -> Self {
        let bytes = |kib: u32| usize::try_from(kib).unwrap_or(usize::MAX).saturating_mul(1_024);
        Self {
            records: bytes(options.record_cache_kib),
            columns: bytes(options.query_cache_kib),
        }
    }
}

/// Where a store is and how it is opened.
///
/// ```no_run
/// use store_sea_orm::{Durability, OpenOptions, SeaOrmLocalStore};
/// # async fn open() -> sync_core::Result<()> {
/// let store = SeaOrmLocalStore::open(OpenOptions::file("app.db").durability(Durability::Normal)).await?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OpenOptions {
    pub(crate) location: Location,
    pub(crate) durability: Durability,
    pub(crate) busy_timeout: Duration,
    pub(crate) readers: u32,
    pub(crate) cache_kib: u32,
    #[cfg(feature = "sqlite")]
    pub(crate) wal_pages: u32,
    pub(crate) record_cache_kib: u32,
    pub(crate) query_cache_kib: u32,
    #[cfg(feature = "sqlite")]
    pub(crate) sqlite_driver: SqliteDriver,
    #[cfg(feature = "sqlite")]
    pub(crate) vfs: Option<String>,
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("OpenOptions");
        match &self.location {
            #[cfg(feature = "sqlite")]
            Location::Memory => debug.field("location", &"memory"),
            #[cfg(feature = "sqlite")]
            Location::File(path) => debug.field("location", path),
            // A URL may hold a password.
            Location::Url(url) => debug.field("location", &url.split(':').next().unwrap_or_default()),
        };
        debug
            .field("durability", &self.durability)
            .field("busy_timeout", &self.busy_timeout)
            .field("readers", &self.readers)
            .field("cache_kib", &self.cache_kib)
            .field("record_cache_kib", &self.record_cache_kib)
            .field("query_cache_kib", &self.query_cache_kib)
            .finish()
    }
}

impl OpenOptions {
    fn at(location: Location) -> Self {
        Self {
            location,
            durability: Durability::default(),
            busy_timeout: Duration::from_secs(10),
            readers: 4,
            cache_kib: 16 * 1024,
            #[cfg(feature = "sqlite")]
            wal_pages: 8_000,
            record_cache_kib: 8 * 1024,
            query_cache_kib: 16 * 1024,
            #[cfg(feature = "sqlite")]
            sqlite_driver: SqliteDriver::default(),
            #[cfg(feature = "sqlite")]
            vfs: None,
        }
    }

    /// An SQLite store in memory, gone when it is dropped.
    #[cfg(feature = "sqlite")]
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    /// An SQLite store in a file, made if it is missing. The folder must exist.
    #[cfg(feature = "sqlite")]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Location::File(path.into()))
    }

    /// A store at a URL: `sqlite:app.db?mode=ro`, `sqlite::memory:`, `postgres://...`, `mysql://...`; the last two
    /// with the feature of the same name.
    ///
    /// The parameters of an SQLite URL (`mode`, `immutable`, `vfs`) are honoured; without `mode` the file must exist.
    pub fn url(url: impl Into<String>) -> Self {
        Self::at(Location::Url(url.into()))
    }

    /// What commits survive; [`Durability::Full`] unless told otherwise. SQLite only, servers have their own setting.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long to wait for a lock that another program holds before failing with `Busy`; 10 seconds by default.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many connections read at the same time; 4 by default, at least 1. A store in memory has one connection
    /// for everything.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How much memory each SQLite connection may use as page cache, in KiB; 16 MiB by default.
    #[must_use]
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// How long SQLite's write-ahead log may get before its pages are moved into the database file, in pages of 4 KiB
    /// (see [`wal_autocheckpoint`](https://sqlite.org/pragma.html#pragma_wal_autocheckpoint)); 8,000 by default, at
    /// least 1. A page that is written again before that is moved once. [`SqliteDriver::Direct`] begins earlier, on a
    /// thread of its own, and only makes writes wait if the log gets twice as long.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn wal_pages(mut self, pages: u32) -> Self {
        self.wal_pages = pages.max(1);
        self
    }

    /// How much memory may hold records that were read by id, or by a query of at most 100 records that an index answers,
    /// so that they need not be read again, in KiB; 8 MiB by default, 0 for none. Writes of other processes are noticed. [`SqliteDriver::Direct`] only.
    #[must_use]
    pub fn record_cache_kib(mut self, kib: u32) -> Self {
        self.record_cache_kib = kib;
        self
    }

    /// How much memory may hold values of fields that queries without an index asked for, so that the next such query
    /// need not read all records, in KiB, about; 16 MiB by default, 0 for none. A record takes about 60 bytes and 16
    /// for each field, besides its id and texts. While a table is made anew, up to half as much again is taken for a
    /// moment. Writes of other processes are noticed. [`SqliteDriver::Direct`] only.
    #[must_use]
    pub fn query_cache_kib(mut self, kib: u32) -> Self {
        self.query_cache_kib = kib;
        self
    }

    /// What calls SQLite for a file or a store in memory; the default of [`SqliteDriver`] unless told otherwise.
    /// Stores opened by URL use sqlx.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite_driver(mut self, driver: SqliteDriver) -> Self {
        self.sqlite_driver = driver;
        self
    }

    /// The name of the SQLite VFS that a file is opened with, if not SQLite's default. It must be registered.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn vfs(mut self, name: impl Into<String>) -> Self {
        self.vfs = Some(name.into());
        self
    }
}
