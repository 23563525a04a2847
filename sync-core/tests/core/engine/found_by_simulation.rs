//! What the simulator of the testkit found, each as the shortest story that shows it.

use std::{sync::Arc, time::Duration};

use adapter_memory::faults::{Call, Fault};
use sync_core::{
    CachePolicy, CollectionSchema, ConflictQuery, EngineOptions, ErrorKind, LocalStore, OpKind, OpQuery,
    OpState, ParkReason, Payload, ReadOptions, RecordKey, RemoteStore, Result, RetryClass, SyncEngine,
    SyncError, Target, Write,
    query::QuerySpec,
    resolve::{Conflict, ConflictResolver, LastWriteWins, Manual, Resolution},
};

use super::{
    hooks::Moment,
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, scope, target, titles},
};

fn lost() -> Fault {
    Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "no answer"))
}

/// Refuses to decide.
#[derive(Clone, Copy, Debug)]
struct Fails;

impl ConflictResolver for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn resolve(&self, _: &Conflict) -> Result<Resolution> {
        Err(SyncError::new(ErrorKind::Internal, "it cannot decide"))
    }
}

async fn open_conflicts(device: &Probe) -> usize {
    let open = ConflictQuery {
        open: Some(true),
        ..ConflictQuery::default()
    };
    device.engine().conflicts(&open).await.unwrap().len()
}

// The answer is lost, and the server had put something into the record: the base had the right version with the
// wrong content, and no pull ever mended it.
#[tokio::test]
async fn what_the_server_adds_to_a_write_whose_answer_is_lost_arrives() {
    let lab = Lab::new();
    lab.remote.set_server_transform(|_, sent| {
        let mut fields = sent.to_object().unwrap();
        fields.insert("title".to_owned(), "TEA".into());
        Payload::from_object(&fields)
    });
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults().script(Call::Push, lost());
    a.failing_sync().await;
    lab.pass_pauses();
    a.sync().await;
    assert_eq!(a.titles().await, titles([("1", "TEA")]));
}

// First the answer is lost, then the server is too busy to look: the write was taken for one without effect, and
// its own echo for the conflicting write of somebody else.
#[tokio::test]
async fn a_busy_answer_says_nothing_about_the_attempt_before() {
    let lab = Lab::over(|builder| builder.adjust(|can| can.idempotent_push = false));
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults().script(Call::Push, lost());
    a.failing_sync().await;
    lab.pass_pauses();
    a.faults().script(Call::Push, Fault::RetryOps([0].into()));
    a.todos.push_only(&scope()).await.unwrap();
    assert_eq!(a.ops().await[0].state, OpState::InDoubt);
    a.pull_without_sweep().await;
    assert_eq!((a.pending().await, a.titles().await), (0, titles([("1", "tea")])));
}

// The answer is lost, then the scope is revoked and granted again: the echo of the parked write is no conflict.
#[tokio::test]
async fn a_write_that_took_effect_before_its_scope_was_revoked_is_no_conflict() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.faults().script(Call::Push, lost());
    a.failing_sync().await;
    lab.pass_pauses();
    lab.remote.set_access(&scope(), false);
    a.failing_sync().await;
    assert_eq!(a.ops().await[0].state, OpState::Parked(ParkReason::ScopeRevoked));
    lab.remote.set_access(&scope(), true);
    lab.pass_pauses();
    a.sync().await;
    assert_eq!((a.pending().await, a.titles().await), (0, titles([("1", "tea")])));
}

