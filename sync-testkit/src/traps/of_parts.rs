//! Traps in a store or a remote: the engine on a part that does it right, and on one that does not.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use sync_core::{
    CachePolicy, ChangeSet, CollectionSchema, CommitOutcome, ErrorKind, LocalStore, Payload, ReadOptions,
    RemoteStore, Result, SyncEngine, SyncError, Write, query::QuerySpec,
};

use super::{
    Body, Double, Trap,
    code::{Verdict, engine, ids, key, names, payload, plain_engine, same, scope, target, told},
};
use crate::{
    effects::TestEffects,
    naive::{RemoteMistake, StoreMistake, WrongRemote, WrongStore},
};

pub(super) const OF_PARTS: &[Trap] = &[
    Trap {
        name: "a_sync_point_without_its_rows",
        lost: "The sync point was saved, the disk was full before the rows of the page were, and they never came again.",
        sources: &["peers 5: rxdb#5571, #5843, couch_replicator PR#53", "PS-07"],
        body: Body::Code(a_sync_point_without_its_rows),
        double: Double::Within("a store with the mistake `CommitsInTwoHalves`"),
    },
    Trap {
        name: "a_row_without_its_operation",
        lost: "The row was saved, the disk was full before its operation was queued, and the write was never sent.",
        sources: &["RCS-01", "SQ-01"],
        body: Body::Code(a_row_without_its_operation),
        double: Double::Within("a store with the mistake `CommitsRowsBeforeOperations`"),
    },
    Trap {
        name: "an_edit_while_a_page_is_merged",
        lost: "What the user wrote while a pulled page was merged was replaced by the merge with the write before.",
        sources: &["SC-01", "SQ-03"],
        body: Body::Code(an_edit_while_a_page_is_merged),
        double: Double::Within("a store with the mistake `IgnoresGuards`"),
    },
    Trap {
        name: "numbers_written_anew",
        lost: "Records were parsed and written again on their way into the cache, and were not what the user had written.",
        sources: &["cr-sqlite: numbers that lost a digit were left out of its tests"],
        body: Body::Code(numbers_written_anew),
        double: Double::Within("a store with the mistake `RewritesPayloads`"),
    },
    Trap {
        name: "a_screen_that_hears_nothing",
        lost: "Of two screens that show one collection, one was never told that it had changed.",
        sources: &["PS-19"],
        body: Body::Code(a_screen_that_hears_nothing),
        double: Double::Within("a store with the mistake `TellsNoChanges`"),
    },
    Trap {
        name: "an_expired_sign_in_looks_like_emptiness",
        lost: "A server with row rules shows nothing to an expired sign-in, and the cache was emptied.",
        sources: &["PocketBase: lists are empty, not refused"],
        body: Body::Code(an_expired_sign_in_looks_like_emptiness),
        double: Double::Within("a remote with the mistake `AnswersEmptyWhenSignedOut`"),
    },
];

/// A disk in memory that can be full.
#[derive(Debug)]
struct Disk {
    inner: MemoryLocalStore,
    /// How many commits have room.
    room: AtomicUsize,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryLocalStore::new(),
            room: AtomicUsize::new(usize::MAX),
        })
    }

    fn has_room_for(&self, commits: usize) {
        self.room.store(commits, Ordering::Relaxed);
    }
}

#[async_trait]
impl LocalStore for Disk {
    crate::delegate_local_store!(
        inner: info, register, load_clock, load_setting, load_records, load_summaries, query, count,
        load_target, list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked,
        load_eviction_candidates, approx_size, acquire_lease, release_lease, changes, close
    );

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        match self.room.load(Ordering::Relaxed) {
            0 => return Err(SyncError::new(ErrorKind::Full, "the disk is full")),
            usize::MAX => {}
            room => self.room.store(room - 1, Ordering::Relaxed),
        }
        self.inner.commit(changes).await
    }
}

/// The store, with a mistake if there is to be one.
fn on(store: Arc<dyn LocalStore>, mistake: StoreMistake, with_mistake: bool) -> Arc<dyn LocalStore> {
    if with_mistake {
        Arc::new(WrongStore::new(store, mistake))
    } else {
        store
    }
}

async fn engine_on(
    store: Arc<dyn LocalStore>,
    remote: &MemoryRemoteStore,
    time: &TestEffects,
) -> Result<SyncEngine> {
    let schema = CollectionSchema::untyped("items", "id")?;
    engine(store, Arc::new(remote.clone()), time, schema).await
}

fn a_sync_point_without_its_rows(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        for commits in 0..4 {
            let run = async {
                let (time, remote, disk) = (TestEffects::tokio(1), MemoryRemoteStore::new(), Disk::new());
                let mistake = StoreMistake::CommitsInTwoHalves;
                let device = engine_on(on(disk.clone(), mistake, with_mistake), &remote, &time).await?;
                remote.put(&key("a")?, payload(1)?);
                remote.put(&key("b")?, payload(1)?);
                disk.has_room_for(commits);
                let _ = device.pull_only(&scope()?).await;
                disk.has_room_for(usize::MAX);
                device.pull_only(&scope()?).await?;
                same(names(&["a", "b"]), ids(&device).await?).map_err(internal)
            };
            run.await.map_err(told)?;
        }
        Ok(())
    })
}

fn a_row_without_its_operation(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        for commits in 0..3 {
            let run = async {
                let (time, remote, disk) = (TestEffects::tokio(1), MemoryRemoteStore::new(), Disk::new());
                let mistake = StoreMistake::CommitsRowsBeforeOperations;
                let store = on(disk.clone(), mistake, with_mistake);
                let device = engine_on(store.clone(), &remote, &time).await?;
                disk.has_room_for(commits);
                let _ = device.write(Write::create_raw(key("x")?, payload(1)?)).await;
                disk.has_room_for(usize::MAX);
                device.stop();
                let again = engine_on(store, &remote, &time).await?;
                let shown = ids(&again).await?;
                again.synchronize(&scope()?).await?;
                let sent = remote.dump(&target()?).into_keys();
                same(shown, sent.map(|id| id.to_string()).collect()).map_err(internal)
            };
            run.await.map_err(told)?;
        }
        Ok(())
    })
}

