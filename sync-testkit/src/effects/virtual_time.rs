//! Time that moves only when a test moves it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::channel::oneshot;
use sync_core::{Clock, Timer, Timestamp};

/// A clock that stands still until [`VirtualClock::advance`] moves it. Clones share the time.
///
/// The wall clock and the monotonic time are apart, as on a device: [`VirtualClock::jump`] moves the first in
/// either direction, as a user or a time server does, and wakes nobody.
///
/// ```
/// use std::time::Duration;
/// use sync_core::{Clock, Timestamp};
/// use sync_testkit::effects::VirtualClock;
/// let clock = VirtualClock::new(Timestamp::from_millis(1_000));
/// clock.advance(Duration::from_millis(500));
/// clock.jump(-2_000_000);
/// assert_eq!(clock.now(), Timestamp::from_millis(-500));
/// assert_eq!(clock.monotonic(), Duration::from_millis(500));
/// ```
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<Mutex<State>>);

/// Sleeps on a [`VirtualClock`]: a sleep ends when the clock is advanced to its end.
#[derive(Clone, Debug)]
pub struct VirtualTimer(VirtualClock);

#[derive(Debug)]
struct State {
    wall: Timestamp,
    monotonic: Duration,
    /// By the monotonic time of the end, then by the order of their beginning.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    begun: u64,
    awaiting_sleepers: Vec<(usize, oneshot::Sender<()>)>,
}

impl State {
    fn drop_cancelled(&mut self) {
        self.sleepers.retain(|_, wake| !wake.is_canceled());
    }
}

impl VirtualClock {
    /// A clock whose wall time is `start`, and whose monotonic time is zero.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            wall: start,
            monotonic: Duration::ZERO,
            sleepers: BTreeMap::new(),
            begun: 0,
            awaiting_sleepers: Vec::new(),
        })))
    }

    /// A timer on this clock.
    pub fn timer(&self) -> VirtualTimer {
        VirtualTimer(self.clone())
    }

    /// Moves both times forward, and wakes every sleep that ends by then, in the order of their ends.
    ///
    /// A task that is woken and sleeps again begins its new sleep at the new time. To give it its turn in
    /// between, advance step by step to [`VirtualClock::next_wake`].
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.monotonic += duration;
        state.wall = state.wall.plus(duration);
        let now = state.monotonic;
        while let Some(sleeper) = state
            .sleepers
            .first_entry()
            .filter(|sleeper| sleeper.key().0 <= now)
        {
            let _ = sleeper.remove().send(());
        }
    }

    /// Moves the wall clock alone, by microseconds in either direction.
    pub fn jump(&self, micros: i64) {
        let mut state = self.state();
        state.wall = state.wall.plus_micros(micros);
    }

    /// Sets the wall clock alone.
    pub fn set(&self, wall: Timestamp) {
        self.state().wall = wall;
    }

    /// How long until the next sleep ends; `None` if nothing sleeps.
    pub fn next_wake(&self) -> Option<Duration> {
        let mut state = self.state();
        state.drop_cancelled();
        state
            .sleepers
            .first_key_value()
            .map(|((end, _), _)| end.saturating_sub(state.monotonic))
    }

    /// How many sleeps have not ended.
    pub fn sleepers(&self) -> usize {
        let mut state = self.state();
        state.drop_cancelled();
        state.sleepers.len()
    }

    /// Ends when at least `count` sleeps are under way, so that a test can advance the clock at the right moment.
    pub async fn until_sleeping(&self, count: usize) {
        let reached = {
            let mut state = self.state();
            state.drop_cancelled();
            if state.sleepers.len() >= count {
                return;
            }
            let (tell, reached) = oneshot::channel();
            state.awaiting_sleepers.push((count, tell));
            reached
        };
        let _ = reached.await;
    }

    fn begin_sleep(&self, duration: Duration) -> oneshot::Receiver<()> {
        let mut state = self.state();
        let (wake, woken) = oneshot::channel();
        state.begun += 1;
        let place = (state.monotonic + duration, state.begun);
        state.drop_cancelled();
        state.sleepers.insert(place, wake);
        let sleeping = state.sleepers.len();
        for (_, tell) in state
            .awaiting_sleepers
            .extract_if(.., |(count, _)| *count <= sleeping)
        {
            let _ = tell.send(());
        }
        woken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step between locking and unlocking panics half-way, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.state().wall
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }
}

#[async_trait]
impl Timer for VirtualTimer {
    async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let woken = self.0.begin_sleep(duration);
        let _ = woken.await;
    }
}