// A write parked with its scope forgot what it was made on, and replaced what others wrote meanwhile.
#[tokio::test]
async fn a_write_sent_again_after_its_scope_was_revoked_meets_what_others_wrote() {
    let lab = Lab::new();
    let a = lab.device_with(Manual, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.sync().await;
    a.rename("1", "mine").await;
    lab.remote.set_access(&scope(), false);
    a.failing_sync().await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    lab.remote.set_access(&scope(), true);
    lab.pass_pauses();
    a.engine().retry_op(a.ops().await[0].op_id).await.unwrap();
    a.todos.push_only(&scope()).await.unwrap();
    assert_eq!(remote_titles(&lab.remote), titles([("1", "theirs")]));
    assert_eq!(open_conflicts(&a).await, 1);
}

// A conflict that waited for the user was parked with its scope; nothing could settle it any more.
#[tokio::test]
async fn a_conflict_that_waits_for_the_user_outlives_a_revoked_scope() {
    let lab = Lab::new();
    let a = lab.device_with(Manual, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.sync().await;
    a.rename("1", "mine").await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    a.sync().await;
    lab.remote.set_access(&scope(), false);
    a.failing_sync().await;
    lab.remote.set_access(&scope(), true);
    lab.pass_pauses();
    a.sync().await;
    assert_eq!(
        (a.ops().await[0].state.clone(), open_conflicts(&a).await),
        (OpState::Deferred, 1)
    );
    let open = a
        .engine()
        .conflicts(&ConflictQuery::default())
        .await
        .unwrap()
        .remove(0);
    a.engine()
        .resolve_conflict(open.conflict_id, Resolution::KeepLocal)
        .await
        .unwrap();
    a.sync().await;
    assert_eq!(remote_titles(&lab.remote), titles([("1", "mine")]));
    assert_eq!((a.pending().await, open_conflicts(&a).await), (0, 0));
}

// Both devices make a record; the conflict waits, and the user deletes his. Nothing was left to send, and the
// conflict stayed open for ever.
#[tokio::test]
async fn a_conflict_over_a_create_that_the_user_takes_back_is_settled() {
    let lab = Lab::new();
    let a = lab.device_with(Manual, EngineOptions::default()).await;
    a.create("1", "mine").await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    lab.remote.delete(&key("1"));
    a.sync().await;
    assert_eq!(open_conflicts(&a).await, 1);
    a.delete("1").await;
    assert_eq!((a.pending().await, open_conflicts(&a).await), (0, 0));
}

// A write that nobody could decide about, sent again, replaced the record without asking.
#[tokio::test]
async fn a_write_that_its_resolver_failed_on_never_replaces_what_it_was_not_made_on() {
    let lab = Lab::new();
    let a = lab.device_with(Fails, EngineOptions::default()).await;
    a.create("1", "mine").await;
    a.faults().script(
        Call::Push,
        Fault::FailBefore(SyncError::new(ErrorKind::Timeout, "no answer")),
    );
    a.failing_sync().await;
    // Behind the create in doubt.
    a.rename("1", "mine too").await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    for _ in 0..3 {
        lab.pass_pauses();
        a.sync().await;
        let op = a.ops().await.remove(0);
        assert!(
            matches!(op.state, OpState::Parked(ParkReason::ResolverFailed { .. })),
            "{op:?}"
        );
        assert_eq!(remote_titles(&lab.remote), titles([("1", "theirs")]));
        a.engine().retry_op(op.op_id).await.unwrap();
    }
}

// The process ended with the lease taken, and then somebody set the clock back by an hour.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_keep_a_lost_lease_alive() {
    let lab = Lab::new();
    let a = lab.device().await;
    let name = format!("sync:{}", scope());
    let dead = uuid::Uuid::from_u128(7);
    a.store
        .acquire_lease(&name, dead, lab.now(), Duration::from_secs(45))
        .await
        .unwrap();
    lab.time.clock.jump(-3_600_000_000);
    a.create("1", "tea").await;
    let moving = async {
        loop {
            lab.time.clock.until_sleeping(1).await;
            lab.pass(Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        report = a.sync() => assert_eq!(report.pushed, 1),
        () = moving => {}
    }
}

// One row that nobody can read kept a whole scope from ever synchronizing, where records are read before pushes.
#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_only_itself() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    for id in ["1", "2", "3"] {
        a.create(id, "tea").await;
    }
    a.sync().await;
    lab.remote.put_malformed(&target(), Some(&key("2").id), "{");
    for id in ["1", "2", "3"] {
        a.rename(id, "green tea").await;
    }
    a.sync().await;
    let remote = remote_titles(&lab.remote);
    assert_eq!(remote, titles([("1", "green tea"), ("3", "green tea")]));
    let left = a.ops().await;
    assert!(
        matches!(left[0].state, OpState::Parked(ParkReason::Rejected { .. })) && left.len() == 1,
        "{left:?}"
    );
    assert_eq!(a.engine().quarantine(None, 10).await.unwrap().len(), 1);
}

// Seed 21503: a search brought the mended row, a cursor by time passed it by, and it was reported as broken for ever.
#[tokio::test]
async fn a_sweep_takes_out_of_quarantine_what_is_here_as_it_is_there() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.sync().await;
    let mended = lab
        .remote
        .begin_late_commit(&key("1"), Some(payload("1", "mended")));
    lab.pass(Duration::from_secs(10));
    lab.remote.put_malformed(&target(), Some(&key("1").id), "{");
    a.sync().await;
    assert_eq!(a.engine().quarantine(None, 10).await.unwrap().len(), 1);
    lab.pass(Duration::from_secs(10));
    lab.remote.put(&key("2"), payload("2", "milk"));
    a.sync().await;
    mended.commit();
    let options = ReadOptions::from(CachePolicy::RemoteFirst).with_remote_eval();
    let all = QuerySpec::new();
    a.todos.read_with(&scope(), &all, options).await.unwrap();
    a.pull_without_sweep().await;
    assert_eq!(a.titles().await["1"], "mended");
    lab.pass(Duration::from_secs(24 * 3_600));
    a.sync().await;
    assert_eq!(a.engine().quarantine(None, 10).await.unwrap().len(), 0);
}

