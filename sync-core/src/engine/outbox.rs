//! Tools for the queue: list, count, retry, edit, discard, export, import.

use serde::{Deserialize, Serialize};

use super::{Inner, SyncEngine, Write, Written};
use crate::{
    change_set::{ChangeSet, CommitOutcome},
    conflict_record::Settlement,
    error::{ErrorKind, Result, SyncError},
    id::{OpId, RecordId, RecordKey},
    machine::{Transition, discard, upgrade_payload, with_fields},
    operation::{ChangedFields, OpKind, OpState, PendingOp},
    payload::Payload,
    record_state::RecordState,
    scope::{CollectionName, SyncScope, Target},
    stamp::Stamp,
    store::{ConflictQuery, LocalStoreExt, OpCounts, OpQuery},
    time::Timestamp,
};

const MAX_ROUNDS: u32 = 64;

/// One operation in its readable form: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportedOp {
    /// The identity it had.
    pub op_id: OpId,
    /// The record type.
    pub collection: CollectionName,
    /// The scope.
    pub scope: SyncScope,
    /// The record's id.
    pub id: RecordId,
    /// What it does.
    pub kind: OpKind,
    /// The record as it should be afterwards.
    pub payload: Option<Payload>,
    /// Which fields of the payload are meant.
    pub changed: ChangedFields,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// The schema version of the payload.
    pub schema_version: u32,
    /// Where it stood.
    pub state: OpState,
}

impl From<&PendingOp> for ExportedOp {
    fn from(op: &PendingOp) -> Self {
        Self {
            op_id: op.op_id,
            collection: op.key.target.collection.clone(),
            scope: op.key.target.scope.clone(),
            id: op.key.id.clone(),
            kind: op.kind,
            payload: op.payload.clone(),
            changed: op.changed.clone(),
            stamp: op.stamp,
            schema_version: op.schema_version,
            state: op.state.clone(),
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Writes that were committed and queued, under new identities.
    pub written: Vec<Written>,
    /// Lines that were left out: line number (from 1) and reason.
    pub left_out: Vec<(usize, SyncError)>,
}

impl SyncEngine {
    /// Pending operations, in the order of the queue.
    ///
    /// # Errors
    /// The store's.
    pub async fn pending_ops(&self, query: &OpQuery) -> Result<Vec<PendingOp>> {
        self.inner.store.load_ops(query).await
    }

    /// How many operations are pending, by state.
    ///
    /// # Errors
    /// The store's.
    pub async fn count_ops(&self, scope: Option<&SyncScope>) -> Result<OpCounts> {
        self.inner.store.count_ops(scope).await
    }

    /// Sends a parked, blocked or waiting operation again with the next sync; a background driver begins one soon.
    ///
    /// # Errors
    /// `NotFound` if there is no such operation; the store's.
    pub async fn retry_op(&self, op_id: OpId) -> Result<()> {
        let state = self.inner.change_by_op(op_id, OpEdit::SendAgain).await?;
        self.inner.nudge(state.key.scope());
        Ok(())
    }

    /// Gives up all pending writes of the record that the operation belongs to. The last confirmed state
    /// returns; what was given up is the answer, and a conflict that waited for the user is settled as discarded.
    /// An operation whose answer is outstanding may have taken effect all the same; the next pull tells.
    ///
    /// # Errors
    /// `NotFound` if there is no such operation; the store's. Nothing was changed then.
    pub async fn discard_op(&self, op_id: OpId) -> Result<Vec<PendingOp>> {
        let before = self.inner.change_by_op(op_id, OpEdit::GiveUp).await?;
        Ok(before.ops)
    }

    /// Replaces what a pending operation wants to write: an ordinary update of the record, which joins or
    /// follows the operation and sends it again if it was parked.
    ///
    /// # Errors
    /// `NotFound` if there is no such operation; as [`SyncEngine::write`].
    pub async fn edit_op(&self, op_id: OpId, payload: Payload) -> Result<Written> {
        let op = self.inner.load_op(op_id).await?;
        self.write(Write::update_raw(op.key, payload)).await
    }

    /// The pending operations of a scope, or of all, as lines of JSON ([`ExportedOp`]).
    ///
    /// # Errors
    /// The store's.
    pub async fn export_ops(&self, scope: Option<&SyncScope>) -> Result<String> {
        let query = OpQuery {
            scope: scope.cloned(),
            ..OpQuery::default()
        };
        let mut lines = String::new();
        for op in self.inner.store.load_ops(&query).await? {
            let line = serde_json::to_string(&ExportedOp::from(&op))
                .map_err(|error| SyncError::malformed("payload", error).with_operation("export"))?;
            lines.push_str(&line);
            lines.push('\n');
        }
        Ok(lines)
    }

    /// Writes exported operations again, as new writes of this device: a create of a record that is there
    /// becomes an update, an update of one that is not becomes a create, and a delete of one that is not is left
    /// out. Payloads of an older schema version are upgraded. Lines that cannot be used are reported; the others
    /// are imported.
    ///
    /// # Errors
    /// The store's; `Stopped`. What came before the line that met it is imported, and may be imported again: the
    /// same write a second time changes nothing.
    ///
    /// # Cancel safety
    /// Each line is imported as a whole or not at all.
    pub async fn import_ops(&self, lines: &str) -> Result<Imported> {
        let mut imported = Imported::default();
        for (number, line) in lines
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            match self.import_line(line).await {
                Ok(written) => imported.written.push(written),
                Err(error) if is_about_the_line(error.kind()) => imported.left_out.push((number + 1, error)),
                Err(error) => return Err(error.with_operation("import")),
            }
        }
        Ok(imported)
    }

    async fn import_line(&self, line: &str) -> Result<Written> {
        let op: ExportedOp =
            serde_json::from_str(line).map_err(|error| SyncError::malformed("line", error))?;
        let schema = &self.inner.registered(&op.collection)?.schema;
        if op.schema_version > schema.schema_version {
            let message = format!(
                "it has schema version {}, this app knows {}",
                op.schema_version, schema.schema_version
            );
            return Err(SyncError::new(ErrorKind::NewerSchema, message).with_field("schema_version"));
        }
        let is_older = op.schema_version < schema.schema_version;
        let payload = op.payload.as_ref();
        let payload = payload
            .map(|payload| upgrade_payload(schema, payload, op.schema_version))
            .transpose()?;
        // Renamed fields would be missed by a list of the old names.
        let changed = if is_older { ChangedFields::All } else { op.changed };
        let key = RecordKey::new(Target::new(op.collection, op.scope), op.id);
        let there = self.inner.store.load_record(&key).await?.view;
        let write = match (op.kind, payload, there) {
            (OpKind::Delete, _, _) => Write::delete_raw(key),
            (_, None, _) => return Err(SyncError::invalid("payload", "only a delete has none")),
            (_, Some(payload), None) => Write::create_raw(key, payload),
            (OpKind::Create, Some(payload), Some(_)) => Write::update_raw(key, payload),
            (OpKind::Update, Some(payload), Some(there)) => {
                Write::update_raw(key, only_changed(&there, &payload, &changed)?)
            }
        };
        self.write(write).await
    }
}

/// Whether an error concerns one line of an import alone, and not the store as a whole.
fn is_about_the_line(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Malformed
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::NewerSchema
            | ErrorKind::Configuration
    )
}