/// A store in which the user writes once more, right before a merge is committed.
#[derive(Debug)]
struct EditedMeanwhile {
    inner: Arc<dyn LocalStore>,
    edit: Mutex<Option<(SyncEngine, Write)>>,
}

#[async_trait]
impl LocalStore for EditedMeanwhile {
    crate::delegate_local_store!(
        inner: info, register, load_clock, load_setting, load_records, load_summaries, query, count,
        load_target, list_targets, load_ops, count_ops, load_conflicts, load_quarantine, load_unmarked,
        load_eviction_candidates, approx_size, acquire_lease, release_lease, changes, close
    );

    async fn commit(&self, changes: ChangeSet) -> Result<CommitOutcome> {
        if changes.fence.is_some() && !changes.records.is_empty() {
            let edit = self.edit.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((app, write)) = edit {
                app.write(write).await?;
            }
        }
        self.inner.commit(changes).await
    }
}

fn an_edit_while_a_page_is_merged(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let time = TestEffects::tokio(1);
            let clock = Arc::new(time.clock.clone());
            let remote = MemoryRemoteStore::builder().clock(clock).build();
            let store = MemoryLocalStore::new();
            let app = engine_on(Arc::new(store.clone()), &remote, &time).await?;
            app.write(Write::create_raw(key("x")?, payload(1)?)).await?;
            app.push_only(&scope()?).await?;
            remote.put(&key("x")?, payload(5)?);
            time.clock.advance(Duration::from_secs(10));
            app.write(Write::update_raw(key("x")?, payload(2)?)).await?;
            let edit = (app.clone(), Write::update_raw(key("x")?, payload(3)?));
            let edited = EditedMeanwhile {
                inner: on(Arc::new(store), StoreMistake::IgnoresGuards, with_mistake),
                edit: Mutex::new(Some(edit)),
            };
            let beside = engine_on(Arc::new(edited), &remote, &time).await?;
            beside.pull_only(&scope()?).await?;
            beside.push_only(&scope()?).await?;
            Ok::<_, SyncError>(remote.dump(&target()?).into_values().next())
        };
        let found = run.await.map_err(told)?;
        same(Some(r#"{"n":3}"#), found.as_ref().map(Payload::as_str))
    })
}

fn numbers_written_anew(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        const WRITTEN: &str = r#"{"z":1.50, "a":12345678901234567890.0e-1}"#;
        let run = async {
            let (time, remote) = (TestEffects::tokio(1), MemoryRemoteStore::new());
            let store = on(
                Arc::new(MemoryLocalStore::new()),
                StoreMistake::RewritesPayloads,
                with_mistake,
            );
            remote.put(&key("x")?, Payload::parse(WRITTEN)?);
            let device = engine_on(store, &remote, &time).await?;
            device.pull_only(&scope()?).await?;
            let offline = ReadOptions::from(CachePolicy::OfflineOnly);
            let answer = device.query(&target()?, &QuerySpec::new(), &offline).await?;
            Ok::<_, SyncError>(answer.records.into_iter().next().map(|record| record.payload))
        };
        let found = run.await.map_err(told)?;
        same(Some(WRITTEN), found.as_ref().map(Payload::as_str))
    })
}

fn a_screen_that_hears_nothing(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        /// How many turns of the executor a change may take to the screen.
        const TURNS: usize = 100;
        let run = async {
            let (time, remote) = (TestEffects::tokio(1), MemoryRemoteStore::new());
            let store = on(
                Arc::new(MemoryLocalStore::new()),
                StoreMistake::TellsNoChanges,
                with_mistake,
            );
            let device = engine_on(store, &remote, &time).await?;
            let target = target()?;
            let mut screens = [(); 2].map(|()| device.watch(&target, &QuerySpec::new()));
            for screen in &mut screens {
                screen.next().await.transpose()?;
            }
            device.write(Write::create_raw(key("x")?, payload(1)?)).await?;
            let mut heard = 0;
            for mut screen in screens {
                for _ in 0..TURNS {
                    match screen.next().now_or_never() {
                        Some(Some(answer)) => heard += answer?.records.len(),
                        // It says that nothing will ever change.
                        Some(None) => {}
                        None => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                    }
                    break;
                }
            }
            Ok::<_, SyncError>(heard)
        };
        same(2, run.await.map_err(told)?)
    })
}

fn an_expired_sign_in_looks_like_emptiness(with_mistake: bool) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        let run = async {
            let (time, remote) = (TestEffects::tokio(1), MemoryRemoteStore::new());
            let client = remote.another_client();
            let right: Arc<dyn RemoteStore> = Arc::new(client.clone());
            let front: Arc<dyn RemoteStore> = if with_mistake {
                Arc::new(WrongRemote::new(right, RemoteMistake::AnswersEmptyWhenSignedOut))
            } else {
                right
            };
            let device = plain_engine(front, &time).await?;
            remote.put(&key("a")?, payload(1)?);
            device.pull_only(&scope()?).await?;
            client.expire_token();
            // Whether it succeeds is not the question: what is known stays.
            let _ = device.full_resync(&scope()?).await;
            ids(&device).await
        };
        same(names(&["a"]), run.await.map_err(told)?)
    })
}

/// What a body found, as an error of its run.
fn internal(found: String) -> SyncError {
    SyncError::new(ErrorKind::Internal, found)
}
