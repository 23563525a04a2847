//! Live queries: a new answer whenever it differs from the last.

use std::sync::Arc;

use futures::{
    future::FutureExt,
    stream::{self, BoxStream, StreamExt},
};

use super::{RawAnswer, SyncEngine, window::Window};
use crate::{
    error::Result, id::RecordId, policy::Freshness, query::QuerySpec, record_state::LocalRecord,
    scope::Target, store::ViewChange,
};

/// What a live query keeps between answers.
struct Watching {
    engine: SyncEngine,
    target: Target,
    spec: QuerySpec,
    changes: BoxStream<'static, ViewChange>,
    /// Whether the first answer was given.
    begun: bool,
    /// The store's answer and the number of the last commit it has seen, as long as it is kept up to date.
    window: Option<(Window, u64)>,
    /// The last answer; `None` after one that failed.
    last: Option<Seen>,
}

/// The records of a commit as they are since, and its number.
type Committed = (Arc<[(RecordId, Option<LocalRecord>)]>, u64);

/// What became of the store since the last answer.
enum News {
    /// These records changed in these commits, and no others.
    Records(Vec<Committed>),
    Unknown,
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
    /// Where the store tells what a commit changed, the answer is kept up to date from that, and the query is only
    /// run again when a record beyond its limit moves up, or when something else wrote to the store.
    ///
    /// Changes that come faster than the stream is read are answered together, by the latest state. The stream
    /// ends when the engine stops or the store is closed. An answer that fails is an item, and the stream goes on.
    pub fn watch(&self, target: &Target, spec: &QuerySpec) -> BoxStream<'static, Result<RawAnswer>> {
        let watching = Watching {
            engine: self.clone(),
            target: target.clone(),
            spec: spec.clone(),
            // Subscribed before the first query, so that no change falls between the two.
            changes: self.inner.store.view_changes(),
            begun: false,
            window: None,
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
            let news = if std::mem::replace(&mut self.begun, true) {
                self.changed().await?
            } else {
                News::Unknown
            };
            let found = match self.maintain(news) {
                Some(false) => continue,
                Some(true) => self.kept(),
                None => self.query().await,
            };
            let answer = match found {
                Ok(found) => self.engine.answer(&self.target, found, Freshness::AsStored).await,
                Err(error) => Err(error),
            };
            match answer {
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
                    self.window = None;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Brings the kept answer up to date. Returns whether it differs from before; `None` if the store must be
    /// asked.
    fn maintain(&mut self, news: News) -> Option<bool> {
        let News::Records(commits) = news else { return None };
        let (window, seen) = self.window.as_mut()?;
        let mut changed = false;
        for (records, commit) in commits {
            if commit <= *seen {
                continue;
            }
            for (id, record) in records.iter() {
                changed |= window.apply(id, record.as_ref())?;
            }
            *seen = commit;
        }
        window.is_known().then_some(changed)
    }

    fn kept(&self) -> Result<Vec<LocalRecord>> {
        self.engine.inner.check_running()?;
        Ok(self
            .window
            .iter()
            .flat_map(|(window, _)| window.records())
            .collect())
    }

    /// Asks the store, and keeps the answer if it is known which commits it has seen.
    async fn query(&mut self) -> Result<Vec<LocalRecord>> {
        self.window = None;
        let store = &self.engine.inner.store;
        let before = store.settled_commit();
        let found = self.engine.stored(&self.target, &self.spec).await?;
        if let Some(commit) = before
            && store.settled_commit() == before
        {
            let schema = &self.engine.inner.registered(&self.target.collection)?.schema;
            let deleted_at = schema.deleted_at_field.as_deref();
            let window = Window::of(&self.spec, deleted_at, &found)?;
            self.window = window.map(|window| (window, commit));
        }
        Ok(found)
    }

    /// Waits for a change that may concern the query, and takes all others that have arrived with it.
    async fn changed(&mut self) -> Option<News> {
        let mut stopped = self.engine.inner.stopped.subscribe();
        let mut news = None;
        while news.is_none() {
            let change = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                change = self.changes.next() => change?,
            };
            self.take(change, &mut news);
        }
        // One answer tells of all changes that have arrived by now.
        while let Some(Some(change)) = self.changes.next().now_or_never() {
            self.take(change, &mut news);
        }
        news
    }

    fn take(&self, change: ViewChange, news: &mut Option<News>) {
        match change {
            ViewChange::Records {
                target,
                records,
                commit,
            } if target == self.target => match news.get_or_insert_with(|| News::Records(Vec::new())) {
                News::Records(commits) => commits.push((records, commit)),
                News::Unknown => {}
            },
            ViewChange::Unknown(target) if target.as_ref().is_none_or(|target| *target == self.target) => {
                *news = Some(News::Unknown);
            }
            ViewChange::Records { .. } | ViewChange::Unknown(_) => {}
        }
    }
}
