//! Typed access to the records of one type.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use futures::stream::{BoxStream, StreamExt};

use crate::{
    engine::{
        BackgroundOptions, BackgroundSync, CHANGED_MEANWHILE, Explanation, RawAnswer, SyncEngine, SyncReport,
        Write, Written,
    },
    error::{ErrorKind, Result, SyncError},
    id::{IdText, RecordId, RecordKey},
    payload::Payload,
    policy::{CachePolicy, ReadAnswer, ReadOptions, Undecodable},
    query::{Filter, QuerySpec},
    record::SyncRecord,
    record_state::LocalRecord,
    remote::RemoteStore,
    resolve::{ConflictResolver, LastWriteWins},
    scope::{CollectionName, SyncScope, Target},
    store::LocalStore,
};

/// How often records are selected anew because they changed before they were written.
const MAX_ROUNDS: u32 = 64;

/// Reads, writes and synchronizes records of one type: the engine's typed face.
///
/// A cheap handle on a [`SyncEngine`]; handles of several types can share one engine ([`SyncEngine::of`]), and
/// then share its store, its remote and its transactions.
///
/// ```
/// use std::sync::Arc;
///
/// use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
/// use futures::StreamExt;
/// use serde::{Deserialize, Serialize};
/// use sync_core::{
///     BackgroundOptions, CachePolicy, ReadOptions, SimpleSyncOrchestrator, SyncRecord, SyncScope, query::QuerySpec,
/// };
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncRecord)]
/// #[sync(collection = "todos")]
/// struct Todo {
///     #[sync(id)]
///     id: String,
///     title: String,
///     done: bool,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sync_core::SyncError> {
/// let (store, remote) = (Arc::new(MemoryLocalStore::new()), Arc::new(MemoryRemoteStore::new()));
/// let todos = SimpleSyncOrchestrator::<Todo>::open(store, remote).await?;
/// let scope = SyncScope::new("inbox")?.with("user", "u1")?;
///
/// // Write: durable here, queued for the remote.
/// for (id, title) in [("1", "tea"), ("2", "milk"), ("3", "bread")] {
///     let todo = Todo { id: id.into(), title: title.into(), done: false };
///     todos.enqueue_create(&scope, &todo).await?;
/// }
/// todos.update_where(&scope, Todo::title().eq("tea"), |todo| todo.done = true).await?;
/// todos.enqueue_delete(&scope, &"3".to_owned()).await?;
///
/// // Read: every answer says what it is worth.
/// let open = QuerySpec::new().filter(Todo::done().eq(false));
/// let answer = todos.read_with(&scope, &open, CachePolicy::OfflineOnly).await?;
/// assert_eq!(answer.items[0].title, "milk");
/// assert!(answer.pending.contains("2") && !answer.is_complete());
/// let fresh = ReadOptions::from(CachePolicy::RemoteFirst).with_max_age(std::time::Duration::from_secs(30));
/// let answer = todos.read(&scope, fresh).await?;
/// assert!(answer.pending.is_empty() && answer.is_complete() && !answer.is_stale());
/// assert_eq!(todos.count(&scope, None, CachePolicy::OfflineOnly).await?, 2);
/// assert!(todos.get(&scope, &"1".to_owned(), CachePolicy::OfflineOnly).await?.is_some_and(|todo| todo.done));
///
/// // Live: the answer now, and whenever it changes, while a driver keeps the scope in step.
/// let driver = todos.start_background(&scope, BackgroundOptions::default())?;
/// let mut answers = todos.watch(&scope, &open);
/// assert_eq!(answers.next().await.expect("the first answer comes at once")?.items.len(), 1);
/// drop(driver);
/// todos.engine().stop();
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// As [`SyncEngine`]: every call can be dropped at any await. A read that is dropped changes nothing, and a sync
/// that was asked for goes on without the call that waited for it.
pub struct SimpleSyncOrchestrator<T> {
    engine: SyncEngine,
    collection: CollectionName,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for SimpleSyncOrchestrator<T> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            collection: self.collection.clone(),
            record: PhantomData,
        }
    }
}

