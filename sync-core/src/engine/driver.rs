//! The background driver: synchronizes when something was written, when time has passed, when the network
//! comes back, and when the remote says that something changed.

use std::{sync::Arc, time::Duration};

use futures::{
    future::FutureExt,
    stream::{self, BoxStream, StreamExt},
};
use tokio::sync::watch;

use super::{Inner, SyncEngine, SyncRequest, flights::Flights};
use crate::{
    capability::Realtime,
    error::{Result, RetryClass},
    remote::Poke,
    scope::SyncScope,
    store::{OpCounts, StoreChange},
    time::Timestamp,
};

/// Settings of the background driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackgroundOptions {
    /// How long to wait after a write for further writes before pushing.
    pub debounce: Duration,
    /// How often to synchronize when nothing else asks for it, give or take a tenth.
    pub interval: Duration,
    /// Whether to subscribe to the remote's pokes, if it has them.
    pub realtime: bool,
    /// Whether to synchronize at the start.
    pub at_start: bool,
}

impl Default for BackgroundOptions {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(200),
            interval: Duration::from_secs(60),
            realtime: true,
            at_start: true,
        }
    }
}

impl BackgroundOptions {
    /// Sets how long to wait after a write for further writes.
    pub fn with_debounce(mut self, time: Duration) -> Self {
        self.debounce = time;
        self
    }

    /// Sets how often to synchronize when nothing else asks for it.
    pub fn with_interval(mut self, time: Duration) -> Self {
        self.interval = time;
        self
    }

    /// Turns pokes off.
    pub fn without_realtime(mut self) -> Self {
        self.realtime = false;
        self
    }
}

/// The background driver of one scope. Dropping it ends its tasks; a synchronization under way goes on to its
/// end.
#[derive(Debug)]
#[must_use = "dropping the handle ends the background synchronization"]
pub struct BackgroundSync {
    _alive: watch::Sender<()>,
}

/// Why the driver woke up.
enum Wake {
    Written,
    Due,
    Online,
    Poked,
    End,
}

impl SyncEngine {
    /// Keeps a scope in step from now on, until the handle is dropped or the engine stops.
    ///
    /// Failures are retried with growing pauses, for ever; see [`SyncEngine::status`]. While no valid sign-in is
    /// there, the pauses are the longest.
    ///
    /// # Errors
    /// `Stopped` if the engine was stopped.
    pub fn start_background(&self, scope: &SyncScope, options: BackgroundOptions) -> Result<BackgroundSync> {
        self.inner.check_running()?;
        let (alive, ended) = watch::channel(());
        let (pokes, poked) = watch::channel(0_u64);
        if options.realtime && self.inner.capabilities.realtime == Realtime::Poke {
            let (inner, scope, ended) = (Arc::clone(&self.inner), scope.clone(), ended.clone());
            self.inner.effects.spawner.spawn(Box::pin(async move {
                listen(&inner, &scope, ended, pokes).await;
            }));
        }
        let driver = Driver::new(Arc::clone(&self.inner), scope.clone(), options, ended, poked);
        self.inner.effects.spawner.spawn(Box::pin(driver.run()));
        Ok(BackgroundSync { _alive: alive })
    }
}

/// Ends when the handle is gone or the engine stopped.
async fn end(inner: &Inner, ended: &mut watch::Receiver<()>) {
    let mut stopped = inner.stopped.subscribe();
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => {}
        // The handle never sends; an error means that it was dropped.
        _ = ended.changed() => {}
    }
}

struct Driver {
    inner: Arc<Inner>,
    scope: SyncScope,
    options: BackgroundOptions,
    ended: watch::Receiver<()>,
    poked: watch::Receiver<u64>,
    pokes_open: bool,
    changes: BoxStream<'static, StoreChange>,
    connectivity: BoxStream<'static, bool>,
}

impl Driver {
    fn new(
        inner: Arc<Inner>,
        scope: SyncScope,
        options: BackgroundOptions,
        ended: watch::Receiver<()>,
        poked: watch::Receiver<u64>,
    ) -> Self {
        let changes = inner.store.changes();
        let connectivity = inner.effects.connectivity.changes();
        Self {
            inner,
            scope,
            options,
            ended,
            poked,
            pokes_open: true,
            changes,
            connectivity,
        }
    }

    async fn run(mut self) {
        if self.options.at_start && !self.synchronize(SyncRequest::BOTH).await {
            return;
        }
        loop {
            let wait = self.time_to_next().await;
            let request = match self.wake(wait).await {
                Wake::End => return,
                Wake::Written => {
                    self.settle_down().await;
                    SyncRequest::PUSH
                }
                Wake::Due | Wake::Online | Wake::Poked => SyncRequest::BOTH,
            };
            if self.inner.effects.connectivity.is_online() && !self.synchronize(request).await {
                return;
            }
        }
    }

