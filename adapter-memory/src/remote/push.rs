//! Pushes: what becomes of each operation, and its effect.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    ChangedFields, ErrorKind, OpKind, Payload, PushBatch, PushOp, PushOutcome, RecordId, Result, SyncError,
    SyncScope,
};

use super::state::{Backend, Content, Row};

/// Why the server refuses an operation for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The server's own code.
    pub code: String,
    /// The server's message.
    pub message: String,
    /// The field it is about, if any.
    pub field: Option<String>,
}

impl Rejection {
    /// A rejection that is about no field.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            field: None,
        }
    }

    /// Names the field it is about.
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl From<Rejection> for PushOutcome {
    fn from(rejection: Rejection) -> Self {
        let Rejection { code, message, field } = rejection;
        Self::Rejected { code, message, field }
    }
}

/// What a fault does to single operations of a push.
#[derive(Clone, Debug, Default)]
pub(super) struct PushDisturbance {
    /// Operations at these places are not applied, and answered `Retry`.
    pub(super) retried: BTreeSet<usize>,
    /// Operations on these records are rejected.
    pub(super) rejected: BTreeMap<RecordId, Rejection>,
}

enum Decision {
    Apply(Content),
    Answer(PushOutcome),
}

impl Backend {
    pub(super) fn push(
        &mut self,
        batch: &PushBatch,
        disturbance: &PushDisturbance,
    ) -> Result<Vec<PushOutcome>> {
        self.push_log.push(batch.clone());
        self.check_access(&batch.scope)?;
        let limit = self.capabilities.max_push_batch;
        if limit != 0 && batch.ops.len() > limit as usize {
            let message = format!(
                "{} operations in one push, at most {limit} are accepted",
                batch.ops.len()
            );
            return Err(SyncError::new(ErrorKind::TooLarge, message).with_field("ops"));
        }
        if batch.atomic {
            return self.push_atomic(batch, disturbance);
        }
        let mut outcomes = Vec::with_capacity(batch.ops.len());
        for (place, op) in batch.ops.iter().enumerate() {
            outcomes.push(match self.decide(&batch.scope, place, op, disturbance) {
                Decision::Apply(content) => self.apply(op, content),
                Decision::Answer(outcome) => outcome,
            });
        }
        Ok(outcomes)
    }

    fn push_atomic(&mut self, batch: &PushBatch, disturbance: &PushDisturbance) -> Result<Vec<PushOutcome>> {
        if !self.capabilities.atomic_batch {
            return Err(SyncError::unsupported(
                "atomic",
                "this remote applies operations one by one",
            ));
        }
        let records: BTreeSet<_> = batch.ops.iter().map(|op| &op.key).collect();
        if records.len() != batch.ops.len() {
            return Err(SyncError::invalid(
                "ops",
                "an atomic batch has at most one operation for each record",
            ));
        }
        let decide = |(place, op)| self.decide(&batch.scope, place, op, disturbance);
        let decisions: Vec<_> = batch.ops.iter().enumerate().map(decide).collect();
        let fits = |decision: &Decision| {
            matches!(
                decision,
                Decision::Apply(_) | Decision::Answer(PushOutcome::Duplicate { .. })
            )
        };
        let whole = decisions.iter().all(fits);
        let outcome = |(op, decision)| match decision {
            Decision::Apply(content) if whole => self.apply(op, content),
            Decision::Apply(_) => retry("another operation of the batch did not apply"),
            Decision::Answer(outcome) => outcome,
        };
        Ok(batch.ops.iter().zip(decisions).map(outcome).collect())
    }

