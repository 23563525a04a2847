//! Pushes that failed as a whole.

use super::{PushPhase, marked::Batch};
use crate::{
    change_set::ChangeSet,
    engine::{batch::Limits, run::Run},
    error::{ErrorKind, Result, RetryClass, SyncError},
    machine::Transition,
    operation::{OpFailure, OpState, PushOutcome},
    record_state::RecordState,
};

/// So many failures of single operations in a row mean that the remote as a whole is failing.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

impl Run<'_> {
    /// The push as a whole failed. Either that is for the whole sync to end on, or the batch is made smaller
    /// until the operation that the remote cannot take is alone.
    pub(super) async fn push_failed(
        &mut self,
        batch: &Batch,
        error: SyncError,
        phase: &mut PushPhase,
    ) -> Result<()> {
        let (sent, atomic) = (&batch.sent[..], batch.atomic);
        // What must take effect as a whole is refused as a whole, and only taken apart if it is too large.
        let too_large = error.kind() == ErrorKind::TooLarge && sent.len() > 1;
        let alone = sent.len() == 1 || (atomic && !too_large);
        match error.kind() {
            ErrorKind::TooLarge | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported
                if alone =>
            {
                let outcome = PushOutcome::Rejected {
                    code: error.code().unwrap_or(error.kind().as_str()).to_owned(),
                    message: error.message().to_owned(),
                    field: error.field().map(str::to_owned),
                };
                self.apply_outcomes(sent, &vec![outcome; sent.len()], phase).await
            }
            ErrorKind::TooLarge | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Unsupported => {
                self.not_sent(sent, &error).await?;
                phase.limits = Limits::below(sent.len());
                Ok(())
            }
            ErrorKind::Server | ErrorKind::Malformed if !alone => {
                phase.limits = Limits::below(sent.len());
                Ok(())
            }
            ErrorKind::Server | ErrorKind::Malformed => {
                phase.failures_in_a_row += 1;
                let outcome = PushOutcome::Unknown {
                    reason: error.message().to_owned(),
                };
                self.apply_outcomes(sent, &vec![outcome; sent.len()], phase)
                    .await?;
                if phase.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            _ => {
                let refused_whole = matches!(error.retry(), RetryClass::SignIn | RetryClass::After(_))
                    || matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::ScopeRevoked);
                if refused_whole && let Err(failed) = self.not_sent(sent, &error).await {
                    // They stay in doubt; what the remote said counts.
                    tracing::warn!(scope = %self.scope, error = %failed, "a refused push could not be noted");
                }
                Err(error)
            }
        }
    }

    /// Stores that operations, marked as possibly sent, certainly did not take effect and cost no attempt. If a
    /// record changed meanwhile it stays in doubt, which is only slower.
    async fn not_sent(&mut self, sent: &[RecordState], error: &SyncError) -> Result<()> {
        let failure = OpFailure::from_error(error, self.inner.now());
        self.take_back(sent, Some(failure)).await
    }

    /// As [`Run::not_sent`], where the failure, if any, was that of these operations.
    pub(super) async fn take_back(&mut self, sent: &[RecordState], failure: Option<OpFailure>) -> Result<()> {
        if sent.is_empty() {
            return Ok(());
        }
        let now = self.inner.now();
        let mut changes = ChangeSet::at(now);
        let keys: Vec<_> = sent.iter().map(|state| state.key.clone()).collect();
        for (state, was) in self.inner.store.load_records(&keys).await?.into_iter().zip(sent) {
            let same = state.ops.first().map(|op| op.op_id) == was.ops.first().map(|op| op.op_id);
            // An operation sent before may have taken effect then.
            if !same || was.ops.first().is_none_or(|op| op.state == OpState::InDoubt) {
                continue;
            }
            let mut after = state.clone();
            after.ops[0].state = OpState::Queued;
            after.ops[0].attempts = state.ops[0].attempts.saturating_sub(1);
            if let Some(failure) = &failure {
                after.ops[0].last_failure = Some(failure.clone());
            }
            Transition::new(state, after).add_to(&mut changes);
        }
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        Ok(())
    }
}
