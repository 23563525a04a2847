//! Virtual time moves only when told to.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, channel::mpsc};
use sync_core::{Clock, RandomSource, Timer, Timestamp};
use sync_testkit::effects::{PanickingTimer, SeededRandom, TestEffects, ThreadTimer, VirtualClock};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_sleep_ends_exactly_when_its_time_has_come() {
    let clock = VirtualClock::new(Timestamp::EPOCH);
    let timer = clock.timer();
    let mut sleep = timer.sleep(SECOND);
    assert!((&mut sleep).now_or_never().is_none());
    clock.advance(SECOND - Duration::from_nanos(1));
    assert!((&mut sleep).now_or_never().is_none());
    assert_eq!(clock.next_wake(), Some(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    assert!(sleep.now_or_never().is_some());
    assert_eq!(clock.sleepers(), 0);
}

#[test]
fn a_jump_of_the_wall_clock_wakes_nobody() {
    let clock = VirtualClock::new(Timestamp::EPOCH);
    let timer = clock.timer();
    let mut sleep = timer.sleep(SECOND);
    assert!((&mut sleep).now_or_never().is_none());
    clock.jump(3_600_000_000);
    assert!((&mut sleep).now_or_never().is_none());
    assert_eq!(
        (clock.now(), clock.monotonic()),
        (Timestamp::from_millis(3_600_000), Duration::ZERO)
    );
    clock.set(Timestamp::EPOCH);
    assert_eq!(clock.now(), Timestamp::EPOCH);
}

#[test]
fn a_dropped_sleep_is_forgotten() {
    let clock = VirtualClock::new(Timestamp::EPOCH);
    let timer = clock.timer();
    {
        let mut sleep = timer.sleep(SECOND);
        assert!((&mut sleep).now_or_never().is_none());
        assert_eq!(clock.sleepers(), 1);
    }
    assert_eq!((clock.sleepers(), clock.next_wake()), (0, None));
}

#[tokio::test]
async fn sleeps_end_in_the_order_of_their_ends() {
    let test = TestEffects::tokio(1);
    let effects = test.effects();
    let (tell, told) = mpsc::unbounded();
    for seconds in [3, 1, 2] {
        let (timer, tell) = (effects.timer.clone(), tell.clone());
        effects.spawner.spawn(Box::pin(async move {
            timer.sleep(SECOND * seconds).await;
            tell.unbounded_send(seconds)
                .expect("the test waits for all three");
        }));
    }
    test.clock.until_sleeping(3).await;
    let mut told = told;
    for expected in [1, 2, 3] {
        test.clock.advance(SECOND);
        assert_eq!(told.next().await, Some(expected));
    }
    assert_eq!(effects.clock.now(), TestEffects::START.plus(3 * SECOND));
}

#[test]
fn equal_seeds_give_equal_numbers() {
    let numbers = |seed| {
        let random: Arc<dyn RandomSource> = Arc::new(SeededRandom::new(seed));
        [random.next_u64(), random.next_u64()]
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
}

#[test]
#[should_panic(expected = "nothing may sleep")]
fn the_panicking_timer_panics() {
    futures::executor::block_on(PanickingTimer.sleep(SECOND));
}

#[test]
fn the_thread_timer_ends_on_any_executor() {
    futures::executor::block_on(ThreadTimer.sleep(Duration::from_millis(1)));
}
