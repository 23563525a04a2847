//! The records, operations and change sets that the suites work with.

use std::time::Duration;

use sync_core::{
    ChangeSet, ChangedFields, CollectionName, CommitOutcome, Confirmation, ConfirmedPage, LocalStore,
    OpChange, OpId, OpKind, OpState, Payload, PendingOp, RecordId, RecordKey, RecordWrite, RemoteState,
    RemoteVersion, Stamp, SyncScope, Target, Timestamp, Tombstone, Versioned,
};
use uuid::Uuid;

use crate::case::{Stop, Verdict};

pub(crate) const NODE: u64 = 0xA1;

/// A moment of the local clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

pub(crate) fn scope(user: &str) -> SyncScope {
    SyncScope::new("conformance")
        .and_then(|scope| scope.with("user", user))
        .expect("sample scopes are valid")
}

pub(crate) fn collection(name: &str) -> CollectionName {
    CollectionName::new(name).expect("sample collections are valid")
}

pub(crate) fn target(name: &str, user: &str) -> Target {
    Target::new(collection(name), scope(user))
}

/// The target that cases use when any will do.
pub(crate) fn todos() -> Target {
    target("todos", "ada")
}

pub(crate) fn id(text: &str) -> RecordId {
    RecordId::new(text).expect("sample ids are valid")
}

pub(crate) fn key(text: &str) -> RecordKey {
    RecordKey::new(todos(), id(text))
}

pub(crate) fn payload(text: &str) -> Payload {
    Payload::parse(text).expect("sample payloads are JSON objects")
}

pub(crate) fn version(number: i64) -> RemoteVersion {
    RemoteVersion::ordered(format!("v{number}"), number)
}

pub(crate) fn stamp(number: u64) -> Stamp {
    Stamp::new(1_700_000_000_000 + number, 0, NODE)
}

pub(crate) fn live(text: &str, number: i64) -> RemoteState {
    RemoteState::Live(Versioned::new(payload(text), version(number)))
}

pub(crate) fn deleted(number: i64) -> RemoteState {
    RemoteState::Deleted(Tombstone {
        version: Some(version(number)),
        stamp: None,
        server_time: None,
    })
}

pub(crate) fn uuid(number: u64) -> Uuid {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, &random).into_uuid()
}

pub(crate) fn op_id(number: u64) -> OpId {
    OpId::from_uuid(uuid(number))
}

/// A queued operation with the identity `number`.
pub(crate) fn op(key: &RecordKey, number: u64, kind: OpKind, text: Option<&str>) -> PendingOp {
    PendingOp {
        op_id: op_id(number),
        seq: 0,
        key: key.clone(),
        kind,
        payload: text.map(payload),
        changed: ChangedFields::All,
        base: None,
        stamp: stamp(number),
        enqueued_at: at(0),
        schema_version: 1,
        group: None,
        state: OpState::Queued,
        attempts: 0,
        next_attempt_at: at(0),
        last_failure: None,
    }
}

/// An update with a small payload.
pub(crate) fn update(key: &RecordKey, number: u64) -> PendingOp {
    op(key, number, OpKind::Update, Some(r#"{"title":"changed"}"#))
}

/// A record row with `pending` operations that shows `text`.
pub(crate) fn pending_row(key: &RecordKey, read_revision: u64, text: &str, pending: u32) -> RecordWrite {
    RecordWrite {
        key: key.clone(),
        read_revision,
        view: Some(payload(text)),
        keeps_view: false,
        schema_version: 1,
        base: RemoteState::Missing,
        pending,
        mark: 0,
    }
}

/// A record row without operations in the state `base`.
pub(crate) fn confirmed_row(key: &RecordKey, read_revision: u64, base: RemoteState) -> RecordWrite {
    RecordWrite {
        key: key.clone(),
        read_revision,
        view: base.payload().cloned(),
        keeps_view: false,
        schema_version: 1,
        base,
        pending: 0,
        mark: 0,
    }
}

/// One page of confirmations of one target.
pub(crate) fn page(
    target: &Target,
    mark: u64,
    states: impl IntoIterator<Item = (RecordId, RemoteState)>,
) -> ConfirmedPage {
    ConfirmedPage {
        only_new: false,
        target: target.clone(),
        records: states
            .into_iter()
            .map(|(id, state)| Confirmation { id, state })
            .collect(),
        schema_version: 1,
        mark,
    }
}

/// A new record with its first operation.
pub(crate) fn enqueue(key: &RecordKey, number: u64, text: &str) -> ChangeSet {
    ChangeSet {
        records: vec![pending_row(key, 0, text, 1)],
        ops: vec![OpChange::Append(op(key, number, OpKind::Create, Some(text)))],
        ..ChangeSet::at(at(1))
    }
}

/// A live record without operations.
pub(crate) fn confirm(key: &RecordKey, text: &str, number: i64) -> ChangeSet {
    ChangeSet {
        confirmed: vec![page(&key.target, 0, [(key.id.clone(), live(text, number))])],
        ..ChangeSet::at(at(1))
    }
}

/// Only changes of the queue, each in the order given.
pub(crate) fn queue_changes(changes: impl IntoIterator<Item = OpChange>) -> ChangeSet {
    ChangeSet {
        ops: changes.into_iter().collect(),
        ..ChangeSet::at(at(1))
    }
}

/// Commits, and fails the case unless everything was written.
pub(crate) async fn commit(store: &dyn LocalStore, changes: ChangeSet) -> Verdict {
    match store.commit(changes).await? {
        CommitOutcome::Committed => Ok(()),
        CommitOutcome::Stale(keys) => Err(Stop::failed(format!(
            "a sound commit was answered stale for {keys:?}"
        ))),
    }
}

/// Commits, and fails the case unless the store answers that it is stale. Gives the keys it names.
pub(crate) async fn commit_stale(store: &dyn LocalStore, changes: ChangeSet) -> Verdict<Vec<RecordKey>> {
    match store.commit(changes).await? {
        CommitOutcome::Committed => Err(Stop::failed("a stale commit was written")),
        CommitOutcome::Stale(keys) => Ok(keys),
    }
}

/// Long enough for any lease of a case.
pub(crate) const LEASE_TIME: Duration = Duration::from_secs(30);
