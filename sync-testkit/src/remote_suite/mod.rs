//! The conformance suite of remotes.
//!
//! Each case takes an empty remote and demands one sentence of the contract of [`RemoteStore`]; its name is that
//! sentence. What a case expects depends on the [`Capabilities`] the remote states: a remote without
//! conditional writes, say, passes the race if its writers take turns.

mod batches;
mod conditions;
mod context;
mod deletes;
mod faults;
mod fidelity;
mod pull;
mod push;
mod reads;
mod realtime;
mod replica;
mod scopes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use sync_core::{Capabilities, Payload, RecordId, RecordKey, RemoteStore, Target, Timer};

use self::context::RemoteContext;
use crate::{
    case::{Case, judge},
    effects::ThreadTimer,
    report::Report,
    sample,
};

/// Makes the remotes that the suite examines.
///
/// The suite uses two collections, `todos` and `notes`, in the scopes of two users, `ada` and `bob`. A backend
/// with tables has these columns in both: `id`, `title` (text, may be null), `done` (boolean, may be null),
/// `count` (integer of 64 bits, may be null), `note` (text, may be null).
#[async_trait]
pub trait RemoteFixture: Send + Sync {
    /// A remote whose collections hold nothing in the scopes of the suite, not even tombstones. Each case gets
    /// its own.
    async fn fresh(&self) -> Arc<dyn RemoteStore>;

    /// Where the records of `user` in `collection` are.
    fn target(&self, collection: &str, user: &str) -> Target {
        sample::target(collection, user)
    }

    /// An id for the record `number`, such as the backend accepts: distinct for distinct numbers.
    fn record_id(&self, number: u64) -> RecordId {
        sample::id(&format!("r{number:05}"))
    }

    /// The timer for the deadlines of cases.
    fn timer(&self) -> Arc<dyn Timer> {
        Arc::new(ThreadTimer)
    }

    /// How long one case may take. Far more than any should need: it only ends what would never end.
    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// Deletes a record as another client of the backend would who leaves no trace. `false` if there is no such
    /// hook, or the record was not there.
    async fn delete_without_trace(&self, remote: &dyn RemoteStore, key: &RecordKey) -> bool {
        let _ = (remote, key);
        false
    }

    /// Puts the backend back to the state in which [`RemoteFixture::fresh`] gave it, as an operator who restores
    /// a backup does. `false` if there is no such hook.
    async fn restore_backup(&self, remote: &dyn RemoteStore) -> bool {
        let _ = remote;
        false
    }

    /// Makes the client's sign-in expire, with no way to renew it. `false` if there is no such hook.
    async fn expire_sign_in(&self, remote: &dyn RemoteStore) -> bool {
        let _ = remote;
        false
    }

    /// Begins to write a record as another client of the backend would, whose transaction takes its time (or its
    /// sequence number) now and commits when the answer is awaited. `None` if there is no such hook.
    async fn begin_late_write(
        &self,
        remote: &dyn RemoteStore,
        key: &RecordKey,
        record: Payload,
    ) -> Option<BoxFuture<'static, ()>> {
        let _ = (remote, key, record);
        None
    }

    /// Puts a row into the target that the adapter cannot understand. `false` if there is no such hook.
    async fn plant_malformed_row(&self, remote: &dyn RemoteStore, target: &Target) -> bool {
        let _ = (remote, target);
        false
    }
}

/// Every case of the suite, in the order of the report.
fn cases<'f>() -> Vec<Case<RemoteContext<'f>>> {
    [
        pull::cases(),
        deletes::cases(),
        push::cases(),
        conditions::cases(),
        batches::cases(),
        reads::cases(),
        scopes::cases(),
        fidelity::cases(),
        realtime::cases(),
        faults::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs every case, each on a fresh remote, one after another.
///
/// # Cancel safety
/// Dropping the future ends the run; the remote of the case under way stays as it is.
pub async fn run(fixture: &dyn RemoteFixture) -> Report {
    let (timer, deadline) = (fixture.timer(), fixture.deadline());
    let mut results = Vec::new();
    for case in cases() {
        let trial = async {
            let context = RemoteContext::new(fixture, fixture.fresh().await);
            (case.run)(&context).await
        };
        results.push(judge(case.name, case.promises, trial, &*timer, deadline).await);
    }
    let remote = fixture.fresh().await;
    let Capabilities { cursor, deletes, .. } = remote.capabilities();
    Report::new(
        format!(
            "remote `{}` (cursor {cursor:?}, deletes {deletes:?})",
            remote.name()
        ),
        results,
    )
}
