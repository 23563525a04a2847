//! Building an engine: registration, and the refusal of combinations that cannot be sound.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicI64},
};

use tokio::sync::{broadcast, watch};

use super::{EngineOptions, Inner, Registered, SyncEngine, SyncStatus, flights::Flights, pauses::Pauses};
use crate::{
    effects::Effects,
    error::{ErrorKind, Result, SyncError},
    record::{CollectionSchema, SyncRecord},
    remote::RemoteStore,
    resolve::{ConflictResolver, LastWriteWins},
    scope::CollectionName,
    stamp::HybridClock,
    store::LocalStore,
};

const EVENT_BUFFER: usize = 1_024;
const NUDGE_BUFFER: usize = 64;

/// Builds a [`SyncEngine`].
pub struct SyncEngineBuilder {
    store: Arc<dyn LocalStore>,
    remote: Arc<dyn RemoteStore>,
    collections: Vec<(Result<CollectionSchema>, Arc<dyn ConflictResolver>)>,
    options: EngineOptions,
    effects: Option<Effects>,
}

impl fmt::Debug for SyncEngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncEngineBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl SyncEngineBuilder {
    pub(crate) fn new(store: Arc<dyn LocalStore>, remote: Arc<dyn RemoteStore>) -> Self {
        Self {
            store,
            remote,
            collections: Vec::new(),
            options: EngineOptions::default(),
            effects: None,
        }
    }

    /// Registers a record type, whose conflicts the last write wins.
    pub fn register<T: SyncRecord>(self) -> Self {
        self.register_with::<T>(LastWriteWins)
    }

    /// Registers a record type with a conflict resolver.
    pub fn register_with<T: SyncRecord>(self, resolver: impl ConflictResolver) -> Self {
        self.register_schema(T::schema(), resolver)
    }

    /// Registers a collection by its description, as for records without a Rust type.
    pub fn register_schema(mut self, schema: CollectionSchema, resolver: impl ConflictResolver) -> Self {
        self.collections.push((Ok(schema), Arc::new(resolver)));
        self
    }

    /// Sets the engine's settings.
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets where time, tasks, randomness and connectivity come from.
    pub fn effects(mut self, effects: Effects) -> Self {
        self.effects = Some(effects);
        self
    }

    /// Checks the combination, prepares the store, and builds the engine.
    ///
    /// # Errors
    /// `Configuration` if nothing or something twice is registered, if parents form a cycle, if settings
    /// contradict each other, or if the remote's capabilities leave no sound strategy; the store's errors.
    pub async fn build(self) -> Result<SyncEngine> {
        let effects = match self.effects {
            Some(effects) => effects,
            None => default_effects()?,
        };
        let capabilities = self.remote.capabilities();
        capabilities
            .check()
            .map_err(|error| error.with_adapter(self.remote.name()))?;
        if self.options.lease_time <= self.options.call_deadline {
            return Err(configuration(
                "options.lease_time",
                "must be longer than `call_deadline`",
            ));
        }
        let collections = ranked(self.collections)?;
        let schemas: Vec<_> = collections.values().map(|known| known.schema.clone()).collect();
        self.store.register(&schemas).await?;
        let clock = HybridClock::new(effects.random.next_u64(), self.options.max_clock_ahead);
        if let Some(persisted) = self.store.load_clock().await? {
            clock.resume(persisted);
        }
        let online = effects.connectivity.is_online();
        let inner = Inner {
            store: self.store,
            remote: self.remote,
            capabilities,
            collections,
            options: self.options,
            effects,
            clock,
            flights: Flights::default(),
            pauses: Pauses::default(),
            server_offset: AtomicI64::new(0),
            status: watch::Sender::new(Arc::new(SyncStatus {
                online,
                ..SyncStatus::default()
            })),
            events: broadcast::Sender::new(EVENT_BUFFER),
            nudges: broadcast::Sender::new(NUDGE_BUFFER),
            stopped: watch::Sender::new(false),
        };
        Ok(SyncEngine {
            inner: Arc::new(inner),
        })
    }
}

#[cfg(feature = "tokio-runtime")]
fn default_effects() -> Result<Effects> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(configuration(
            "effects",
            "build the engine inside a tokio runtime, or give it effects",
        ));
    }
    Ok(Effects::tokio())
}

#[cfg(not(feature = "tokio-runtime"))]
fn default_effects() -> Result<Effects> {
    Err(configuration(
        "effects",
        "without the feature `tokio-runtime`, effects must be given to the builder",
    ))
}

fn configuration(field: &str, why: impl Into<String>) -> SyncError {
    SyncError::new(ErrorKind::Configuration, why).with_field(field)
}

/// Collections by name, each with its place after all of its parents.
fn ranked(
    given: Vec<(Result<CollectionSchema>, Arc<dyn ConflictResolver>)>,
) -> Result<BTreeMap<CollectionName, Registered>> {
    let mut collections = BTreeMap::new();
    for (schema, resolver) in given {
        let schema = schema?;
        let name = schema.name.clone();
        if collections
            .insert(
                name.clone(),
                Registered {
                    schema,
                    resolver,
                    rank: 0,
                },
            )
            .is_some()
        {
            return Err(configuration(
                "collection",
                format!("{name:?} is registered twice"),
            ));
        }
    }
    if collections.is_empty() {
        return Err(configuration(
            "collection",
            "no record type is registered; call `register` on the builder",
        ));
    }
    // Each round settles at least one level of a graph without cycles; more rounds than levels mean a cycle.
    for _ in 0..=collections.len() {
        let ranks: BTreeMap<_, _> = collections
            .iter()
            .map(|(name, known)| (name.clone(), known.rank))
            .collect();
        let mut changed = false;
        for (name, known) in &mut collections {
            let parents = known.schema.parents.iter().map(|parent| &parent.collection);
            // A collection may be its own parent, as in a tree; its records are ordered one by one.
            let above = parents
                .filter(|parent| *parent != name)
                .filter_map(|parent| ranks.get(parent));
            let rank = above.map(|rank| rank + 1).max().unwrap_or(0);
            changed |= std::mem::replace(&mut known.rank, rank) != rank;
        }
        if !changed {
            return Ok(collections);
        }
    }
    let endless: Vec<_> = collections
        .iter()
        .filter(|(_, known)| known.rank >= collections.len())
        .map(|(name, _)| name)
        .collect();
    Err(configuration(
        "parent",
        format!("the parents of the registered record types form a cycle; look at {endless:?}"),
    ))
}
