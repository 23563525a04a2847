//! What a case works with: a remote, and short ways to write to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sync_core::{
    Capabilities, ChangedFields, CursorKind, OpId, OpKind, Payload, PushOp, PushOutcome, RecordId, RecordKey,
    RemoteState, RemoteStore, RemoteStoreExt, RemoteVersion, Target,
};

use super::RemoteFixture;
use crate::{
    case::{Stop, Verdict},
    sample::{payload, stamp},
};

/// The fields of the suite's records that cases compare. Adapters may add others.
pub(super) const FIELDS: [&str; 4] = ["title", "done", "count", "note"];

pub(super) struct RemoteContext<'f> {
    pub(super) fixture: &'f dyn RemoteFixture,
    pub(super) remote: Arc<dyn RemoteStore>,
    pub(super) capabilities: Capabilities,
    /// Operation ids are new in each run, since a server may remember those of the last one.
    run: u64,
    ops: AtomicU64,
}

impl<'f> RemoteContext<'f> {
    pub(super) fn new(fixture: &'f dyn RemoteFixture, remote: Arc<dyn RemoteStore>) -> Self {
        let capabilities = remote.capabilities();
        Self {
            fixture,
            remote,
            capabilities,
            run: rand::random(),
            ops: AtomicU64::new(0),
        }
    }

    /// The target that cases use when any will do.
    pub(super) fn todos(&self) -> Target {
        self.fixture.target("todos", "ada")
    }

    pub(super) fn id(&self, number: u64) -> RecordId {
        self.fixture.record_id(number)
    }

    pub(super) fn key(&self, number: u64) -> RecordKey {
        RecordKey::new(self.todos(), self.id(number))
    }

    pub(super) fn is_snapshot_only(&self) -> bool {
        self.capabilities.cursor == CursorKind::SnapshotOnly
    }

    /// The JSON of a record with this title.
    pub(super) fn titled(&self, key: &RecordKey, title: &str) -> Payload {
        self.counted(key, title, 1)
    }

    /// The JSON of a record with this title and count.
    pub(super) fn counted(&self, key: &RecordKey, title: &str, count: i64) -> Payload {
        let fields =
            serde_json::json!({"id": key.id.as_str(), "title": title, "done": false, "count": count});
        payload(&fields.to_string())
    }

