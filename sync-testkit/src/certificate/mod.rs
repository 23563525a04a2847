//! The certificate of a store or a remote: each promise of the framework, and what the suites found about it.
//!
//! ```
//! use std::sync::Arc;
//! use adapter_memory::MemoryRemoteStore;
//! use sync_core::RemoteStore;
//! use sync_testkit::{certificate, remote_suite::RemoteFixture};
//!
//! struct MyRemotes;
//!
//! #[async_trait::async_trait]
//! impl RemoteFixture for MyRemotes {
//!     async fn fresh(&self) -> Arc<dyn RemoteStore> {
//!         Arc::new(MemoryRemoteStore::new())
//!     }
//! }
//!
//! # futures::executor::block_on(async {
//! // In a test: prints the table, and fails if a promise does.
//! certificate::of_remote(&MyRemotes).await.assert_passed();
//! # })
//! ```
//!
//! A certificate that stands in a book is generated, not typed: [`Certificate::assert_written_at`] compares it with the
//! file, and writes the file when the environment has `UPDATE_CERTIFICATES=1`.

mod promises;

use std::{collections::BTreeSet, fmt, fs, path::Path};

use sync_core::Capabilities;

use self::promises::{Keeper, PROMISES, Promise};
use crate::{
    local_suite::{self, LocalFixture},
    query_suite,
    remote_suite::{self, RemoteFixture},
    report::{CaseOutcome, CaseReport, Report},
};

/// How many random data sets a local store's certificate compares with the reference evaluator.
const DATA_SETS: u32 = 50;

/// The environment variable that lets [`Certificate::assert_written_at`] write.
const UPDATE: &str = "UPDATE_CERTIFICATES";

/// What the suites say about one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every case that rests on it passed, or has nothing to demand.
    Passed {
        /// How many cases passed.
        cases: usize,
        /// The capabilities and hooks without which others of its cases have nothing to demand.
        without: BTreeSet<&'static str>,
    },
    /// No case of it has anything to demand, since these capabilities or hooks are not there.
    NotApplicable {
        /// Which.
        without: BTreeSet<&'static str>,
    },
    /// It is not the subject's to keep, or the suites cannot see it from outside.
    NotExamined {
        /// Who keeps it.
        why: &'static str,
    },
    /// A case that rests on it failed.
    Failed {
        /// The cases, as sentences.
        cases: Vec<String>,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<&'static str>| {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        match self {
            Self::Passed { cases, without } => {
                let plural = if *cases == 1 { "" } else { "s" };
                write!(f, "pass ({cases} case{plural}")?;
                if !without.is_empty() {
                    write!(f, "; without {}", list(without))?;
                }
                f.write_str(")")
            }
            Self::NotApplicable { without } => write!(f, "not applicable: without {}", list(without)),
            Self::NotExamined { why } => write!(f, "not examined here: {why}"),
            Self::Failed { cases } => write!(f, "FAIL: {}", cases.join("; ")),
        }
    }
}

/// Each promise of the framework, and what the suites found about it. Its `Display` is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a certificate that nobody looks at proves nothing"]
pub struct Certificate {
    subject: String,
    /// What the subject announces, as names and values.
    announced: Vec<(String, String)>,
    verdicts: Vec<(&'static str, Verdict)>,
    cases: Vec<CaseReport>,
}

/// Examines a remote with [`remote_suite`].
///
/// # Cancel safety
/// As [`remote_suite::run`].
pub async fn of_remote(fixture: &dyn RemoteFixture) -> Certificate {
    let report = remote_suite::run(fixture).await;
    let capabilities = fixture.fresh().await.capabilities();
    Certificate::new(vec![report], announced(&capabilities), Keeper::Remote)
}

/// Examines a local store with [`local_suite`] and [`query_suite`].
///
/// # Cancel safety
/// As [`local_suite::run`].
pub async fn of_local(fixture: &dyn LocalFixture) -> Certificate {
    let info = fixture.fresh().await.info();
    let reports = vec![
        local_suite::run(fixture).await,
        query_suite::run(fixture, 1, DATA_SETS).await,
    ];
    let announced = vec![("durable".to_owned(), info.durable.to_string())];
    Certificate::new(reports, announced, Keeper::Store)
}

fn announced(capabilities: &Capabilities) -> Vec<(String, String)> {
    let fields = serde_json::to_value(capabilities).unwrap_or_default();
    let fields = fields.as_object().cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|(name, value)| (name, value.to_string().replace('"', "")))
        .collect()
}

impl Certificate {
    fn new(reports: Vec<Report>, announced: Vec<(String, String)>, subject_is: Keeper) -> Self {
        let subject = reports.first().map_or("nothing", Report::subject).to_owned();
        let cases: Vec<CaseReport> = reports
            .iter()
            .flat_map(|report| report.cases().iter().cloned())
            .collect();
        let verdicts = PROMISES
            .iter()
            .map(|promise| (promise.name, verdict(promise, &cases, subject_is)))
            .collect();
        Self {
            subject,
            announced,
            verdicts,
            cases,
        }
    }

