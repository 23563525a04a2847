//! Pushing operations one by one: POST to make a row, PATCH with a condition to change it.

use std::time::Duration;

use http::Method;
use serde_json::json;
use sync_core::{ErrorKind, PushBatch, PushOp, PushOutcome, Result, RetryClass, SyncError};

use crate::{
    client::{Call, Signed, WriteKind, pause},
    error::types,
    plan::{Step, applied, plan, plan_unseen, shows_effect},
    read::{Found, rows_by_id},
    remote::AppwriteRemoteStore,
    table::Place,
    values::Refusal,
};

/// The most operations in one transaction.
pub(crate) const MAX_BATCH: usize = 100;

/// How often an operation without a base is tried anew when others write in between.
const MAX_ROUNDS: u32 = 5;

/// An operation, and where its row lies.
#[derive(Clone, Debug)]
pub(crate) struct Placed<'o> {
    pub(crate) op: &'o PushOp,
    pub(crate) place: Place,
}

/// What came of one operation, or why pushing has to stop.
enum Attempt {
    Outcome(PushOutcome),
    /// The server takes no more writes of this kind for now; a transaction is not limited.
    Limited(Duration),
}

impl AppwriteRemoteStore {
    pub(crate) async fn push_batch(&self, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        let placed = batch
            .ops
            .iter()
            .map(|op| {
                let place = self.place(&op.key.target)?;
                Ok(Placed { op, place })
            })
            .collect::<Result<Vec<_>>>()?;
        if placed.is_empty() {
            return Ok(Vec::new());
        }
        if batch.atomic {
            if placed.len() > MAX_BATCH {
                let why = format!("a transaction takes at most {MAX_BATCH} operations");
                return Err(SyncError::new(ErrorKind::TooLarge, why));
            }
            return self.push_as_a_whole(&placed).await;
        }
        let mut outcomes = Vec::with_capacity(placed.len());
        for chunk in placed.chunks(MAX_BATCH) {
            let together = self
                .options()
                .transactions_from
                .is_some_and(|from| chunk.len() >= from as usize);
            let pushed = if together {
                self.push_together(chunk).await
            } else {
                self.push_each(chunk).await
            };
            match pushed {
                Ok(more) => outcomes.extend(more),
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    outcomes.extend(chunk.iter().map(|_| not_sent(&error)));
                }
            }
        }
        Ok(outcomes)
    }

    /// Pushes one operation after another. When the connection fails, those that were not sent wait.
    pub(crate) async fn push_each(&self, placed: &[Placed<'_>]) -> Result<Vec<PushOutcome>> {
        let mut outcomes = Vec::with_capacity(placed.len());
        for (index, one) in placed.iter().enumerate() {
            let attempt = self
                .client()
                .signed(|signed| async move { self.push_one(&signed, one).await })
                .await;
            let rest = &placed[index..];
            match attempt {
                Ok(Attempt::Outcome(outcome)) => outcomes.push(outcome),
                Ok(Attempt::Limited(_)) if self.options().transactions_from.is_some() => {
                    outcomes.extend(self.push_staged_or_wait(rest, outcomes.is_empty()).await?);
                    break;
                }
                Ok(Attempt::Limited(wait)) => {
                    let error =
                        SyncError::new(ErrorKind::RateLimited, "the server's limit of writes is reached")
                            .with_retry(RetryClass::After(wait));
                    if outcomes.is_empty() {
                        return Err(error);
                    }
                    outcomes.extend(rest.iter().map(|_| not_sent(&error)));
                    break;
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    let unknown = error.outcome_unknown();
                    outcomes.extend(rest.iter().enumerate().map(|(later, _)| {
                        if later == 0 && unknown {
                            PushOutcome::Unknown {
                                reason: error.message().to_owned(),
                            }
                        } else {
                            not_sent(&error)
                        }
                    }));
                    break;
                }
            }
        }
        Ok(outcomes)
    }

    /// What is left when the limit of single writes is reached goes as a transaction; what that cannot settle waits.
    async fn push_staged_or_wait(&self, rest: &[Placed<'_>], first: bool) -> Result<Vec<PushOutcome>> {
        match self.push_transaction(rest, false).await {
            Ok(outcomes) => Ok(outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap_or_else(|| limited(Duration::from_secs(1))))
                .collect()),
            Err(error) if first => Err(error),
            Err(error) => Ok(rest.iter().map(|_| not_sent(&error)).collect()),
        }
    }

    async fn push_one(&self, signed: &Signed<'_>, placed: &Placed<'_>) -> Result<Attempt> {
        let Placed { op, place } = placed;
        let mut step = match plan_unseen(place, op) {
            Some(step) => step,
            None => plan(place, op, read(signed, placed).await?.as_ref()),
        };
        for _ in 0..MAX_ROUNDS {
            let (call, kind) = match &step {
                Step::Settled(outcome) => return Ok(Attempt::Outcome(outcome.clone())),
                Step::Create(columns) => {
                    let permissions = self.permissions(signed, place).await?;
                    let body = json!({"rowId": op.key.id, "data": columns, "permissions": permissions});
                    (
                        Call::rows(Method::POST, &place.table, None).with_body(body),
                        WriteKind::Create,
                    )
                }
                Step::Patch { columns, base } => {
                    let call = Call::rows(Method::PATCH, &place.table, Some(op.key.id.as_str()))
                        .with_body(json!({"data": columns}))
                        .only_if_not_newer_than(base.updated_at);
                    (call, WriteKind::Update)
                }
            };
            if let Err(wait) = self.client().take_write(kind) {
                return Ok(Attempt::Limited(wait));
            }
            match signed.write(call.counts_as(kind)).await {
                Ok(row) => return Ok(Attempt::Outcome(applied(place, op, &row))),
                Err(error) => match self.after_refusal(signed, placed, error).await? {
                    Ok(attempt) => return Ok(attempt),
                    Err(next) => step = next,
                },
            }
        }
        let reason = "others kept writing to the row in between".to_owned();
        Ok(Attempt::Outcome(PushOutcome::Retry { after: None, reason }))
    }

    /// What a write that was not answered with its row led to: an outcome, or the next step.
    async fn after_refusal(
        &self,
        signed: &Signed<'_>,
        placed: &Placed<'_>,
        error: SyncError,
    ) -> Result<Result<Attempt, Step>> {
        let Placed { op, place } = placed;
        let outcome = |outcome| Ok(Ok(Attempt::Outcome(outcome)));
        match error.code() {
            Some(types::ROW_UPDATE_CONFLICT) => {
                return Ok(Err(plan(place, op, read(signed, placed).await?.as_ref())));
            }
            Some(types::ROW_ALREADY_EXISTS | types::ROW_UNIQUE_CONSTRAINT) => {
                let current = read(signed, placed).await?;
                let creates = matches!(plan(place, op, None), Step::Create(_));
                if creates && current.is_some() {
                    return Ok(Err(plan(place, op, current.as_ref())));
                }
                return outcome(not_unique(&error));
            }
            _ => {}
        }
        match error.kind() {
            ErrorKind::NotFound => Ok(Err(plan(place, op, read(signed, placed).await?.as_ref()))),
            ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::TooLarge => {
                outcome(rejected(&error))
            }
            ErrorKind::RateLimited => match pause(&error) {
                Some(wait) => Ok(Ok(Attempt::Limited(wait))),
                None => Err(error),
            },
            _ if error.outcome_unknown() => match read(signed, placed).await {
                Ok(Some(Ok(row))) if place.holds(&row) && shows_effect(place, op, &row) => {
                    outcome(applied(place, op, &row))
                }
                // It may still arrive.
                Ok(_) => outcome(PushOutcome::Unknown {
                    reason: error.message().to_owned(),
                }),
                Err(_) => Err(error),
            },
            _ => Err(error),
        }
    }
}

