//! Sending operations.

use serde_json::{Value, value::to_raw_value};
use sync_core::{
    ErrorKind, Payload, PushBatch, PushOp, PushOutcome, RemoteState, RemoteVersion, Result, RetryClass,
    SyncError, SyncScope, Timestamp,
};

use super::{
    Feed, at_the_least,
    wire::{Operation, Outcome, PushAnswer, PushArguments, read_state, read_version},
};
use crate::client::Client;

impl Feed {
    /// Applies operations, and answers for each of them. A batch that is too much at once is sent in halves, and so is
    /// one that is refused as a whole because of a value that cannot even be read: down to the operation at fault.
    ///
    /// # Errors
    /// One that leaves open what became of the operations. Sent again with the same ids, those that took effect
    /// are answered as duplicates.
    pub(crate) async fn push(&self, client: &Client, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        for op in &batch.ops {
            self.require(&op.key.target.collection)?;
        }
        let refused: Vec<Option<PushOutcome>> = batch.ops.iter().map(unstorable).collect();
        let good = batch
            .ops
            .iter()
            .zip(&refused)
            .filter(|(_, refused)| refused.is_none());
        let good: Vec<&PushOp> = good.map(|(op, _)| op).collect();
        let answered = if !batch.atomic {
            self.send_in_parts(client, &batch.scope, &good).await?
        } else if good.len() == batch.ops.len() {
            let answered = self.send(client, &batch.scope, &good, true).await;
            answered.map_err(at_the_least)?
        } else {
            vec![not_alone(); good.len()]
        };
        let mut answered = answered.into_iter();
        let outcomes = refused
            .into_iter()
            .map(|refused| refused.or_else(|| answered.next()));
        Ok(outcomes.flatten().collect())
    }

    async fn send_in_parts(
        &self,
        client: &Client,
        scope: &SyncScope,
        ops: &[&PushOp],
    ) -> Result<Vec<PushOutcome>> {
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut size = self.push_batch as usize;
        while outcomes.len() < ops.len() {
            let rest = &ops[outcomes.len()..];
            let sent = &rest[..size.min(rest.len())];
            match self.send(client, scope, sent, false).await {
                Ok(answered) => outcomes.extend(answered),
                Err(error) if halves_may_pass(&error) && sent.len() > 1 => size = sent.len() / 2,
                Err(error) if is_about_a_value(&error) => {
                    outcomes.push(rejected(&error));
                    size = self.push_batch as usize;
                }
                Err(error) => return Err(at_the_least(error)),
            }
        }
        Ok(outcomes)
    }

    async fn send(
        &self,
        client: &Client,
        scope: &SyncScope,
        ops: &[&PushOp],
        atomic: bool,
    ) -> Result<Vec<PushOutcome>> {
        let arguments = PushArguments {
            p_scope: scope.key().as_str(),
            p_ops: ops.iter().map(|op| Operation::of(op)).collect(),
            p_atomic: atomic,
        };
        let answer: PushAnswer = client.call("sync_push", &arguments).await?;
        let answered = answer.results.iter().map(|result| result.op);
        if !answered.eq(ops.iter().map(|op| op.op_id)) {
            let why = "the results are not those of the operations that were sent";
            return Err(SyncError::new(ErrorKind::Malformed, why));
        }
        answer
            .results
            .into_iter()
            .map(|result| outcome(result.outcome))
            .collect()
    }
}

/// The refusal of what PostgreSQL holds in no text: a NUL character.
fn unstorable(op: &PushOp) -> Option<PushOutcome> {
    let payload = op
        .payload
        .as_ref()
        .filter(|payload| payload.as_str().contains(r"\u0000"))?;
    let fields = payload.to_object().ok()?;
    let (field, _) = fields
        .into_iter()
        .find(|(name, value)| name.contains('\0') || has_nul(value))?;
    Some(PushOutcome::Rejected {
        code: "22P05".to_owned(),
        message: "the database stores no text with a NUL character".to_owned(),
        field: Some(field),
    })
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn not_alone() -> PushOutcome {
    PushOutcome::Retry {
        after: None,
        reason: "another operation of the batch was refused".to_owned(),
    }
}

/// Whether the halves of a batch may fare better than the whole.
fn halves_may_pass(error: &SyncError) -> bool {
    error.retry() == RetryClass::Shrink || is_about_a_value(error)
}

/// Whether PostgreSQL could not even read the operations: its class of data exceptions.
fn is_about_a_value(error: &SyncError) -> bool {
    error.kind() == ErrorKind::Invalid && error.code().is_some_and(|code| code.starts_with("22"))
}

/// What a refusal of the request says of the only operation in it.
fn rejected(error: &SyncError) -> PushOutcome {
    PushOutcome::Rejected {
        code: error.code().unwrap_or("invalid").to_owned(),
        message: error.message().to_owned(),
        field: None,
    }
}

fn outcome(outcome: Outcome) -> Result<PushOutcome> {
    Ok(match outcome {
        Outcome::Applied { v, at, row } => PushOutcome::Applied {
            version: version(&v)?,
            record: row.map(|row| payload(&row)).transpose()?,
            server_time: Some(Timestamp::from_micros(at)),
        },
        Outcome::Duplicate { v } => PushOutcome::Duplicate {
            version: Some(version(&v)?),
        },
        Outcome::Conflict { current } => PushOutcome::Conflict {
            current: current.map_or(Ok(RemoteState::Missing), |current| state(&current))?,
        },
        Outcome::Missing => PushOutcome::Missing,
        Outcome::Rejected { code, msg, field } => PushOutcome::Rejected {
            code,
            message: msg,
            field,
        },
        Outcome::Retry { msg } => PushOutcome::Retry {
            after: None,
            reason: msg,
        },
    })
}

fn version(text: &str) -> Result<RemoteVersion> {
    let why = "a version is not a number";
    read_version(text).ok_or_else(|| SyncError::new(ErrorKind::Malformed, why).with_field("v"))
}

fn payload(row: &Value) -> Result<Payload> {
    Payload::parse(row.to_string())
}

fn state(value: &Value) -> Result<RemoteState> {
    let raw = to_raw_value(value).map_err(|error| SyncError::malformed("current", error))?;
    let read = read_state(&raw);
    read.map(|(_, state)| state)
        .map_err(|row| SyncError::new(ErrorKind::Malformed, row.error).with_field("current"))
}
