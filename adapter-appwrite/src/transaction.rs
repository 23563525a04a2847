//! Pushing operations together, as one transaction of the server.
//!
//! A transaction refuses rows that were written after they were staged, but knows nothing of the versions the
//! operations were made on. So the rows are read after staging and compared with those versions: what was written
//! before is found by that, what is written later by the server.
//!
//! One gap remains: a writer whose stamp was taken before the staging and whose commit comes after the look is seen
//! by neither. Its columns survive unless the same ones are written here.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use sync_core::{ErrorKind, JsonObject, PushOutcome, Result, SyncError};

use crate::{
    client::{Call, Signed},
    error::types,
    plan::{Step, applied, plan, row_version, shows_effect},
    push::{Placed, not_sent, rejected},
    read::{Found, rows_by_id},
    remote::AppwriteRemoteStore,
};

/// How often a batch is staged anew when others write in between.
const MAX_ROUNDS: u32 = 3;

/// How long the server keeps a transaction that is never committed, in seconds.
const LIFETIME_SECONDS: u32 = 120;

/// The rows of a batch, in the order of its operations; `None` where there is none.
type Rows = Vec<Option<Found>>;

/// How a commit ended.
enum Committed {
    Yes,
    /// Nothing was applied, and why.
    No(SyncError),
    /// Nobody knows.
    Unknown(SyncError),
}

