//! What a naive client of a trace stands on.

use async_trait::async_trait;
use sync_core::{Clock, Delta, ErrorKind, PullRequest, RemoteStore, Result, SyncError, Timestamp};

use super::{
    script::{Point, Script},
    time::ClientClock,
    vocabulary::Fault,
};
use crate::naive::client::{Ground, Moment};

/// A clock and a script.
#[derive(Debug)]
pub(super) struct ScriptedGround {
    pub(super) script: Script,
    pub(super) clock: ClientClock,
}

#[async_trait]
impl Ground for ScriptedGround {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn told_stamp(&self) -> Option<u64> {
        self.script.exact_stamp()
    }

    async fn check_store(&self) -> Result<()> {
        let kind = if self.script.has_fault(None, &Fault::DiskFull) {
            ErrorKind::Full
        } else if self.script.has_fault(None, &Fault::StoreBusy) {
            ErrorKind::Busy
        } else {
            return Ok(());
        };
        Err(SyncError::new(kind, "the store cannot be written"))
    }

    async fn reach(&self, moment: Moment) {
        let point = match moment {
            Moment::MidApply => Point::MidApply,
            Moment::AfterApply => Point::AfterApply,
        };
        self.script.reach(point).await;
    }

    async fn pull_unseen(&self, remote: &dyn RemoteStore, request: PullRequest) -> Result<Delta> {
        self.script.unseen(remote.pull(request)).await
    }
}
