//! Draft.
mod case;
pub mod effects;
pub mod local_suite;
pub mod naive;
pub mod query_suite;
pub mod remote_suite;
mod report;
mod sample;
pub use report::{CaseOutcome, CaseReport, Report};
