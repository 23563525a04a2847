//! Draft.
mod case;
pub mod effects;
pub mod local_suite;
mod report;
mod sample;
pub use report::{CaseOutcome, CaseReport, Report};
