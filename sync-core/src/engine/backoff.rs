//! Pauses after failures.

use std::time::Duration;

use crate::effects::RandomSource;

/// Exponential backoff with full jitter (Brooker, *Exponential Backoff And Jitter*, 2015): uniformly between a
/// tenth of `base` and `base * 2^(failures - 1)`, held to `cap`. The floor keeps a failing remote from being
/// called in a tight loop.
pub(crate) fn pause_after(
    failures: u32,
    base: Duration,
    cap: Duration,
    random: &dyn RandomSource,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    let ceiling = base.saturating_mul(1 << doublings).min(cap);
    let floor = (base / 10).min(ceiling);
    let span = u64::try_from((ceiling - floor).as_micros()).unwrap_or(u64::MAX);
    let jitter = if span == 0 {
        0
    } else {
        random.next_u64() % (span + 1).max(1)
    };
    floor + Duration::from_micros(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::SystemRandom;

    #[test]
    fn pauses_grow_up_to_the_cap_and_never_vanish() {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        for failures in 1..40 {
            for _ in 0..50 {
                let pause = pause_after(failures, base, cap, &SystemRandom);
                let ceiling = base * 2_u32.saturating_pow(failures - 1).min(60);
                assert!(
                    pause >= base / 10 && pause <= ceiling.min(cap),
                    "{failures}: {pause:?}"
                );
            }
        }
    }
}
