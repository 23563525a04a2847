//! Hybrid logical clock: stamps that respect causality and stay close to physical time.
//!
//! After Kulkarni, Demirbas, Madappa, Avva, Leone: *Logical Physical Clocks* (2014). The paper assumes bounded
//! clock skew, no loss of memory in a crash and an unbounded counter. A device breaks all three, so here the
//! state is persisted with every write, stamps too far in the future are not adopted, and a full counter
//! carries into the time part.

use std::{fmt, str::FromStr, sync::Mutex, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{error::SyncError, time::Timestamp};

/// When and by whom a write was made, in an order that respects causality.
///
/// Stamps order by time, then counter, then node, so two nodes never produce equal stamps. The text form
/// (`{millis:012x}-{counter:04x}-{node:016x}`) has a fixed width and sorts as the stamps do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stamp {
    millis: u64,
    counter: u16,
    node: u64,
}

const MAX_MILLIS: u64 = (1 << 48) - 1;

impl Stamp {
    /// A stamp from its parts: milliseconds since the Unix epoch (48 bits are kept), counter, node.
    pub const fn new(millis: u64, counter: u16, node: u64) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        Self {
            millis,
            counter,
            node,
        }
    }

    /// The time part, in milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The counter among stamps of one millisecond.
    pub const fn counter(self) -> u16 {
        self.counter
    }

    /// The node that made the stamp.
    pub const fn node(self) -> u64 {
        self.node
    }

    /// The time part as a [`Timestamp`].
    pub fn time(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.millis).unwrap_or(i64::MAX))
    }

    /// The next larger (time, counter): a full counter carries into the time part.
    fn successor(self) -> (u64, u16) {
        match self.counter.checked_add(1) {
            Some(counter) => (self.millis, counter),
            None => (self.millis + 1, 0),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every write makes two of these, and the formatting macros take ten times as long.
        let mut text = [b'-'; 34];
        put_hex(self.millis, &mut text[..12]);
        put_hex(self.counter.into(), &mut text[13..17]);
        put_hex(self.node, &mut text[18..]);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The lowest hexadecimal digits of a number, as many as there is room for.
fn put_hex(number: u64, text: &mut [u8]) {
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stamp({self})")
    }
}

impl FromStr for Stamp {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        let parse = || {
            let mut parts = text.split('-');
            let (millis, counter, node) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() || (millis.len(), counter.len(), node.len()) != (12, 4, 16) {
                return None;
            }
            let stamp = Stamp {
                millis: u64::from_str_radix(millis, 16).ok()?,
                counter: u16::from_str_radix(counter, 16).ok()?,
                node: u64::from_str_radix(node, 16).ok()?,
            };
            (stamp.to_string() == text).then_some(stamp)
        };
        parse().ok_or_else(|| SyncError::invalid("stamp", format!("{text:?} is not a stamp")))
    }
}

impl TryFrom<String> for Stamp {
    type Error = SyncError;

    fn try_from(text: String) -> Result<Self, SyncError> {
        text.parse()
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> Self {
        stamp.to_string()
    }
}

/// What became of a stamp that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Later local stamps are greater than it.
    Adopted,
    /// It lies further in the future than the clock accepts, and was not adopted.
    TooFarAhead,
}

/// The hybrid logical clock of one node.
///
/// Guarantees: stamps from [`HybridClock::tick`] strictly increase, also when the physical clock stands still
/// or jumps back, and across restarts if the last stamp is given to [`HybridClock::resume`]; a stamp issued
/// after [`HybridClock::observe`] adopted another is greater than it.
#[derive(Debug)]
pub struct HybridClock {
    node: u64,
    max_ahead: Duration,
    last: Mutex<Stamp>,
}

impl HybridClock {
    /// The default of how far in the future a foreign stamp may lie: one hour.
    pub const DEFAULT_MAX_AHEAD: Duration = Duration::from_secs(3_600);

