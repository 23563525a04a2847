//! Live queries: a new answer whenever it differs from the last.

use futures::{
    future::FutureExt,
    stream::{self, BoxStream, StreamExt},
};

use super::{RawAnswer, SyncEngine};
use crate::{
    error::Result,
    id::RecordId,
    policy::{CachePolicy, ReadOptions},
    query::QuerySpec,
    record_state::LocalRecord,
    scope::Target,
    store::StoreChange,
};

/// What a live query keeps between answers.
struct Watching {
    engine: SyncEngine,
    target: Target,
    spec: QuerySpec,
    changes: BoxStream<'static, StoreChange>,
    /// Whether the first answer was given.
    begun: bool,
    /// The last answer; `None` after one that failed.
    last: Option<Seen>,
}

/// What of an answer makes another one news.
#[derive(PartialEq)]
struct Seen {
    records: Vec<LocalRecord>,
    undecodable: Vec<RecordId>,
}

impl Seen {
    fn of(answer: &RawAnswer) -> Self {
        Self {
            records: answer.records.clone(),
            undecodable: answer.undecodable.iter().map(|(id, _)| id.clone()).collect(),
        }
    }
}

impl SyncEngine {
    /// The answer to a query now, and a new one whenever the store's answer changes: its records, their order,
    /// or which of them carry pending writes. Makes no requests by itself: combine it with the background driver,
    /// or with reads.
    ///
    /// Changes that come faster than the stream is read are answered together, by the latest state. The stream
    /// ends when the engine stops or the store is closed. An answer that fails is an item, and the stream goes on.
    pub fn watch(&self, target: &Target, spec: &QuerySpec) -> BoxStream<'static, Result<RawAnswer>> {
        let watching = Watching {
            engine: self.clone(),
            target: target.clone(),
            spec: spec.clone(),
            // Subscribed before the first query, so that no change falls between the two.
            changes: self.inner.store.changes(),
            begun: false,
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
            if std::mem::replace(&mut self.begun, true) {
                self.changed().await?;
            }
            let options = ReadOptions::from(CachePolicy::OfflineOnly);
            match self.engine.query(&self.target, &self.spec, &options).await {
                Ok(answer) => {
                    let seen = Seen::of(&answer);
                    if self.last.as_ref() != Some(&seen) {
                        self.last = Some(seen);
                        return Some(Ok(answer));
                    }
                }
                Err(_) if self.engine.inner.is_stopped() => return None,
                Err(error) => {
                    self.last = None;
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
            if self.concerns(&change) {
                // One query answers for all changes that have arrived by now.
                while let Some(Some(_)) = self.changes.next().now_or_never() {}
                return Some(());
            }
        }
    }

    fn concerns(&self, change: &StoreChange) -> bool {
        match change {
            StoreChange::Records { target, .. } => *target == self.target,
            StoreChange::Anything => true,
            StoreChange::Enqueued(_) => false,
        }
    }
}
