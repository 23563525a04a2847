//! Everything the engine takes from outside, injected: time, tasks, randomness, ids, connectivity.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use uuid::Uuid;

use crate::{id::OpId, time::Timestamp};

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall-clock time. It may jump in both directions.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// Waits.
#[async_trait]
pub trait Timer: fmt::Debug + Send + Sync + 'static {
    /// Ends after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// Makes random numbers, for identities and for jitter.
pub trait RandomSource: fmt::Debug + Send + Sync + 'static {
    /// A uniformly distributed number.
    fn next_u64(&self) -> u64;
}

/// Runs tasks to their end, independent of who waits for them.
pub trait Spawner: fmt::Debug + Send + Sync + 'static {
    /// Starts a task. The engine's tasks end when their engine or handle is closed.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// As [`Spawner::spawn`], but the task's first steps, up to where it waits for something, may be taken before this
    /// returns. A task that waits for nothing then costs no waking of another thread.
    fn start(&self, task: BoxFuture<'static, ()>) {
        self.spawn(task);
    }
}

/// Tells whether the network can be used. It is a hint: a wrong one costs time, never correctness.
pub trait Connectivity: fmt::Debug + Send + Sync + 'static {
    /// Whether the device is believed to be online.
    fn is_online(&self) -> bool;

    /// Changes from now on.
    fn changes(&self) -> BoxStream<'static, bool>;
}

/// The effects of one engine.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The timer.
    pub timer: Arc<dyn Timer>,
    /// The random numbers.
    pub random: Arc<dyn RandomSource>,
    /// The tasks.
    pub spawner: Arc<dyn Spawner>,
    /// The network hint.
    pub connectivity: Arc<dyn Connectivity>,
}

impl Effects {
    /// A new UUID version 7 from the injected clock and random numbers.
    pub fn new_uuid(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random.next_u64().to_le_bytes());
        random[8..].copy_from_slice(&self.random.next_u64().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A new operation id.
    pub fn new_op_id(&self) -> OpId {
        OpId::from_uuid(self.new_uuid())
    }

    /// `future`, or `None` if it has not ended after `duration`.
    pub(crate) async fn within<F: Future + Send>(&self, duration: Duration, future: F) -> Option<F::Output> {
        let sleep = self.timer.sleep(duration);
        futures::pin_mut!(future);
        match futures::future::select(future, sleep).await {
            futures::future::Either::Left((output, _)) => Some(output),
            futures::future::Either::Right(_) => None,
        }
    }
}

/// Always believed to be online.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysOnline;

impl Connectivity for AlwaysOnline {
    fn is_online(&self) -> bool {
        true
    }

    fn changes(&self) -> BoxStream<'static, bool> {
        stream::pending().boxed()
    }
}

/// A connectivity that the app sets.
#[derive(Clone, Debug)]
pub struct ManualConnectivity(tokio::sync::watch::Sender<bool>);

impl ManualConnectivity {
    /// A connectivity that starts as `online`.
    pub fn new(online: bool) -> Self {
        Self(tokio::sync::watch::Sender::new(online))
    }

    /// Tells that the network came or went.
    pub fn set(&self, online: bool) {
        self.0
            .send_if_modified(|current| std::mem::replace(current, online) != online);
    }
}

impl Connectivity for ManualConnectivity {
    fn is_online(&self) -> bool {
        *self.0.borrow()
    }

    fn changes(&self) -> BoxStream<'static, bool> {
        let mut receiver = self.0.subscribe();
        receiver.mark_unchanged();
        stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let online = *receiver.borrow_and_update();
            Some((online, receiver))
        })
        .boxed()
    }
}

/// The operating system's clock.
#[derive(Clone, Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            started: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

#[cfg(feature = "tokio-runtime")]
pub use tokio_runtime::{TokioSpawner, TokioTimer};

#[cfg(feature = "tokio-runtime")]
mod tokio_runtime {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures::FutureExt;

    use super::*;

    /// Waits on tokio's timer.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct TokioTimer;

    #[async_trait]
    impl Timer for TokioTimer {
        async fn sleep(&self, duration: Duration) {
            tokio::time::sleep(duration).await;
        }
    }

    /// Runs tasks on the tokio runtime that was current when it was made.
    #[derive(Clone, Debug)]
    pub struct TokioSpawner(tokio::runtime::Handle);

    impl TokioSpawner {
        /// A spawner on the current runtime.
        ///
        /// # Panics
        /// If called outside a tokio runtime.
        pub fn current() -> Self {
            Self(tokio::runtime::Handle::current())
        }
    }

    impl Spawner for TokioSpawner {
        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.0.spawn(task);
        }

        fn start(&self, mut task: BoxFuture<'static, ()>) {
            let first_steps = {
                // What it waits for belongs to this runtime, whoever calls.
                let _runtime = self.0.enter();
                catch_unwind(AssertUnwindSafe(|| (&mut task).now_or_never()))
            };
            match first_steps {
                Ok(Some(())) => {}
                Ok(None) => self.spawn(task),
                // As with any other task that panics, those who wait for it notice, and nobody else.
                Err(_) => drop(task),
            }
        }
    }

    impl Effects {
        /// The real ones, on the current tokio runtime, always believed to be online.
        ///
        /// # Panics
        /// If called outside a tokio runtime.
        pub fn tokio() -> Self {
            Self {
                clock: Arc::new(SystemClock::new()),
                timer: Arc::new(TokioTimer),
                random: Arc::new(SystemRandom),
                spawner: Arc::new(TokioSpawner::current()),
                connectivity: Arc::new(AlwaysOnline),
            }
        }
    }
}

#[cfg(all(test, feature = "tokio-runtime"))]
mod tests {
    use std::sync::Arc;

    use futures::channel::oneshot;

    use super::{Spawner, TokioSpawner};

    #[tokio::test]
    async fn a_task_that_waits_for_nothing_is_done_when_it_was_started() {
        let (done, mut is_done) = oneshot::channel();
        let task = async move { done.send(()).unwrap() };
        TokioSpawner::current().start(Box::pin(task));
        assert_eq!(is_done.try_recv(), Ok(Some(())));
    }

    #[tokio::test]
    async fn a_task_that_waits_goes_on_by_itself() {
        let (go_on, goes_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let task = async move {
            goes_on.await.unwrap();
            done.send(()).unwrap();
        };
        TokioSpawner::current().start(Box::pin(task));
        go_on.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[test]
    fn a_task_that_is_started_elsewhere_uses_the_timers_of_its_runtime() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let spawner: Arc<dyn Spawner> = {
            let _runtime = runtime.enter();
            Arc::new(TokioSpawner::current())
        };
        let (done, is_done) = std::sync::mpsc::channel();
        spawner.start(Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            done.send(()).unwrap();
        }));
        is_done.recv().unwrap();
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_by_those_who_wait_for_it_alone() {
        let (done, is_done) = oneshot::channel::<()>();
        TokioSpawner::current().start(Box::pin(async move {
            let _done = done;
            panic!("on purpose");
        }));
        is_done.await.unwrap_err();
    }
}
