//! What the program is asked to do.

use std::path::PathBuf;

use clap::Parser;
use sync_testkit::simulator::{FaultKind, PlanOptions, Profile};

/// Runs simulations of devices, a network and a remote under faults, and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
pub(crate) struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) seeds: u64,
    /// The first seed, or `random`.
    #[arg(long, default_value = "0")]
    from: String,
    /// How many operations of clients and others each simulation has.
    #[arg(long, default_value_t = 100)]
    ops: usize,
    /// Run each plan once, without comparing two runs.
    #[arg(long)]
    pub(crate) once: bool,
    /// Only these fault kinds, separated by commas. Coverage is not asked for then.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<FaultKind>,
    /// Only this remote: strong, small, forgetful, stampless, plain, timestamp or snapshot.
    #[arg(long, value_parser = profile)]
    profile: Option<Profile>,
    /// Put this mistake between the engine and its store or remote: the campaign must fail then.
    #[arg(long)]
    pub(crate) mistake: Option<String>,
    /// End after so many failures.
    #[arg(long, default_value_t = 3)]
    pub(crate) failures: usize,
    /// How many runs to spend on making a failing plan smaller.
    #[arg(long, default_value_t = 3_000)]
    pub(crate) shrink_runs: usize,
    /// Run the plan of this one seed, and tell what happens.
    #[arg(long)]
    pub(crate) tell: Option<u64>,
    /// Run the plan in this JSON file, and tell what happens.
    #[arg(long)]
    pub(crate) replay: Option<PathBuf>,
}

fn profile(name: &str) -> Result<Profile, String> {
    serde_json::from_value(name.into()).map_err(|_| format!("there is no remote {name:?}"))
}

impl Arguments {
    /// The number itself, or one from the operating system's random numbers.
    pub(crate) fn first_seed(&self) -> u64 {
        // Seeds are printed and typed: not longer than needed.
        self.from.parse().unwrap_or_else(|_| rand::random::<u64>() >> 24)
    }

    /// Those of `plans` that are asked for.
    pub(crate) fn plans(&self, mut plans: PlanOptions) -> PlanOptions {
        plans.operations = self.ops;
        if !self.only.is_empty() {
            plans.faults.retain(|(kind, _)| self.only.contains(kind));
        }
        if let Some(profile) = self.profile {
            plans.profiles = vec![(profile, 1)];
        }
        plans
    }
}
