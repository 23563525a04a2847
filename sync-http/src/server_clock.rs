//! The server's time, measured from its answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sync_core::{Clock, Timestamp};

use crate::transport::HttpResponse;

/// A `Date` header is cut to the second below.
const DATE_RESOLUTION_MICROS: i64 = 1_000_000;

/// How far two clocks drift apart at worst: 200 parts per million, several times what quartz does.
const DRIFT_PARTS_PER_MILLION: i64 = 200;

/// If the device's two clocks disagree by more than this since the measurement, it slept or its clock was set,
/// and the measurement says nothing any more.
const CLOCKS_AGREE_WITHIN_MICROS: i64 = 2_000_000;

/// An estimate of how far the server's clock is ahead of the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Microseconds to add to the device's time to get the server's.
    pub micros: i64,
    /// The estimate is wrong by at most this many microseconds, if the server's clock runs evenly.
    pub error_micros: i64,
}

/// Measures how far the server's clock is from the device's.
///
/// Every answer with a `Date` narrows the estimate: the server made the `Date` between the moments of sending and
/// receiving, and cut it to the second, so one answer bounds the difference to within half of (one second + the
/// round trip). Several answers are intersected. Bounds widen with age, by 200 microseconds a second; a
/// measurement is forgotten when the device slept or its clock was set.
///
/// No cursor is ever compared with this time. It serves to refresh tokens in time and to compare stamps.
#[derive(Debug)]
pub struct ServerClock {
    clock: Arc<dyn Clock>,
    measured: Mutex<Option<Measured>>,
}

/// The server's time lies between `monotonic + low` and `monotonic + high`.
#[derive(Clone, Copy, Debug)]
struct Measured {
    low: i64,
    high: i64,
    at: i64,
    /// The device's wall clock ahead of its monotonic one, when this was measured.
    wall: i64,
}

impl Measured {
    fn aged(self, now: i64) -> Self {
        let drift = (now - self.at).saturating_mul(DRIFT_PARTS_PER_MILLION) / 1_000_000;
        Self {
            low: self.low - drift,
            high: self.high + drift,
            at: now,
            wall: self.wall,
        }
    }
}

impl ServerClock {
    /// A clock that knows nothing of the server yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            measured: Mutex::new(None),
        }
    }

    /// The moment to hand to [`ServerClock::observe`]; taken just before a request is sent.
    pub fn start(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Learns from an answer that just came to a request sent at `started`.
    pub fn observe(&self, started: Duration, response: &HttpResponse) {
        if let Some(date) = response.date() {
            self.observe_time(started, date, DATE_RESOLUTION_MICROS);
        }
    }

    /// Learns from a server time that came in an answer to a request sent at `started`; the server cut it to a
    /// multiple of `resolution_micros`.
    pub fn observe_time(&self, started: Duration, server_time: Timestamp, resolution_micros: i64) {
        let (sent, now) = (micros(started), micros(self.clock.monotonic()));
        let fresh = Measured {
            low: server_time.as_micros() - now,
            high: server_time.as_micros() + resolution_micros - sent,
            at: now,
            wall: self.clock.now().as_micros() - now,
        };
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let narrowed = measured.filter(|known| self.holds(known)).and_then(|known| {
            let known = known.aged(now);
            let (low, high) = (known.low.max(fresh.low), known.high.min(fresh.high));
            // Without overlap the server's clock was set.
            (low <= high).then_some(Measured { low, high, ..fresh })
        });
        *measured = Some(narrowed.unwrap_or(fresh));
    }

    /// How far the server's clock is ahead of the device's; `None` until an answer told its time.
    pub fn skew(&self) -> Option<Skew> {
        let known = *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let now = micros(self.clock.monotonic());
        let known = known.filter(|known| self.holds(known))?.aged(now);
        let wall = self.clock.now().as_micros() - now;
        Some(Skew {
            micros: i64::midpoint(known.low, known.high) - wall,
            error_micros: (known.high - known.low) / 2 + 1,
        })
    }

    /// The server's time as estimated; the device's own if nothing is known.
    pub fn now(&self) -> Timestamp {
        let skew = self.skew().map_or(0, |skew| skew.micros);
        self.clock.now().plus_micros(skew)
    }

    fn holds(&self, known: &Measured) -> bool {
        let wall = self.clock.now().as_micros() - micros(self.clock.monotonic());
        (wall - known.wall).abs() <= CLOCKS_AGREE_WITHIN_MICROS
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
