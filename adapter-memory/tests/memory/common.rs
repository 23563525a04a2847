//! Small makers of what tests work with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use adapter_memory::{MemoryRemoteBuilder, MemoryRemoteStore};
use sync_core::{
    ChangeSet, ChangedFields, Clock, CollectionName, CommitOutcome, Delta, ErrorKind, LocalStore, OpId,
    OpKind, OpState, Payload, PendingOp, PullRequest, PushBatch, PushOp, PushOutcome, RecordId, RecordKey,
    RecordWrite, RemoteState, RemoteStore, RemoteVersion, Result, Stamp, SyncError, SyncPoint, SyncScope,
    Target, Timestamp, Versioned,
};
use uuid::Uuid;

pub(crate) use futures::executor::block_on;

pub(crate) fn scope(name: &str) -> SyncScope {
    SyncScope::new(name).unwrap()
}

pub(crate) fn target() -> Target {
    Target::new(CollectionName::new("todos").unwrap(), scope("inbox"))
}

pub(crate) fn id(id: &str) -> RecordId {
    RecordId::new(id).unwrap()
}

pub(crate) fn key(name: &str) -> RecordKey {
    RecordKey::new(target(), id(name))
}

pub(crate) fn payload(text: &str) -> Payload {
    Payload::parse(text).unwrap()
}

/// A payload whose only field is `n`.
pub(crate) fn n(n: i64) -> Payload {
    payload(&format!(r#"{{"n":{n}}}"#))
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn op_id(number: u128) -> OpId {
    OpId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn stamp(millis: u64) -> Stamp {
    Stamp::new(millis, 0, 1)
}

pub(crate) fn version(number: i64) -> RemoteVersion {
    RemoteVersion::ordered(number.to_string(), number)
}

pub(crate) fn live(number: i64) -> RemoteState {
    RemoteState::Live(Versioned::new(n(number), version(number)))
}

pub(crate) fn error(kind: ErrorKind) -> SyncError {
    SyncError::new(kind, "scripted")
}

// Local stores.

pub(crate) fn pending(number: u128, key: &RecordKey) -> PendingOp {
    PendingOp {
        op_id: op_id(number),
        seq: 0,
        key: key.clone(),
        kind: OpKind::Update,
        payload: Some(n(0)),
        changed: ChangedFields::All,
        base: None,
        stamp: stamp(1),
        enqueued_at: at(0),
        schema_version: 1,
        group: None,
        state: OpState::Queued,
        attempts: 0,
        next_attempt_at: at(0),
        last_failure: None,
    }
}

pub(crate) fn write(key: &RecordKey, read_revision: u64, view: Option<Payload>, pending: u32) -> RecordWrite {
    RecordWrite {
        key: key.clone(),
        read_revision,
        view,
        keeps_view: false,
        schema_version: 1,
        base: RemoteState::Missing,
        pending,
        mark: 0,
    }
}

pub(crate) fn commit(store: &dyn LocalStore, changes: ChangeSet) -> Result<CommitOutcome> {
    block_on(store.commit(changes))
}

#[track_caller]
pub(crate) fn committed(store: &dyn LocalStore, changes: ChangeSet) {
    assert_eq!(commit(store, changes).unwrap(), CommitOutcome::Committed);
}

// Remotes.

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(Timestamp::EPOCH)
    }
}

pub(crate) fn with_clock(builder: MemoryRemoteBuilder) -> (MemoryRemoteStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (builder.clock(clock.clone()).build(), clock)
}

pub(crate) fn push_op(
    number: u128,
    kind: OpKind,
    name: &str,
    text: Payload,
    base: Option<RemoteVersion>,
) -> PushOp {
    PushOp {
        op_id: op_id(number),
        key: key(name),
        kind,
        payload: (kind != OpKind::Delete).then_some(text),
        changed: ChangedFields::All,
        base,
        stamp: stamp(u64::try_from(number).unwrap()),
        schema_version: 1,
    }
}

pub(crate) fn create(number: u128, name: &str) -> PushOp {
    push_op(
        number,
        OpKind::Create,
        name,
        n(i64::try_from(number).unwrap()),
        None,
    )
}

pub(crate) fn update(number: u128, name: &str, base: Option<RemoteVersion>) -> PushOp {
    push_op(
        number,
        OpKind::Update,
        name,
        n(i64::try_from(number).unwrap()),
        base,
    )
}

pub(crate) fn delete(number: u128, name: &str, base: Option<RemoteVersion>) -> PushOp {
    push_op(number, OpKind::Delete, name, n(0), base)
}

pub(crate) fn push(remote: &MemoryRemoteStore, ops: Vec<PushOp>) -> Result<Vec<PushOutcome>> {
    block_on(remote.push(PushBatch {
        scope: scope("inbox"),
        ops,
        atomic: false,
    }))
}

pub(crate) fn push_atomic(remote: &MemoryRemoteStore, ops: Vec<PushOp>) -> Result<Vec<PushOutcome>> {
    block_on(remote.push(PushBatch {
        scope: scope("inbox"),
        ops,
        atomic: true,
    }))
}

/// The outcome of one operation pushed alone.
#[track_caller]
pub(crate) fn outcome(remote: &MemoryRemoteStore, op: PushOp) -> PushOutcome {
    let mut outcomes = push(remote, vec![op]).unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// The version that an operation pushed alone makes.
#[track_caller]
pub(crate) fn applied(remote: &MemoryRemoteStore, op: PushOp) -> RemoteVersion {
    match outcome(remote, op) {
        PushOutcome::Applied { version, .. } => version,
        other => panic!("expected applied, got {other:?}"),
    }
}

pub(crate) fn pull(remote: &MemoryRemoteStore, since: Option<&SyncPoint>, page_size: u32) -> Result<Delta> {
    let request = PullRequest {
        target: target(),
        since: since.cloned(),
        page_size,
        holds_nothing: false,
    };
    block_on(remote.pull(request))
}

/// The sync point after everything was pulled.
#[track_caller]
pub(crate) fn caught_up(remote: &MemoryRemoteStore) -> SyncPoint {
    let page = pull(remote, None, 1_000).unwrap();
    assert!(!page.has_more);
    page.next
}

/// The ids of a page, deleted ones with a minus.
pub(crate) fn told(page: &Delta) -> Vec<String> {
    let sign = |state: &RemoteState| if state.is_live() { "" } else { "-" };
    page.changes
        .iter()
        .map(|change| format!("{}{}", sign(&change.state), change.id))
        .collect()
}

#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}