    fn decide(
        &self,
        scope: &SyncScope,
        place: usize,
        op: &PushOp,
        disturbance: &PushDisturbance,
    ) -> Decision {
        if op.key.scope() != scope {
            let message = format!("the batch is of {scope}, the record of {}", op.key.scope());
            return Decision::Answer(Rejection::new("wrong_scope", message).into());
        }
        if self.capabilities.idempotent_push
            && let Some(version) = self.data.memory.version_of(op.op_id)
        {
            return Decision::Answer(PushOutcome::Duplicate {
                version: Some(version.clone()),
            });
        }
        if disturbance.retried.contains(&place) {
            return Decision::Answer(retry("the server was busy"));
        }
        let refusal = disturbance.rejected.get(&op.key.id).cloned();
        let validate = || self.hooks.validate.as_ref().and_then(|validate| validate(op));
        if let Some(rejection) = refusal.or_else(validate) {
            return Decision::Answer(rejection.into());
        }
        match self.row(&op.key) {
            None if op.kind == OpKind::Create => self.content_after(op, None),
            None => Decision::Answer(PushOutcome::Missing),
            Some(row) if self.is_in_state_for(op, row) => self.content_after(op, Some(row)),
            Some(row) => Decision::Answer(self.conflict(row)),
        }
    }

    /// Whether the operation applies to a record in this state.
    fn is_in_state_for(&self, op: &PushOp, row: &Row) -> bool {
        let deleted = row.content == Content::Deleted;
        let conditional = self.capabilities.conditional_write;
        match op.kind {
            // There is nothing to update, whether or not the backend compares versions.
            OpKind::Update if deleted => false,
            OpKind::Create if conditional => deleted && op.base.as_ref() == Some(&row.version),
            OpKind::Update | OpKind::Delete if conditional => {
                op.base.as_ref().is_none_or(|base| *base == row.version)
            }
            _ => true,
        }
    }

    fn conflict(&self, row: &Row) -> PushOutcome {
        match self.state(row) {
            Some(current) => PushOutcome::Conflict { current },
            None => Rejection::new("malformed_row", "the stored row cannot be understood").into(),
        }
    }

    fn content_after(&self, op: &PushOp, row: Option<&Row>) -> Decision {
        if op.kind == OpKind::Delete {
            return Decision::Apply(Content::Deleted);
        }
        let current = row.and_then(|row| match &row.content {
            Content::Live(payload) if op.kind == OpKind::Update => Some(payload),
            _ => None,
        });
        match merge(op, current) {
            Ok(payload) => {
                let payload = match &self.hooks.transform {
                    Some(transform) => transform(&op.key, payload),
                    None => payload,
                };
                Decision::Apply(Content::Live(payload))
            }
            Err(rejection) => Decision::Answer(rejection.into()),
        }
    }

    fn apply(&mut self, op: &PushOp, content: Content) -> PushOutcome {
        let record = match (&content, &op.payload) {
            (Content::Live(stored), Some(sent)) if !stored.same_content(sent) => Some(stored.clone()),
            _ => None,
        };
        let ticket = self.ticket();
        let version = self.write(&op.key, content, Some(op.stamp), ticket);
        if self.capabilities.idempotent_push {
            self.data.memory.remember(op.op_id, version.clone());
        }
        *self.applied.entry(op.op_id).or_default() += 1;
        let server_time = self.capabilities.server_time.then_some(ticket.time);
        PushOutcome::Applied {
            version,
            record,
            server_time,
        }
    }
}

/// The record with the fields that the operation changes.
fn merge(op: &PushOp, current: Option<&Payload>) -> Result<Payload, Rejection> {
    let Some(sent) = &op.payload else {
        return Err(Rejection::new(
            "payload_missing",
            format!("a {} needs a payload", op.kind.as_str()),
        ));
    };
    let damaged = |error: SyncError| Rejection::new("payload_malformed", error.message().to_owned());
    let fields = sent.to_object().map_err(damaged)?;
    let (ChangedFields::Only(names), Some(current)) = (&op.changed, current) else {
        return Ok(sent.clone());
    };
    let mut merged = current.to_object().map_err(damaged)?;
    for name in names {
        match fields.get(name) {
            Some(value) => merged.insert(name.clone(), value.clone()),
            None => merged.remove(name),
        };
    }
    // The text as it was sent, if it means the same.
    Ok(if merged == fields {
        sent.clone()
    } else {
        Payload::from_object(&merged)
    })
}

fn retry(reason: &str) -> PushOutcome {
    PushOutcome::Retry {
        after: None,
        reason: reason.to_owned(),
    }
}
