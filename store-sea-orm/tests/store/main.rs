//! The store against the conformance suites, against faults of files, and against other processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod conformance;
mod faults;
mod fixtures;
mod queries;
mod sharing;
