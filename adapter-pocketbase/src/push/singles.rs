//! Sending operations one by one, where the server's batches are switched off.
//!
//! A single change reads the row outside of the transaction in which it writes the whole row back. On a feed the
//! guard refuses it when the row changed in between; on a plain server others' changes can be lost, which is why
//! the capabilities promise less.

use sync_core::{ErrorKind, PushOutcome, Result};

use super::{
    Outcomes,
    job::Job,
    resolve::{Resolution, unanswered},
};
use crate::{client::Caller, remote::Inner, wire::BatchAnswer};

/// Whether operations belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    No,
    /// They were to take effect as a whole. That cannot be had, but none goes before one that was refused.
    InOrder,
}

impl Inner {
    pub(super) async fn push_singly(
        &self,
        caller: &Caller<'_>,
        jobs: Vec<Job<'_>>,
        mut outcomes: Outcomes,
        together: Together,
    ) -> Result<Vec<PushOutcome>> {
        for job in jobs {
            match self.push_one(caller, job.clone(), &mut outcomes).await {
                Ok(()) if together == Together::InOrder && !outcomes.has_applied(&job) => {
                    return Ok(outcomes.finish("an operation before it in its batch did not apply"));
                }
                Ok(()) => {}
                Err(error) if !outcomes.is_begun() => return Err(error),
                Err(error) => {
                    let refused = matches!(
                        error.kind(),
                        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::RateLimited
                    );
                    if !refused {
                        outcomes.set(&job, unanswered(&error));
                    }
                    return Ok(outcomes.finish(error.message()));
                }
            }
        }
        Ok(outcomes.finish("it was not sent"))
    }

    async fn push_one(&self, caller: &Caller<'_>, mut job: Job<'_>, outcomes: &mut Outcomes) -> Result<()> {
        loop {
            // An intent and its delete would be two transactions, so the intent is left out.
            let skipped = job.requests.len().saturating_sub(1);
            job.requests.drain(..skipped);
            let Some(request) = job.requests.first() else {
                return Ok(());
            };
            match caller.single(request).await? {
                Ok(body) => {
                    let answers = vec![BatchAnswer { body }];
                    if skipped > 0 {
                        // Without the intent the feed knows no version for this operation.
                        outcomes.set(&job, PushOutcome::Duplicate { version: None });
                    } else {
                        self.settle(caller, vec![job], answers, outcomes).await;
                    }
                    return Ok(());
                }
                Err(refusal) => match self.resolve(caller, job, &refusal).await? {
                    Resolution::Settled(job, outcome) => {
                        outcomes.set(&job, outcome);
                        return Ok(());
                    }
                    Resolution::Again(again) => job = again,
                    Resolution::Slower(job) => {
                        let outcome = PushOutcome::Retry {
                            after: None,
                            reason: "the server asks for fewer requests".to_owned(),
                        };
                        outcomes.set(&job, outcome);
                        return Ok(());
                    }
                },
            }
        }
    }
}
