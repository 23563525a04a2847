//! The time of a trace: one for the world, and a clock for each client.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sync_core::{Clock, Timer, Timestamp};

use super::vocabulary::{Action, At, Step, Trace};

/// Sleeps below this length are waits for a lease or a pause; longer ones are deadlines of calls, which always end
/// by themselves here.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);

/// The engine's milliseconds must stay below 2^48.
const LAST_MILLI: f64 = 2.0e14;

/// The time that everyone shares. Clones share it.
///
/// One unit of `at` is many milliseconds of the engine, so that writes without a stamp of their own, pauses and
/// leases all fit between two units.
#[derive(Clone, Debug)]
pub(super) struct WorldTime(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now_micros: i64,
    monotonic: Duration,
    millis_in_unit: i64,
}

impl WorldTime {
    /// The time for a trace: with units as long as its numbers leave room for.
    pub(super) fn for_trace(trace: &Trace) -> Self {
        let units = furthest(&trace.steps).max(1.0);
        let millis_in_unit = (LAST_MILLI / units).clamp(1.0, 1.0e6) as i64;
        Self(Arc::new(Mutex::new(State {
            now_micros: 1_000,
            monotonic: Duration::ZERO,
            millis_in_unit,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.state().now_micros)
    }

    pub(super) fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.monotonic += duration;
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        state.now_micros = state.now_micros.saturating_add(micros);
    }

    /// Units of `at`, as a duration.
    pub(super) fn units(&self, units: u64) -> Duration {
        let millis = u64::try_from(self.state().millis_in_unit).unwrap_or(1);
        Duration::from_millis(units.saturating_mul(millis))
    }

    /// Units of `at`, in microseconds.
    pub(super) fn unit_micros(&self, units: i64) -> i64 {
        units
            .saturating_mul(self.state().millis_in_unit)
            .saturating_mul(1_000)
    }

    /// Seconds go by.
    pub(super) fn tick(&self, seconds: f64) {
        let units = (seconds * 1_000.0) as u64;
        self.advance(self.units(units));
    }

    /// When a write is made. Writes without a stamp come after everything before, and so does everything after a
    /// stamp.
    pub(super) fn moment(&self, at: At) -> Timestamp {
        match at {
            At::Now => {
                self.advance(Duration::from_millis(1));
                self.now()
            }
            At::Stamp(units) => {
                let micros = self.unit_micros(units);
                let mut state = self.state();
                if micros > state.now_micros {
                    let passed = micros - state.now_micros;
                    state.monotonic += Duration::from_micros(u64::try_from(passed).unwrap_or(0));
                    state.now_micros = micros;
                }
                Timestamp::from_micros(micros)
            }
        }
    }
}

/// The furthest time that the steps can come to, in units.
fn furthest(steps: &[Step]) -> f64 {
    let (mut latest, mut passed) = (0.0_f64, 0.0_f64);
    for step in steps {
        if let At::Stamp(units) = step.at {
            latest = latest.max(units as f64);
        }
        match step.action {
            Action::Tick(seconds) => passed += seconds * 1_000.0,
            Action::ClockOffset(units) => latest = latest.max(units as f64),
            _ => {}
        }
        for nested in [&step.during_push, &step.during_pull, &step.between_pages] {
            passed += furthest(nested);
        }
    }
    latest + passed
}

/// The server's clock is right.
impl Clock for WorldTime {
    fn now(&self) -> Timestamp {
        WorldTime::now(self)
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }
}

/// The clock of one client: the world's time with an offset, or what a write says. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ClientClock {
    world: WorldTime,
    reading: Arc<Mutex<Reading>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    offset_micros: i64,
    held_at: Option<Timestamp>,
}

impl ClientClock {
    pub(super) fn new(world: &WorldTime) -> Self {
        Self {
            world: world.clone(),
            reading: Arc::default(),
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_offset(&self, micros: i64) {
        self.reading().offset_micros = micros;
    }

    /// Shows the moment of a write until it is released. A stamp is what the clock shows; `now` has its offset.
    pub(super) fn hold(&self, at: At) -> Timestamp {
        let moment = self.world.moment(at);
        let mut reading = self.reading();
        let shown = match at {
            At::Stamp(_) => moment,
            At::Now => moment.plus_micros(reading.offset_micros),
        };
        reading.held_at = Some(shown);
        shown
    }

    pub(super) fn release(&self) {
        self.reading().held_at = None;
    }
}

impl Clock for ClientClock {
    fn now(&self) -> Timestamp {
        let reading = *self.reading();
        reading
            .held_at
            .unwrap_or_else(|| self.world.now().plus_micros(reading.offset_micros))
    }

    fn monotonic(&self) -> Duration {
        Clock::monotonic(&self.world)
    }
}

/// Short sleeps let the world's time pass; deadlines never strike.
#[derive(Clone, Debug)]
pub(super) struct TraceTimer(pub(super) WorldTime);

#[async_trait]
impl Timer for TraceTimer {
    async fn sleep(&self, duration: Duration) {
        if duration >= SHORTEST_DEADLINE {
            return std::future::pending().await;
        }
        // Whoever is waited for gets its turns first, be it a task or a thread of a database.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.0.advance(duration);
    }
}
