//! Effects on tokio's paused time: everything happens in order, and hours pass at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use sync_core::{
    Clock, Effects, ManualConnectivity, RandomSource, Spawner, Timestamp, TokioSpawner, TokioTimer,
};
use tokio::time::Instant;

/// Follows tokio's time.
#[derive(Clone, Debug)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_735_689_600_000).plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Counts the tasks that have not ended.
#[derive(Clone, Debug)]
pub(crate) struct CountedTasks {
    spawner: TokioSpawner,
    running: Arc<AtomicUsize>,
}

impl CountedTasks {
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl Spawner for CountedTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let running = Arc::clone(&self.running);
        running.fetch_add(1, Ordering::SeqCst);
        self.spawner.spawn(Box::pin(async move {
            task.await;
            running.fetch_sub(1, Ordering::SeqCst);
        }));
    }
}

/// Repeats in every run.
#[derive(Debug)]
struct Sequence(AtomicU64);

impl RandomSource for Sequence {
    fn next_u64(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The effects of one device, and the handles that move them.
#[derive(Clone, Debug)]
pub(crate) struct TimedEffects {
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) connectivity: ManualConnectivity,
    pub(crate) tasks: CountedTasks,
    pub(crate) effects: Effects,
}

impl TimedEffects {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(TokioClock::new());
        let connectivity = ManualConnectivity::new(true);
        let tasks = CountedTasks {
            spawner: TokioSpawner::current(),
            running: Arc::default(),
        };
        let effects = Effects {
            clock: clock.clone(),
            timer: Arc::new(TokioTimer),
            random: Arc::new(Sequence(AtomicU64::new(seed))),
            spawner: Arc::new(tasks.clone()),
            connectivity: Arc::new(connectivity.clone()),
        };
        Self {
            clock,
            connectivity,
            tasks,
            effects,
        }
    }
}

/// Lets so much time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
