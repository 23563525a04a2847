//! Everything that is known about one record, in one answer.

use std::fmt;

use super::{ScopeStatus, SyncEngine};
use crate::{
    conflict_record::ConflictRecord,
    error::Result,
    id::RecordKey,
    operation::{OpState, PendingOp},
    record_state::RecordState,
    store::{ConflictQuery, LocalStoreExt, TargetState},
    time::Timestamp,
};

/// Why one record looks as it does, and what happens to it next. `Display` tells it to people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Base, view and pending operations, each with its last answer and next attempt.
    pub record: RecordState,
    /// The record's conflicts, open and settled, latest first.
    pub conflicts: Vec<ConflictRecord>,
    /// How far its collection was synchronized.
    pub target: TargetState,
    /// What the engine does in its scope.
    pub scope: ScopeStatus,
}

impl Explanation {
    /// When the record's first operation is tried next; `None` if nothing is to be sent by itself.
    pub fn next_attempt_at(&self) -> Option<Timestamp> {
        let op = self.record.ops.first()?;
        op.state
            .kind()
            .is_active()
            .then(|| op.next_attempt_at.max(self.target.next_attempt_at))
    }
}

impl SyncEngine {
    /// Tells base, operations, last answers, conflicts, last pull and next attempt of one record.
    ///
    /// # Errors
    /// The store's.
    pub async fn explain(&self, key: &RecordKey) -> Result<Explanation> {
        let store = &self.inner.store;
        let conflicts = ConflictQuery {
            key: Some(key.clone()),
            ..ConflictQuery::default()
        };
        Ok(Explanation {
            record: store.load_record(key).await?,
            conflicts: store.load_conflicts(&conflicts).await?,
            target: store.load_target(&key.target).await?,
            scope: self.status().scope(key.scope().key()),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        writeln!(f, "{}", record.key)?;
        match &record.view {
            Some(view) => writeln!(f, "  seen by the app: {}", view.as_str())?,
            None => writeln!(f, "  seen by the app: nothing")?,
        }
        match record.base.payload() {
            Some(base) => writeln!(f, "  confirmed by the remote: {}", base.as_str())?,
            None => writeln!(f, "  confirmed by the remote: nothing")?,
        }
        if let Some(version) = record.base.version() {
            writeln!(f, "  remote version: {}", version.token())?;
        }
        for op in &record.ops {
            explain_op(f, op)?;
        }
        for conflict in &self.conflicts {
            let settlement = conflict
                .settlement
                .map_or("open", |settlement| settlement.as_str());
            writeln!(f, "  conflict of {}: {settlement}", conflict.detected_at)?;
        }
        match self.target.pulled_at {
            Some(at) => writeln!(f, "  last pull: {at}")?,
            None => writeln!(f, "  last pull: never")?,
        }
        match self.next_attempt_at() {
            Some(at) if at > Timestamp::EPOCH => write!(f, "  next attempt: not before {at}"),
            Some(_) => write!(f, "  next attempt: with the next sync"),
            None => write!(f, "  next attempt: none"),
        }
    }
}

fn explain_op(f: &mut fmt::Formatter<'_>, op: &PendingOp) -> fmt::Result {
    let state = match &op.state {
        OpState::Queued => "waits to be sent".to_owned(),
        OpState::InDoubt => "was sent, the answer is outstanding".to_owned(),
        OpState::Parked(reason) => format!("was set aside: {reason:?}"),
        OpState::Deferred => "waits for you to resolve a conflict".to_owned(),
        OpState::Blocked { by } => format!("waits for operation {by}"),
    };
    write!(
        f,
        "  {} {}: {state}; sent {} times",
        op.kind.as_str(),
        op.op_id,
        op.attempts
    )?;
    match &op.last_failure {
        Some(failure) => writeln!(f, "; last failure {}: {}", failure.at, failure.message),
        None => writeln!(f),
    }
}