    /// Synchronizes and waits for the end. Returns whether to go on.
    async fn synchronize(&mut self, request: SyncRequest) -> bool {
        let ticket = Flights::request(&self.inner, &self.scope, request);
        tokio::select! {
            () = end(&self.inner, &mut self.ended) => false,
            // The outcome is in the status and in the stored state of the targets.
            _ = ticket.wait() => true,
        }
    }

    /// How long until something is due: the next interval, the end of the pause after a failure, or the next
    /// attempt of a single operation.
    async fn time_to_next(&mut self) -> Duration {
        let now = self.inner.now();
        let interval = self.jittered(self.options.interval);
        let mut due = now.plus(interval);
        let mut failed_until = Timestamp::EPOCH;
        for target in self.inner.targets(&self.scope) {
            if let Ok(state) = self.inner.store.load_target(&target).await {
                failed_until = failed_until.max(state.next_attempt_at);
            }
        }
        if failed_until > now {
            due = due.min(failed_until);
        } else if let Ok(OpCounts {
            next_due: Some(next), ..
        }) = self.inner.store.count_ops(Some(&self.scope)).await
        {
            // Something queued is due by itself; a floor keeps what cannot be sent from being tried at once.
            due = due.min(next.max(now.plus(self.options.debounce.max(Duration::from_millis(50)))));
        }
        let needs_sign_in = self.inner.status.borrow().scope(self.scope.key()).last_error;
        if needs_sign_in.is_some_and(|error| error.retry() == RetryClass::SignIn) {
            due = due.max(now.plus(self.jittered(self.inner.options.retry_cap.min(self.options.interval))));
        }
        due.since(now)
    }

    fn jittered(&self, time: Duration) -> Duration {
        let tenths = self.inner.effects.random.next_u64() % 201;
        time.mul_f64(0.9 + tenths as f64 / 1_000.0)
    }

    async fn wake(&mut self, wait: Duration) -> Wake {
        let timer = self.inner.effects.timer.sleep(wait);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                () = end(&self.inner, &mut self.ended) => return Wake::End,
                poked = self.poked.changed(), if self.pokes_open => match poked {
                    Ok(()) => return Wake::Poked,
                    Err(_) => self.pokes_open = false,
                },
                online = self.connectivity.next() => match online {
                    Some(true) => return Wake::Online,
                    Some(false) => self.inner.update_status(|status| status.online = false),
                    None => self.connectivity = stream::pending().boxed(),
                },
                change = self.changes.next() => match change {
                    Some(StoreChange::Enqueued(scope)) if scope == self.scope => return Wake::Written,
                    Some(StoreChange::Anything) => return Wake::Written,
                    Some(_) => {}
                    None => self.changes = stream::pending().boxed(),
                },
                () = &mut timer => return Wake::Due,
            }
        }
    }

    /// Waits for further writes, and takes notice of those that came.
    async fn settle_down(&mut self) {
        self.inner.effects.timer.sleep(self.options.debounce).await;
        while let Some(Some(_)) = self.changes.next().now_or_never() {}
    }
}

/// Keeps a subscription to the remote's pokes, and counts them.
async fn listen(
    inner: &Arc<Inner>,
    scope: &SyncScope,
    mut ended: watch::Receiver<()>,
    pokes: watch::Sender<u64>,
) {
    let mut failures = 0;
    loop {
        let remote = Arc::clone(&inner.remote);
        let deadline = inner.options.call_deadline;
        let subscribed = tokio::select! {
            () = end(inner, &mut ended) => return,
            subscribed = inner.effects.within(deadline, remote.subscribe(scope)) => subscribed,
        };
        if let Some(Ok(mut stream)) = subscribed {
            loop {
                let poke = tokio::select! {
                    () = end(inner, &mut ended) => return,
                    poke = stream.next() => poke,
                };
                match poke {
                    // Whatever happened before the subscription stood must be pulled.
                    Some(Poke::Subscribed | Poke::Changed(_)) => {
                        failures = 0;
                        pokes.send_modify(|count| *count += 1);
                    }
                    None => break,
                }
            }
        }
        failures += 1;
        let pause = inner.pause_after(failures);
        tokio::select! {
            () = end(inner, &mut ended) => return,
            () = inner.effects.timer.sleep(pause) => {}
        }
    }
}