impl<T> fmt::Debug for SimpleSyncOrchestrator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleSyncOrchestrator")
            .field("collection", &self.collection)
            .field("engine", &self.engine)
            .finish()
    }
}

impl<T: SyncRecord> SimpleSyncOrchestrator<T> {
    pub(crate) fn new(engine: SyncEngine, collection: CollectionName) -> Self {
        Self {
            engine,
            collection,
            record: PhantomData,
        }
    }

    /// An orchestrator for one record type with an engine of its own; the last write wins conflicts.
    ///
    /// # Errors
    /// As [`crate::SyncEngineBuilder::build`].
    pub async fn open(store: Arc<dyn LocalStore>, remote: Arc<dyn RemoteStore>) -> Result<Self> {
        Self::open_with(store, remote, LastWriteWins).await
    }

    /// An orchestrator for one record type with an engine of its own and a conflict resolver.
    ///
    /// # Errors
    /// As [`crate::SyncEngineBuilder::build`].
    pub async fn open_with(
        store: Arc<dyn LocalStore>,
        remote: Arc<dyn RemoteStore>,
        resolver: impl ConflictResolver,
    ) -> Result<Self> {
        SyncEngine::builder(store, remote)
            .register_with::<T>(resolver)
            .build()
            .await?
            .of::<T>()
    }

    /// The engine behind this handle: queue, conflicts, status, events, limits.
    pub fn engine(&self) -> &SyncEngine {
        &self.engine
    }

    /// This record type within a scope.
    pub fn target(&self, scope: &SyncScope) -> Target {
        Target::new(self.collection.clone(), scope.clone())
    }

    /// One record within a scope, as the engine's own calls name it.
    ///
    /// # Errors
    /// `Invalid` if the id cannot be one.
    pub fn key(&self, scope: &SyncScope, id: &T::Id) -> Result<RecordKey> {
        Ok(RecordKey::new(self.target(scope), RecordId::new(id.to_text())?))
    }

    // --- writing ---

    /// Adds a record, durably, and queues it for the remote.
    ///
    /// # Errors
    /// `Invalid` on `id` if a record with this id is there; the store's. Nothing was changed then.
    ///
    /// # Cancel safety
    /// A dropped call has added the record as a whole or not at all; [`Self::get`] tells which.
    pub async fn enqueue_create(&self, scope: &SyncScope, record: &T) -> Result<Written> {
        self.engine.write(Write::create(scope, record)?).await
    }

    /// Changes a record, durably, and queues what differs for the remote.
    ///
    /// # Errors
    /// `NotFound` if there is no such record; the store's. Nothing was changed then.
    ///
    /// # Cancel safety
    /// As [`Self::enqueue_create`].
    pub async fn enqueue_update(&self, scope: &SyncScope, record: &T) -> Result<Written> {
        self.engine.write(Write::update(scope, record)?).await
    }

    /// Deletes a record, durably, and queues the delete for the remote.
    ///
    /// # Errors
    /// `NotFound` if the store knows nothing about such a record; the store's. Nothing was changed then.
    ///
    /// # Cancel safety
    /// As [`Self::enqueue_create`].
    pub async fn enqueue_delete(&self, scope: &SyncScope, id: &T::Id) -> Result<Written> {
        self.engine.write(Write::delete::<T>(scope, id)?).await
    }

    /// Changes every record that the filter selects, in one transaction, and queues the changes. Returns how
    /// many records were selected.
    ///
    /// # Errors
    /// As [`Self::enqueue_update`]; `Invalid` if the filter is not well formed, or `change` changed an id.
    ///
    /// # Cancel safety
    /// As [`Self::enqueue_create`], for all of them together.
    pub async fn update_where(
        &self,
        scope: &SyncScope,
        filter: Filter,
        change: impl Fn(&mut T),
    ) -> Result<u64> {
        self.write_where(scope, filter, |mut record| {
            let id = record.id();
            change(&mut record);
            if record.id() != id {
                return Err(SyncError::invalid(
                    "id",
                    format!("{id:?} was changed; an id stays for life"),
                ));
            }
            Write::update(scope, &record)
        })
        .await
    }

