//! The store against the conformance suites, against faults of files, and against other processes.
//!
//! What concerns SQLite runs with both of its drivers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]
#![allow(clippy::duplicate_mod, reason = "each driver runs the same tests")]

mod certificate;
#[cfg(feature = "rusqlite")]
mod direct;
#[cfg(feature = "rusqlite")]
mod first_pull;
mod fixtures;
#[cfg(feature = "rusqlite")]
mod group_commit;
mod queries;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod servers;
mod sqlx;
#[cfg(feature = "rusqlite")]
mod tables;
#[cfg(feature = "rusqlite")]
mod write_ahead_log;