// Seed 116857: a request that was refused arrived again when it was not refused any more; the edit made in between
// carried its identity, and was taken for its repetition.
#[tokio::test]
async fn an_edit_after_a_refused_push_is_another_operation() {
    for kind in [ErrorKind::Unauthenticated, ErrorKind::RateLimited] {
        let lab = Lab::new();
        let a = lab.device().await;
        a.create("1", "tea").await;
        let refused = a.ops().await.remove(0);
        a.faults()
            .script(Call::Push, Fault::FailBefore(SyncError::new(kind, "not now")));
        a.failing_sync().await;
        let waiting = a.ops().await.remove(0);
        assert_eq!((waiting.op_id, waiting.attempts), (refused.op_id, 0), "{kind:?}");
        a.rename("1", "green tea").await;
        let ops = a.ops().await;
        assert_eq!(ops.len(), 1, "{kind:?}: it was not sent");
        assert_ne!(ops[0].op_id, refused.op_id, "{kind:?}");
    }
}

/// Two collections, the second a child of the first.
async fn family(lab: &Lab, options: EngineOptions) -> (SyncEngine, adapter_memory::MemoryLocalStore) {
    let store = adapter_memory::MemoryLocalStore::new();
    let children = CollectionSchema::untyped("children", "id").unwrap();
    let engine = SyncEngine::builder(Arc::new(store.clone()), Arc::new(lab.remote.clone()))
        .register_schema(CollectionSchema::untyped("parents", "id").unwrap(), LastWriteWins)
        .register_schema(children.with_parent("parent", "parents").unwrap(), LastWriteWins)
        .options(options)
        .effects(lab.time.effects())
        .build()
        .await
        .unwrap();
    (engine, store)
}

fn relative(collection: &str, id: &str) -> RecordKey {
    let target = Target::new(sync_core::CollectionName::new(collection).unwrap(), scope());
    RecordKey::new(target, sync_core::RecordId::new(id).unwrap())
}

