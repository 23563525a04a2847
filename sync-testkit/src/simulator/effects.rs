//! The clocks and random numbers of simulated devices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use sync_core::{Clock, Effects, ManualConnectivity, RandomSource, Timestamp};

use super::{
    dice::mixed,
    executor::{Executor, OwnedTasks, Owner, SimulatedTimer},
};
use crate::effects::TestEffects;

/// The wall clock of one device: the common time and an offset of its own, which can jump.
#[derive(Clone, Debug)]
pub(crate) struct DeviceClock {
    executor: Executor,
    offset_micros: Arc<AtomicI64>,
}

impl DeviceClock {
    pub(crate) fn new(executor: Executor, offset_micros: i64) -> Self {
        Self {
            executor,
            offset_micros: Arc::new(AtomicI64::new(offset_micros)),
        }
    }

    /// Sets the wall clock forward, or back.
    pub(crate) fn jump(&self, micros: i64) {
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for DeviceClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset_micros.load(Ordering::Relaxed);
        TestEffects::START.plus(self.executor.now()).plus_micros(offset)
    }

    fn monotonic(&self) -> Duration {
        self.executor.now()
    }
}

/// Random numbers that repeat.
#[derive(Debug)]
struct Sequence(AtomicU64);

impl RandomSource for Sequence {
    fn next_u64(&self) -> u64 {
        mixed(self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }
}

/// The effects of one process.
pub(crate) fn process_effects(
    executor: &Executor,
    owner: Owner,
    seed: u64,
    clock: &DeviceClock,
    connectivity: &ManualConnectivity,
) -> Effects {
    Effects {
        clock: Arc::new(clock.clone()),
        timer: Arc::new(SimulatedTimer(executor.clone())),
        random: Arc::new(Sequence(AtomicU64::new(mixed(seed ^ u64::from(owner) << 32)))),
        spawner: Arc::new(OwnedTasks {
            executor: executor.clone(),
            owner,
        }),
        connectivity: Arc::new(connectivity.clone()),
    }
}
