//! Where credentials survive a restart.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use sync_core::Result;

use super::credentials::Credentials;

/// Keeps credentials: the app's keychain, a file, a row.
///
/// Processes that share a sign-in share this store. A [`Session`](crate::Session) looks here before it refreshes,
/// and takes what another process put here instead.
#[async_trait]
pub trait CredentialStore: fmt::Debug + Send + Sync + 'static {
    /// What was saved last.
    ///
    /// # Errors
    /// Those of the storage. The session then refreshes without having looked.
    async fn load(&self) -> Result<Option<Credentials>>;

    /// Keeps these credentials in place of the last ones. They are used only after this has returned, so that a
    /// crash never loses the only copy of a token that replaced another.
    ///
    /// # Errors
    /// Those of the storage. The credentials are then used all the same, in this process only.
    async fn save(&self, credentials: &Credentials) -> Result<()>;

    /// Forgets the credentials.
    ///
    /// # Errors
    /// Those of the storage.
    async fn clear(&self) -> Result<()>;
}

/// Keeps credentials in memory: the user signs in again after each start.
#[derive(Debug, Default)]
pub struct MemoryCredentialStore(Mutex<Option<Credentials>>);

impl MemoryCredentialStore {
    /// A store that holds these.
    pub fn with(credentials: Credentials) -> Self {
        Self(Mutex::new(Some(credentials)))
    }

    fn replace(&self, credentials: Option<Credentials>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

#[async_trait]
impl CredentialStore for MemoryCredentialStore {
    async fn load(&self) -> Result<Option<Credentials>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, credentials: &Credentials) -> Result<()> {
        self.replace(Some(credentials.clone()));
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        self.replace(None);
        Ok(())
    }
}
