//! Many simulations, and what they came to.

use std::fmt;

use super::{
    Simulator,
    coverage::Coverage,
    failure::Failure,
    fault_kind::FaultKind,
    generate::{PlanOptions, plan_of},
};

/// What a campaign does.
#[derive(Clone, Debug)]
pub struct CampaignOptions {
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// What the plans are drawn from.
    pub plans: PlanOptions,
    /// Whether every plan is run twice, and both runs must be equal.
    pub twice: bool,
    /// Ends after so many failures.
    pub most_failures: usize,
    /// How many runs may be spent on making one failing plan smaller; 0 leaves it as it is.
    pub shrink_runs: usize,
    /// Whether a fault kind or a branch of the engine that never came to pass fails the campaign.
    pub whole_coverage: bool,
}

impl Default for CampaignOptions {
    fn default() -> Self {
        Self {
            first_seed: 0,
            seeds: 1_000,
            plans: PlanOptions::default(),
            twice: true,
            most_failures: 3,
            shrink_runs: 3_000,
            whole_coverage: true,
        }
    }
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seeds done.
    pub seeds: u64,
    /// Operations carried out, each plan counted once.
    pub operations: u64,
    /// Failures found.
    pub failures: usize,
}

/// What a campaign came to. Its `Display` is a summary by fault kind.
#[derive(Clone, Debug)]
#[must_use = "a campaign that nobody looks at proves nothing"]
pub struct CampaignReport {
    /// Seeds done.
    pub seeds: u64,
    /// Operations of clients and others that were carried out. A plan that was run twice counts once.
    pub operations: u64,
    /// How often each plan was run.
    pub runs_each: u64,
    /// What struck and what was seen. A plan that was run twice counts once.
    pub coverage: Coverage,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// What never came to pass, in words, if that was asked for.
    pub missing: Vec<String>,
}

impl CampaignReport {
    /// Whether everything held, and everything came to pass.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.missing.is_empty()
    }

    /// Fails the test with the report unless everything held.
    ///
    /// # Panics
    /// If anything did not hold, or never came to pass.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }
}

impl fmt::Display for CampaignReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26} {:>10}", "fault", "struck")?;
        for kind in FaultKind::ALL {
            writeln!(f, "{:<26} {:>10}", kind.name(), self.coverage.of_fault(*kind))?;
        }
        writeln!(
            f,
            "\n{} operations over {} seeds, {} violations",
            self.operations,
            self.seeds,
            self.failures.len()
        )?;
        for what in &self.missing {
            writeln!(f, "missing: {what}")?;
        }
        for failure in &self.failures {
            writeln!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl Simulator {
    /// Runs a campaign. `progress` is called after every seed.
    pub fn campaign(&self, options: &CampaignOptions, mut progress: impl FnMut(Progress)) -> CampaignReport {
        let plans = self.playable(&options.plans);
        let mut report = CampaignReport {
            seeds: 0,
            operations: 0,
            runs_each: 1 + u64::from(options.twice),
            coverage: Coverage::default(),
            failures: Vec::new(),
            missing: Vec::new(),
        };
        for seed in options.first_seed..options.first_seed.saturating_add(options.seeds) {
            let plan = plan_of(seed, &plans);
            let outcome = self.run(&plan);
            report.seeds += 1;
            report.operations += outcome.operations;
            report.coverage.add(&outcome.coverage);
            if !outcome.violations.is_empty() {
                report.failures.push(self.failure(&plan, options.shrink_runs));
            } else if options.twice && self.run(&plan).hash != outcome.hash {
                report.failures.push(Failure::of_two_ways(&plan));
            }
            progress(Progress {
                seeds: report.seeds,
                operations: report.operations,
                failures: report.failures.len(),
            });
            if report.failures.len() >= options.most_failures {
                break;
            }
        }
        if options.whole_coverage && report.failures.is_empty() {
            report.missing = report.coverage.missing(&plans.faults_expected());
        }
        report
    }
}
