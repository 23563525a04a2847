//! Effects for tests: virtual time, seeded randomness, timers that do not wait.

mod random;
mod test_effects;
mod timer;
mod virtual_time;

pub use random::SeededRandom;
pub use test_effects::TestEffects;
pub use timer::{PanickingTimer, ThreadTimer};
pub use virtual_time::{VirtualClock, VirtualTimer};
