//! Waiting here instead of being refused there.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use sync_core::Clock;
use sync_http::{RateBuckets, RateLimit, RateReport};
use sync_testkit::effects::VirtualClock;

const LIMIT: RateLimit = RateLimit {
    requests: 60,
    window: Duration::from_secs(60),
};

fn buckets(clock: &VirtualClock) -> RateBuckets {
    RateBuckets::new(Arc::new(clock.clone()), Arc::new(clock.timer()), LIMIT)
}

fn taken_at_once(buckets: &RateBuckets, key: &str) -> usize {
    (0..1_000)
        .take_while(|_| buckets.acquire(key).now_or_never().is_some())
        .count()
}

#[test]
fn a_full_bucket_goes_at_once_and_refills_evenly() {
    let clock = VirtualClock::new(sync_core::Timestamp::EPOCH);
    let buckets = buckets(&clock);
    assert_eq!(taken_at_once(&buckets, "create"), 60);
    clock.advance(Duration::from_secs(5));
    assert_eq!(taken_at_once(&buckets, "create"), 5);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(
        taken_at_once(&buckets, "create"),
        60,
        "never more than the bucket holds"
    );
}

#[test]
fn keys_do_not_share_and_may_have_their_own_limit() {
    let clock = VirtualClock::new(sync_core::Timestamp::EPOCH);
    let buckets = buckets(&clock);
    buckets.set_limit(
        "delete",
        RateLimit {
            requests: 3,
            window: Duration::from_secs(60),
        },
    );
    assert_eq!(taken_at_once(&buckets, "create"), 60);
    assert_eq!(taken_at_once(&buckets, "delete"), 3);
}

#[tokio::test]
async fn a_request_above_the_limit_waits_exactly_as_long_as_needed() {
    let clock = VirtualClock::new(sync_core::Timestamp::EPOCH);
    let buckets = buckets(&clock);
    assert_eq!(taken_at_once(&buckets, "create"), 60);
    let before = clock.monotonic();
    let moving = async {
        clock.until_sleeping(1).await;
        clock.advance(clock.next_wake().unwrap());
    };
    futures::join!(buckets.acquire("create"), moving);
    let waited = clock.monotonic() - before;
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_millis(1_001),
        "{waited:?}"
    );
}

#[test]
fn what_the_server_says_lowers_the_estimate_and_never_raises_it() {
    let clock = VirtualClock::new(sync_core::Timestamp::EPOCH);
    let buckets = buckets(&clock);
    let report = |remaining, seconds| {
        let resets_in = Duration::from_secs(seconds);
        buckets.report("create", RateReport { remaining, resets_in });
    };
    report(2, 30);
    assert_eq!(
        taken_at_once(&buckets, "create"),
        2,
        "another client used the rest"
    );
    report(50, 30);
    assert_eq!(taken_at_once(&buckets, "create"), 0);
    report(0, 30);
    clock.advance(Duration::from_secs(29));
    assert_eq!(taken_at_once(&buckets, "create"), 0, "closed until the reset");
    clock.advance(Duration::from_secs(1));
    assert!(taken_at_once(&buckets, "create") > 0);
}
