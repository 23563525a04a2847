//! The lease of one scope during one synchronization.

use std::time::Duration;

use uuid::Uuid;

use super::Inner;
use crate::{
    change_set::Fence,
    error::{ErrorKind, Result, SyncError},
    scope::SyncScope,
    store::LeaseAnswer,
    time::Timestamp,
};

/// Renewed early enough that a call to the remote never outlives it.
#[derive(Debug)]
pub(crate) struct Lease {
    name: String,
    /// A new one for each lease: two tasks of one engine exclude each other as well.
    holder: Uuid,
    fence: Fence,
    until: Timestamp,
    given_back: bool,
}

impl Lease {
    /// Takes the lease of `scope`, waiting for another holder as long as that one could hold it unrenewed.
    /// `on_wait` is called as often as it has to wait.
    pub(crate) async fn acquire(inner: &Inner, scope: &SyncScope, on_wait: impl Fn() + Send) -> Result<Self> {
        let name = format!("sync:{scope}");
        let patience = inner.options.lease_time + inner.options.call_deadline;
        let holder = inner.effects.new_uuid();
        let give_up = inner.effects.clock.monotonic() + patience;
        let (mut seen_until, mut in_use) = (None, false);
        loop {
            let mut now = inner.now();
            let waited = inner.effects.clock.monotonic() >= give_up;
            if let Some(until) = seen_until.filter(|_| waited && !in_use) {
                // Nobody renewed it for so long. Either the holder is gone and the wall clock was set back since,
                // or the holder has fallen asleep, and is kept from committing by its fence.
                now = now.max(until);
            }
            let time = inner.options.lease_time;
            let held_until = match inner.store.acquire_lease(&name, holder, now, time).await? {
                LeaseAnswer::Granted(fence) => {
                    return Ok(Self {
                        name,
                        holder,
                        fence,
                        until: inner.now().plus(time),
                        given_back: false,
                    });
                }
                LeaseAnswer::Held { until } => until,
            };
            if waited || inner.is_stopped() {
                let message =
                    format!("another engine or process synchronizes it, until {held_until} or longer");
                return Err(SyncError::new(ErrorKind::LeaseLost, message).with_scope(scope));
            }
            on_wait();
            // One that is renewed is in use.
            let renewed = seen_until
                .replace(held_until)
                .is_some_and(|before| before != held_until);
            in_use |= renewed;
            let pause = held_until
                .since(now)
                .clamp(Duration::from_millis(10), Duration::from_millis(500));
            inner.effects.timer.sleep(pause).await;
        }
    }

    /// The fence to put into change sets.
    pub(crate) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Renews the lease if a call to the remote might outlive it.
    pub(crate) async fn keep(&mut self, inner: &Inner) -> Result<()> {
        let now = inner.now();
        if self.until.since(now) > inner.options.call_deadline + Duration::from_secs(2) {
            return Ok(());
        }
        let time = inner.options.lease_time;
        match inner
            .store
            .acquire_lease(&self.name, self.holder, now, time)
            .await?
        {
            LeaseAnswer::Granted(fence) if fence.token == self.fence.token => {
                self.until = now.plus(time);
                Ok(())
            }
            _ => Err(SyncError::new(
                ErrorKind::LeaseLost,
                "another engine or process took the scope over",
            )),
        }
    }

    /// Takes notice that a commit gave the lease back.
    pub(crate) fn was_given_back(&mut self) {
        self.given_back = true;
    }

    /// Whether a commit gave the lease back.
    pub(crate) fn is_given_back(&self) -> bool {
        self.given_back
    }

    /// Gives the lease back, unless a commit has. If that fails, it runs out by itself.
    pub(crate) async fn release(self, inner: &Inner) {
        if self.given_back {
            return;
        }
        if let Err(error) = inner.store.release_lease(&self.fence).await {
            tracing::warn!(lease = %self.name, %error, "the lease could not be given back; it will run out");
        }
    }
}