    /// A clock for the node `node`, which accepts foreign stamps up to `max_ahead` (inclusive) in the future.
    pub fn new(node: u64, max_ahead: Duration) -> Self {
        Self {
            node,
            max_ahead,
            last: Mutex::new(Stamp::new(0, 0, node)),
        }
    }

    /// The node whose stamps this clock makes.
    pub fn node(&self) -> u64 {
        self.node
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Stamp> {
        // A panic while the lock is held cannot leave a torn stamp, so a poisoned lock is still good.
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Continues after a stamp that this store has persisted, however far ahead it is.
    pub fn resume(&self, persisted: Stamp) {
        let mut last = self.last();
        *last = (*last).max(persisted);
    }

    /// A new stamp, greater than every stamp this clock has made, adopted or resumed from.
    pub fn tick(&self, now: Timestamp) -> Stamp {
        let physical = u64::try_from(now.as_millis()).unwrap_or(0);
        let mut last = self.last();
        let (millis, counter) = if physical > last.millis {
            (physical, 0)
        } else {
            last.successor()
        };
        *last = Stamp::new(millis, counter, self.node);
        *last
    }

    /// The greatest stamp this clock has made, adopted or resumed from.
    pub fn latest(&self) -> Stamp {
        *self.last()
    }

    /// Takes notice of a stamp made elsewhere.
    pub fn observe(&self, foreign: Stamp, now: Timestamp) -> Observed {
        if self.is_too_far_ahead(foreign, now) {
            return Observed::TooFarAhead;
        }
        let mut last = self.last();
        *last = (*last).max(foreign);
        Observed::Adopted
    }

    /// Whether a foreign stamp lies further in the future than this clock accepts.
    pub fn is_too_far_ahead(&self, foreign: Stamp, now: Timestamp) -> bool {
        foreign.time() > now.plus(self.max_ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn stamps_increase_when_the_clock_stands_still_or_jumps_back() {
        let clock = HybridClock::new(1, Duration::from_secs(1));
        let mut last = clock.tick(at(1_000));
        for now in [1_000, 1_000, 10, 0, 999, 1_001] {
            let next = clock.tick(at(now));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn stamps_increase_across_a_restart_with_the_clock_set_back() {
        let before = HybridClock::new(1, Duration::from_secs(1)).tick(at(9_000));
        let restarted = HybridClock::new(2, Duration::from_secs(1));
        restarted.resume(before);
        assert!(restarted.tick(at(5)) > before);
    }

    #[test]
    fn a_full_counter_carries_and_never_wraps() {
        let clock = HybridClock::new(1, Duration::from_secs(1));
        clock.resume(Stamp::new(500, u16::MAX, 1));
        assert_eq!(clock.tick(at(500)), Stamp::new(501, 0, 1));
    }

    #[test]
    fn the_drift_bound_is_inclusive_and_refusal_does_not_stop_writing() {
        let clock = HybridClock::new(1, Duration::from_millis(100));
        assert_eq!(
            clock.observe(Stamp::new(1_100, 0, 2), at(1_000)),
            Observed::Adopted
        );
        assert_eq!(
            clock.observe(Stamp::new(1_101, 0, 2), at(1_000)),
            Observed::TooFarAhead
        );
        assert_eq!(clock.tick(at(1_000)), Stamp::new(1_100, 1, 1));
    }

    #[test]
    fn text_sorts_as_stamps_do_and_reads_back() {
        let stamps = [
            Stamp::new(1, 0, 9),
            Stamp::new(1, 1, 0),
            Stamp::new(16, 0, 0),
            Stamp::new(u64::MAX, 0, 0),
        ];
        for pair in stamps.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for stamp in stamps {
            assert_eq!(stamp.to_string().parse::<Stamp>().unwrap(), stamp);
        }
        assert!("00000000000A-0000-0000000000000000".parse::<Stamp>().is_err());
    }
}
