//! Pushing.
//!
//! Everything goes through the server's batches, also one operation alone: a single change there reads the row
//! outside of the transaction in which it writes the whole row back, and so undoes what others wrote in between.

mod batch;
mod job;
mod resolve;
mod singles;

use std::collections::BTreeMap;

use sync_core::{PushBatch, PushOutcome, RecordId, RemoteState, Result, SyncError};

use crate::{client::Caller, remote::Inner};
use job::{Job, refused};
use resolve::by_table;
use singles::Together;

/// The outcomes so far, one place for each operation.
struct Outcomes(Vec<Option<PushOutcome>>);

impl Outcomes {
    fn set(&mut self, job: &Job<'_>, outcome: PushOutcome) {
        self.0[job.place] = Some(outcome);
    }

    fn has_applied(&self, job: &Job<'_>) -> bool {
        matches!(
            self.0[job.place],
            Some(PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. })
        )
    }

    /// Whether something may have taken effect already, so that an error may no longer stand for the whole push.
    fn is_begun(&self) -> bool {
        self.0.iter().any(|outcome| {
            matches!(
                outcome,
                Some(
                    PushOutcome::Applied { .. } | PushOutcome::Duplicate { .. } | PushOutcome::Unknown { .. }
                )
            )
        })
    }

    /// Ends the push: what has no outcome was not sent.
    fn finish(self, why: &str) -> Vec<PushOutcome> {
        let not_sent = || PushOutcome::Retry {
            after: None,
            reason: why.to_owned(),
        };
        self.0
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(not_sent))
            .collect()
    }
}

impl Inner {
    /// Applies operations, and answers for each.
    pub(crate) async fn push(&self, caller: &Caller<'_>, batch: &PushBatch) -> Result<Vec<PushOutcome>> {
        let mut outcomes = Outcomes(vec![None; batch.ops.len()]);
        let mut jobs = Vec::with_capacity(batch.ops.len());
        for (place, op) in batch.ops.iter().enumerate() {
            if op.key.scope() != &batch.scope {
                let message = format!(
                    "the batch is of {}, the record of {}",
                    batch.scope,
                    op.key.scope()
                );
                outcomes.0[place] = Some(refused(&SyncError::invalid("scope", message)));
                continue;
            }
            match self.table(&op.key.target.collection) {
                Ok(table) => jobs.push(Job::new(place, op.clone(), table)),
                Err(error) => outcomes.0[place] = Some(refused(&error)),
            }
        }
        let jobs = self.prepare(caller, jobs, &mut outcomes).await?;
        if batch.atomic {
            return self.push_atomic(caller, jobs, outcomes).await;
        }
        if self.is_without_batches() {
            return self.push_singly(caller, jobs, outcomes, Together::No).await;
        }
        self.push_in_batches(caller, jobs, outcomes).await
    }

    /// Reads what must be read first, and makes the requests. Operations that need not be sent get their outcome.
    async fn prepare<'t>(
        &self,
        caller: &Caller<'_>,
        jobs: Vec<Job<'t>>,
        outcomes: &mut Outcomes,
    ) -> Result<Vec<Job<'t>>> {
        let read = self.read_for(caller, &jobs).await?;
        let mut ready = Vec::with_capacity(jobs.len());
        let mut doubtful = Vec::new();
        for mut job in jobs {
            match job.prepare(read.get(&job.place)) {
                Ok(()) => ready.push(job),
                Err(outcome) => doubtful.push((job, outcome)),
            }
        }
        // What looks like another's write may be the effect of an earlier attempt of the same operation.
        let logged = self
            .logged_for(caller, doubtful.iter().map(|(job, _)| job))
            .await?;
        for (job, outcome) in doubtful {
            let outcome = match logged.get(&job.place) {
                Some(version) => PushOutcome::Duplicate {
                    version: Some(version.clone()),
                },
                None => outcome,
            };
            outcomes.set(&job, outcome);
        }
        Ok(ready)
    }

    /// The states of the records of those jobs that need them, by the jobs' places.
    async fn read_for(&self, caller: &Caller<'_>, jobs: &[Job<'_>]) -> Result<BTreeMap<usize, RemoteState>> {
        let mut found = BTreeMap::new();
        for (table, wanted) in by_table(jobs.iter().filter(|job| job.needs_reading())) {
            let ids: Vec<RecordId> = wanted.iter().map(|job| job.op.key.id.clone()).collect();
            let Some(first) = wanted.first() else { continue };
            let states = self.states(caller, table, first.op.key.scope(), &ids).await?;
            found.extend(wanted.iter().map(|job| job.place).zip(states));
        }
        Ok(found)
    }
}
