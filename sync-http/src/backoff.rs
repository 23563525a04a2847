//! Pauses after failures.

use std::time::Duration;

use sync_core::RandomSource;

/// Exponential backoff with full jitter: uniformly between a tenth of `base` and `base * 2^(failures - 1)`, held
/// to `cap`.
///
/// ```
/// use std::time::Duration;
/// use sync_http::Backoff;
/// let backoff = Backoff::default();
/// let pause = backoff.pause(3, &sync_core::SystemRandom);
/// assert!(pause >= backoff.base / 10 && pause <= backoff.base * 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause after the first failure.
    pub base: Duration,
    /// The longest pause at all.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after this many failures in a row.
    pub fn pause(&self, failures: u32, random: &dyn RandomSource) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.cap);
        let floor = (self.base / 10).min(ceiling);
        let span = u64::try_from((ceiling - floor).as_micros()).unwrap_or(u64::MAX);
        let jitter = random.next_u64() % span.saturating_add(1).max(1);
        floor + Duration::from_micros(jitter)
    }
}
