//! Live queries: a new answer whenever it differs from the last.

use futures::stream::{self, BoxStream, StreamExt};

use super::{RawAnswer, SyncEngine};
use crate::{error::Result, policy::ReadOptions, query::QuerySpec, scope::Target, store::StoreChange};

/// What a live query keeps between answers.
struct Watching {
    engine: SyncEngine,
    target: Target,
    spec: QuerySpec,
    changes: BoxStream<'static, StoreChange>,
    /// `None` before the first answer.
    last: Option<Vec<crate::LocalRecord>>,
}

impl SyncEngine {
    /// The answer to a query now, and a new one whenever the store's answer changes. Makes no requests by
    /// itself: combine it with the background driver, or with reads.
    ///
    /// The stream ends when the engine stops. An answer that fails is an item, and the stream goes on.
    pub fn watch(&self, target: &Target, spec: &QuerySpec) -> BoxStream<'static, Result<RawAnswer>> {
        let watching = Watching {
            engine: self.clone(),
            target: target.clone(),
            spec: spec.clone(),
            // Subscribed before the first query, so that no change falls between the two.
            changes: self.inner.store.changes(),
            last: None,
        };
        stream::unfold(watching, |mut watching| async move {
            let answer = watching.next().await?;
            Some((answer, watching))
        })
        .boxed()
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Result<RawAnswer>> {
        loop {
            if self.last.is_some() {
                self.changed().await?;
            }
            let options = ReadOptions::from(crate::CachePolicy::OfflineOnly);
            match self.engine.query(&self.target, &self.spec, &options).await {
                Ok(answer) if self.last.as_ref() == Some(&answer.records) => {}
                Ok(answer) => {
                    self.last = Some(answer.records.clone());
                    return Some(Ok(answer));
                }
                Err(error) => {
                    self.last.get_or_insert_with(Vec::new);
                    return Some(Err(error));
                }
            }
        }
    }

    /// Waits for a change that may concern the query, and takes all others that have arrived with it.
    async fn changed(&mut self) -> Option<()> {
        let mut stopped = self.engine.inner.stopped.subscribe();
        loop {
            let change = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                change = self.changes.next() => change?,
            };
            let concerns = match &change {
                StoreChange::Records { target, .. } => *target == self.target,
                StoreChange::Anything => true,
                StoreChange::Enqueued(_) => false,
            };
            if concerns {
                return Some(());
            }
        }
    }
}
