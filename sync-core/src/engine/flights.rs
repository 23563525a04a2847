//! One synchronization per scope at a time; requests that arrive meanwhile share the next one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{Inner, SyncReport, SyncRequest, run};
use crate::{
    error::{ErrorKind, Result, SyncError},
    scope::SyncScope,
};

type Answer = Option<Result<Arc<SyncReport>>>;

#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<SyncScope, Slot>>);

/// A scope that is being synchronized.
#[derive(Debug, Default)]
struct Slot {
    next: Option<Flight>,
}

#[derive(Debug)]
struct Flight {
    request: SyncRequest,
    answer: watch::Sender<Answer>,
}

/// A synchronization that was asked for. Dropping this does not stop it.
#[derive(Debug)]
pub(crate) struct Ticket(watch::Receiver<Answer>);

impl Ticket {
    /// Waits for the end of the synchronization.
    pub(crate) async fn wait(mut self) -> Result<Arc<SyncReport>> {
        match self.0.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(interrupted())),
            Err(_) => Err(interrupted()),
        }
    }
}

fn interrupted() -> SyncError {
    SyncError::new(
        ErrorKind::Stopped,
        "the engine was stopped before the synchronization ended",
    )
}

impl Flights {
    fn slots(&self) -> MutexGuard<'_, HashMap<SyncScope, Slot>> {
        // Slots are only inserted, taken and removed as wholes, so a poisoned lock guards a sound map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a synchronization of `scope` that begins after this call.
    pub(crate) fn request(inner: &Arc<Inner>, scope: &SyncScope, request: SyncRequest) -> Ticket {
        let mut slots = inner.flights.slots();
        let running = slots.contains_key(scope);
        let slot = slots.entry(scope.clone()).or_default();
        let receiver = match &mut slot.next {
            Some(flight) => {
                flight.request.join(&request);
                flight.answer.subscribe()
            }
            None => {
                let (answer, receiver) = watch::channel(None);
                slot.next = Some(Flight { request, answer });
                receiver
            }
        };
        drop(slots);
        if !running {
            let (inner, scope) = (Arc::clone(inner), scope.clone());
            let spawner = Arc::clone(&inner.effects.spawner);
            spawner.start(Box::pin(async move { fly(&inner, &scope).await }));
        }
        Ticket(receiver)
    }
}

async fn fly(inner: &Arc<Inner>, scope: &SyncScope) {
    loop {
        let flight = {
            let mut slots = inner.flights.slots();
            match slots.get_mut(scope).and_then(|slot| slot.next.take()) {
                Some(flight) => flight,
                None => {
                    slots.remove(scope);
                    return;
                }
            }
        };
        let result = if inner.is_stopped() {
            Err(interrupted())
        } else {
            run::run(inner, scope, &flight.request).await
        };
        flight.answer.send_replace(Some(result.map(Arc::new)));
    }
}