fn create(key: &RecordKey) -> Write {
    let text = format!(r#"{{"id":"{}","parent":"p"}}"#, key.id);
    Write::create_raw(key.clone(), Payload::parse(text).unwrap())
}

// In a batch that takes effect as a whole, the child was refused, so its parent had to wait; the refusal was then
// blamed on the parent, and the batch tried again for ever.
#[tokio::test]
async fn a_refused_child_in_an_atomic_batch_is_set_aside_and_not_blamed_on_its_parent() {
    let lab = Lab::new();
    let (engine, _) = family(&lab, EngineOptions::default()).await;
    lab.remote.set_validator(|op| {
        let child = op.key.target.collection.as_str() == "children";
        child.then(|| adapter_memory::Rejection::new("bad", "no children"))
    });
    let batch = vec![
        create(&relative("parents", "p")),
        create(&relative("children", "c")),
    ];
    engine.write_batch(batch).await.unwrap();
    let report = engine.synchronize(&scope()).await.unwrap();
    assert_eq!((report.parked, report.pushed), (1, 0));
    let ops = engine.pending_ops(&OpQuery::default()).await.unwrap();
    assert!(ops.iter().all(|op| !op.state.kind().is_active()), "{ops:?}");
}

// Where records are read before they are pushed, the parent was set aside by what was read, and the child sent.
#[tokio::test]
async fn a_child_waits_for_a_parent_that_was_set_aside_right_before_the_push() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let (engine, _) = family(&lab, EngineOptions::default()).await;
    let (parent, child) = (relative("parents", "p"), relative("children", "c"));
    lab.remote.put_malformed(&parent.target, Some(&parent.id), "{");
    engine.write(create(&parent)).await.unwrap();
    engine.write(create(&child)).await.unwrap();
    engine.push_only(&scope()).await.unwrap();
    assert!(lab.remote.dump(&child.target).is_empty());
    let ops = engine.pending_ops(&OpQuery::default()).await.unwrap();
    assert!(matches!(ops[1].state, OpState::Blocked { .. }), "{ops:?}");
}

// The answer to the push of a record counted as a sight of it by a resync that had not fetched anything yet. It was
// deleted and the tombstone forgotten before, and stayed for ever.
#[tokio::test]
async fn a_push_is_no_sight_of_the_record_for_a_resync_that_has_not_begun_to_fetch() {
    let lab = Lab::new();
    let a = lab.device().await;
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    a.faults().script(
        Call::Pull,
        Fault::FailBefore(SyncError::new(ErrorKind::Unreachable, "no route")),
    );
    a.todos.full_resync(&scope()).await.unwrap_err();
    assert_eq!(a.pending().await, 0);
    lab.remote.delete(&key("1"));
    lab.remote.prune_tombstones(lab.remote.head());
    lab.pass_pauses();
    a.sync().await;
    assert_eq!(a.titles().await, titles([("2", "milk")]));
}

