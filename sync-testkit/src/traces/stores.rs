//! The stores that traces run on.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::{fmt, sync::Arc};

use adapter_memory::MemoryLocalStore;
use sync_core::{LocalStore, Result};

/// Which local store the clients of a trace have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// The reference store in memory.
    #[default]
    Memory,
    /// The persistent store, in a real file for each client.
    #[cfg(feature = "sqlite")]
    Sqlite,
}

impl StoreKind {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "sqlite",
        }
    }

    /// The kind with this name, if this build has it.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "memory" => Some(Self::Memory),
            #[cfg(feature = "sqlite")]
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }
}

/// Where the stores of one trace are. Dropped, they are gone.
#[derive(Debug)]
pub(super) enum StoreHouse {
    Memory,
    #[cfg(feature = "sqlite")]
    Files(tempfile::TempDir),
}

impl StoreHouse {
    pub(super) fn new(kind: StoreKind) -> Result<Self> {
        match kind {
            StoreKind::Memory => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            StoreKind::Sqlite => tempfile::tempdir().map(Self::Files).map_err(|error| {
                sync_core::SyncError::new(sync_core::ErrorKind::Configuration, "there is no room for files")
                    .with_source(error)
            }),
        }
    }

    /// The store of the `number`-th client.
    pub(super) fn opener(&self, number: usize) -> StoreOpener {
        match self {
            Self::Memory => {
                let _ = number;
                StoreOpener::Memory(MemoryLocalStore::new())
            }
            #[cfg(feature = "sqlite")]
            Self::Files(folder) => StoreOpener::File(folder.path().join(format!("client-{number}.db"))),
        }
    }
}

/// Opens one client's store, again and again.
#[derive(Clone)]
pub(super) enum StoreOpener {
    Memory(MemoryLocalStore),
    #[cfg(feature = "sqlite")]
    File(PathBuf),
}

impl fmt::Debug for StoreOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory",
            #[cfg(feature = "sqlite")]
            Self::File(_) => "File",
        })
    }
}

impl StoreOpener {
    pub(super) async fn open(&self) -> Result<Arc<dyn LocalStore>> {
        match self {
            Self::Memory(store) => Ok(Arc::new(store.reopen())),
            #[cfg(feature = "sqlite")]
            Self::File(path) => {
                // Processes end in traces, power does not.
                let options = store_sea_orm::OpenOptions::file(path)
                    .durability(store_sea_orm::Durability::Normal)
                    .readers(1);
                Ok(Arc::new(store_sea_orm::SeaOrmLocalStore::open(options).await?))
            }
        }
    }
}
