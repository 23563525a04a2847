//! The background driver: synchronizes when something was written, when time has passed, when the network
//! comes back, and when the remote says that something changed.

use std::{sync::Arc, time::Duration};

use futures::{
    future::FutureExt,
    stream::{self, BoxStream, StreamExt},
};
use tokio::sync::{broadcast, watch};

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

    /// Leaves out the sync at the start. Operations that are pending already are sent all the same.
    pub fn without_sync_at_start(mut self) -> Self {
        self.at_start = false;
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

impl Inner {
    /// Tells background drivers that a scope has something new to send.
    pub(crate) fn nudge(&self, scope: &SyncScope) {
        // No receiver is fine: without a driver, the next sync sends it.
        let _ = self.nudges.send(scope.clone());
    }
}

impl SyncEngine {
    /// Keeps a scope in step from now on, until the handle is dropped or the engine stops.
    ///
    /// Writes are pushed after a short pause for further ones; changes of others are pulled at the interval, when
    /// the remote pokes, and when the network returns. Failures are retried with growing pauses, for ever; see
    /// [`SyncEngine::status`]. While no valid sign-in is there, or the device is believed to be offline, the pauses
    /// are the longest. A pause that the remote asks for (`Retry-After`) is kept, also if the user goes on writing.
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
        biased;
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
    nudges: broadcast::Receiver<SyncScope>,
    connectivity: BoxStream<'static, bool>,
    /// When the last sync with a pull ended, in monotonic time.
    pulled_at: Duration,
    /// The interval until the next one, with its jitter.
    interval: Duration,
    /// How many syncs in a row left something in the queue that was due.
    overdue: u32,
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
        let nudges = inner.nudges.subscribe();
        let connectivity = inner.effects.connectivity.changes();
        let pulled_at = inner.effects.clock.monotonic();
        let interval = jittered(&inner, options.interval);
        Self {
            inner,
            scope,
            options,
            ended,
            poked,
            pokes_open: true,
            changes,
            nudges,
            connectivity,
            pulled_at,
            interval,
            overdue: 0,
        }
    }

    async fn run(mut self) {
        let at_start = self.options.at_start && self.is_online();
        let mut request = at_start.then_some(SyncRequest::BOTH);
        loop {
            if let Some(request) = request
                && !self.synchronize(request).await
            {
                return;
            }
            let wait = self.time_to_next().await;
            request = match self.wake(wait).await {
                Wake::End => return,
                // Tried although the device may be believed to be offline: that is only a hint.
                Wake::Due => Some(SyncRequest::BOTH),
                // Such a wake is not lost: the end of the pause is when the next sync is due.
                _ if self.requested_pause().is_some() => None,
                Wake::Online | Wake::Poked => Some(SyncRequest::BOTH),
                Wake::Written => {
                    if !self.settle_down().await {
                        return;
                    }
                    self.is_online().then_some(SyncRequest::PUSH)
                }
            };
        }
    }

    fn is_online(&self) -> bool {
        self.inner.effects.connectivity.is_online()
    }

    /// Synchronizes and waits for the end. Returns whether to go on.
    async fn synchronize(&mut self, request: SyncRequest) -> bool {
        let pulls = request.pull;
        let ticket = Flights::request(&self.inner, &self.scope, request);
        tokio::select! {
            biased;
            () = end(&self.inner, &mut self.ended) => return false,
            // The outcome is in the status and in the stored state of the targets.
            _ = ticket.wait() => {}
        }
        if pulls {
            self.pulled_at = self.inner.effects.clock.monotonic();
            self.interval = jittered(&self.inner, self.options.interval);
        }
        true
    }

    /// What is left of a pause that the remote asked for.
    fn requested_pause(&self) -> Option<Duration> {
        let inner = &self.inner;
        inner.pauses.left(&self.scope, inner.effects.clock.monotonic())
    }

    fn needs_sign_in(&self) -> bool {
        let status = self.inner.status.borrow().scope(self.scope.key());
        status
            .last_error
            .is_some_and(|error| error.retry() == RetryClass::SignIn)
    }

    /// How long until something is due: the next interval, the end of the pause after a failure, or the next
    /// attempt of a single operation.
    async fn time_to_next(&mut self) -> Duration {
        if let Some(pause) = self.requested_pause() {
            return pause;
        }
        let clock = &self.inner.effects.clock;
        let since_pull = clock.monotonic().saturating_sub(self.pulled_at);
        let longest = self.inner.options.retry_cap;
        if !self.is_online() {
            return self.interval.max(longest).saturating_sub(since_pull);
        }
        let due = self.interval.saturating_sub(since_pull);
        if self.needs_sign_in() {
            return due.max(jittered(&self.inner, longest.min(self.options.interval)));
        }
        let now = self.inner.now();
        let mut failed_until = Timestamp::EPOCH;
        for target in self.inner.targets(&self.scope) {
            if let Ok(state) = self.inner.store.load_target(&target).await {
                failed_until = failed_until.max(state.next_attempt_at);
            }
        }
        if failed_until > now {
            return due.min(failed_until.since(now));
        }
        match self.inner.store.count_ops(Some(&self.scope)).await {
            Ok(OpCounts {
                next_due: Some(next), ..
            }) if next > now => {
                self.overdue = 0;
                due.min(next.since(now).max(self.options.debounce))
            }
            Ok(OpCounts {
                next_due: Some(_), ..
            }) => {
                // The sync before could not send it, so the next ones hardly can.
                self.overdue = self.overdue.saturating_add(1);
                due.min(self.inner.pause_after(self.overdue).max(self.options.debounce))
            }
            _ => due,
        }
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
                    Some(online) => {
                        self.inner.update_status(|status| status.online = online);
                        if online {
                            return Wake::Online;
                        }
                    }
                    None => self.connectivity = stream::pending().boxed(),
                },
                change = self.changes.next() => match change {
                    Some(StoreChange::Enqueued(scope)) if scope == self.scope => return Wake::Written,
                    Some(StoreChange::Anything) => return Wake::Written,
                    Some(_) => {}
                    None => self.changes = stream::pending().boxed(),
                },
                nudge = self.nudges.recv() => match nudge {
                    Ok(scope) if scope != self.scope => {}
                    // Lagging behind, it may have missed its own.
                    Ok(_) | Err(_) => return Wake::Written,
                },
                () = &mut timer => return Wake::Due,
            }
        }
    }

    /// Waits for further writes, and takes notice of those that came. Returns whether to go on.
    async fn settle_down(&mut self) -> bool {
        tokio::select! {
            biased;
            () = end(&self.inner, &mut self.ended) => return false,
            () = self.inner.effects.timer.sleep(self.options.debounce) => {}
        }
        while let Some(Some(_)) = self.changes.next().now_or_never() {}
        self.nudges = self.inner.nudges.subscribe();
        true
    }
}

