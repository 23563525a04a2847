//! What came of running traces.

use std::{collections::BTreeMap, fmt};

/// The first thing that was not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where: the number of the step from 1 (`3`, `3.during_push.1`), or `expect`.
    pub step: String,
    /// What must hold.
    pub expected: String,
    /// What does.
    pub got: String,
}

/// How one trace ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything holds.
    Passed,
    /// These things do not hold.
    Failed(Vec<Failure>),
    /// It needs something that is not supported yet.
    Unsupported(String),
}

/// One trace and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceReport {
    /// The trace.
    pub id: String,
    /// Its area.
    pub area: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// Displays as one line, with the first failure.
impl fmt::Display for TraceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed         {}", self.id),
            Outcome::Unsupported(what) => write!(f, "not supported yet  {}: {what}", self.id),
            Outcome::Failed(failures) => {
                write!(f, "FAILED  {}", self.id)?;
                if let Some(first) = failures.first() {
                    let (step, expected, got) = (&first.step, &first.expected, &first.got);
                    write!(f, "  step {step}: expected {expected}; got {got}")?;
                }
                if failures.len() > 1 {
                    write!(f, " (and {} more)", failures.len() - 1)?;
                }
                Ok(())
            }
        }
    }
}

/// How many traces ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Not supported yet.
    pub unsupported: usize,
}

/// The counts of all traces, and of each area. Displays as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    areas: BTreeMap<String, Tally>,
}

impl Summary {
    /// Counts one trace.
    pub fn add(&mut self, report: &TraceReport) {
        let tally = self.areas.entry(report.area.clone()).or_default();
        match report.outcome {
            Outcome::Passed => tally.passed += 1,
            Outcome::Failed(_) => tally.failed += 1,
            Outcome::Unsupported(_) => tally.unsupported += 1,
        }
    }

    /// All areas together.
    pub fn total(&self) -> Tally {
        self.areas.values().fold(Tally::default(), |sum, area| Tally {
            passed: sum.passed + area.passed,
            failed: sum.failed + area.failed,
            unsupported: sum.unsupported + area.unsupported,
        })
    }

    /// The areas by name.
    pub fn areas(&self) -> &BTreeMap<String, Tally> {
        &self.areas
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>7} {:>7} {:>18}",
            "area", "passed", "failed", "not supported yet"
        )?;
        let mut line = |name: &str, tally: &Tally| {
            let Tally {
                passed,
                failed,
                unsupported,
            } = tally;
            writeln!(f, "{name:<24} {passed:>7} {failed:>7} {unsupported:>18}")
        };
        for (name, tally) in &self.areas {
            line(name, tally)?;
        }
        line("all", &self.total())
    }
}
