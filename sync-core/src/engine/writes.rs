//! Writes of the user: one transaction for the view, the queue and the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

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
    stamp::Stamp,
    store::{ConflictQuery, WorkOut},
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

    fn kind(&self) -> OpKind {
        match self.intent {
            Intent::Create(_) => OpKind::Create,
            Intent::Update(_) => OpKind::Update,
            Intent::Delete => OpKind::Delete,
        }
    }
}

/// Writes that are committed together.
#[derive(Debug)]
struct Request {
    writes: Vec<Write>,
    group: Option<uuid::Uuid>,
}

impl Request {
    /// Each record once, in the order of the writes: that is the order of the queue.
    fn keys(&self) -> Vec<RecordKey> {
        let mut keys: Vec<RecordKey> = self.writes.iter().map(|write| write.key.clone()).collect();
        if keys.len() > 1 {
            let mut seen = BTreeSet::new();
            keys.retain(|key| seen.insert(key.clone()));
        }
        keys
    }
}

/// What some writes come to, given the records as they are.
struct WorkedOut {
    changes: ChangeSet,
    written: Vec<Written>,
    /// Records that waited for the user to resolve a conflict, as they are from now on. The conflict is to be kept
    /// in step.
    deferred: Vec<RecordState>,
}

/// What became of the attempt to read, work out and commit in one step.
enum AtOnce {
    Committed(Vec<Written>),
    Stale,
    /// An open conflict must be read as well.
    MeetsConflict,
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
        let request = Arc::new(Request { writes, group });
        for _ in 0..MAX_ROUNDS {
            let written = match inner.commit_at_once(&request).await? {
                AtOnce::Committed(written) => Some(written),
                AtOnce::Stale => None,
                AtOnce::MeetsConflict => inner.commit_beside_conflicts(&request).await?,
            };
            if let Some(written) = written {
                for (written, write) in written.iter().zip(&request.writes) {
                    inner.emit(SyncEvent::Enqueued {
                        key: written.key.clone(),
                        kind: write.kind(),
                    });
                }
                let scopes: BTreeSet<_> = request.writes.iter().map(|write| write.key.scope()).collect();
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

    async fn commit_at_once(self: &Arc<Self>, request: &Arc<Request>) -> Result<AtOnce> {
        let left: Arc<Mutex<Option<Vec<Written>>>> = Arc::default();
        let work: WorkOut = Box::new({
            let (inner, request, left) = (Arc::clone(self), Arc::clone(request), Arc::clone(&left));
            move |before| {
                let WorkedOut {
                    changes,
                    written,
                    deferred,
                } = inner.work_out(&request, before)?;
                *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
                Ok(deferred.is_empty().then_some(changes))
            }
        });
        let outcome = self.store.update(&request.keys(), work).await?;
        Ok(match outcome {
            Some(CommitOutcome::Committed) => {
                let written = left.lock().unwrap_or_else(PoisonError::into_inner).take();
                AtOnce::Committed(written.unwrap_or_default())
            }
            Some(CommitOutcome::Stale(_)) => AtOnce::Stale,
            None => AtOnce::MeetsConflict,
        })
    }

    /// As [`Inner::commit_at_once`], of records with open conflicts; `None` if they changed meanwhile.
    async fn commit_beside_conflicts(&self, request: &Request) -> Result<Option<Vec<Written>>> {
        let before = self.store.load_records(&request.keys()).await?;
        let mut worked_out = self.work_out(request, before)?;
        for after in &worked_out.deferred {
            self.follow_deferred(after, &mut worked_out.changes).await?;
        }
        let outcome = self.store.commit(worked_out.changes).await?;
        Ok((outcome == CommitOutcome::Committed).then_some(worked_out.written))
    }

    /// The change set of some writes, from the records as they are now.
    fn work_out(&self, request: &Request, before: Vec<RecordState>) -> Result<WorkedOut> {
        let now = self.now();
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
        let mut written = Vec::with_capacity(request.writes.len());
        for wanted in &request.writes {
            let known = self.registered(&wanted.key.target.collection)?;
            let Some(state) = states.get_mut(&wanted.key) else {
                return Err(SyncError::new(
                    ErrorKind::Internal,
                    "the store did not answer for every record",
                ));
            };
            if let Some(seen) = &wanted.seen
                && state.view.as_ref().is_none_or(|view| !view.same_content(seen))
            {
                let message = format!("{} changed meanwhile; try again", wanted.key);
                return Err(SyncError::new(ErrorKind::Busy, message).with_code(CHANGED_MEANWHILE));
            }
            let context = WriteContext {
                op_id: self.effects.new_op_id(),
                stamp: self.clock.tick(now),
                now,
                schema: &known.schema,
                group: request.group,
            };
            *state = write(state, wanted.intent.clone(), context)
                .map_err(|error| error.with_operation("write").with_scope(wanted.key.scope()))?;
            written.push(Written {
                key: wanted.key.clone(),
                op_id: state.ops.last().map(|op| op.op_id),
            });
        }
        let mut changes = ChangeSet::at(now);
        let mut deferred = Vec::new();
        for old in before {
            if let Some(after) = states.remove(&old.key) {
                let transition = Transition::new(old, after);
                transition.add_to(&mut changes);
                if waits_for_the_user(&transition.before).is_some() {
                    deferred.push(transition.after);
                }
            }
        }
        changes.clock = Some(self.clock.latest());
        Ok(WorkedOut {
            changes,
            written,
            deferred,
        })
    }

    /// Keeps the open conflict of a record in step with what the user writes meanwhile. If nothing is left to
    /// send, both sides agree, and the conflict is settled.
    async fn follow_deferred(&self, after: &RecordState, changes: &mut ChangeSet) -> Result<()> {
        let left = waits_for_the_user(after);
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

/// The stamp of the operation at the head of a record's queue, if it waits for the user to resolve a conflict.
fn waits_for_the_user(state: &RecordState) -> Option<Stamp> {
    let head = state.ops.first();
    head.filter(|op| op.state == OpState::Deferred).map(|op| op.stamp)
}
