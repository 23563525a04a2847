//! What became of operations: versions of those that took effect, and the reasons of those that did not.

use std::collections::BTreeMap;

use sync_core::{OpKind, PushOutcome, RemoteState, RemoteVersion, Result, SyncError};

use super::{
    Outcomes,
    job::{Job, MOST_TRIES},
};
use crate::{
    client::Caller,
    error::{Meaning, Refusal},
    remote::Inner,
    rows::{RowKind, Table, revision_version},
    wire::BatchAnswer,
};

/// What is to be done about an operation that was refused.
pub(super) enum Resolution<'t> {
    /// It has its outcome.
    Settled(Job<'t>, PushOutcome),
    /// It is to be sent again, on what was read now.
    Again(Job<'t>),
    /// The server wants fewer requests.
    Slower(Job<'t>),
}

impl Inner {
    /// The versions that operations on feeds made, by the jobs' places.
    pub(super) async fn logged_for<'j, 't: 'j>(
        &self,
        caller: &Caller<'_>,
        jobs: impl Iterator<Item = &'j Job<'t>>,
    ) -> Result<BTreeMap<usize, RemoteVersion>> {
        let on_feeds = jobs.filter(|job| job.table.kind == RowKind::Feed);
        let mut found = BTreeMap::new();
        for (table, jobs) in by_table(on_feeds) {
            let ids: Vec<String> = jobs.iter().map(|job| job.op_id()).collect();
            let logged = self.logged(caller, table, &ids).await?;
            for (job, id) in jobs.iter().zip(&ids) {
                if let Some(number) = logged.get(id) {
                    found.insert(job.place, revision_version(*number));
                }
            }
        }
        Ok(found)
    }

    /// Settles operations that were applied, from the answers to their requests.
    pub(super) async fn settle(
        &self,
        caller: &Caller<'_>,
        jobs: Vec<Job<'_>>,
        answers: Vec<BatchAnswer>,
        outcomes: &mut Outcomes,
    ) {
        // The answer to the write itself shows the row as it was before the feed numbered it.
        let logged = self.logged_for(caller, jobs.iter()).await;
        let mut answers = answers.into_iter();
        for job in jobs {
            // A delete on a feed has two answers, of which the last is about the row.
            let answer = answers.by_ref().take(job.requests.len()).last();
            let row = answer.and_then(|answer| answer.body);
            let outcome = match (job.written(row.as_ref()), job.table.kind, &logged) {
                (Ok(written), RowKind::Plain, _) => PushOutcome::Applied {
                    version: written.version,
                    record: written.record,
                    server_time: written.server_time,
                },
                (Ok(written), RowKind::Feed, Ok(logged)) => match logged.get(&job.place) {
                    Some(version) => PushOutcome::Applied {
                        version: version.clone(),
                        record: written.record,
                        server_time: written.server_time,
                    },
                    None => PushOutcome::Unknown {
                        reason: "the server accepted it, and has no trace of it".to_owned(),
                    },
                },
                // It took effect, and what it made is to be read.
                _ => PushOutcome::Duplicate { version: None },
            };
            outcomes.set(&job, outcome);
        }
    }

    /// Finds out why an operation was refused.
    ///
    /// # Errors
    /// `Unauthenticated` if the sign-in is the reason; those of reading.
    pub(super) async fn resolve<'t>(
        &self,
        caller: &Caller<'_>,
        mut job: Job<'t>,
        refusal: &Refusal,
    ) -> Result<Resolution<'t>> {
        let meaning = refusal.meaning();
        match meaning {
            Meaning::Rejected { code, message, field } => {
                let outcome = PushOutcome::Rejected { code, message, field };
                return Ok(Resolution::Settled(job, outcome));
            }
            Meaning::RateLimited => return Ok(Resolution::Slower(job)),
            Meaning::Failed => {
                let outcome = PushOutcome::Retry {
                    after: None,
                    reason: "the server failed".to_owned(),
                };
                return Ok(Resolution::Settled(job, outcome));
            }
            Meaning::IdTaken | Meaning::NotThere | Meaning::Unexplained | Meaning::Changed => {}
        }
        caller.ensure_signed_in().await?;
        if let Some(version) = self
            .logged_for(caller, std::iter::once(&job))
            .await?
            .remove(&job.place)
        {
            let version = Some(version);
            return Ok(Resolution::Settled(job, PushOutcome::Duplicate { version }));
        }
        let ids = std::slice::from_ref(&job.op.key.id);
        let states = self.states(caller, job.table, job.op.key.scope(), ids).await?;
        let current = states.into_iter().next().unwrap_or_default();
        let outcome = match (job.op.kind, &current) {
            (OpKind::Create, RemoteState::Live(_)) => job.met(&current),
            (OpKind::Create, RemoteState::Deleted(_)) if current.version() != job.base.as_ref() => {
                job.met(&current)
            }
            (OpKind::Create, _) if meaning == Meaning::IdTaken => PushOutcome::Rejected {
                code: "id_taken".to_owned(),
                message: "there is a row with this id in another scope, or the server takes it for another's"
                    .to_owned(),
                field: Some("id".to_owned()),
            },
            (OpKind::Create, _) => refusal.denied(),
            (_, RemoteState::Missing) => PushOutcome::Missing,
            (_, RemoteState::Deleted(_)) => job.met(&current),
            (_, RemoteState::Live(live)) => {
                if Some(&live.version) == job.base.as_ref() {
                    // Nothing changed, so it is no race: a rule of the server.
                    refusal.denied()
                } else if job.op.base.is_none() && job.tries < MOST_TRIES {
                    job.tries += 1;
                    return Ok(match job.prepare(Some(&current)) {
                        Ok(()) => Resolution::Again(job),
                        Err(outcome) => Resolution::Settled(job, outcome),
                    });
                } else {
                    job.met(&current)
                }
            }
        };
        Ok(Resolution::Settled(job, outcome))
    }
}

/// Jobs by their collections.
pub(super) fn by_table<'j, 't: 'j>(
    jobs: impl Iterator<Item = &'j Job<'t>>,
) -> impl Iterator<Item = (&'t Table, Vec<&'j Job<'t>>)> {
    let mut found: BTreeMap<&str, (&Table, Vec<&Job<'_>>)> = BTreeMap::new();
    for job in jobs {
        let (_, together) = found
            .entry(&job.table.mapping.name)
            .or_insert((job.table, Vec::new()));
        together.push(job);
    }
    found.into_values()
}

/// The outcome of an operation whose request got no answer.
pub(super) fn unanswered(error: &SyncError) -> PushOutcome {
    PushOutcome::Unknown {
        reason: error.message().to_owned(),
    }
}
