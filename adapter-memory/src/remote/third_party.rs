//! What tests do behind the client's back: other writers, the administrator, and the truth.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{
    CollectionName, OpId, Payload, PushBatch, PushOp, PushOutcome, RecordId, RecordKey, RemoteState,
    RemoteVersion, Result, Stamp, SyncPoint, SyncScope, Target,
};

use super::{
    MemoryRemoteStore, Rejection, cursor,
    push::PushDisturbance,
    state::{Content, Data, Ticket},
};

/// The content of a backend at one moment, operation ids included.
#[derive(Clone, Debug)]
pub struct Backup(Data);

/// A write by someone else that has begun, and that nobody sees yet.
///
/// Under a timestamp cursor it has its time already, so it appears behind the cursors of those who pulled
/// meanwhile. In commit order it gets its place when it is committed. Dropped, it never happened.
#[derive(Debug)]
#[must_use = "it happens when it is committed"]
pub struct LateCommit {
    remote: MemoryRemoteStore,
    key: RecordKey,
    content: Content,
    ticket: Option<Ticket>,
}

impl LateCommit {
    /// Makes the write visible.
    pub fn commit(self) -> RemoteVersion {
        self.remote.backend(|backend| {
            let ticket = self.ticket.unwrap_or_else(|| backend.ticket());
            backend.write(&self.key, self.content, None, ticket)
        })
    }
}

/// Other writers.
impl MemoryRemoteStore {
    /// Another client without stamps writes the record, whatever it was before.
    pub fn put(&self, key: &RecordKey, payload: Payload) -> RemoteVersion {
        self.write(key, Content::Live(payload), None)
    }

    /// Another client with stamps writes the record, whatever it was before.
    pub fn put_stamped(&self, key: &RecordKey, payload: Payload, stamp: Stamp) -> RemoteVersion {
        self.write(key, Content::Live(payload), Some(stamp))
    }

    /// Another client deletes the record. There is a tombstone afterwards if the backend keeps any.
    pub fn delete(&self, key: &RecordKey) -> RemoteVersion {
        self.write(key, Content::Deleted, None)
    }

    /// The row is gone without a tombstone and without a poke, as when an administrator deletes it by hand.
    pub fn vanish(&self, key: &RecordKey) {
        self.backend(|backend| backend.forget(key));
    }

    /// Moves a live record into another scope: it is deleted in its own, and appears there with the same content.
    /// Does nothing if the record is not live.
    pub fn move_to_scope(&self, key: &RecordKey, scope: &SyncScope) {
        self.backend(|backend| {
            let Some((Content::Live(payload), stamp)) =
                backend.row(key).map(|row| (row.content.clone(), row.stamp))
            else {
                return;
            };
            let left = backend.ticket();
            backend.write(key, Content::Deleted, stamp, left);
            let target = Target::new(key.target.collection.clone(), scope.clone());
            let arrived = backend.ticket();
            backend.write(
                &RecordKey::new(target, key.id.clone()),
                Content::Live(payload),
                stamp,
                arrived,
            );
        });
    }

    /// Fills a collection of a scope.
    pub fn seed(
        &self,
        scope: &SyncScope,
        collection: &CollectionName,
        records: impl IntoIterator<Item = (RecordId, Payload)>,
    ) {
        let target = Target::new(collection.clone(), scope.clone());
        for (id, payload) in records {
            self.put(&RecordKey::new(target.clone(), id), payload);
        }
    }

    /// Puts a row that no client understands; without an id, the id cannot be read either. A later write of the
    /// id mends it.
    pub fn put_malformed(&self, target: &Target, id: Option<&RecordId>, raw: impl Into<String>) {
        let raw = raw.into();
        self.backend(|backend| {
            let ticket = backend.ticket();
            let named = id.is_some();
            // The place of a row without an id: no client can name it by chance, since it sorts after all texts.
            let id = id
                .cloned()
                .or_else(|| RecordId::new(format!("\u{10FFFF}{}", ticket.sequence)).ok());
            if let Some(id) = id {
                let key = RecordKey::new(target.clone(), id);
                backend.write(&key, Content::Malformed { raw, named }, None, ticket);
            }
        });
    }

    /// Another client begins to write the record (`None` deletes it), and commits later.
    pub fn begin_late_commit(&self, key: &RecordKey, payload: Option<Payload>) -> LateCommit {
        let ticket = self.backend(|backend| (!backend.is_commit_ordered()).then(|| backend.ticket()));
        let content = payload.map_or(Content::Deleted, Content::Live);
        LateCommit {
            remote: self.clone(),
            key: key.clone(),
            content,
            ticket,
        }
    }

    fn write(&self, key: &RecordKey, content: Content, stamp: Option<Stamp>) -> RemoteVersion {
        self.backend(|backend| {
            let ticket = backend.ticket();
            backend.write(key, content, stamp, ticket)
        })
    }
}

/// The administrator.
impl MemoryRemoteStore {
    /// Everything the backend holds now.
    pub fn backup(&self) -> Backup {
        self.backend(|backend| Backup(backend.data.clone()))
    }