impl AppwriteRemoteStore {
    /// All or none.
    pub(crate) async fn push_as_a_whole(&self, placed: &[Placed<'_>]) -> Result<Vec<PushOutcome>> {
        let outcomes = self.push_transaction(placed, true).await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| {
                outcome.unwrap_or_else(|| PushOutcome::Retry {
                    after: None,
                    reason: "the batch takes effect as a whole or not at all".to_owned(),
                })
            })
            .collect())
    }

    /// In few requests where nothing is in the way; what is not settled by that goes one by one.
    pub(crate) async fn push_together(&self, placed: &[Placed<'_>]) -> Result<Vec<PushOutcome>> {
        let outcomes = self.push_transaction(placed, false).await?;
        let (settled, rest): (Vec<_>, Vec<_>) = placed
            .iter()
            .zip(outcomes)
            .partition(|(_, outcome)| outcome.is_some());
        if rest.is_empty() {
            return Ok(settled.into_iter().filter_map(|(_, outcome)| outcome).collect());
        }
        let alone: Vec<Placed<'_>> = rest.into_iter().map(|(placed, _)| placed.clone()).collect();
        let mut singles = match self.push_each(&alone).await {
            Ok(outcomes) => outcomes,
            Err(error) if settled.is_empty() => return Err(error),
            Err(error) => alone.iter().map(|_| not_sent(&error)).collect(),
        }
        .into_iter();
        let mut known: BTreeMap<_, _> = settled
            .into_iter()
            .map(|(placed, outcome)| (placed.op.op_id, outcome))
            .collect();
        Ok(placed
            .iter()
            .filter_map(|one| known.remove(&one.op.op_id).flatten().or_else(|| singles.next()))
            .collect())
    }

    /// One outcome for each operation; `None` for those that did not take effect and may if sent otherwise.
    pub(crate) async fn push_transaction(
        &self,
        placed: &[Placed<'_>],
        atomic: bool,
    ) -> Result<Vec<Option<PushOutcome>>> {
        self.client()
            .signed(|signed| async move { self.transaction(&signed, placed, atomic).await })
            .await
    }

    async fn transaction(
        &self,
        signed: &Signed<'_>,
        placed: &[Placed<'_>],
        atomic: bool,
    ) -> Result<Vec<Option<PushOutcome>>> {
        let mut before = read_rows(signed, placed).await?;
        let mut refusals = 0;
        for _ in 0..MAX_ROUNDS {
            let steps: Vec<Step> = placed
                .iter()
                .zip(&before)
                .map(|(one, row)| plan(&one.place, one.op, row.as_ref()))
                .collect();
            let settled = || steps.iter().map(settled_outcome).collect::<Vec<_>>();
            let in_the_way = steps
                .iter()
                .any(|step| matches!(step, Step::Settled(outcome) if !took_effect(outcome)));
            let nothing_to_send = steps.iter().all(|step| matches!(step, Step::Settled(_)));
            if nothing_to_send || (atomic && in_the_way) {
                return Ok(settled());
            }
            let transaction = begin(signed).await?;
            if let Err(error) = self.stage(signed, &transaction, placed, &steps).await {
                return give_up(signed, &transaction, atomic, settled(), error).await;
            }
            let staged_on = read_rows(signed, placed).await?;
            if !all_as_planned(placed, &steps, &before, &staged_on) {
                roll_back(signed, &transaction).await?;
                before = staged_on;
                continue;
            }
            match commit(signed, &transaction).await {
                Committed::Yes => return self.committed(signed, placed, steps).await,
                Committed::Unknown(error) => {
                    // All take effect or none, so one that shows is proof of all.
                    let shown = read_rows(signed, placed)
                        .await
                        .is_ok_and(|rows| any_shows(placed, &steps, &rows));
                    if shown {
                        return self.committed(signed, placed, steps).await;
                    }
                    return Ok(steps
                        .iter()
                        .map(|step| settled_outcome(step).or_else(|| Some(unknown(&error))))
                        .collect());
                }
                Committed::No(error) if error.code() == Some(types::TRANSACTION_CONFLICT) => {
                    let now = read_rows(signed, placed).await?;
                    if all_as_planned(placed, &steps, &staged_on, &now) {
                        // Nobody wrote to these rows, so a unique index of another row stands against it.
                        refusals += 1;
                    }
                    if refusals > 1 && atomic {
                        return Ok(blame(&steps, &error));
                    }
                    before = now;
                }
                Committed::No(error) if is_refusal(&error) => {
                    return Ok(if atomic { blame(&steps, &error) } else { settled() });
                }
                // The commit did not arrive, or came too late: nothing was applied.
                Committed::No(error) if error.outcome_unknown() || error.kind() == ErrorKind::NotFound => {
                    return Ok(settled());
                }
                Committed::No(error) => return Err(error),
            }
        }
        Ok(vec![None; placed.len()])
    }

    async fn stage(
        &self,
        signed: &Signed<'_>,
        transaction: &str,
        placed: &[Placed<'_>],
        steps: &[Step],
    ) -> Result<()> {
        let mut operations = Vec::new();
        for (one, step) in placed.iter().zip(steps) {
            let (action, data) = match step {
                Step::Settled(_) => continue,
                Step::Create(columns) => {
                    let permissions = self.permissions(signed, &one.place).await?;
                    let mut data = columns.clone();
                    // Both are said although `rowId` is: the server makes up what is left out.
                    data.insert("$id".to_owned(), one.op.key.id.as_str().into());
                    data.insert("$permissions".to_owned(), permissions.into());
                    ("create", data)
                }
                Step::Patch { columns, .. } => ("update", columns.clone()),
            };
            operations.push(json!({
                "databaseId": one.place.table.database,
                "tableId": one.place.table.table,
                "action": action,
                "rowId": one.op.key.id,
                "data": data,
            }));
        }
        let call = transaction_call(Method::POST, transaction, Some("operations"))
            .with_body(json!({"operations": operations}));
        signed.send(call).await.map(drop)
    }

    /// The outcomes after a commit, by the rows as they are then.
    async fn committed(
        &self,
        signed: &Signed<'_>,
        placed: &[Placed<'_>],
        steps: Vec<Step>,
    ) -> Result<Vec<Option<PushOutcome>>> {
        // The rows only tell the versions. That the operations took effect is known without them.
        let rows = read_rows(signed, placed)
            .await
            .unwrap_or_else(|_| vec![None; placed.len()]);
        let outcomes = placed.iter().zip(steps).zip(rows).map(|((one, step), row)| {
            Some(match (step, row) {
                (Step::Settled(outcome), _) => outcome,
                (_, Some(Ok(row))) if one.place.holds(&row) && shows_effect(&one.place, one.op, &row) => {
                    applied(&one.place, one.op, &row)
                }
                // Someone wrote on already.
                _ => PushOutcome::Duplicate { version: None },
            })
        });
        Ok(outcomes.collect())
    }
}

async fn read_rows(signed: &Signed<'_>, placed: &[Placed<'_>]) -> Result<Rows> {
    let mut by_table: BTreeMap<(&str, &str), Vec<&Placed<'_>>> = BTreeMap::new();
    for one in placed {
        let table = &one.place.table;
        by_table
            .entry((&table.database, &table.table))
            .or_default()
            .push(one);
    }
    let mut found = BTreeMap::new();
    for (table, group) in by_table {
        let ids: Vec<&str> = group.iter().map(|one| one.op.key.id.as_str()).collect();
        for (id, row) in rows_by_id(signed, &group[0].place, &ids).await? {
            found.insert((table, id), row);
        }
    }
    let rows = placed.iter().map(|one| {
        let table = (one.place.table.database.as_str(), one.place.table.table.as_str());
        found.get(&(table, one.op.key.id.as_str().to_owned())).cloned()
    });
    Ok(rows.collect())
}

/// Whether the rows that are to be written are as they were when their steps were planned.
fn all_as_planned(placed: &[Placed<'_>], steps: &[Step], planned_on: &Rows, now: &Rows) -> bool {
    let version = |one: &Placed<'_>, row: &Option<Found>| match row {
        Some(Ok(row)) => Some(row_version(&one.place, row)),
        _ => None,
    };
    placed
        .iter()
        .zip(steps)
        .zip(planned_on.iter().zip(now))
        .filter(|((_, step), _)| !matches!(step, Step::Settled(_)))
        .all(|((one, _), (then, now))| {
            version(one, then) == version(one, now) && then.is_some() == now.is_some()
        })
}

fn any_shows(placed: &[Placed<'_>], steps: &[Step], rows: &Rows) -> bool {
    placed.iter().zip(steps).zip(rows).any(|((one, step), row)| {
        !matches!(step, Step::Settled(_))
            && matches!(row, Some(Ok(row)) if one.place.holds(row) && shows_effect(&one.place, one.op, row))
    })
}

fn transaction_call(method: Method, transaction: &str, part: Option<&str>) -> Call {
    let mut path = vec!["tablesdb", "transactions", transaction];
    path.extend(part);
    Call::new(method, &path)
}

async fn begin(signed: &Signed<'_>) -> Result<String> {
    let call =
        Call::new(Method::POST, &["tablesdb", "transactions"]).with_body(json!({"ttl": LIFETIME_SECONDS}));
    let made: Value = signed.send(call).await?.json()?;
    made["$id"].as_str().map(str::to_owned).ok_or_else(|| {
        SyncError::new(
            ErrorKind::Malformed,
            "the server made a transaction without an id",
        )
        .with_field("$id")
    })
}

async fn commit(signed: &Signed<'_>, transaction: &str) -> Committed {
    let call = transaction_call(Method::PATCH, transaction, None).with_body(json!({"commit": true}));
    match signed.send(call).await {
        Ok(_) => Committed::Yes,
        Err(error) if error.outcome_unknown() || error.code() == Some(types::TRANSACTION_NOT_READY) => {
            after_lost_commit(signed, transaction, error).await
        }
        Err(error) => Committed::No(error),
    }
}

/// The answer to a commit was lost. The server keeps the transaction for a while and tells how it ended; one that
/// is still pending is rolled back, so that it cannot be committed later.
async fn after_lost_commit(signed: &Signed<'_>, transaction: &str, lost: SyncError) -> Committed {
    for _ in 0..MAX_ROUNDS {
        match status(signed, transaction).await.as_deref() {
            Ok("committed") => return Committed::Yes,
            Ok("failed") => return Committed::No(lost),
            Ok("pending") => {
                if roll_back(signed, transaction).await.is_ok() {
                    return Committed::No(lost);
                }
            }
            _ => return Committed::Unknown(lost),
        }
    }
    Committed::Unknown(lost)
}

async fn status(signed: &Signed<'_>, transaction: &str) -> Result<String> {
    let told: Value = signed
        .send(transaction_call(Method::GET, transaction, None))
        .await?
        .json()?;
    Ok(told["status"].as_str().unwrap_or_default().to_owned())
}

async fn roll_back(signed: &Signed<'_>, transaction: &str) -> Result<()> {
    let call = transaction_call(Method::PATCH, transaction, None).with_body(json!({"rollback": true}));
    signed.send(call).await.map(drop)
}

/// Staging was refused. Nothing of the transaction ever takes effect.
async fn give_up(
    signed: &Signed<'_>,
    transaction: &str,
    atomic: bool,
    settled: Vec<Option<PushOutcome>>,
    error: SyncError,
) -> Result<Vec<Option<PushOutcome>>> {
    if let Err(left) = roll_back(signed, transaction).await {
        tracing::debug!(kind = %left.kind(), "a transaction was left to expire");
    }
    let vanished = error.kind() == ErrorKind::NotFound;
    let of_the_transaction = error.code().is_some_and(|code| code.starts_with("transaction_"));
    if of_the_transaction {
        return Ok(settled);
    }
    if is_refusal(&error) || vanished {
        if atomic && !vanished {
            let first = settled.iter().position(Option::is_none);
            let with_fault = settled.into_iter().enumerate().map(|(index, outcome)| {
                if Some(index) == first {
                    Some(rejected(&error))
                } else {
                    outcome
                }
            });
            return Ok(with_fault.collect());
        }
        return Ok(settled);
    }
    Err(error)
}

/// The server refused the batch as a whole and named at most a column, so which operation is at fault is a guess:
/// where the column is missing, one that sends nothing for it; else the one with the longest value. Whichever is
/// told, the batch waits as a whole for the user.
fn blame(steps: &[Step], error: &SyncError) -> Vec<Option<PushOutcome>> {
    let is_missing = error.message().contains("issing required");
    let length = |columns: &JsonObject| {
        let value = error.field().and_then(|column| columns.get(column));
        let length = value
            .filter(|value| !value.is_null())
            .map_or(0, |value| value.to_string().len());
        if is_missing { usize::MAX - length } else { length }
    };
    let at_fault = steps
        .iter()
        .enumerate()
        .rev()
        .filter_map(|(index, step)| match step {
            Step::Settled(_) => None,
            Step::Create(columns) | Step::Patch { columns, .. } => Some((length(columns), index)),
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, index)| index);
    steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            if Some(index) == at_fault {
                Some(rejected(error))
            } else {
                settled_outcome(step)
            }
        })
        .collect()
}

fn is_refusal(error: &SyncError) -> bool {
    // What is said of the transaction is not said of an operation.
    !error.code().is_some_and(|code| code.starts_with("transaction_"))
        && matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::TooLarge
        )
}

fn settled_outcome(step: &Step) -> Option<PushOutcome> {
    match step {
        Step::Settled(outcome) => Some(outcome.clone()),
        Step::Create(_) | Step::Patch { .. } => None,
    }
}

fn took_effect(outcome: &PushOutcome) -> bool {
    matches!(
        outcome,
        PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. }
    )
}

fn unknown(error: &SyncError) -> PushOutcome {
    PushOutcome::Unknown {
        reason: error.message().to_owned(),
    }
}
