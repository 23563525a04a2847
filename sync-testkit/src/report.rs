//! The result of a suite: the certificate of a store or a remote.

use std::fmt;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// What the case demands holds.
    Passed,
    /// There is nothing to demand, since the subject does not announce this capability (or the fixture does not
    /// have this hook).
    NotApplicable {
        /// The name of the capability or hook that decides.
        capability: &'static str,
    },
    /// What the case demands does not hold.
    Failed {
        /// What was expected, and what came.
        message: String,
    },
}

/// One case of a suite, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// What the case demands, as a sentence.
    pub name: String,
    /// The promises of the framework that rest on it (`P1` to `P18`), separated by spaces; may be empty.
    pub promises: &'static str,
    /// How it ended.
    pub outcome: CaseOutcome,
}

/// The result of a suite run. Its `Display` is a table with one line for each case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a report that nobody looks at proves nothing"]
pub struct Report {
    subject: String,
    cases: Vec<CaseReport>,
}

impl Report {
    pub(crate) fn new(subject: String, cases: Vec<CaseReport>) -> Self {
        Self { subject, cases }
    }

    /// What was examined.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Every case, in the order they ran.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases
            .iter()
            .filter(|case| matches!(case.outcome, CaseOutcome::Failed { .. }))
    }

    /// The number of cases that passed.
    pub fn passed(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.outcome == CaseOutcome::Passed)
            .count()
    }

    /// Does nothing if no case failed.
    ///
    /// # Panics
    /// With the whole table, if a case failed, or if there was none to run.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(
            !self.cases.is_empty() && self.failures().next().is_none(),
            "\n{self}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures().count();
        let not_applicable = self.cases.len() - self.passed() - failed;
        writeln!(
            f,
            "{}: {} passed, {failed} failed, {not_applicable} not applicable",
            self.subject,
            self.passed()
        )?;
        let width = self.cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
        for case in &self.cases {
            let (mark, detail) = match &case.outcome {
                CaseOutcome::Passed => ("ok", String::new()),
                CaseOutcome::NotApplicable { capability } => ("n/a", format!("without `{capability}`")),
                CaseOutcome::Failed { message } => ("FAILED", message.clone()),
            };
            let line = format!(
                "{mark:<6} | {:<width$} | {:<11} | {detail}",
                case.name, case.promises
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
