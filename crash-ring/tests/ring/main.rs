//! The share of the crash ring that fits into every test run. `cargo run --release -p crash-ring` runs all of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod drops;
mod errors;
mod kills;
mod power;
