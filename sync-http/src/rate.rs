//! Staying below a server's rate limits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{Clock, Timer};

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests may go at once, and within one `window` on average. At least 1.
    pub requests: u32,
    /// The time in which the requests are granted anew.
    pub window: Duration,
}

/// What a server said about one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// How many requests may still be made.
    pub remaining: u32,
    /// In how long the server grants its whole limit anew.
    pub resets_in: Duration,
}

/// One token bucket for each key (a route, a method), so that requests wait here instead of being refused there.
///
/// It starts full. What the server reports only ever lowers the estimate, since other clients may share the limit;
/// a bucket the server has called empty opens again at the reset.
#[derive(Debug)]
pub struct RateBuckets {
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    limit: RateLimit,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: RateLimit,
    tokens: f64,
    filled_at: Duration,
    closed_until: Duration,
}

impl Bucket {
    fn fill(&mut self, now: Duration) {
        let share =
            now.saturating_sub(self.filled_at).as_secs_f64() / self.limit.window.as_secs_f64().max(1e-3);
        let capacity = f64::from(self.limit.requests.max(1));
        self.tokens = (self.tokens + share * capacity).min(capacity);
        self.filled_at = now;
    }

    /// Takes a token, or tells how long to wait for one.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.fill(now);
        if now < self.closed_until {
            return Err(self.closed_until - now);
        }
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / f64::from(self.limit.requests.max(1));
        // Rounded up, so that the token is there when the wait is over.
        Err(self.limit.window.mul_f64(missing) + Duration::from_micros(1))
    }
}

impl RateBuckets {
    /// Buckets that all begin with `limit`.
    pub fn new(clock: Arc<dyn Clock>, timer: Arc<dyn Timer>, limit: RateLimit) -> Self {
        Self {
            clock,
            timer,
            limit,
            buckets: Mutex::default(),
        }
    }

    /// Gives one key a limit of its own.
    pub fn set_limit(&self, key: &str, limit: RateLimit) {
        let now = self.clock.monotonic();
        let bucket = Bucket {
            limit,
            tokens: f64::from(limit.requests.max(1)),
            filled_at: now,
            closed_until: Duration::ZERO,
        };
        self.buckets().insert(key.to_owned(), bucket);
    }

    /// Waits until a request of this key may go, and counts it.
    ///
    /// # Cancel safety
    /// A dropped call has counted nothing.
    pub async fn acquire(&self, key: &str) {
        while let Err(wait) = self.try_acquire(key) {
            self.timer.sleep(wait).await;
        }
    }

    /// Counts a request of this key if it may go now, else tells how long to wait before asking again.
    ///
    /// # Errors
    /// The wait.
    pub fn try_acquire(&self, key: &str) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut buckets = self.buckets();
        self.bucket(&mut buckets, key, now).take(now)
    }

    /// Learns from an answer's headers.
    pub fn report(&self, key: &str, report: RateReport) {
        let now = self.clock.monotonic();
        let mut buckets = self.buckets();
        let bucket = self.bucket(&mut buckets, key, now);
        bucket.fill(now);
        bucket.tokens = bucket.tokens.min(f64::from(report.remaining));
        if report.remaining == 0 {
            bucket.closed_until = now + report.resets_in;
        }
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket<'a>(
        &self,
        buckets: &'a mut HashMap<String, Bucket>,
        key: &str,
        now: Duration,
    ) -> &'a mut Bucket {
        buckets.entry(key.to_owned()).or_insert(Bucket {
            limit: self.limit,
            tokens: f64::from(self.limit.requests.max(1)),
            filled_at: now,
            closed_until: Duration::ZERO,
        })
    }
}
