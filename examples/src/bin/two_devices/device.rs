//! A device: an SQLite file, an engine, and its own connection to the remote.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{
    CachePolicy, CollectionSchema, ConflictQuery, EngineOptions, LocalStore, RawAnswer, ReadOptions,
    RecordId, RecordKey, SyncEngine, SyncScope, Target,
    query::QuerySpec,
    resolve::{ClientWins, FieldMerge, LastWriteWins, ServerWins},
};

use crate::{
    arguments::{Arguments, ResolverChoice},
    backend::{Connection, Network},
    failure::Failure,
    tally::{Tally, settlements},
};

/// One of the two devices.
pub(crate) struct Device {
    pub(crate) name: &'static str,
    pub(crate) engine: SyncEngine,
    pub(crate) store: Arc<SeaOrmLocalStore>,
    pub(crate) target: Target,
    /// What goes wrong between this device and the remote.
    pub(crate) network: Arc<dyn Network>,
    /// What its synchronizations did so far.
    pub(crate) tally: Tally,
}

/// The file of the device `name` in `folder`.
pub(crate) fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("device-{}.db", name.to_ascii_lowercase()))
}

impl Device {
    /// Opens the device `name`, with its file in `folder`.
    pub(crate) async fn open(
        name: &'static str,
        folder: &Path,
        connection: Connection,
        target: &Target,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let store = Arc::new(SeaOrmLocalStore::open(OpenOptions::file(file_of(folder, name))).await?);
        let schema = CollectionSchema::untyped(target.collection.as_str(), &arguments.id)?;
        // Short pauses: nobody wants to watch a demonstration wait.
        let options =
            EngineOptions::default().with_retry(Duration::from_millis(20), Duration::from_millis(500));
        let builder = SyncEngine::builder(Arc::clone(&store) as Arc<dyn LocalStore>, connection.remote);
        let builder = match arguments.resolver {
            ResolverChoice::Lww => builder.register_schema(schema, LastWriteWins),
            ResolverChoice::FieldMerge => builder.register_schema(schema, FieldMerge::new()),
            ResolverChoice::ClientWins => builder.register_schema(schema, ClientWins),
            ResolverChoice::ServerWins => builder.register_schema(schema, ServerWins),
        };
        Ok(Self {
            name,
            engine: builder.options(options).build().await?,
            store,
            target: target.clone(),
            network: connection.network,
            tally: Tally::default(),
        })
    }

    pub(crate) fn scope(&self) -> &SyncScope {
        &self.target.scope
    }

    pub(crate) fn key(&self, id: &RecordId) -> RecordKey {
        RecordKey::new(self.target.clone(), id.clone())
    }

    /// Reads without asking the remote.
    pub(crate) async fn read_offline(&self, spec: &QuerySpec) -> Result<RawAnswer, Failure> {
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        Ok(self.engine.query(&self.target, spec, &options).await?)
    }

    /// How many writes wait to be sent.
    pub(crate) async fn pending(&self) -> Result<u64, Failure> {
        Ok(self.store.count_ops(Some(self.scope())).await?.total())
    }

    /// How many records the device holds.
    pub(crate) async fn count(&self) -> Result<u64, Failure> {
        Ok(self.store.count(&self.target, None).await?)
    }

    /// Takes the conflicts into the tally, as the store remembers them: those of synchronizations that failed
    /// half way are among them.
    pub(crate) async fn count_conflicts(&mut self) -> Result<(), Failure> {
        let history = self.engine.conflicts(&ConflictQuery::default()).await?;
        self.tally.settled = settlements(&history);
        Ok(())
    }

    /// Ends the device. Its file is complete afterwards.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.engine.stop();
        Ok(self.store.close().await?)
    }
}
