//! The conformance suite of local stores.
//!
//! Each case takes a fresh store and demands one sentence of the contract of [`LocalStore`], [`ChangeSet`] or
//! [`RecordState`]; its name is that sentence.
//!
//! [`ChangeSet`]: sync_core::ChangeSet
//! [`RecordState`]: sync_core::RecordState

mod atomicity;
mod bookkeeping;
mod confirmations;
mod everything;
mod eviction;
mod fidelity;
mod guards;
mod leases;
mod lifecycle;
mod notices;
mod queries;
mod queue;
mod queue_reads;
mod scopes;
mod updates;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sync_core::{CollectionSchema, LocalStore, Timer};

use crate::{
    case::{Case, Verdict, judge},
    effects::ThreadTimer,
    report::Report,
};

/// Makes the stores that the suite examines.
#[async_trait]
pub trait LocalFixture: Send + Sync {
    /// A new store that holds nothing, and shares nothing with any other.
    async fn fresh(&self) -> Arc<dyn LocalStore>;

    /// The store after a restart of the process: closed and opened again over the same file. A store that is not
    /// durable may come back empty, or as it was.
    async fn reopen(&self, store: Arc<dyn LocalStore>) -> Arc<dyn LocalStore>;

    /// The timer for the deadlines of cases.
    fn timer(&self) -> Arc<dyn Timer> {
        Arc::new(ThreadTimer)
    }

    /// How long one case may take. Far more than any should need: it only ends what would never end.
    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// What a case works with.
pub(crate) struct LocalContext<'f> {
    fixture: &'f dyn LocalFixture,
    store: Arc<dyn LocalStore>,
}

impl LocalContext<'_> {
    /// The store after a restart, with the collections registered as an app does at its start.
    async fn reopened(&self) -> Verdict<Arc<dyn LocalStore>> {
        let store = self.fixture.reopen(self.store.clone()).await;
        store.register(&schemas()?).await?;
        Ok(store)
    }
}

/// Every case of the suite, in the order of the report.
pub(crate) fn cases<'f>() -> Vec<Case<LocalContext<'f>>> {
    [
        atomicity::cases(),
        guards::cases(),
        updates::cases(),
        confirmations::cases(),
        queue::cases(),
        queue_reads::cases(),
        bookkeeping::cases(),
        leases::cases(),
        scopes::cases(),
        eviction::cases(),
        queries::cases(),
        fidelity::cases(),
        notices::cases(),
        lifecycle::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs every case, each on a fresh store, one after another.
///
/// # Cancel safety
/// Dropping the future ends the run; the store of the case under way stays as it is.
pub async fn run(fixture: &dyn LocalFixture) -> Report {
    let (timer, deadline) = (fixture.timer(), fixture.deadline());
    let mut results = Vec::new();
    for case in cases() {
        let trial = async {
            let store = fixture.fresh().await;
            store.register(&schemas()?).await?;
            let context = LocalContext { fixture, store };
            (case.run)(&context).await
        };
        results.push(judge(case.name, case.promises, trial, &*timer, deadline).await);
    }
    let name = fixture.fresh().await.info().name;
    Report::new(format!("local store `{name}`"), results)
}

/// The collections of the cases: `todos` with an index and a soft-delete field, and `notes` with neither.
fn schemas() -> Verdict<Vec<CollectionSchema>> {
    let todos = CollectionSchema::untyped("todos", "id")?
        .with_index("title")
        .with_deleted_at("deleted_at");
    Ok(vec![todos, CollectionSchema::untyped("notes", "id")?])
}