    fn op(
        &self,
        key: &RecordKey,
        kind: OpKind,
        record: Option<Payload>,
        base: Option<RemoteVersion>,
    ) -> PushOp {
        let number = self.ops.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.run.to_le_bytes());
        random[8..].copy_from_slice(&(number as u16).to_le_bytes());
        let uuid = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + number, &random).into_uuid();
        PushOp {
            op_id: OpId::from_uuid(uuid),
            key: key.clone(),
            kind,
            payload: record,
            changed: ChangedFields::All,
            base,
            stamp: stamp(number),
            schema_version: 1,
        }
    }

    pub(super) fn create(&self, key: &RecordKey, record: Payload) -> PushOp {
        self.op(key, OpKind::Create, Some(record), None)
    }

    pub(super) fn update(&self, key: &RecordKey, record: Payload, base: Option<RemoteVersion>) -> PushOp {
        self.op(key, OpKind::Update, Some(record), base)
    }

    /// An update that means only these fields of the record.
    pub(super) fn update_only(
        &self,
        key: &RecordKey,
        record: Payload,
        fields: &[&str],
        base: Option<RemoteVersion>,
    ) -> PushOp {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        PushOp {
            changed: ChangedFields::Only(fields),
            ..self.update(key, record, base)
        }
    }

    pub(super) fn delete(&self, key: &RecordKey, base: Option<RemoteVersion>) -> PushOp {
        self.op(key, OpKind::Delete, None, base)
    }

    /// The outcome of one operation sent alone.
    pub(super) async fn push(&self, op: PushOp) -> Verdict<PushOutcome> {
        let scope = op.key.scope().clone();
        let mut outcomes = self.remote.push_ops(&scope, vec![op]).await?;
        outcomes
            .pop()
            .ok_or_else(|| Stop::failed("push_ops answered no outcome for one operation"))
    }

    /// Sends one operation that must apply, and gives the version it made.
    pub(super) async fn apply(&self, op: PushOp) -> Verdict<RemoteVersion> {
        let kind = op.kind;
        match self.push(op).await? {
            PushOutcome::Applied { version, .. } => Ok(version),
            other => Err(Stop::failed(format!(
                "a sound {} was answered {other:?}",
                kind.as_str()
            ))),
        }
    }

    /// Makes the record `number` with a title, and gives its version.
    pub(super) async fn put(&self, number: u64, title: &str) -> Verdict<RemoteVersion> {
        let key = self.key(number);
        self.apply(self.create(&key, self.titled(&key, title))).await
    }

    /// Deletes the record `number` whatever its version, and gives the version of the deleted state.
    pub(super) async fn remove(&self, number: u64) -> Verdict<RemoteVersion> {
        self.apply(self.delete(&self.key(number), None)).await
    }

    /// A create by a client that knows of the delete which made the version `deleted`.
    pub(super) fn create_anew(&self, key: &RecordKey, record: Payload, deleted: RemoteVersion) -> PushOp {
        PushOp {
            base: Some(deleted),
            ..self.create(key, record)
        }
    }

    /// Makes the record `number` again after it was deleted.
    pub(super) async fn put_anew(
        &self,
        number: u64,
        title: &str,
        deleted: RemoteVersion,
    ) -> Verdict<RemoteVersion> {
        let key = self.key(number);
        self.apply(self.create_anew(&key, self.titled(&key, title), deleted))
            .await
    }

    /// Makes the records of these numbers, each with its number as the title.
    pub(super) async fn put_all(&self, numbers: impl IntoIterator<Item = u64>) -> Verdict {
        for number in numbers {
            self.put(number, &number.to_string()).await?;
        }
        Ok(())
    }

    /// Replaces the title of a record, whatever its version.
    pub(super) async fn retitle(&self, number: u64, title: &str) -> Verdict<RemoteVersion> {
        let key = self.key(number);
        self.apply(self.update(&key, self.titled(&key, title), None))
            .await
    }

    /// The state of the record `number`.
    pub(super) async fn state(&self, number: u64) -> Verdict<RemoteState> {
        Ok(self.remote.get_one(&self.key(number)).await?)
    }

    /// Fails unless the record `number` is live with this title.
    pub(super) async fn ensure_title(&self, number: u64, title: &str) -> Verdict {
        let key = self.key(number);
        let state = self.state(number).await?;
        ensure_live(&state, &self.titled(&key, title), &["title"])
    }

    /// Fails unless the record `number` is not live.
    pub(super) async fn ensure_gone(&self, number: u64) -> Verdict {
        match self.state(number).await? {
            RemoteState::Live(live) => Err(Stop::failed(format!("the record is there: {live:?}"))),
            RemoteState::Missing | RemoteState::Deleted(_) => Ok(()),
        }
    }
}

/// Fails unless the state is live with the given values of these fields. A missing field is the same as null,
/// since a table has all columns in every row.
pub(super) fn ensure_live(state: &RemoteState, expected: &Payload, fields: &[&str]) -> Verdict {
    let RemoteState::Live(live) = state else {
        return Err(Stop::failed(format!(
            "expected a live record with {expected:?}, got {state:?}"
        )));
    };
    let (found, wanted) = (live.record.to_object()?, expected.to_object()?);
    for field in fields {
        let value = |object: &sync_core::JsonObject| object.get(*field).cloned().unwrap_or_default();
        crate::case::equal(&value(&found), &value(&wanted), || {
            format!("the field `{field}` of {:?}", live.record)
        })?;
    }
    Ok(())
}
