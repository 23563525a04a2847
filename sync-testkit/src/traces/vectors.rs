//! Events of a hybrid logical clock, held against the engine's.

use std::time::Duration;

use sync_core::{HybridClock, Observed, Stamp, Timestamp};

use super::vocabulary::{Vector, WantedStamp};

const OWN: u64 = 1;
const OTHER: u64 = 2;

/// What is wrong with what the engine's clock makes of an event: expected and got. `Err` if the event cannot be told
/// to it.
pub(super) fn check(vector: &Vector) -> Result<Option<(String, String)>, String> {
    let max_ahead = vector
        .max_ahead
        .map_or(HybridClock::DEFAULT_MAX_AHEAD, Duration::from_millis);
    let clock = HybridClock::new(OWN, max_ahead);
    let now = Timestamp::from_millis(vector.now);
    let last = stamp(vector.local, OWN)?;
    clock.resume(last);
    let mut adopted = Observed::Adopted;
    let mut greatest = last;
    if let Some(received) = vector.received {
        let foreign = stamp(received, OTHER)?;
        adopted = clock.observe(foreign, now);
        if adopted == Observed::Adopted {
            greatest = greatest.max(foreign);
        }
    }
    let made = clock.tick(now);
    let got = match adopted {
        Observed::TooFarAhead => "drift".to_owned(),
        Observed::Adopted => format!("[{}, {}]", made.millis(), made.counter()),
    };
    let (fits, expected) = match vector.want {
        WantedStamp::Stamp(millis, counter) => {
            let same = adopted == Observed::Adopted
                && (made.millis(), u64::from(made.counter())) == (millis, counter);
            (same, format!("[{millis}, {counter}]"))
        }
        WantedStamp::Drift => (adopted == Observed::TooFarAhead, "drift".to_owned()),
        // A full counter may be refused or carried into the time, and never wraps.
        WantedStamp::Overflow => {
            let carried =
                greatest.counter() == u16::MAX && made > greatest && made.millis() > greatest.millis();
            (carried, "a full counter that does not wrap".to_owned())
        }
    };
    Ok((!fits).then_some((expected, got)))
}

fn stamp((millis, counter): (u64, u64), node: u64) -> Result<Stamp, String> {
    let counter =
        u16::try_from(counter).map_err(|_| format!("the counter {counter} has more than 16 bits"))?;
    if millis >= 1 << 48 {
        return Err(format!("the time {millis} has more than 48 bits"));
    }
    Ok(Stamp::new(millis, counter, node))
}
