//! The store against the conformance suites, against faults of files, and against other processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod conformance;
mod faults;
mod fixtures;
mod queries;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod servers;
mod sharing;
