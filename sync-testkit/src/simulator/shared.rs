//! What every part of a simulation reaches: time, the weather, the ledger.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adapter_memory::MemoryLocalStore;
use futures::{channel::oneshot, stream::AbortHandle};
use sync_core::PushBatch;

use super::{
    backend::Backend,
    coverage::Branch,
    executor::{Executor, Owner},
    fault_kind::FaultKind,
    ledger::Ledger,
};

/// One simulation's common ground.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) executor: Executor,
    pub(crate) backend: Arc<dyn Backend>,
    /// What each device has stored, past every fault.
    pub(crate) stores: Vec<MemoryLocalStore>,
    ledger: Mutex<Ledger>,
    weather: Mutex<Weather>,
    /// Processes that are to be killed as soon as nobody is being polled.
    doomed: Mutex<Vec<Owner>>,
    any_doomed: AtomicBool,
}

/// What goes wrong at the moment, and what will at the next chance.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    pub(crate) down: bool,
    pub(crate) slow: bool,
    pub(crate) devices: Vec<DeviceWeather>,
    /// The connections that bring news.
    pub(crate) subscriptions: Vec<AbortHandle>,
    /// The requests under way.
    pub(crate) crossings: Vec<Crossing>,
    /// Pushes that the remote has seen.
    pub(crate) pushes: Vec<PushBatch>,
}

/// A request under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Crossing {
    pub(crate) device: usize,
    pub(crate) scope: u64,
    pub(crate) owner: Owner,
}

/// The part of the weather that one device has of its own.
#[derive(Debug, Default)]
pub(crate) struct DeviceWeather {
    pub(crate) partitioned: bool,
    /// Faults of requests, each with its amount, in the order in which they were set.
    pub(crate) requests: VecDeque<(FaultKind, u64)>,
    /// Faults of pokes.
    pub(crate) pokes: VecDeque<(FaultKind, u64)>,
    /// Faults of store calls, with how many calls pass before.
    pub(crate) store: VecDeque<(FaultKind, u64)>,
    /// Pauses that the remote asked for, by process and scope: not before this time.
    pub(crate) pauses: Vec<(Owner, u64, Duration)>,
    /// Writes of the user that wait for a synchronization to be between reading and committing.
    pub(crate) gates: Vec<oneshot::Sender<()>>,
    /// Whether anybody but the background drivers asks for syncs.
    pub(crate) asked_by_user: bool,
    /// How many requests were answered.
    pub(crate) answers: u64,
    /// Whether the wall clock was set; leases and pauses cannot be relied on around a jump.
    pub(crate) clock_jumped: bool,
}

impl Shared {
    pub(crate) fn new(
        executor: Executor,
        backend: Arc<dyn Backend>,
        stores: Vec<MemoryLocalStore>,
        ledger: Ledger,
    ) -> Self {
        let weather = Weather {
            devices: stores.iter().map(|_| DeviceWeather::default()).collect(),
            ..Weather::default()
        };
        Self {
            executor,
            backend,
            stores,
            ledger: Mutex::new(ledger),
            weather: Mutex::new(weather),
            doomed: Mutex::default(),
            any_doomed: AtomicBool::new(false),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic elsewhere is a finding of its own; what was noted until then is still good.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn struck(&self, kind: FaultKind) {
        self.ledger().coverage.fault(kind);
    }

    pub(crate) fn seen(&self, branch: Branch) {
        self.ledger().coverage.branch(branch);
    }

    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        let now = self.executor.now();
        self.ledger().log.event(now, event);
    }

    pub(crate) fn violation(&self, what: impl FnOnce() -> String) {
        let now = self.executor.now();
        self.ledger().violation(now, what());
    }

    /// Asks for the end of a process.
    pub(crate) fn doom(&self, owner: Owner) {
        self.doomed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(owner);
        self.any_doomed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn any_doomed(&self) -> bool {
        self.any_doomed.load(Ordering::Relaxed)
    }

    pub(crate) fn take_doomed(&self) -> Vec<Owner> {
        self.any_doomed.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
