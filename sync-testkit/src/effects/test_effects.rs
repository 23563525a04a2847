//! All effects of an engine, for tests.

use std::sync::Arc;

use sync_core::{Effects, ManualConnectivity, Spawner, Timestamp, TokioSpawner};

use super::{SeededRandom, VirtualClock};

/// The effects of an engine under test, with the handles that move them.
///
/// ```
/// use std::time::Duration;
/// use sync_testkit::effects::TestEffects;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let test = TestEffects::tokio(7);
/// let effects = test.effects();
/// let sleeping = effects.timer.sleep(Duration::from_secs(3_600));
/// let moving = async {
///     test.clock.until_sleeping(1).await;
///     test.clock.advance(Duration::from_secs(3_600));
/// };
/// futures::join!(sleeping, moving);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestEffects {
    /// The clock, and with it the timer.
    pub clock: VirtualClock,
    /// The network hint; online at first.
    pub connectivity: ManualConnectivity,
    random: Arc<SeededRandom>,
    spawner: Arc<dyn Spawner>,
}

impl TestEffects {
    /// Where the wall clock of test effects starts: 2025-01-01T00:00:00Z.
    pub const START: Timestamp = Timestamp::from_millis(1_735_689_600_000);

    /// Virtual time, random numbers of `seed`, tasks on the current tokio runtime.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub fn tokio(seed: u64) -> Self {
        Self::with_spawner(seed, Arc::new(TokioSpawner::current()))
    }

    /// As [`TestEffects::tokio`], with tasks on any executor.
    pub fn with_spawner(seed: u64, spawner: Arc<dyn Spawner>) -> Self {
        Self {
            clock: VirtualClock::new(Self::START),
            connectivity: ManualConnectivity::new(true),
            random: Arc::new(SeededRandom::new(seed)),
            spawner,
        }
    }

    /// The effects to give to an engine. All of one `TestEffects` share time, random numbers and connectivity.
    pub fn effects(&self) -> Effects {
        Effects {
            clock: Arc::new(self.clock.clone()),
            timer: Arc::new(self.clock.timer()),
            random: self.random.clone(),
            spawner: self.spawner.clone(),
            connectivity: Arc::new(self.connectivity.clone()),
        }
    }
}
