//! The suites hold for the memory implementations, and catch what is wrong on purpose.

mod certificate;
mod effects;
mod fixtures;
mod memory;
mod naive;
mod report;
mod simulator;
mod traces;
mod traps;