// A resync passed over records whose operations waited for others; given up, they came back as ghosts.
#[tokio::test]
async fn a_resync_looks_at_records_whose_operations_wait_for_others() {
    let lab = Lab::new();
    let (engine, _) = family(&lab, EngineOptions::default()).await;
    let (parent, child) = (relative("parents", "p"), relative("children", "c"));
    engine.write(create(&child)).await.unwrap();
    engine.synchronize(&scope()).await.unwrap();
    lab.remote.set_validator(|op| {
        let parent = op.key.target.collection.as_str() == "parents";
        parent.then(|| adapter_memory::Rejection::new("bad", "no parents"))
    });
    engine.write(create(&parent)).await.unwrap();
    engine.push_only(&scope()).await.unwrap();
    let changed = Payload::parse(r#"{"id":"c","parent":"p","n":1}"#).unwrap();
    engine
        .write(Write::update_raw(child.clone(), changed))
        .await
        .unwrap();
    engine.push_only(&scope()).await.unwrap();
    let ops = engine.pending_ops(&OpQuery::default()).await.unwrap();
    let waiting = ops.iter().find(|op| op.key == child).unwrap();
    assert!(matches!(waiting.state, OpState::Blocked { .. }), "{ops:?}");
    lab.remote.vanish(&child);
    engine.full_resync(&scope()).await.unwrap();
    for op in engine.pending_ops(&OpQuery::default()).await.unwrap() {
        engine.discard_op(op.op_id).await.unwrap();
    }
    engine.synchronize(&scope()).await.unwrap();
    let found = engine
        .get(&child, &sync_core::CachePolicy::OfflineOnly.into())
        .await
        .unwrap();
    assert!(found.records.is_empty(), "a ghost: {:?}", found.records);
}

// Seed 9289: made anew behind a delete in doubt, with a resolver that could not decide, the write said of itself that
// nothing was there before, and that it was made on something.
#[tokio::test]
async fn a_record_made_anew_behind_a_delete_that_nobody_could_decide_about_meets_what_there_is() {
    let lab = Lab::over(|builder| builder.timestamp_profile(Duration::from_secs(1)));
    let a = lab.device_with(Fails, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.sync().await;
    a.delete("1").await;
    let unsent = SyncError::new(ErrorKind::Timeout, "no answer");
    a.faults().script(Call::Push, Fault::FailBefore(unsent));
    a.todos.push_only(&scope()).await.unwrap_err();
    a.create("1", "mine").await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    for _ in 0..2 {
        lab.pass_pauses();
        a.sync().await;
        let op = a.ops().await.remove(0);
        assert!(
            matches!(op.state, OpState::Parked(ParkReason::ResolverFailed { .. })),
            "{op:?}"
        );
        a.engine().retry_op(op.op_id).await.unwrap();
        lab.remote.vanish(&key("1"));
    }
    let op = a.ops().await.remove(0);
    assert!(op.base.is_some_and(|base| base.is_live()) && op.kind == OpKind::Update);
}

// Seed 4495: a write that waited for the user's decision took effect all the same, by an old request that arrived late
// at a restored backup. The conflict stayed open, with nothing left to decide, and stood before all others.
#[tokio::test]
async fn a_conflict_over_a_write_that_took_effect_after_all_is_settled() {
    let lab = Lab::new();
    let a = lab.device_with(Manual, EngineOptions::default()).await;
    let backup = lab.remote.backup();
    a.create("1", "mine").await;
    lab.remote.put(&key("1"), payload("1", "theirs"));
    a.sync().await;
    assert_eq!((a.pending().await, open_conflicts(&a).await), (1, 1));
    let sent = lab.remote.push_log().remove(0);
    lab.remote.restore(&backup);
    lab.remote.push(sent).await.unwrap();
    a.sync().await;
    assert_eq!((a.pending().await, open_conflicts(&a).await), (0, 0));
    assert_eq!(a.titles().await, titles([("1", "mine")]));
}

// Seed 6786: the store failed while the records of a revoked scope were taken away, and the sync point stayed: when
// the scope was granted again, no pull brought them.
#[tokio::test]
async fn a_revoked_scope_is_complete_again_when_it_is_granted_whatever_failed_in_between() {
    for failing in 0..6 {
        let lab = Lab::new();
        let options = EngineOptions::default().with_commit_rows(1);
        let a = lab.device_with(LastWriteWins, options).await;
        for id in ["1", "2", "3"] {
            lab.remote.put(&key(id), payload(id, "tea"));
        }
        a.sync().await;
        lab.remote.set_access(&scope(), false);
        for _ in 0..failing {
            a.hooks.pass(Moment::BeforeSyncCommit);
        }
        let busy = SyncError::new(ErrorKind::Busy, "the store is locked");
        a.hooks.fail(Moment::BeforeSyncCommit, busy);
        a.failing_sync().await;
        a.hooks.clear();
        lab.remote.set_access(&scope(), true);
        lab.pass_pauses();
        a.sync().await;
        assert_eq!(a.titles().await, remote_titles(&lab.remote), "commit {failing}");
    }
}

// Seed 115635: a row that broke between two pages of one commit was taken for the good one that the first page had told,
// and left out of quarantine.
#[tokio::test]
async fn a_row_that_breaks_between_two_pages_is_set_aside() {
    let lab = Lab::new();
    let a = lab
        .device_with(NeverAsked, EngineOptions::default().with_page_size(1))
        .await;
    a.sync().await;
    lab.remote.put(&key("1"), payload("1", "tea"));
    lab.remote.put(&key("2"), payload("2", "milk"));
    let remote = lab.remote.clone();
    a.hooks.once(Moment::AfterPull, move || async move {
        remote.put_malformed(&target(), Some(&key("1").id), "{");
    });
    a.sync().await;
    assert_eq!(a.engine().quarantine(None, 10).await.unwrap().len(), 1);
    assert_eq!(a.titles().await, titles([("2", "milk")]), "no longer as it was");
}

#[tokio::test]
async fn a_row_that_is_mended_between_two_pages_is_as_the_last_told() {
    let lab = Lab::new();
    let a = lab
        .device_with(NeverAsked, EngineOptions::default().with_page_size(1))
        .await;
    a.sync().await;
    lab.remote.put_malformed(&target(), Some(&key("1").id), "{");
    lab.remote.put(&key("2"), payload("2", "milk"));
    let remote = lab.remote.clone();
    a.hooks.once(Moment::AfterPull, move || async move {
        remote.put(&key("1"), payload("1", "tea"));
    });
    let report = a.sync().await;
    assert_eq!(
        (
            report.quarantined,
            a.engine().quarantine(None, 10).await.unwrap().len()
        ),
        (0, 0)
    );
    assert_eq!(a.titles().await, titles([("1", "tea"), ("2", "milk")]));
}

// Seed 215120: the store failed while the writes of a revoked scope were set aside, and the sync point stayed: when the
// user gave such a write up, the record was gone until the next resync.
#[tokio::test]
async fn a_write_given_up_after_its_scope_was_revoked_leaves_what_others_wrote_whatever_failed_in_between() {
    for failing in 0..6 {
        let lab = Lab::new();
        let a = lab.device().await;
        for id in ["1", "2", "3"] {
            lab.remote.put(&key(id), payload(id, "tea"));
        }
        a.sync().await;
        for id in ["1", "2", "3"] {
            a.rename(id, "mine").await;
        }
        lab.remote.set_access(&scope(), false);
        for _ in 0..failing {
            a.hooks.pass(Moment::BeforeSyncCommit);
        }
        a.hooks.fail(
            Moment::BeforeSyncCommit,
            SyncError::new(ErrorKind::Busy, "the store is locked"),
        );
        a.failing_sync().await;
        a.hooks.clear();
        lab.remote.set_access(&scope(), true);
        for op in a.ops().await {
            a.engine().discard_op(op.op_id).await.unwrap();
        }
        lab.pass_pauses();
        a.sync().await;
        assert_eq!(a.titles().await, remote_titles(&lab.remote), "commit {failing}");
    }
}

// Seed 219374: the store failed as well when a pull was asked to come back later, and the pause was forgotten.
#[tokio::test]
async fn a_pause_that_a_pull_is_asked_for_is_known_even_if_its_pages_cannot_be_stored() {
    let lab = Lab::new();
    let a = lab
        .device_with(NeverAsked, EngineOptions::default().with_page_size(1))
        .await;
    for id in ["1", "2"] {
        lab.remote.put(&key(id), payload(id, "tea"));
    }
    let pause = Duration::from_secs(60);
    let asked = SyncError::new(ErrorKind::RateLimited, "later").with_retry(RetryClass::After(pause));
    a.faults().script(Call::Pull, Fault::Pass);
    a.faults().script(Call::Pull, Fault::FailBefore(asked));
    let busy = SyncError::new(ErrorKind::Busy, "the store is locked");
    a.hooks.fail(Moment::BeforeSyncCommit, busy);
    assert_eq!(a.failing_sync().await.retry(), RetryClass::After(pause));
}
