//! Pushing operations one by one: POST to make a row, PATCH and DELETE on the condition that it has not changed.

use std::time::Duration;

use sync_core::{
    ErrorKind, MalformedRow, OpKind, PushBatch, PushOp, PushOutcome, Result, RetryClass, SyncError,
};
use sync_http::Method;

use super::{
    Tables,
    place::Place,
    plan::{Step, applied, plan, plan_unseen, shows_effect, state_of},
    read::rows_by_id,
    row::Row,
};
use crate::client::{Call, Client};

/// How often an operation without a base is tried anew when others write in between.
const MAX_ROUNDS: u32 = 5;

/// SQLSTATE of a value that is there already.
const NOT_UNIQUE: &str = "23505";

/// A row that was read, if there is one.
type Found = Option<Result<Row, MalformedRow>>;

impl Tables {
    /// Applies operations in their order. When the project cannot be reached, those that were not sent wait.
    pub(crate) async fn push(&self, client: &Client, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        if batch.atomic {
            let why = "tables cannot be written as a whole; the feed can";
            return Err(SyncError::unsupported("atomic", why));
        }
        let placed = batch.ops.iter().map(|op| Ok((op, self.place(&op.key.target)?)));
        let placed = placed.collect::<Result<Vec<_>>>()?;
        client.user().await?;
        let mut outcomes = Vec::with_capacity(placed.len());
        for (op, place) in &placed {
            let writing = Writing { client, place, op };
            match writing.push().await {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    let rest = placed.len() - outcomes.len();
                    outcomes.extend(std::iter::repeat_n(not_sent(&error), rest));
                    break;
                }
            }
        }
        Ok(outcomes)
    }
}

/// One operation on its way.
struct Writing<'w> {
    client: &'w Client,
    place: &'w Place<'w>,
    op: &'w PushOp,
}

impl Writing<'_> {
    async fn push(&self) -> Result<PushOutcome> {
        let mut step = match plan_unseen(self.place, self.op) {
            Some(step) => step,
            None => self.plan(self.read().await?),
        };
        for _ in 0..MAX_ROUNDS {
            if let Step::Settled(outcome) = step {
                return Ok(outcome);
            }
            match self.write(&step).await {
                Ok(Some(Ok(row))) => return Ok(self.applied(&step, &row)),
                Ok(Some(Err(row))) => return Ok(rejected("unreadable_row", &row.error)),
                // The row has another version, is not there, or the policies do not let this user write it.
                Ok(None) => step = self.after_miss(&step, self.read().await?),
                Err(error) => match self.after_refusal(&step, error).await? {
                    Ok(outcome) => return Ok(outcome),
                    Err(next) => step = next,
                },
            }
        }
        Ok(PushOutcome::Retry {
            after: None,
            reason: "others kept writing to the row in between".to_owned(),
        })
    }

    /// Sends a write. `None` if it met no row.
    async fn write(&self, step: &Step) -> Result<Found> {
        let mapping = self.place.mapping;
        let on = |method: Method, base: &str| {
            self.place
                .call(method)
                .query(&mapping.id, format!("eq.{}", self.op.key.id))
                .query(&mapping.updated_at, format!("eq.{base}"))
        };
        let call = match step {
            Step::Settled(_) => return Ok(None),
            Step::Insert(columns) => Call::table(Method::POST, &mapping.table).body(columns)?,
            Step::Update { columns, base, .. } => on(Method::PATCH, base).body(columns)?,
            Step::Remove { base } => on(Method::DELETE, base),
        };
        let call = call
            .query("select", self.place.whole_row())
            .prefer("return=representation");
        let mut rows = self.client.rows(&call).await?.rows;
        Ok(rows.pop().map(|row| Row::read(mapping, row)))
    }

    async fn read(&self) -> Result<Found> {
        let id = self.op.key.id.as_str();
        let row = rows_by_id(self.client, self.place, &[id]).await?.remove(id);
        Ok(row.map(|row| Row::read(self.place.mapping, row)))
    }

    fn plan(&self, found: Found) -> Step {
        match found.transpose() {
            Ok(row) => plan(self.place, self.op, row.as_ref()),
            Err(row) => Step::Settled(rejected("unreadable_row", &row.error)),
        }
    }

    fn applied(&self, step: &Step, row: &Row) -> PushOutcome {
        match step {
            Step::Remove { .. } => PushOutcome::applied(row.version()),
            Step::Update {
                base, differs: true, ..
            } if row.updated_at == *base => rejected(
                "updated_at_stands_still",
                &format!(
                    "the row was written, but `{}` did not change, so no other device hears of it: a trigger must \
                     set it at every write",
                    self.place.mapping.updated_at
                ),
            ),
            _ => applied(self.op, row),
        }
    }

    /// The next step after a write that met no row.
    fn after_miss(&self, step: &Step, found: Found) -> Step {
        let (Step::Update { base, .. } | Step::Remove { base }) = step else {
            // A row that was made, and is hidden from whoever made it.
            return Step::Settled(rejected("42501", "the policies hide the new row from this user"));
        };
        if let Some(Ok(row)) = &found
            && row.updated_at == *base
        {
            return Step::Settled(rejected(
                "42501",
                "the policies do not let this user write the row",
            ));
        }
        match found {
            Some(Ok(row)) if self.op.base.is_some() => Step::Settled(PushOutcome::Conflict {
                current: state_of(Some(&row)),
            }),
            found => self.plan(found),
        }
    }

    /// What a write that was not answered with its row led to: an outcome, or the next step.
    async fn after_refusal(&self, step: &Step, error: SyncError) -> Result<Result<PushOutcome, Step>> {
        if error.code() == Some(NOT_UNIQUE) && matches!(step, Step::Insert(_)) {
            let found = self.read().await?;
            if found.is_some() {
                return Ok(Err(self.plan(found)));
            }
        }
        match error.kind() {
            ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::TooLarge => Ok(Ok(refused(&error))),
            // The database told that it took everything back.
            _ if error.code().is_some() => Err(error),
            _ if error.outcome_unknown() => match self.read().await {
                Ok(found) => Ok(Ok(self.after_silence(found, &error))),
                Err(_) => Ok(Ok(unknown(&error))),
            },
            _ => Err(error),
        }
    }

    /// The outcome of a write whose answer was lost, by the row as it is now.
    fn after_silence(&self, found: Found, error: &SyncError) -> PushOutcome {
        match found {
            Some(Ok(row)) if shows_effect(self.place, self.op, Some(&row)) => applied(self.op, &row),
            None if self.op.kind == OpKind::Delete => PushOutcome::Missing,
            // It may still arrive.
            _ => unknown(error),
        }
    }
}

/// The outcome of an operation that was not sent, since `error` met one before it.
fn not_sent(error: &SyncError) -> PushOutcome {
    PushOutcome::Retry {
        after: pause(error),
        reason: format!("not sent: {}", error.message()),
    }
}

fn pause(error: &SyncError) -> Option<Duration> {
    match error.retry() {
        RetryClass::After(pause) => Some(pause),
        _ => None,
    }
}

fn unknown(error: &SyncError) -> PushOutcome {
    PushOutcome::Unknown {
        reason: error.message().to_owned(),
    }
}

fn refused(error: &SyncError) -> PushOutcome {
    PushOutcome::Rejected {
        code: error.code().unwrap_or(error.kind().as_str()).to_owned(),
        message: error.message().to_owned(),
        field: error.field().map(str::to_owned),
    }
}

fn rejected(code: &str, message: &str) -> PushOutcome {
    PushOutcome::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
        field: None,
    }
}
