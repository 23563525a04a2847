//! What the campaign came to.

use std::{fmt, time::Duration};

use sync_testkit::simulator::{Branch, CampaignOptions, CampaignReport};

/// The report, with the branches that were seen and the speed.
pub(crate) struct Summary<'a> {
    pub(crate) report: &'a CampaignReport,
    pub(crate) options: &'a CampaignOptions,
    pub(crate) took: Duration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        writeln!(f, "{:>10}  what happened", "times")?;
        for branch in Branch::ALL {
            writeln!(f, "{:>10}  {}", report.coverage.of_branch(*branch), branch.name())?;
        }
        writeln!(f)?;
        write!(f, "{report}")?;
        let often = report.coverage.faults_struck(1_000).len();
        writeln!(f, "{often} fault kinds struck at least 1000 times each")?;
        let runs = report.operations * report.runs_each;
        let speed = runs as f64 / self.took.as_secs_f64().max(0.001);
        writeln!(
            f,
            "seeds {} to {}, each run {} times, in {:.1?}: {speed:.0} operations per second",
            self.options.first_seed,
            self.options.first_seed + report.seeds.saturating_sub(1),
            report.runs_each,
            self.took
        )
    }
}