    /// Puts the backend back to a backup. With the capability `epoch` it begins a new epoch, so that every older
    /// sync point is refused; without, it is rewound and nobody notices.
    pub fn restore(&self, backup: &Backup) {
        self.backend(|backend| {
            backend.data = backup.0.clone();
            if backend.capabilities.epoch {
                backend.epoch += 1;
            }
        });
    }

    /// Forgets the tombstones of commits up to this sequence. Sync points before it expire; one exactly at it
    /// stays good. A sequence beyond [`MemoryRemoteStore::head`] counts as the head.
    pub fn prune_tombstones(&self, horizon: i64) {
        self.backend(|backend| {
            let horizon = horizon.min(backend.data.sequence);
            backend.data.horizon = backend.data.horizon.max(horizon);
            let targets = backend.data.rows.iter();
            let forgotten: Vec<RecordKey> = targets
                .flat_map(|(target, rows)| rows.by_id.iter().map(move |(id, row)| (target, id, row)))
                .filter(|(_, _, row)| row.content == Content::Deleted && row.sequence <= horizon)
                .map(|(target, id, _)| RecordKey::new(target.clone(), id.clone()))
                .collect();
            for key in forgotten {
                backend.forget(&key);
            }
        });
    }

    /// Gives or takes the right to see a scope. Without it, every call about the scope is `ScopeRevoked`.
    pub fn set_access(&self, scope: &SyncScope, allowed: bool) {
        self.backend(|backend| {
            if allowed {
                backend.revoked.remove(scope);
            } else {
                backend.revoked.insert(scope.clone());
            }
        });
    }

    /// Sets how far the server's clock is ahead of the injected one, in microseconds; negative = behind.
    pub fn set_clock_skew(&self, micros: i64) {
        self.backend(|backend| backend.skew_micros = micros);
    }

    /// Lets the server change payloads on their way into the store, as triggers and defaults do. The closure must
    /// not call the store.
    pub fn set_server_transform(
        &self,
        transform: impl Fn(&RecordKey, Payload) -> Payload + Send + Sync + 'static,
    ) {
        self.backend(|backend| backend.hooks.transform = Some(Arc::new(transform)));
    }

    /// Lets the server reject operations for good. The closure must not call the store.
    pub fn set_validator(&self, validate: impl Fn(&PushOp) -> Option<Rejection> + Send + Sync + 'static) {
        self.backend(|backend| backend.hooks.validate = Some(Arc::new(validate)));
    }

    /// An old push arrives once more, past faults and sign-in, and nobody waits for the answer: the `index`-th of
    /// [`MemoryRemoteStore::push_log`]. `None` if there is no such push.
    pub fn redeliver(&self, index: usize) -> Option<Result<Vec<PushOutcome>>> {
        self.backend(|backend| {
            let batch = backend.push_log.get(index)?.clone();
            Some(backend.push(&batch, &PushDisturbance::default()))
        })
    }
}

/// The truth.
impl MemoryRemoteStore {
    /// The live records of a target.
    pub fn dump(&self, target: &Target) -> BTreeMap<RecordId, Payload> {
        self.backend(|backend| {
            let rows = backend
                .data
                .rows
                .get(target)
                .into_iter()
                .flat_map(|rows| &rows.by_id);
            let live = rows.filter_map(|(id, row)| match &row.content {
                Content::Live(payload) => Some((id.clone(), payload.clone())),
                _ => None,
            });
            live.collect()
        })
    }

    /// The state of a record with its stamp and time, also where the capabilities keep them from clients. A row
    /// that cannot be understood is `Missing`.
    pub fn state_of(&self, key: &RecordKey) -> RemoteState {
        self.backend(|backend| {
            backend
                .row(key)
                .and_then(|row| row.state(row.stamp, Some(row.written_at)))
                .unwrap_or_default()
        })
    }

    /// Whether the backend holds a row for the record that nobody understands.
    pub fn is_malformed(&self, key: &RecordKey) -> bool {
        self.backend(|backend| {
            let row = backend.row(key);
            row.is_some_and(|row| matches!(row.content, Content::Malformed { .. }))
        })
    }

    /// Whether a sync point is behind another one. `None` if they cannot be compared: of different epochs, or
    /// within a pass.
    pub fn is_behind(&self, point: &SyncPoint, other: &SyncPoint) -> Option<bool> {
        cursor::is_behind(point, other)
    }

    /// How often the operation took effect, over all restored backups.
    pub fn applied_count(&self, op_id: OpId) -> u64 {
        self.backend(|backend| backend.applied.get(&op_id).copied().unwrap_or(0))
    }

    /// Every push that reached the backend, in order, refused ones included.
    pub fn push_log(&self) -> Vec<PushBatch> {
        self.backend(|backend| backend.push_log.clone())
    }

    /// The sequence of the latest commit.
    pub fn head(&self) -> i64 {
        self.backend(|backend| backend.data.sequence)
    }
}