/// The row of an operation as it is now.
async fn read(signed: &Signed<'_>, placed: &Placed<'_>) -> Result<Option<Found>> {
    let id = placed.op.key.id.as_str();
    Ok(rows_by_id(signed, &placed.place, &[id]).await?.remove(id))
}

/// The outcome of an operation that was not sent, since `error` met one before it.
pub(crate) fn not_sent(error: &SyncError) -> PushOutcome {
    PushOutcome::Retry {
        after: pause(error),
        reason: format!("not sent: {}", error.message()),
    }
}

pub(crate) fn limited(wait: Duration) -> PushOutcome {
    PushOutcome::Retry {
        after: Some(wait),
        reason: "the server's limit of writes is reached".to_owned(),
    }
}

pub(crate) fn rejected(error: &SyncError) -> PushOutcome {
    PushOutcome::Rejected {
        code: error.code().unwrap_or(error.kind().as_str()).to_owned(),
        message: error.message().to_owned(),
        field: error.field().map(str::to_owned),
    }
}

fn not_unique(error: &SyncError) -> PushOutcome {
    let code = types::ROW_UNIQUE_CONSTRAINT;
    let why = "another row has the same value in a column with a unique index, or has this id and is hidden from \
               this user";
    let field = error.field().unwrap_or("row").to_owned();
    Refusal::new(code, field, why).into_outcome()
}
