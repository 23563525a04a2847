//! Who listens for news, and what reaches them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::stream::{self, BoxStream, StreamExt};
use sync_core::{CollectionName, Poke, SyncScope};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::faults::{Faults, PokeFault};

/// How many pokes a subscriber may lag behind before it gets one for everything in their place.
const POKE_CAPACITY: usize = 64;

/// The subscribers of every scope.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Mutex<BTreeMap<SyncScope, broadcast::Sender<Poke>>>);

impl Subscribers {
    fn scopes(&self) -> MutexGuard<'_, BTreeMap<SyncScope, broadcast::Sender<Poke>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn announce(&self, news: BTreeSet<(SyncScope, CollectionName)>) {
        let scopes = self.scopes();
        for (scope, collection) in news {
            if let Some(sender) = scopes.get(&scope) {
                // An error only says that nobody listens any more.
                let _ = sender.send(Poke::Changed(Some(collection)));
            }
        }
    }

    /// Ends every subscription.
    pub(super) fn disconnect(&self) {
        self.scopes().clear();
    }

    pub(super) fn subscribe(&self, scope: &SyncScope, faults: Faults) -> BoxStream<'static, Poke> {
        let mut scopes = self.scopes();
        let sender = scopes
            .entry(scope.clone())
            .or_insert_with(|| broadcast::Sender::new(POKE_CAPACITY));
        let listener = Listener {
            receiver: sender.subscribe(),
            faults,
            again: None,
        };
        let news = stream::unfold(listener, |mut listener| async move {
            let poke = listener.next().await?;
            Some((poke, listener))
        });
        stream::iter([Poke::Subscribed]).chain(news).boxed()
    }
}

struct Listener {
    receiver: broadcast::Receiver<Poke>,
    faults: Faults,
    /// A poke that arrives a second time.
    again: Option<Poke>,
}

impl Listener {
    async fn next(&mut self) -> Option<Poke> {
        if let Some(poke) = self.again.take() {
            return Some(poke);
        }
        loop {
            let poke = match self.receiver.recv().await {
                Ok(poke) => poke,
                Err(RecvError::Lagged(_)) => Poke::Changed(None),
                Err(RecvError::Closed) => return None,
            };
            match self.faults.next_poke() {
                PokeFault::Lose => continue,
                PokeFault::Duplicate => self.again = Some(poke.clone()),
                PokeFault::Pass => {}
            }
            return Some(poke);
        }
    }
}