/// About `time`, give or take a tenth.
fn jittered(inner: &Inner, time: Duration) -> Duration {
    let share = inner.effects.random.next_u64() % 201;
    time.mul_f64(0.9 + share as f64 / 1_000.0)
}

/// Keeps a subscription to the remote's pokes, and counts them.
async fn listen(
    inner: &Arc<Inner>,
    scope: &SyncScope,
    mut ended: watch::Receiver<()>,
    pokes: watch::Sender<u64>,
) {
    let mut failures: u32 = 0;
    let mut pause = Duration::ZERO;
    loop {
        let remote = Arc::clone(&inner.remote);
        let deadline = inner.options.call_deadline;
        let subscribed = tokio::select! {
            biased;
            () = end(inner, &mut ended) => return,
            subscribed = inner.effects.within(deadline, remote.subscribe(scope)) => subscribed,
        };
        let began = inner.effects.clock.monotonic();
        if let Some(Ok(mut stream)) = subscribed {
            loop {
                let poke = tokio::select! {
                    biased;
                    () = end(inner, &mut ended) => return,
                    poke = stream.next() => poke,
                };
                match poke {
                    // Whatever happened before the subscription stood must be pulled.
                    Some(Poke::Subscribed | Poke::Changed(_)) => pokes.send_modify(|count| *count += 1),
                    None => break,
                }
            }
        }
        let stood = inner.effects.clock.monotonic().saturating_sub(began);
        // One that stood for long is not a failure; one that ends at once must not be made again at once.
        failures = if stood > Duration::ZERO && stood >= pause * 10 {
            1
        } else {
            failures.saturating_add(1)
        };
        pause = inner.pause_after(failures);
        tokio::select! {
            biased;
            () = end(inner, &mut ended) => return,
            () = inner.effects.timer.sleep(pause) => {}
        }
    }
}
