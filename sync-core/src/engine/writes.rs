//! Writes of the user: one transaction for the view, the queue and the clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inner, SyncEngine, SyncEvent};
use crate::{
    change_set::{ChangeSet, CommitOutcome},
    conflict_record::Settlement,
    error::{ErrorKind, Result, SyncError},
    id::{IdText, OpId, RecordId, RecordKey},
    machine::{Intent, Transition, WriteContext, upgrade_state, write},
    operation::{OpKind, OpState},
    payload::Payload,
    record::SyncRecord,
    record_state::RecordState,
    scope::{CollectionName, SyncScope, Target},
    store::ConflictQuery,
};

/// How often a write is worked out anew because the record changed meanwhile.
const MAX_ROUNDS: u32 = 64;

/// One write of a batch, of any record type.
#[derive(Clone, Debug)]
pub struct Write {
    key: RecordKey,
    intent: Intent,
    /// What the writer saw; the write is refused if the record is different by now.
    seen: Option<Payload>,
}

/// The code of the error for a write of a record that is not as the writer saw it.
pub(crate) const CHANGED_MEANWHILE: &str = "changed_meanwhile";

impl Write {
    /// A new record.
    ///
    /// # Errors
    /// `Invalid` if the record's id cannot be an id, or it does not serialise to an object.
    pub fn create<T: SyncRecord>(scope: &SyncScope, record: &T) -> Result<Self> {
        Ok(Self {
            key: key_of::<T>(scope, &record.id())?,
            intent: Intent::Create(Payload::encode(record)?),
            seen: None,
        })
    }

    /// A record as it should be from now on.
    ///
    /// # Errors
    /// As [`Write::create`].
    pub fn update<T: SyncRecord>(scope: &SyncScope, record: &T) -> Result<Self> {
        Ok(Self {
            key: key_of::<T>(scope, &record.id())?,
            intent: Intent::Update(Payload::encode(record)?),
            seen: None,
        })
    }

    /// The removal of a record.
    ///
    /// # Errors
    /// `Invalid` if the id cannot be an id.
    pub fn delete<T: SyncRecord>(scope: &SyncScope, id: &T::Id) -> Result<Self> {
        Ok(Self {
            key: key_of::<T>(scope, id)?,
            intent: Intent::Delete,
            seen: None,
        })
    }

    /// A new record without a Rust type.
    pub fn create_raw(key: RecordKey, payload: Payload) -> Self {
        Self {
            key,
            intent: Intent::Create(payload),
            seen: None,
        }
    }

    /// A record without a Rust type as it should be from now on.
    pub fn update_raw(key: RecordKey, payload: Payload) -> Self {
        Self {
            key,
            intent: Intent::Update(payload),
            seen: None,
        }
    }

    /// The removal of a record without a Rust type.
    pub fn delete_raw(key: RecordKey) -> Self {
        Self {
            key,
            intent: Intent::Delete,
            seen: None,
        }
    }

    /// Only if the app still sees the record like this when the write is committed.
    pub(crate) fn if_still(mut self, seen: Payload) -> Self {
        self.seen = Some(seen);
        self
    }

    /// The record.
    pub fn key(&self) -> &RecordKey {
        &self.key
    }
}

pub(crate) fn key_of<T: SyncRecord>(scope: &SyncScope, id: &T::Id) -> Result<RecordKey> {
    let target = Target::new(CollectionName::new(T::COLLECTION)?, scope.clone());
    Ok(RecordKey::new(target, RecordId::new(id.to_text())?))
}

/// A write that was committed locally.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The record.
    pub key: RecordKey,
    /// The operation that carries the write to the remote; `None` if nothing is left to send, as after deleting
    /// a record that was never sent.
    pub op_id: Option<OpId>,
}

impl SyncEngine {
    /// Commits one write and queues it. Durable when this returns.
    ///
    /// # Errors
    /// `Invalid` naming the field if the record is not acceptable; `NotFound` for a change of a record that is
    /// not there; the store's errors; `Stopped` if the engine was stopped. Nothing was changed then.
    pub async fn write(&self, write: Write) -> Result<Written> {
        let mut written = self.commit_writes(vec![write], false).await?;
        written
            .pop()
            .ok_or_else(|| SyncError::new(ErrorKind::Internal, "a write left no trace"))
    }

    /// Commits several writes, also of several record types and scopes, in one transaction. The remote applies
    /// those of one scope as a whole if it can ([`crate::Capabilities::atomic_batch`]) and they are not more than it
    /// takes at once ([`crate::Capabilities::max_push_batch`], and 5,000 in any case), else in order. A record may be
    /// written more than once; the later write sees the earlier one. Without writes, nothing happens.
    ///
    /// # Errors
    /// As [`SyncEngine::write`], for the first write that is not acceptable. Nothing was changed then.
    pub async fn write_batch(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        self.commit_writes(writes, true).await
    }

