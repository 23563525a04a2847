//! The store against the conformance suites, against faults of files, and against other processes.

mod conformance;
mod faults;
mod fixtures;
mod sharing;