    /// Deletes every record that the filter selects, in one transaction, and queues the deletes. Returns how
    /// many there were.
    ///
    /// # Errors
    /// As [`Self::enqueue_delete`]; `Invalid` if the filter is not well formed.
    ///
    /// # Cancel safety
    /// As [`Self::update_where`].
    pub async fn delete_where(&self, scope: &SyncScope, filter: Filter) -> Result<u64> {
        self.write_where(scope, filter, |record| Write::delete::<T>(scope, &record.id()))
            .await
    }

    /// Writes what `to_write` makes of the selected records, if none of them changed between the selection and
    /// the commit; else selects anew.
    async fn write_where(
        &self,
        scope: &SyncScope,
        filter: Filter,
        to_write: impl Fn(T) -> Result<Write>,
    ) -> Result<u64> {
        let spec = QuerySpec::new().filter(filter);
        let options = ReadOptions::from(CachePolicy::OfflineOnly);
        for _ in 0..MAX_ROUNDS {
            let selected = self.engine.query(&self.target(scope), &spec, &options).await?;
            if let Some((_, error)) = selected.undecodable.into_iter().next() {
                return Err(error.with_operation("select"));
            }
            let mut writes = Vec::with_capacity(selected.records.len());
            for record in selected.records {
                let decoded = record.payload.decode::<T>();
                let decoded = decoded.map_err(|error| error.with_operation("select"))?;
                writes.push(to_write(decoded)?.if_still(record.payload));
            }
            let count = writes.len() as u64;
            match self.engine.write_batch(writes).await {
                Ok(_) => return Ok(count),
                Err(error) if error.code() == Some(CHANGED_MEANWHILE) => {}
                Err(error) => return Err(error),
            }
        }
        let message = format!("the selected records changed {MAX_ROUNDS} times meanwhile; try again");
        Err(SyncError::new(ErrorKind::Busy, message).with_operation("write"))
    }

    // --- reading ---

    /// All records of a scope.
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub async fn read(
        &self,
        scope: &SyncScope,
        options: impl Into<ReadOptions>,
    ) -> Result<ReadAnswer<T, T::Id>> {
        self.read_with(scope, &QuerySpec::new(), options).await
    }

    /// The records of a scope that a query selects.
    ///
    /// # Errors
    /// `Invalid` if the query is not well formed; the store's errors; under `OnlineOnly`, what kept the remote
    /// from answering.
    pub async fn read_with(
        &self,
        scope: &SyncScope,
        spec: &QuerySpec,
        options: impl Into<ReadOptions>,
    ) -> Result<ReadAnswer<T, T::Id>> {
        let answer = self
            .engine
            .query(&self.target(scope), spec, &options.into())
            .await?;
        typed(answer, decode)
    }

    /// One record; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Self::read_with`]; `Malformed` if it is there and cannot be decoded.
    pub async fn get(
        &self,
        scope: &SyncScope,
        id: &T::Id,
        options: impl Into<ReadOptions>,
    ) -> Result<Option<T>> {
        let (key, options) = (self.key(scope, id)?, options.into());
        if let Some(found) = self.engine.payload_at_once(&key, &options) {
            return found?.map(|payload| payload.decode()).transpose();
        }
        // On the heap, so that the usual case above stays small.
        let answer = Box::pin(self.engine.get(&key, &options)).await?;
        first(typed(answer, decode)?)
    }