/// The record with the fields that an operation changes.
fn only_changed(there: &Payload, wanted: &Payload, changed: &ChangedFields) -> Result<Payload> {
    match changed {
        ChangedFields::All => Ok(wanted.clone()),
        ChangedFields::Only(fields) => with_fields(there, wanted, fields),
    }
}

impl Inner {
    pub(crate) async fn load_op(&self, op_id: OpId) -> Result<PendingOp> {
        let query = OpQuery {
            op_ids: Some(vec![op_id]),
            ..OpQuery::default()
        };
        let found = self.store.load_ops(&query).await?.into_iter().next();
        found.ok_or_else(|| {
            SyncError::new(
                ErrorKind::NotFound,
                format!("there is no pending operation {op_id}"),
            )
            .with_field("op_id")
        })
    }

    /// Changes the record that an operation belongs to. Returns it as it was before.
    async fn change_by_op(&self, op_id: OpId, edit: OpEdit) -> Result<RecordState> {
        self.check_running()?;
        for _ in 0..MAX_ROUNDS {
            let key = self.load_op(op_id).await?.key;
            let state = self.store.load_record(&key).await?;
            let mut changes = ChangeSet::at(self.now());
            match edit {
                OpEdit::SendAgain => {
                    Transition::new(state.clone(), sent_again(&state, op_id, self.now()))
                        .add_to(&mut changes);
                }
                OpEdit::GiveUp => self.give_up(&state, &mut changes).await?,
            }
            if self.store.commit(changes).await? == CommitOutcome::Committed {
                return Ok(state);
            }
        }
        Err(SyncError::new(
            ErrorKind::Busy,
            "the record kept changing; try again",
        ))
    }

    /// Adds to a change set that the operations of a record are given up, and what is open about it is settled.
    pub(crate) async fn give_up(&self, state: &RecordState, changes: &mut ChangeSet) -> Result<()> {
        Transition::new(state.clone(), discard(state)).add_to(changes);
        self.settle_open(&state.key, Settlement::Discarded, changes).await
    }

    /// Adds to a change set that the open conflicts of a record are settled like this.
    pub(crate) async fn settle_open(
        &self,
        key: &RecordKey,
        settlement: Settlement,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let query = ConflictQuery {
            key: Some(key.clone()),
            open: Some(true),
            ..ConflictQuery::default()
        };
        for mut conflict in self.store.load_conflicts(&query).await? {
            conflict.settlement = Some(settlement);
            conflict.settled_at = Some(self.now());
            changes.conflicts.push(conflict);
        }
        Ok(())
    }
}

/// What is to be done with an operation.
#[derive(Clone, Copy, Debug)]
enum OpEdit {
    SendAgain,
    GiveUp,
}

/// The record with one of its operations due now.
fn sent_again(state: &RecordState, op_id: OpId, now: Timestamp) -> RecordState {
    let mut after = state.clone();
    for op in after.ops.iter_mut().filter(|op| op.op_id == op_id) {
        if !matches!(op.state, OpState::InDoubt | OpState::Deferred) {
            op.state = OpState::Queued;
        }
        op.next_attempt_at = now;
    }
    after
}
