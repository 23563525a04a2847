//! What the state machine takes from outside: time and new ids. Both can be replaced, so that a run can be
//! repeated.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// Where the server reads the time.
///
/// It is read once when a request arrives and once for every stamp that the request puts on something.
pub trait Clock: fmt::Debug + Send {
    /// The time now.
    fn now(&mut self) -> Timestamp;

    /// Moves the clock by so many milliseconds, if it can be moved.
    fn advance(&mut self, millis: i64);

    /// Stops the clock at an instant; later it moves by [`Clock::advance`] alone.
    fn freeze(&mut self, at: Timestamp);
}

/// The clock of the machine plus an offset, or a stopped clock.
#[derive(Debug, Default)]
pub struct AdjustableClock {
    offset_millis: i64,
    frozen: Option<Timestamp>,
}

impl Clock for AdjustableClock {
    fn now(&mut self) -> Timestamp {
        self.frozen.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
                .plus_millis(self.offset_millis)
        })
    }

    fn advance(&mut self, millis: i64) {
        match &mut self.frozen {
            Some(at) => *at = at.plus_millis(millis),
            None => self.offset_millis = self.offset_millis.saturating_add(millis),
        }
    }

    fn freeze(&mut self, at: Timestamp) {
        self.frozen = Some(at);
    }
}

/// Where the server takes new ids and secrets.
pub trait Ids: fmt::Debug + Send {
    /// A new id: 20 hexadecimal digits, never the same twice.
    fn next(&mut self) -> String;
}

/// Ids that count up, so that two runs of a test see the same ones.
#[derive(Debug, Default)]
pub struct CountingIds {
    last: u64,
}

impl Ids for CountingIds {
    fn next(&mut self) -> String {
        self.last += 1;
        format!("6b{:018x}", self.last)
    }
}
