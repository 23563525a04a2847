//! Telling others what a commit changed, and noticing what other processes commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::stream::{self, BoxStream, StreamExt};
use sync_core::{RecordId, StoreChange, SyncScope, Target};
use tokio::sync::broadcast::{self, Sender, error::RecvError};

/// How many notices a receiver may be behind before it gets [`StoreChange::Anything`] instead.
const CAPACITY: usize = 1_024;

/// How many ids one notice lists at most.
const MAX_IDS: usize = 1_000;

/// Hands out notices, and remembers which commits of others were told already.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// `None` once the store is closed, which ends all streams.
    sender: Mutex<Option<Sender<StoreChange>>>,
    /// The last state of the database's own change counter that was seen.
    seen: Mutex<Option<i64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both values are replaced as a whole, so a panic elsewhere leaves them good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notifier {
    pub(crate) fn new() -> Self {
        Self {
            sender: Mutex::new(Some(broadcast::channel(CAPACITY).0)),
            seen: Mutex::new(None),
        }
    }

    pub(crate) fn send(&self, changes: impl IntoIterator<Item = StoreChange>) {
        if let Some(sender) = lock(&self.sender).as_ref() {
            for change in changes {
                // Without receivers there is nobody to tell.
                let _ = sender.send(change);
            }
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.sender).take();
    }

    pub(crate) fn subscribe(&self) -> BoxStream<'static, StoreChange> {
        let Some(receiver) = lock(&self.sender).as_ref().map(Sender::subscribe) else {
            return stream::empty().boxed();
        };
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                Err(RecvError::Lagged(_)) => Some((StoreChange::Anything, receiver)),
                Err(RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    /// Takes notice of the database's change counter, as it was `before` our own commit (if any) and is `after` it.
    /// Returns whether somebody else committed since the last time.
    pub(crate) fn observe(&self, before: i64, after: i64) -> bool {
        let last = lock(&self.seen).replace(after);
        last.is_some_and(|last| last != before)
    }
}

/// Collects what a commit changes, until it is committed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    records: BTreeMap<Target, BTreeSet<RecordId>>,
    enqueued: BTreeSet<SyncScope>,
}

impl Changes {
    pub(crate) fn record(&mut self, target: &Target, id: &RecordId) {
        match self.records.get_mut(target) {
            Some(ids) => {
                ids.insert(id.clone());
            }
            None => {
                self.records.insert(target.clone(), BTreeSet::from([id.clone()]));
            }
        }
    }

    pub(crate) fn enqueued(&mut self, scope: &SyncScope) {
        if !self.enqueued.contains(scope) {
            self.enqueued.insert(scope.clone());
        }
    }

    pub(crate) fn into_notices(self) -> Vec<StoreChange> {
        let records = self.records.into_iter().map(|(target, ids)| {
            let ids = (ids.len() <= MAX_IDS).then(|| ids.into_iter().collect());
            StoreChange::Records { target, ids }
        });
        records
            .chain(self.enqueued.into_iter().map(StoreChange::Enqueued))
            .collect()
    }
}
