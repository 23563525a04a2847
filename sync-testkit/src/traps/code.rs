//! Traps that traces have no words for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sync_core::{
    CachePolicy, Capabilities, CollectionName, CollectionSchema, Delta, LocalStore, Payload, PullRequest,
    PushBatch, PushOutcome, ReadOptions, RecordId, RecordKey, RemoteChange, RemoteState, RemoteStore,
    RemoteVersion, Result, SyncEngine, SyncError, SyncScope, Target, Versioned, Write, query::QuerySpec,
    resolve::LastWriteWins,
};

use crate::{
    effects::TestEffects,
    local_suite::LocalFixture,
    naive::{RemoteMistake, StoreMistake, WrongRemote, WrongStore},
    query_suite,
};

pub(super) type Verdict = Result<(), String>;

pub(super) fn scope() -> Result<SyncScope> {
    SyncScope::new("trap")
}

pub(super) fn target() -> Result<Target> {
    Ok(Target::new(CollectionName::new("items")?, scope()?))
}

pub(super) fn key(id: &str) -> Result<RecordKey> {
    Ok(RecordKey::new(target()?, RecordId::new(id)?))
}

pub(super) fn payload(n: i64) -> Result<Payload> {
    Payload::parse(format!(r#"{{"n":{n}}}"#))
}

pub(super) async fn engine(
    store: Arc<dyn LocalStore>,
    remote: Arc<dyn RemoteStore>,
    time: &TestEffects,
    schema: CollectionSchema,
) -> Result<SyncEngine> {
    SyncEngine::builder(store, remote)
        .register_schema(schema, LastWriteWins)
        .effects(time.effects())
        .build()
        .await
}

pub(super) async fn plain_engine(remote: Arc<dyn RemoteStore>, time: &TestEffects) -> Result<SyncEngine> {
    engine(
        Arc::new(MemoryLocalStore::new()),
        remote,
        time,
        CollectionSchema::untyped("items", "id")?,
    )
    .await
}

pub(super) async fn ids(engine: &SyncEngine) -> Result<BTreeSet<String>> {
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let answer = engine.query(&target()?, &QuerySpec::new(), &offline).await?;
    Ok(answer
        .records
        .iter()
        .map(|record| record.id.to_string())
        .collect())
}

/// Fails unless `found` is what is `expected`.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(expected: T, found: T) -> Verdict {
    if expected == found {
        Ok(())
    } else {
        Err(format!("expected {expected:?}; got {found:?}"))
    }
}

pub(super) fn told(error: SyncError) -> String {
    error.to_string()
}

pub(super) fn names(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A backend with times that are taken before the commit: announced as such, or as the order of commits.
fn backend_with_early_times(
    time: &TestEffects,
    with_mistake: bool,
) -> (MemoryRemoteStore, Arc<dyn RemoteStore>) {
    let overlap = Duration::from_secs(if with_mistake { 0 } else { 5 });
    let remote = MemoryRemoteStore::builder()
        .clock(Arc::new(time.clock.clone()))
        .timestamp_profile(overlap)
        .build();
    let right: Arc<dyn RemoteStore> = Arc::new(remote.clone());
    let front: Arc<dyn RemoteStore> = if with_mistake {
        Arc::new(WrongRemote::new(right, RemoteMistake::ClaimsCommitOrder))
    } else {
        right
    };
    (remote, front)
}

pub(super) fn late_commit(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let time = TestEffects::tokio(1);
            let (remote, front) = backend_with_early_times(&time, with_mistake);
            let engine = plain_engine(front, &time).await?;
            engine.pull_only(&scope()?).await?;
            let late = remote.begin_late_commit(&key("late")?, Some(payload(1)?));
            time.clock.advance(Duration::from_secs(3));
            remote.put(&key("other")?, payload(1)?);
            engine.pull_only(&scope()?).await?;
            late.commit();
            engine.pull_only(&scope()?).await?;
            ids(&engine).await
        };
        same(names(&["late", "other"]), run.await.map_err(told)?)
    })
}

