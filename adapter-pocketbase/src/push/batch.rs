//! Sending operations in batches that take effect as a whole or not at all.

use std::collections::VecDeque;

use sync_core::{ErrorKind, PushOutcome, Result, SyncError};

use super::{
    Outcomes,
    job::Job,
    resolve::{Resolution, unanswered},
    singles::Together,
};
use crate::{client::Caller, error::BatchRefusal, remote::Inner, wire::BatchRequest};

/// How long to wait when the server wants fewer requests; it does not say.
const RATE_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// What became of one batch.
enum Sent<'t> {
    /// It was applied, and its operations are settled.
    Applied,
    /// Nothing was applied. These are to be sent (again), in this order; one that is missing has its outcome.
    Again(Vec<Job<'t>>),
    /// Nothing was applied, because batches are switched off now.
    SwitchedOff(Vec<Job<'t>>),
    /// Nothing was applied, and no smaller batch will be.
    Refused(Vec<Job<'t>>, SyncError),
}

impl Inner {
    /// Sends operations that may take effect one without the other.
    pub(super) async fn push_in_batches(
        &self,
        caller: &Caller<'_>,
        jobs: Vec<Job<'_>>,
        mut outcomes: Outcomes,
    ) -> Result<Vec<PushOutcome>> {
        let mut queue: VecDeque<Job<'_>> = jobs.into();
        while !queue.is_empty() {
            let chunk = next_chunk(&mut queue, self.batch_limit());
            let places: Vec<usize> = chunk.iter().map(|job| job.place).collect();
            match self.send_batch(caller, chunk, &mut outcomes).await {
                Ok(Sent::Applied) => {}
                Ok(Sent::Again(jobs)) => {
                    for job in jobs.into_iter().rev() {
                        queue.push_front(job);
                    }
                }
                Ok(Sent::SwitchedOff(jobs)) => {
                    let left = jobs.into_iter().chain(queue).collect();
                    return self.push_singly(caller, left, outcomes, Together::No).await;
                }
                Ok(Sent::Refused(jobs, error)) => {
                    if !outcomes.is_begun() && error.kind() != ErrorKind::TooLarge {
                        return Err(error);
                    }
                    if error.kind() != ErrorKind::TooLarge {
                        return Ok(outcomes.finish(error.message()));
                    }
                    for job in jobs {
                        let outcome = super::refused(&error);
                        outcomes.set(&job, outcome);
                    }
                }
                Err(error) => {
                    let refused = matches!(
                        error.kind(),
                        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::RateLimited
                    );
                    if !outcomes.is_begun() {
                        return Err(error);
                    }
                    if !refused {
                        for place in places {
                            outcomes.0[place].get_or_insert_with(|| unanswered(&error));
                        }
                    }
                    return Ok(outcomes.finish("an earlier part of the push got no answer"));
                }
            }
        }
        Ok(outcomes.finish("it was not sent"))
    }

    /// Sends operations that take effect together or not at all.
    pub(super) async fn push_atomic(
        &self,
        caller: &Caller<'_>,
        mut jobs: Vec<Job<'_>>,
        mut outcomes: Outcomes,
    ) -> Result<Vec<PushOutcome>> {
        if self.profile.batch_requests.is_none() {
            let why = "batches are switched off on the server";
            return Err(SyncError::unsupported("atomic", why));
        }
        let others = "another operation of the batch did not apply";
        let fits = |outcomes: &Outcomes| {
            outcomes
                .0
                .iter()
                .flatten()
                .all(|outcome| matches!(outcome, PushOutcome::Duplicate { .. }))
        };
        while !jobs.is_empty() {
            if !fits(&outcomes) {
                return Ok(outcomes.finish(others));
            }
            if self.is_without_batches() {
                return self.push_singly(caller, jobs, outcomes, Together::InOrder).await;
            }
            let requests: usize = jobs.iter().map(|job| job.requests.len()).sum();
            if requests > self.batch_limit() {
                let why = format!(
                    "{requests} requests in one batch, the server takes {}",
                    self.batch_limit()
                );
                return Err(SyncError::new(ErrorKind::TooLarge, why).with_field("ops"));
            }
            match self
                .send_batch(caller, std::mem::take(&mut jobs), &mut outcomes)
                .await?
            {
                Sent::Applied => {}
                Sent::Again(again) | Sent::SwitchedOff(again) => jobs = again,
                Sent::Refused(_, error) => return Err(error),
            }
        }
        Ok(outcomes.finish(others))
    }

    /// Sends one batch.
    ///
    /// # Errors
    /// Those that leave its effect open, and those of finding out why an operation was refused.
    async fn send_batch<'t>(
        &self,
        caller: &Caller<'_>,
        mut jobs: Vec<Job<'t>>,
        outcomes: &mut Outcomes,
    ) -> Result<Sent<'t>> {
        let requests: Vec<&BatchRequest> = jobs.iter().flat_map(|job| &job.requests).collect();
        let sent = requests.len();
        let refusal = match caller.batch(&requests).await? {
            Ok(answers) => {
                self.raise_batch_limit(sent);
                self.settle(caller, jobs, answers, outcomes).await;
                return Ok(Sent::Applied);
            }
            Err(refusal) => refusal,
        };
        match refusal {
            BatchRefusal::Off => {
                self.batches_are_off();
                Ok(Sent::SwitchedOff(jobs))
            }
            BatchRefusal::TooMany(limit) => {
                self.told_batch_limit(limit);
                if sent > limit && jobs.len() == 1 {
                    let why = format!("the server takes {limit} request in a batch, a delete needs two");
                    return Ok(Sent::Refused(jobs, SyncError::new(ErrorKind::Configuration, why)));
                }
                Ok(Sent::Again(jobs))
            }
            BatchRefusal::TooLarge | BatchRefusal::TimedOut if jobs.len() > 1 => {
                self.lower_batch_limit(sent / 2);
                Ok(Sent::Again(jobs))
            }
            BatchRefusal::TooLarge => {
                let why = "the operation is larger than the server takes";
                let error = SyncError::new(ErrorKind::TooLarge, why).with_code("too_large");
                Ok(Sent::Refused(jobs, error))
            }
            BatchRefusal::TimedOut => {
                let why = "the server was too busy to apply even one operation";
                Ok(Sent::Refused(jobs, SyncError::new(ErrorKind::Server, why)))
            }
            BatchRefusal::Whole(error) => Ok(Sent::Refused(jobs, error)),
            BatchRefusal::At(request, refusal) => {
                let place = place_of(&jobs, request);
                let job = jobs.remove(place);
                match self.resolve(caller, job, &refusal).await? {
                    Resolution::Settled(job, outcome) => {
                        outcomes.set(&job, outcome);
                        Ok(Sent::Again(jobs))
                    }
                    Resolution::Again(job) => {
                        jobs.insert(place, job);
                        Ok(Sent::Again(jobs))
                    }
                    Resolution::Slower(job) => {
                        jobs.insert(place, job);
                        // Creates in a batch count singly, so what was before this one would have passed.
                        self.lower_batch_limit(request.max(1));
                        let why = "the server asks for fewer requests";
                        let error = SyncError::new(ErrorKind::RateLimited, why)
                            .with_retry(sync_core::RetryClass::After(RATE_PAUSE));
                        Ok(Sent::Refused(jobs, error))
                    }
                }
            }
        }
    }
}

/// The next operations whose requests fit into one batch; at least one.
fn next_chunk<'t>(queue: &mut VecDeque<Job<'t>>, limit: usize) -> Vec<Job<'t>> {
    let mut chunk = Vec::new();
    let mut requests = 0;
    while let Some(job) = queue.front() {
        requests += job.requests.len();
        if requests > limit && !chunk.is_empty() {
            break;
        }
        chunk.extend(queue.pop_front());
    }
    chunk
}

/// The place of the job whose request this is.
fn place_of(jobs: &[Job<'_>], request: usize) -> usize {
    let mut requests = 0;
    jobs.iter()
        .position(|job| {
            requests += job.requests.len();
            request < requests
        })
        .unwrap_or(jobs.len().saturating_sub(1))
}
