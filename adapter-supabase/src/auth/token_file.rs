//! A sign-in in a file.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sync_core::{ErrorKind, Result, SyncError, Timer};
use sync_http::{CredentialStore, Credentials};

use crate::error::ADAPTER;

/// The pause between two looks at a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A refresh takes no longer than its deadline, so whoever holds the lock for so long is stuck.
const LOCK_LOOKS: u32 = 3_000;

/// Keeps a sign-in in a file, which processes may share.
///
/// The file is replaced as a whole, on the disk before a call returns, and readable by its owner only. Beside it is a
/// file with the ending `.lock`; whoever renews the tokens holds its lock, which ends with the process. The tokens in
/// the file are not encrypted: where the platform has a keychain, a [`CredentialStore`] on that is the better place.
#[derive(Clone)]
pub struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    timer: Arc<dyn Timer>,
    /// What this process wrote last.
    written: Mutex<Option<Credentials>>,
}

/// The lock of a file. Dropping it lets go.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "an open file holds the lock")] File);

impl TokenFile {
    /// The file at `path`, which need not be there yet. Its folder must be.
    pub fn new(path: impl Into<PathBuf>, timer: Arc<dyn Timer>) -> Self {
        Self(Arc::new(Inner {
            path: path.into(),
            timer,
            written: Mutex::default(),
        }))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.0.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    fn written(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the lock.
    pub(super) async fn lock(&self) -> Result<Lock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.beside(".lock"))
            .map_err(|error| unusable(&error))?;
        for _ in 0..LOCK_LOOKS {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) => self.0.timer.sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(unusable(&error)),
            }
        }
        let why = "another process renews the sign-in and does not come to an end";
        Err(SyncError::new(ErrorKind::Busy, why).with_adapter(ADAPTER))
    }

    pub(super) fn read(&self) -> Result<Option<Credentials>> {
        let text = match fs::read(&self.0.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&error)),
        };
        // The message of the parser may quote the file, so it is not passed on.
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            SyncError::new(
                ErrorKind::Malformed,
                "the file of the sign-in cannot be read; sign in again",
            )
            .with_adapter(ADAPTER)
        })
    }

    pub(super) fn write(&self, credentials: &Credentials) -> Result<()> {
        let text =
            serde_json::to_vec(credentials).map_err(|error| SyncError::malformed("credentials", error))?;
        self.replace(&text).map_err(|error| unusable(&error))?;
        *self.written() = Some(credentials.clone());
        Ok(())
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let draft = self.beside(".new");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&draft, &self.0.path)?;
        #[cfg(unix)]
        File::open(folder(&self.0.path))?.sync_all()?;
        Ok(())
    }
}

#[cfg(unix)]
fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[async_trait]
impl CredentialStore for TokenFile {
    async fn load(&self) -> Result<Option<Credentials>> {
        self.read()
    }

    async fn save(&self, credentials: &Credentials) -> Result<()> {
        // Written while they were renewed; another process may have renewed them again since.
        if self.written().as_ref() == Some(credentials) {
            return Ok(());
        }
        let lock = self.lock().await?;
        let saved = self.write(credentials);
        drop(lock);
        saved
    }

    async fn clear(&self) -> Result<()> {
        let lock = self.lock().await?;
        *self.written() = None;
        let removed = match fs::remove_file(&self.0.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&error)),
            _ => Ok(()),
        };
        drop(lock);
        removed
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

fn unusable(error: &io::Error) -> SyncError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => ErrorKind::ReadOnly,
        _ => ErrorKind::Configuration,
    };
    SyncError::new(kind, format!("the file of the sign-in cannot be used: {error}")).with_adapter(ADAPTER)
}
