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
    /// Applies operations, and answers for each of them. A batch that is too much at once is sent in halves.
    ///
    /// # Errors
    /// One that leaves open what became of the operations. Sent again with the same ids, those that took effect
    /// are answered as duplicates.
    pub(crate) async fn push(&self, client: &Client, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        for op in &batch.ops {
            self.require(&op.key.target.collection)?;
        }
        if batch.atomic {
            let outcomes = self.send(client, &batch.scope, &batch.ops, true).await;
            return outcomes.map_err(at_the_least);
        }
        let mut outcomes = Vec::with_capacity(batch.ops.len());
        let mut size = self.push_batch as usize;
        while outcomes.len() < batch.ops.len() {
            let rest = &batch.ops[outcomes.len()..];
            let sent = &rest[..size.min(rest.len())];
            match self.send(client, &batch.scope, sent, false).await {
                Ok(answered) => outcomes.extend(answered),
                Err(error) if error.retry() == RetryClass::Shrink && sent.len() > 1 => size = sent.len() / 2,
                Err(error) => return Err(at_the_least(error)),
            }
        }
        Ok(outcomes)
    }

    async fn send(
        &self,
        client: &Client,
        scope: &SyncScope,
        ops: &[PushOp],
        atomic: bool,
    ) -> Result<Vec<PushOutcome>> {
        let arguments = PushArguments {
            p_scope: scope.key().as_str(),
            p_ops: ops.iter().map(Operation::of).collect(),
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