    /// What was examined.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `P1` to `P18`, each with what was found about it.
    pub fn verdicts(&self) -> &[(&'static str, Verdict)] {
        &self.verdicts
    }

    /// Every case, in the order they ran.
    pub fn cases(&self) -> &[CaseReport] {
        &self.cases
    }

    /// Whether no case failed, those included that no promise rests on.
    pub fn is_passed(&self) -> bool {
        let failed = |case: &CaseReport| matches!(case.outcome, CaseOutcome::Failed { .. });
        !self.cases.is_empty() && !self.cases.iter().any(failed)
    }

    /// Prints the table.
    ///
    /// # Panics
    /// If a case failed, or if there was none to run.
    #[track_caller]
    pub fn assert_passed(&self) {
        println!("{self}");
        let failed: Vec<_> = self
            .cases
            .iter()
            .filter_map(|case| match &case.outcome {
                CaseOutcome::Failed { message } => Some(format!("{}: {message}", case.name)),
                CaseOutcome::Passed | CaseOutcome::NotApplicable { .. } => None,
            })
            .collect();
        assert!(self.is_passed(), "{}:\n{}", self.subject, failed.join("\n"));
    }

    /// As [`Certificate::assert_passed`], and compares the certificate with the file, which
    /// `UPDATE_CERTIFICATES=1` in the environment writes.
    ///
    /// # Panics
    /// If a case failed, if there was none to run, or if the file holds something else.
    #[track_caller]
    pub fn assert_written_at(&self, path: impl AsRef<Path>) {
        self.assert_passed();
        let (path, text) = (path.as_ref(), self.to_markdown());
        if std::env::var_os(UPDATE).is_some_and(|update| update == "1") {
            let written = path.parent().map_or(Ok(()), fs::create_dir_all);
            written
                .and_then(|()| fs::write(path, &text))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            return;
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == text,
            "{} is not the certificate of {} any more; run the test again with {UPDATE}=1",
            path.display(),
            self.subject
        );
    }

    /// The certificate as a page.
    pub fn to_markdown(&self) -> String {
        let mut page = format!(
            "# Certificate: {}\n\nGenerated by the conformance suites; do not edit.\n\n",
            self.subject
        );
        page.push_str("| announces | |\n|---|---|\n");
        for (name, value) in &self.announced {
            page.push_str(&format!("| `{name}` | {value} |\n"));
        }
        page.push_str("\n| | promise | verdict |\n|---|---|---|\n");
        for (promise, (name, verdict)) in PROMISES.iter().zip(&self.verdicts) {
            page.push_str(&format!("| {name} | {} | {verdict} |\n", promise.text));
        }
        page.push_str("\n| case | promises | |\n|---|---|---|\n");
        for (name, promises, outcome, count) in self.joined_cases() {
            let count = if count > 1 {
                format!(" ({count} times)")
            } else {
                String::new()
            };
            page.push_str(&format!("| {name} | {promises} | {outcome}{count} |\n"));
        }
        page
    }

    /// The cases, those that differ by a seed alone as one.
    fn joined_cases(&self) -> Vec<(String, &'static str, String, usize)> {
        let mut joined: Vec<(String, &'static str, String, usize)> = Vec::new();
        for case in &self.cases {
            let name: Vec<_> = case.name.split(' ').map(without_number).collect();
            let name = name.join(" ");
            let outcome = match &case.outcome {
                CaseOutcome::Passed => "pass".to_owned(),
                CaseOutcome::NotApplicable { capability } => format!("without `{capability}`"),
                CaseOutcome::Failed { .. } => "FAIL".to_owned(),
            };
            match joined.last_mut() {
                Some(last) if (&last.0, &last.2) == (&name, &outcome) => last.3 += 1,
                _ => joined.push((name, case.promises, outcome, 1)),
            }
        }
        joined
    }
}

fn without_number(word: &str) -> &str {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        "n"
    } else {
        word
    }
}

fn verdict(promise: &Promise, cases: &[CaseReport], subject_is: Keeper) -> Verdict {
    let (mut passed, mut failed, mut without) = (0, Vec::new(), BTreeSet::new());
    let of_promise = cases
        .iter()
        .filter(|case| case.promises.split(' ').any(|name| name == promise.name));
    for case in of_promise {
        match &case.outcome {
            CaseOutcome::Passed => passed += 1,
            CaseOutcome::NotApplicable { capability } => {
                without.insert(*capability);
            }
            CaseOutcome::Failed { .. } => failed.push(case.name.clone()),
        }
    }
    match (failed.is_empty(), passed, without.is_empty()) {
        (false, ..) => Verdict::Failed { cases: failed },
        (true, 0, true) => Verdict::NotExamined {
            why: not_examined(promise.keeper, subject_is),
        },
        (true, 0, false) => Verdict::NotApplicable { without },
        (true, cases, _) => Verdict::Passed { cases, without },
    }
}

fn not_examined(keeper: Keeper, subject_is: Keeper) -> &'static str {
    match keeper {
        Keeper::Store if subject_is == Keeper::Remote => "the local store and the engine keep it",
        Keeper::Remote if subject_is == Keeper::Store => "the remote and the engine keep it",
        Keeper::Store | Keeper::Remote | Keeper::All => {
            "the engine keeps it, with what the other cases demand"
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)?;
        for (promise, (name, verdict)) in PROMISES.iter().zip(&self.verdicts) {
            writeln!(f, "  {name:<3} | {:<64} | {verdict}", promise.text)?;
        }
        Ok(())
    }
}
