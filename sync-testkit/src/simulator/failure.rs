//! A failed simulation: what did not hold, the shortest way there, and a test to keep.

use std::fmt;

use super::{Simulator, plan::Plan, shrink::shrunk};

/// A plan that fails, made small.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed that the plan was drawn from.
    pub seed: u64,
    /// How many steps the plan had at first.
    pub steps_at_first: usize,
    /// The smallest plan found that still fails.
    pub plan: Plan,
    /// What does not hold when it is run.
    pub violations: Vec<String>,
    /// What happens when it is run.
    pub lines: Vec<String>,
}

impl Failure {
    /// Two runs of one plan differed.
    pub(crate) fn of_two_ways(plan: &Plan) -> Self {
        let what = "two runs of this plan differ: something in it depends on more than its seed";
        Self {
            seed: plan.seed,
            steps_at_first: plan.steps.len(),
            plan: plan.clone(),
            violations: vec![what.to_owned()],
            lines: Vec::new(),
        }
    }

    /// A test that replays the plan, to paste into a test file.
    pub fn regression_test(&self) -> String {
        let plan = serde_json::to_string(&self.plan).unwrap_or_default();
        format!(
            "#[test]\nfn seed_{}_holds() {{\n    let plan = Plan::from_json(r#\"{plan}\"#).unwrap();\n    \
             Simulator::new(MemoryBackends).run(&plan).assert_held();\n}}\n",
            self.seed
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} steps, shrunk to {} with {} devices",
            self.seed,
            self.steps_at_first,
            self.plan.steps.len(),
            self.plan.settings.devices.len()
        )?;
        for violation in &self.violations {
            writeln!(f, "does not hold: {violation}")?;
        }
        writeln!(f, "\nwhat happens:")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\nto keep it:\n{}", self.regression_test())
    }
}

impl Simulator {
    /// Makes a failing plan as small as possible within so many runs, and tells what happens in it.
    pub fn failure(&self, plan: &Plan, shrink_runs: usize) -> Failure {
        let small = shrunk(plan, shrink_runs, |smaller| {
            !self.run(smaller).violations.is_empty()
        });
        let outcome = self.run_told(&small);
        Failure {
            seed: plan.seed,
            steps_at_first: plan.steps.len(),
            plan: small,
            violations: outcome.violations,
            lines: outcome.lines,
        }
    }
}
