//! Telling others what a commit changed, and noticing what other processes commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::stream::{self, BoxStream, StreamExt};
use sync_core::{LocalRecord, RecordId, StoreChange, SyncScope, Target, ViewChange};
use tokio::sync::broadcast::{self, Sender, error::RecvError};

/// How many notices a receiver may be behind before it gets [`StoreChange::Anything`] instead.
const CAPACITY: usize = 1_024;

/// How many ids one notice lists at most.
const MAX_IDS: usize = 1_000;

/// Records as they are after a commit; `None` = not there.
type Views = Arc<[(RecordId, Option<LocalRecord>)]>;

/// A change, and its records if somebody listened when it was made.
pub(crate) type Notice = (StoreChange, Option<Views>);

/// What receivers are told.
#[derive(Clone, Debug)]
struct Told {
    change: StoreChange,
    views: Option<Views>,
    commit: u64,
}

/// Hands out notices, and remembers which commits of others were told already.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// `None` once the store is closed, which ends all streams.
    sender: Mutex<Option<Sender<Told>>>,
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

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        lock(&self.sender)
            .as_ref()
            .is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells that anything may have changed.
    pub(crate) fn send_anything(&self) {
        self.send(0, [(StoreChange::Anything, None)]);
    }

    /// Tells what the commit with this number changed.
    pub(crate) fn send(&self, commit: u64, changes: impl IntoIterator<Item = Notice>) {
        if let Some(sender) = lock(&self.sender).as_ref() {
            for (change, views) in changes {
                // Without receivers there is nobody to tell.
                let _ = sender.send(Told {
                    change,
                    views,
                    commit,
                });
            }
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.sender).take();
    }

    fn told(&self) -> BoxStream<'static, Told> {
        let Some(receiver) = lock(&self.sender).as_ref().map(Sender::subscribe) else {
            return stream::empty().boxed();
        };
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(told) => Some((told, receiver)),
                Err(RecvError::Lagged(_)) => {
                    let lost = Told {
                        change: StoreChange::Anything,
                        views: None,
                        commit: 0,
                    };
                    Some((lost, receiver))
                }
                Err(RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    pub(crate) fn subscribe(&self) -> BoxStream<'static, StoreChange> {
        self.told().map(|told| told.change).boxed()
    }

    pub(crate) fn subscribe_to_views(&self) -> BoxStream<'static, ViewChange> {
        let changes = self.told().filter_map(|told| {
            let commit = told.commit;
            std::future::ready(match (told.change, told.views) {
                (StoreChange::Records { target, .. }, Some(records)) => Some(ViewChange::Records {
                    target,
                    records,
                    commit,
                }),
                (StoreChange::Records { target, .. }, None) => Some(ViewChange::Unknown(Some(target))),
                (StoreChange::Enqueued(_), _) => None,
                (_, _) => Some(ViewChange::Unknown(None)),
            })
        });
        changes.boxed()
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
    records: BTreeMap<Target, BTreeMap<RecordId, Option<LocalRecord>>>,
    enqueued: BTreeSet<SyncScope>,
}

impl Changes {
    /// Notes a record as it is after the commit.
    pub(crate) fn record(&mut self, target: &Target, id: &RecordId, now: Option<LocalRecord>) {
        match self.records.get_mut(target) {
            // One more than are listed tells that there are too many.
            Some(records) if records.len() > MAX_IDS => {}
            Some(records) => {
                records.insert(id.clone(), now);
            }
            None => {
                let records = BTreeMap::from([(id.clone(), now)]);
                self.records.insert(target.clone(), records);
            }
        }
    }

    pub(crate) fn enqueued(&mut self, scope: &SyncScope) {
        if !self.enqueued.contains(scope) {
            self.enqueued.insert(scope.clone());
        }
    }

    /// The notices, with the records if `with_views`.
    pub(crate) fn into_notices(self, with_views: bool) -> Vec<Notice> {
        let records = self.records.into_iter().map(|(target, records)| {
            let few = records.len() <= MAX_IDS;
            let ids = few.then(|| records.keys().cloned().collect());
            let views = (few && with_views).then(|| records.into_iter().collect());
            (StoreChange::Records { target, ids }, views)
        });
        let enqueued = self.enqueued.into_iter().map(StoreChange::Enqueued);
        records.chain(enqueued.map(|change| (change, None))).collect()
    }
}