    /// The first record that a query selects; `None` if it selects none.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn first(
        &self,
        scope: &SyncScope,
        spec: &QuerySpec,
        options: impl Into<ReadOptions>,
    ) -> Result<Option<T>> {
        first(self.read_with(scope, &spec.clone().limit(1), options).await?)
    }

    /// How many records of a scope a filter selects; all if there is none.
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub async fn count(
        &self,
        scope: &SyncScope,
        filter: Option<&Filter>,
        options: impl Into<ReadOptions>,
    ) -> Result<u64> {
        self.engine
            .count(&self.target(scope), filter, &options.into())
            .await
    }

    /// The answer to a query now, and a new one whenever it changes. See [`SyncEngine::watch`].
    pub fn watch(
        &self,
        scope: &SyncScope,
        spec: &QuerySpec,
    ) -> BoxStream<'static, Result<ReadAnswer<T, T::Id>>> {
        let mut decoded = Decoded::new();
        self.engine
            .watch(&self.target(scope), spec)
            .map(move |answer| answer.and_then(|answer| decoded.typed(answer)))
            .boxed()
    }

    /// Everything that is known about one record.
    ///
    /// # Errors
    /// The store's.
    pub async fn explain(&self, scope: &SyncScope, id: &T::Id) -> Result<Explanation> {
        self.engine.explain(&self.key(scope, id)?).await
    }

    // --- synchronizing ---

    /// Pushes and pulls the scope, with all record types of the engine. See [`SyncEngine::synchronize`].
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn synchronize(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.engine.synchronize(scope).await
    }

    /// Pushes without pulling.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn push_only(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.engine.push_only(scope).await
    }

    /// Pulls without pushing.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn pull_only(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.engine.pull_only(scope).await
    }

    /// Pulls everything again and removes what the remote does not have any more.
    ///
    /// # Errors
    /// As [`SyncEngine::synchronize`].
    pub async fn full_resync(&self, scope: &SyncScope) -> Result<Arc<SyncReport>> {
        self.engine.full_resync(scope).await
    }

    /// Keeps the scope in step in the background. See [`SyncEngine::start_background`].
    ///
    /// # Errors
    /// `Stopped` if the engine was stopped.
    pub fn start_background(&self, scope: &SyncScope, options: BackgroundOptions) -> Result<BackgroundSync> {
        self.engine.start_background(scope, options)
    }
}

/// How many records of an answer are kept decoded until the next one.
const MAX_DECODED: usize = 1_000;

/// The decoded records of a live query's last answer, most of which come again in the next.
struct Decoded<T>(HashMap<RecordId, (Payload, T)>);

impl<T: SyncRecord> Decoded<T> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn typed(&mut self, answer: RawAnswer) -> Result<ReadAnswer<T, T::Id>> {
        let mut last = std::mem::take(&mut self.0);
        if answer.records.len() > MAX_DECODED {
            return typed(answer, decode);
        }
        typed(answer, |record| {
            let item = match last.remove(&record.id) {
                Some((payload, item)) if payload == record.payload => item,
                _ => decode::<T>(record)?,
            };
            let kept = (record.payload.clone(), item.clone());
            self.0.insert(record.id.clone(), kept);
            Ok(item)
        })
    }
}

fn decode<T: SyncRecord>(record: &LocalRecord) -> Result<T> {
    record.payload.decode()
}

fn typed<T: SyncRecord>(
    answer: RawAnswer,
    mut decode: impl FnMut(&LocalRecord) -> Result<T>,
) -> Result<ReadAnswer<T, T::Id>> {
    let mut items = Vec::with_capacity(answer.records.len());
    let mut pending = BTreeSet::new();
    let mut undecodable = Vec::new();
    for record in answer.records {
        match decode(&record) {
            Ok(item) => {
                if record.pending {
                    pending.insert(item.id());
                }
                items.push(item);
            }
            Err(error) => undecodable.push(Undecodable {
                id: typed_id::<T>(&record.id)?,
                error,
            }),
        }
    }
    for (id, error) in answer.undecodable {
        undecodable.push(Undecodable {
            id: typed_id::<T>(&id)?,
            error,
        });
    }
    Ok(ReadAnswer {
        items,
        pending,
        as_of: answer.state.as_of,
        incomplete: answer.state.incomplete,
        freshness: answer.freshness,
        undecodable,
    })
}

fn typed_id<T: SyncRecord>(id: &RecordId) -> Result<T::Id> {
    T::Id::from_text(id.as_str()).ok_or_else(|| {
        let message = format!(
            "the stored id {:?} is not an id of {}",
            id.as_str(),
            T::COLLECTION
        );
        SyncError::new(ErrorKind::Malformed, message).with_field("id")
    })
}

fn first<T, Id>(answer: ReadAnswer<T, Id>) -> Result<Option<T>> {
    match (
        answer.items.into_iter().next(),
        answer.undecodable.into_iter().next(),
    ) {
        (None, Some(undecodable)) => Err(undecodable.error),
        (item, _) => Ok(item),
    }
}
