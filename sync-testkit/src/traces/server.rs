//! The remote that all clients of a trace share, and what it did for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adapter_memory::{Backup, MemoryRemoteStore};
use serde_json::Value;
use sync_core::{
    ChangedFields, ErrorKind, OpId, OpKind, Payload, PushBatch, PushOp, PushOutcome, RecordId, RecordKey,
    RemoteState, RemoteStore, Result, Stamp, SyncError, SyncScope, Target, Timestamp,
};
use uuid::Uuid;

use super::{
    subject::Subject,
    time::WorldTime,
    vocabulary::{Access, Config, Fields, Grant, Transform},
};
use crate::naive::WrongRemote;

/// The node of the third party: on a tie, what it stored stays.
const THIRD_PARTY: u64 = u64::MAX;

/// An operation of a client that took effect.
#[derive(Clone, Debug)]
pub(super) struct AppliedOp {
    pub(super) kind: OpKind,
    pub(super) id: RecordId,
}

/// The remote. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    remote: MemoryRemoteStore,
    /// The remote as clients meet it: with a mistake, if the test is about that.
    front: Arc<dyn RemoteStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    applied: Vec<AppliedOp>,
    op_ids: BTreeMap<OpId, RecordId>,
    largest_batch: u64,
    pushes: BTreeMap<String, Vec<PushBatch>>,
    /// The latest grant for a client and a scope counts.
    grants: Vec<Grant>,
    backups: BTreeMap<String, Backup>,
    scopes: BTreeSet<SyncScope>,
    third_party_ops: u128,
}