pub(super) fn numbers_taken_before_the_commit(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let time = TestEffects::tokio(1);
            let (remote, front) = backend_with_early_times(&time, with_mistake);
            let engine = plain_engine(front, &time).await?;
            engine.pull_only(&scope()?).await?;
            let first = remote.begin_late_commit(&key("first")?, Some(payload(1)?));
            time.clock.advance(Duration::from_secs(1));
            let second = remote.begin_late_commit(&key("second")?, Some(payload(2)?));
            second.commit();
            engine.pull_only(&scope()?).await?;
            first.commit();
            engine.pull_only(&scope()?).await?;
            ids(&engine).await
        };
        same(names(&["first", "second"]), run.await.map_err(told)?)
    })
}

pub(super) fn a_row_of_an_unknown_kind(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let time = TestEffects::tokio(1);
            let remote = MemoryRemoteStore::new();
            let right: Arc<dyn RemoteStore> = Arc::new(remote.clone());
            let front: Arc<dyn RemoteStore> = if with_mistake {
                Arc::new(WrongRemote::new(right, RemoteMistake::FailsOnMalformedRows))
            } else {
                right
            };
            let engine = plain_engine(front, &time).await?;
            remote.put(&key("a")?, payload(1)?);
            remote.put_malformed(&target()?, Some(&RecordId::new("broken")?), "<row/>");
            remote.put(&key("c")?, payload(1)?);
            // Whether it succeeds is not the question: what came is.
            let _ = engine.pull_only(&scope()?).await;
            let kept = engine.quarantine(None, 10).await?;
            // The row is understood some day.
            remote.put(&key("broken")?, payload(2)?);
            remote.put(&key("d")?, payload(2)?);
            let _ = engine.pull_only(&scope()?).await;
            Ok::<_, SyncError>((kept.len(), ids(&engine).await?))
        };
        same((1, names(&["a", "broken", "c", "d"])), run.await.map_err(told)?)
    })
}

/// A cache between client and server that answers with an old state of a record, beside what is new.
#[derive(Debug)]
struct StaleCache {
    inner: MemoryRemoteStore,
    old: RemoteChange,
    /// Whether versions keep their order.
    ordered: bool,
    /// Whether the old state comes beside the new one, and not in a page of its own.
    beside: bool,
}

impl StaleCache {
    fn version(&self, version: &RemoteVersion) -> RemoteVersion {
        if self.ordered {
            version.clone()
        } else {
            RemoteVersion::opaque(version.token())
        }
    }

    fn state(&self, state: RemoteState) -> RemoteState {
        match state {
            RemoteState::Live(live) => {
                let version = self.version(&live.version);
                RemoteState::Live(Versioned { version, ..live })
            }
            RemoteState::Deleted(mut tombstone) => {
                tombstone.version = tombstone.version.as_ref().map(|version| self.version(version));
                RemoteState::Deleted(tombstone)
            }
            RemoteState::Missing => RemoteState::Missing,
        }
    }
}

#[async_trait]
impl RemoteStore for StaleCache {
    fn name(&self) -> &str {
        "stale cache"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn pull(&self, request: PullRequest) -> Result<Delta> {
        let again = request.since.is_some();
        let mut page = self.inner.pull(request).await?;
        if again && (self.beside || page.changes.is_empty()) {
            page.changes.push(self.old.clone());
        }
        for change in &mut page.changes {
            change.state = self.state(std::mem::take(&mut change.state));
        }
        Ok(page)
    }

    async fn push(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        self.inner.push(batch).await
    }

    async fn get(&self, target: &Target, ids: &[RecordId]) -> Result<Vec<RemoteState>> {
        let states = self.inner.get(target, ids).await?;
        Ok(states.into_iter().map(|state| self.state(state)).collect())
    }
}

/// A stale page tells an old state of a record that was changed or deleted since.
async fn stale(with_mistake: bool, deleted: bool, beside: bool) -> Result<Option<String>> {
    let time = TestEffects::tokio(1);
    let remote = MemoryRemoteStore::new();
    let record = key("x")?;
    remote.put(&record, payload(1)?);
    let old = RemoteChange {
        id: record.id.clone(),
        state: remote.state_of(&record),
    };
    let cache = StaleCache {
        inner: remote.clone(),
        old,
        ordered: !with_mistake,
        beside,
    };
    let engine = plain_engine(Arc::new(cache), &time).await?;
    engine.pull_only(&scope()?).await?;
    if deleted {
        remote.delete(&record);
    } else {
        remote.put(&record, payload(2)?);
    }
    // The old state comes after the new one.
    for _ in 0..2 {
        engine.pull_only(&scope()?).await?;
    }
    let offline = ReadOptions::from(CachePolicy::OfflineOnly);
    let answer = engine.get(&record, &offline).await?;
    Ok(answer
        .records
        .first()
        .map(|record| record.payload.as_str().to_owned()))
}

pub(super) fn a_stale_page(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let found = stale(with_mistake, false, false).await.map_err(told)?;
        same(Some(r#"{"n":2}"#.to_owned()), found)
    })
}

pub(super) fn a_stale_row_beside_the_new_one(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let found = stale(with_mistake, false, true).await.map_err(told)?;
        same(Some(r#"{"n":2}"#.to_owned()), found)
    })
}

pub(super) fn a_stale_page_after_a_delete(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move { same(None, stale(with_mistake, true, false).await.map_err(told)?) })
}

