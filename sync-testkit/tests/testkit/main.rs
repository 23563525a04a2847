//! The suites hold for the memory implementations, and catch what is wrong on purpose.

// The futures of whole traces are nested deeply.
#![recursion_limit = "256"]

mod certificate;
mod effects;
mod fixtures;
mod memory;
mod naive;
mod report;
mod simulator;
mod traces;
mod traps;