impl Server {
    pub(super) fn new(time: &WorldTime, config: &Config, subject: Subject) -> Self {
        let remote = MemoryRemoteStore::builder().clock(Arc::new(time.clone())).build();
        if !config.server_transform.is_empty() {
            let transforms = config.server_transform.clone();
            remote.set_server_transform(move |_, payload| transformed(payload, &transforms));
        }
        let right: Arc<dyn RemoteStore> = Arc::new(remote.clone());
        let front = match subject {
            Subject::EngineOnRemote(mistake) => Arc::new(WrongRemote::new(right, mistake)),
            _ => right,
        };
        Self {
            remote,
            front,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn front(&self) -> &dyn RemoteStore {
        &*self.front
    }

    /// What a client may do in a scope.
    pub(super) fn access(&self, client: &str, scope: &str) -> Access {
        let fits = |grant: &&Grant| {
            grant.client.as_deref().is_none_or(|named| named == client)
                && grant.scope.as_deref().is_none_or(|named| named == scope)
        };
        let state = self.state();
        state
            .grants
            .iter()
            .rev()
            .find(fits)
            .map_or(Access::Full, |grant| grant.access)
    }

    pub(super) fn set_access(&self, grants: &[Grant]) {
        self.state().grants.extend_from_slice(grants);
    }

    /// A push request leaves a client, whether or not it arrives.
    pub(super) fn note_request(&self, client: &str, batch: &PushBatch) {
        let mut state = self.state();
        state.largest_batch = state.largest_batch.max(batch.ops.len() as u64);
        state.scopes.insert(batch.scope.clone());
        for op in &batch.ops {
            state.op_ids.insert(op.op_id, op.key.id.clone());
        }
        state
            .pushes
            .entry(client.to_owned())
            .or_default()
            .push(batch.clone());
    }

    /// A push request arrives.
    pub(super) async fn deliver(&self, batch: PushBatch) -> Result<Vec<PushOutcome>> {
        let ops: Vec<_> = batch.ops.iter().map(|op| (op.kind, op.key.id.clone())).collect();
        let outcomes = self.front.push(batch).await?;
        let took_effect = |((kind, id), outcome): ((OpKind, RecordId), &PushOutcome)| {
            matches!(outcome, PushOutcome::Applied { .. }).then_some(AppliedOp { kind, id })
        };
        let applied: Vec<_> = ops.into_iter().zip(&outcomes).filter_map(took_effect).collect();
        self.state().applied.extend(applied);
        Ok(outcomes)
    }

    /// A client's push request, from 1, arrives once more.
    pub(super) async fn redeliver(&self, client: &str, request: usize) -> Result<()> {
        let batch = {
            let state = self.state();
            let sent = state.pushes.get(client).map_or(&[][..], Vec::as_slice);
            sent.get(request.saturating_sub(1)).cloned().ok_or_else(|| {
                let message = format!(
                    "{client} made {} push requests, there is none number {request}",
                    sent.len()
                );
                SyncError::new(ErrorKind::NotFound, message)
            })?
        };
        // Nobody waits for the answer.
        self.deliver(batch).await.map(drop)
    }

    // --- the third party ---

    /// Writes fields of a record; what is there keeps its other fields, what was deleted does not.
    pub(super) fn put(&self, key: &RecordKey, fields: &Fields, at: Timestamp) -> Result<()> {
        self.state().scopes.insert(key.scope().clone());
        let mut record = match self.remote.state_of(key) {
            RemoteState::Live(live) => live.record.to_object()?,
            _ => Fields::new(),
        };
        record.extend(fields.iter().map(|(field, value)| (field.clone(), value.clone())));
        self.remote
            .put_stamped(key, Payload::from_object(&record), stamp(at));
        Ok(())
    }

    pub(super) async fn remove(&self, key: &RecordKey, at: Timestamp) -> Result<()> {
        let op_id = {
            let mut state = self.state();
            state.third_party_ops += 1;
            OpId::from_uuid(Uuid::from_u128(state.third_party_ops))
        };
        let op = PushOp {
            op_id,
            key: key.clone(),
            kind: OpKind::Delete,
            payload: None,
            changed: ChangedFields::All,
            base: None,
            stamp: stamp(at),
            schema_version: 1,
        };
        let batch = PushBatch {
            scope: key.scope().clone(),
            ops: vec![op],
            atomic: false,
        };
        self.remote.push(batch).await.map(drop)
    }

    pub(super) fn vanish(&self, key: &RecordKey) {
        self.remote.vanish(key);
    }

    pub(super) fn move_to(&self, key: &RecordKey, scope: &SyncScope) {
        self.state().scopes.insert(scope.clone());
        self.remote.move_to_scope(key, scope);
    }

    /// Forgets tombstones, but for those of so many of the latest commits.
    pub(super) fn prune(&self, keep: u64) {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        self.remote
            .prune_tombstones(self.remote.head().saturating_sub(keep));
    }

    pub(super) fn snapshot(&self, name: &str) {
        let backup = self.remote.backup();
        self.state().backups.insert(name.to_owned(), backup);
    }

    pub(super) fn restore(&self, name: &str) -> Result<()> {
        let backup = self.state().backups.get(name).cloned();
        let backup = backup
            .ok_or_else(|| SyncError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}")))?;
        self.remote.restore(&backup);
        Ok(())
    }

    // --- the truth ---

    /// The scopes that anyone wrote to.
    pub(super) fn scopes(&self) -> BTreeSet<SyncScope> {
        self.state().scopes.clone()
    }

    pub(super) fn rows(&self, target: &Target) -> Result<BTreeMap<String, Fields>> {
        let row = |(id, payload): (RecordId, Payload)| Ok((id.to_string(), payload.to_object()?));
        self.remote.dump(target).into_iter().map(row).collect()
    }

    pub(super) fn applied(&self) -> Vec<AppliedOp> {
        self.state().applied.clone()
    }

    /// How often operations of clients took effect, by record.
    pub(super) fn applied_counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (op_id, id) in &self.state().op_ids {
            *counts.entry(id.to_string()).or_default() += self.remote.applied_count(*op_id);
        }
        counts
    }

    pub(super) fn largest_batch(&self) -> u64 {
        self.state().largest_batch
    }

    /// Whether an operation took effect before.
    pub(super) fn knows(&self, op_id: OpId) -> bool {
        self.remote.applied_count(op_id) > 0
    }
}

fn stamp(at: Timestamp) -> Stamp {
    Stamp::new(u64::try_from(at.as_millis()).unwrap_or(0), 0, THIRD_PARTY)
}

fn transformed(payload: Payload, transforms: &[Transform]) -> Payload {
    let Ok(mut fields) = payload.to_object() else {
        return payload;
    };
    let before = fields.clone();
    for transform in transforms {
        let (field, change): (&String, fn(&str) -> String) = match transform {
            Transform::Set(field, value) => {
                fields.insert(field.clone(), value.clone());
                continue;
            }
            Transform::Upper(field) => (field, str::to_uppercase),
            Transform::Lower(field) => (field, str::to_lowercase),
            Transform::Trim(field) => (field, |text| text.trim().to_owned()),
        };
        if let Some(Value::String(text)) = fields.get_mut(field) {
            *text = change(text);
        }
    }
    if fields == before {
        return payload;
    }
    Payload::from_object(&fields)
}