pub(super) fn a_new_schema_with_a_full_queue(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let time = TestEffects::tokio(1);
            let remote = MemoryRemoteStore::new();
            let store = MemoryLocalStore::new();
            let old = CollectionSchema::untyped("items", "id")?;
            let before = engine(Arc::new(store.clone()), Arc::new(remote.clone()), &time, old).await?;
            let written = Payload::parse(r#"{"title":"tea"}"#)?;
            before.write(Write::create_raw(key("x")?, written)).await?;
            before.stop();
            let mut new = CollectionSchema::untyped("items", "id")?;
            new.schema_version = 2;
            if !with_mistake {
                new.upgrade = |mut fields, _| {
                    let title = fields.remove("title").ok_or("a record without a title")?;
                    fields.insert("name".to_owned(), title);
                    Ok(fields)
                };
            }
            let after = engine(Arc::new(store.reopen()), Arc::new(remote.clone()), &time, new).await?;
            after.push_only(&scope()?).await?;
            Ok::<_, SyncError>(remote.dump(&target()?).into_values().next())
        };
        let found = run.await.map_err(told)?;
        same(
            Some(r#"{"name":"tea"}"#.to_owned()),
            found.map(|payload| payload.as_str().to_owned()),
        )
    })
}

/// Stores for the query suite: right, or with nulls sorted as another database does.
struct QueryStores(bool);

#[async_trait]
impl LocalFixture for QueryStores {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        let store = Arc::new(MemoryLocalStore::new());
        if self.0 {
            Arc::new(WrongStore::new(store, StoreMistake::SortsNullsLast))
        } else {
            store
        }
    }

    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        store
    }
}

pub(super) fn one_query_two_answers(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let report = query_suite::run(&QueryStores(with_mistake), 0, 60).await;
        match report.failures().next() {
            None => Ok(()),
            Some(case) => Err(format!("{case:?}")),
        }
    })
}

pub(super) fn scope_keys_in_the_order_of_writing(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let build = |pairs: [(&str, &str); 2]| {
            if with_mistake {
                let joined: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                return Ok(joined.join("&"));
            }
            let scope = pairs
                .iter()
                .try_fold(SyncScope::new("s")?, |scope, (key, value)| {
                    scope.with(*key, *value)
                })?;
            Ok::<_, SyncError>(scope.key().as_str().to_owned())
        };
        let one = build([("user", "u1"), ("list", "l1")]).map_err(told)?;
        let other = build([("list", "l1"), ("user", "u1")]).map_err(told)?;
        same(one, other)
    })
}

pub(super) fn times_as_texts(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        // Later by 62 microseconds.
        let (early, late) = (1_735_689_600_249_000_i64, 1_735_689_600_249_062_i64);
        let in_order = if with_mistake {
            // As a common library writes them: with as many digits as are needed.
            "2025-01-01T00:00:00.249Z" < "2025-01-01T00:00:00.249062Z"
        } else {
            let time = sync_core::Timestamp::from_micros;
            let stamp = |micros: i64| sync_core::Stamp::new(u64::try_from(micros / 1_000).unwrap_or(0), 0, 1);
            let texts_sort = stamp(early).to_string() < stamp(late + 1_000).to_string();
            time(early) < time(late) && time(early).to_string() < time(late).to_string() && texts_sort
        };
        same(true, in_order)
    })
}
