//! A screen that shows a live query.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use sync_core::{RawAnswer, RecordId, SyncEngine, Target, query::QuerySpec};

use super::{
    coverage::Branch,
    executor::{Executor, Owner},
    shared::Shared,
};

/// What a screen shows: each record's text, and whether it carries pending operations.
pub(crate) type Shown = BTreeMap<RecordId, (String, bool)>;

/// Follows a query to its latest answer.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) target: Target,
    latest: Arc<Mutex<Option<Shown>>>,
}

impl Watcher {
    pub(crate) fn start(
        engine: &SyncEngine,
        target: &Target,
        executor: &Executor,
        owner: Owner,
        shared: &Arc<Shared>,
    ) -> Self {
        let latest: Arc<Mutex<Option<Shown>>> = Arc::default();
        let mut answers = engine.watch(target, &QuerySpec::new());
        let (slot, shared) = (Arc::clone(&latest), Arc::clone(shared));
        executor.spawn(
            owner,
            Box::pin(async move {
                while let Some(answer) = answers.next().await {
                    shared.seen(Branch::Watched);
                    // A screen that shows an error says so.
                    let now = answer.ok().map(|answer| shown(&answer));
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = now;
                }
            }),
        );
        Self {
            target: target.clone(),
            latest,
        }
    }

    /// What the screen shows now.
    pub(crate) fn latest(&self) -> Option<Shown> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn shown(answer: &RawAnswer) -> Shown {
    answer
        .records
        .iter()
        .map(|record| {
            (
                record.id.clone(),
                (record.payload.as_str().to_owned(), record.pending),
            )
        })
        .collect()
}
