//! The deterministic simulator.

mod acts;
mod app;
mod backend;
mod bug_base;
mod campaign;
mod commits;
mod coverage;
mod dice;
mod disk;
mod doubles;
mod effects;
mod executor;
mod failure;
mod fault_kind;
mod generate;
mod held;
mod ledger;
mod log;
mod memory;
mod merges;
mod metamorphic;
mod mishaps;
mod naive_app;
mod network;
mod outcome;
mod plan;
mod pokes;
mod processes;
mod records;
mod rest;
mod shared;
mod shrink;
mod traffic;
mod watching;
mod world;
mod writing;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use sync_core::Result;

pub use backend::{Backend, Backends, Operation};
pub use bug_base::{KeptBug, bug_base, keep_bug};
pub use campaign::{CampaignOptions, CampaignReport, Progress};
pub use coverage::{Branch, Coverage};
pub use doubles::{Doubles, MISTAKES, Mistake};
pub use failure::Failure;
pub use fault_kind::FaultKind;
pub use generate::{PlanOptions, plan_of};
pub use memory::{MemoryBackend, MemoryBackends};
pub use metamorphic::Variation;
pub use outcome::Outcome;
pub use plan::{Act, Decider, DeviceSettings, How, Place, Plan, Profile, ReadFrom, Settings, Step};

use crate::case::panic_message;
use world::World;

/// Runs plans against the backends of one remote.
pub struct Simulator {
    backends: Box<dyn Backends>,
    doubles: Doubles,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

impl Simulator {
    /// A simulator of devices with memory stores, and these backends.
    pub fn new(backends: impl Backends + 'static) -> Self {
        Self {
            backends: Box::new(backends),
            doubles: Doubles::default(),
        }
    }

    /// Puts something in front of every store or remote.
    pub fn with_doubles(mut self, doubles: Doubles) -> Self {
        self.doubles = doubles;
        self
    }

    /// Carries out a plan.
    pub fn run(&self, plan: &Plan) -> Outcome {
        self.simulate(plan, false)
    }

    /// Carries out a plan, and tells what happens in words. This takes several times as long.
    pub fn run_told(&self, plan: &Plan) -> Outcome {
        self.simulate(plan, true)
    }

    fn simulate(&self, plan: &Plan, keep_lines: bool) -> Outcome {
        let run =
            || -> Result<Outcome> { World::new(plan, &*self.backends, &self.doubles, keep_lines)?.run() };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::failed(format!("the simulation itself failed: {error:?}")),
            Err(panic) => Outcome::failed(format!("it panicked: {}", panic_message(&*panic))),
        }
    }

    /// Plans that these backends can play.
    fn playable(&self, plans: &PlanOptions) -> PlanOptions {
        let known = self.backends.profiles();
        let mut plans = plans.clone();
        plans
            .profiles
            .retain(|(profile, weight)| *weight > 0 && known.contains(profile));
        if plans.profiles.is_empty() {
            plans.profiles.push((Profile::Strong, 1));
        }
        plans
    }
}