    async fn commit_writes(&self, writes: Vec<Write>, as_group: bool) -> Result<Vec<Written>> {
        let inner = &self.inner;
        inner.check_running()?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        for write in &writes {
            inner
                .check_write(write)
                .map_err(|error| error.with_operation("write").with_scope(write.key.scope()))?;
        }
        let group = (as_group && writes.len() > 1).then(|| inner.effects.new_uuid());
        for _ in 0..MAX_ROUNDS {
            let (changes, written, kinds) = inner.work_out(&writes, group).await?;
            if inner.store.commit(changes).await? == CommitOutcome::Committed {
                for (written, kind) in written.iter().zip(kinds) {
                    inner.emit(SyncEvent::Enqueued {
                        key: written.key.clone(),
                        kind,
                    });
                }
                let scopes: BTreeSet<_> = writes.iter().map(|write| write.key.scope()).collect();
                scopes.into_iter().for_each(|scope| inner.nudge(scope));
                return Ok(written);
            }
        }
        let message = format!("the records changed {MAX_ROUNDS} times while they were written; try again");
        Err(SyncError::new(ErrorKind::Busy, message).with_operation("write"))
    }
}

impl Inner {
    fn check_write(&self, write: &Write) -> Result<()> {
        let known = self.registered(&write.key.target.collection)?;
        match &write.intent {
            Intent::Create(payload) | Intent::Update(payload) => (known.schema.check)(payload, &write.key.id),
            Intent::Delete => Ok(()),
        }
    }

    /// The change set of some writes, from the records as they are now.
    async fn work_out(
        &self,
        writes: &[Write],
        group: Option<uuid::Uuid>,
    ) -> Result<(ChangeSet, Vec<Written>, Vec<OpKind>)> {
        let now = self.now();
        let mut keys: Vec<RecordKey> = writes.iter().map(|write| write.key.clone()).collect();
        // In the order of the writes: that is the order of the queue.
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        let before = self.store.load_records(&keys).await?;
        // Another process on the same store may be ahead: a write is later than those it goes behind.
        for op in before.iter().flat_map(|state| &state.ops) {
            self.clock.resume(op.stamp);
        }
        for stamp in before.iter().filter_map(|state| state.base.stamp()) {
            self.clock.observe(stamp, now);
        }
        let mut states: BTreeMap<RecordKey, RecordState> = BTreeMap::new();
        for state in &before {
            let mut state = state.clone();
            upgrade_state(&self.registered(&state.key.target.collection)?.schema, &mut state);
            states.insert(state.key.clone(), state);
        }
        let mut written = Vec::with_capacity(writes.len());
        let mut kinds = Vec::with_capacity(writes.len());
        for request in writes {
            let known = self.registered(&request.key.target.collection)?;
            let Some(state) = states.get_mut(&request.key) else {
                return Err(SyncError::new(
                    ErrorKind::Internal,
                    "the store did not answer for every record",
                ));
            };
            if let Some(seen) = &request.seen
                && state.view.as_ref().is_none_or(|view| !view.same_content(seen))
            {
                let message = format!("{} changed meanwhile; try again", request.key);
                return Err(SyncError::new(ErrorKind::Busy, message).with_code(CHANGED_MEANWHILE));
            }
            let context = WriteContext {
                op_id: self.effects.new_op_id(),
                stamp: self.clock.tick(now),
                now,
                schema: &known.schema,
                group,
            };
            kinds.push(match request.intent {
                Intent::Create(_) => OpKind::Create,
                Intent::Update(_) => OpKind::Update,
                Intent::Delete => OpKind::Delete,
            });
            *state = write(state, request.intent.clone(), context)
                .map_err(|error| error.with_operation("write").with_scope(request.key.scope()))?;
            written.push(Written {
                key: request.key.clone(),
                op_id: state.ops.last().map(|op| op.op_id),
            });
        }
        let mut changes = ChangeSet::at(now);
        for old in before {
            if let Some(after) = states.remove(&old.key) {
                self.follow_deferred(&old, &after, &mut changes).await?;
                Transition::new(old, after).add_to(&mut changes);
            }
        }
        changes.clock = Some(self.clock.latest());
        Ok((changes, written, kinds))
    }

    /// Keeps the open conflict of a record in step with what the user writes meanwhile. If nothing is left to
    /// send, both sides agree, and the conflict is settled.
    async fn follow_deferred(
        &self,
        before: &RecordState,
        after: &RecordState,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let deferred = |state: &RecordState| {
            let head = state.ops.first();
            head.filter(|op| op.state == OpState::Deferred).map(|op| op.stamp)
        };
        if deferred(before).is_none() {
            return Ok(());
        }
        let left = deferred(after);
        let query = ConflictQuery {
            key: Some(after.key.clone()),
            open: Some(true),
            ..ConflictQuery::default()
        };
        for mut conflict in self.store.load_conflicts(&query).await? {
            conflict.local = after.view.clone();
            match left {
                Some(stamp) => conflict.local_stamp = stamp,
                None => {
                    conflict.settlement = Some(Settlement::TookRemote);
                    conflict.settled_at = Some(changes.now);
                }
            }
            changes.conflicts.push(conflict);
        }
        Ok(())
    }
}
