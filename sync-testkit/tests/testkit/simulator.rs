//! The simulator finds nothing in the engine, and every mistake that is made on purpose.

use std::{path::Path, sync::Arc};

use adapter_memory::MemoryRemoteStore;
use sync_core::{Clock, RemoteStore, Timer};
use sync_testkit::{
    simulator::{
        Backend, Backends, Branch, CampaignOptions, Doubles, FaultKind, MISTAKES, MemoryBackends, Mistake,
        Plan, PlanOptions, Profile, Simulator, bug_base, plan_of,
    },
    traps,
};

fn options(first_seed: u64, seeds: u64) -> CampaignOptions {
    CampaignOptions {
        first_seed,
        seeds,
        ..CampaignOptions::default()
    }
}

// P1-P18, each seed twice, with every fault kind and every branch.
#[test]
fn a_fixed_set_of_simulations_holds_and_covers_every_fault_and_branch() {
    let options = CampaignOptions {
        whole_coverage: false,
        ..options(0, 200)
    };
    let report = Simulator::new(MemoryBackends).campaign(&options, |_| {});
    report.assert_passed();
    // Only a campaign of thousands of seeds meets a lease that is taken over in the middle of a commit.
    let rare = format!("it never happened that {}", Branch::LeaseLost.name());
    let mut missing = report.coverage.missing(FaultKind::ALL);
    missing.retain(|what| *what != rare);
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_random_set_of_simulations_holds() {
    let first_seed = rand::random::<u64>() >> 24;
    println!("seeds {first_seed} to {}", first_seed + 29);
    let options = CampaignOptions {
        whole_coverage: false,
        ..options(first_seed, 30)
    };
    let report = Simulator::new(MemoryBackends).campaign(&options, |_| {});
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.missing.is_empty(), "{report}");
}

#[test]
fn more_syncs_restarts_other_sizes_and_faults_do_not_change_the_end() {
    let simulator = Simulator::new(MemoryBackends);
    for seed in 0..15 {
        simulator.check_variations(seed, 40).unwrap();
    }
}

/// The first plan within a thousand seeds that shows a mistake.
fn plan_that_shows(mistake: Mistake) -> Option<Plan> {
    let simulator = Simulator::new(MemoryBackends).with_doubles(mistake.doubles());
    let plans = mistake.plans();
    let mut tried = (0..1_000).map(|seed| plan_of(seed, &plans));
    tried.find(|plan| !simulator.run(plan).violations.is_empty())
}

/// The naive client without a mistake.
fn measure() -> Simulator {
    Simulator::new(MemoryBackends).with_doubles(Doubles::default().with_naive_client(None))
}

// A naive client survives the plan without its mistake, so that it is found for the mistake's sake.
#[test]
fn every_mistake_is_found_within_a_thousand_seeds() {
    let mut missed = Vec::new();
    for (name, mistake) in MISTAKES {
        match plan_that_shows(*mistake) {
            None => missed.push(format!("{name} is not found")),
            Some(plan) if matches!(mistake, Mistake::Client(_)) => {
                let violations = measure().run(&plan).violations;
                let blamed = violations
                    .iter()
                    .map(|what| format!("{name}, seed {}: {what}", plan.seed));
                missed.extend(blamed);
            }
            Some(_) => {}
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_naive_client_without_a_mistake_survives_what_it_can_play() {
    for plans in [
        PlanOptions::of_naive_clients(),
        PlanOptions::of_naive_clients_in_order(),
        PlanOptions::of_naive_clients_that_merge(),
    ] {
        for seed in 0..60 {
            measure().run(&plan_of(seed, &plans)).assert_held();
        }
    }
}

#[test]
fn every_mistake_that_a_trap_knows_is_looked_for_in_plans_too() {
    let listed: Vec<Mistake> = MISTAKES.iter().map(|(_, mistake)| *mistake).collect();
    for trap in traps::all() {
        if let Some(mistake) = trap.mistake() {
            assert!(listed.contains(&mistake), "{}: {mistake:?}", trap.name);
        }
    }
    for (place, mistake) in listed.iter().enumerate() {
        assert!(!listed[..place].contains(mistake), "{mistake:?} twice");
    }
    for (name, mistake) in MISTAKES {
        assert_eq!(Mistake::named(name), Some(*mistake), "two are called {name}");
    }
}

#[test]
fn a_failure_shrinks_to_a_few_steps_and_a_test_to_keep() {
    let mistake = Mistake::named("keeps_deletes_to_itself").unwrap();
    let plan = plan_that_shows(mistake).unwrap();
    let simulator = Simulator::new(MemoryBackends).with_doubles(mistake.doubles());
    let failure = simulator.failure(&plan, 600);
    assert!(failure.plan.steps.len() < 20, "{failure}");
    let told = failure.to_string();
    assert!(
        told.contains("Plan::from_json") && told.contains("does not hold"),
        "{told}"
    );
}

#[test]
fn the_bug_base_holds() {
    let bugs = bug_base(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/bugbase"))).unwrap();
    assert!(!bugs.is_empty());
    for (path, bug) in bugs {
        assert!(bug.plan.steps.len() < 20, "{}: not shrunk", path.display());
        if let Err(what) = bug.replay(MemoryBackends) {
            panic!("{}: {what}", path.display());
        }
    }
}

/// A remote that can do nothing more than be connected to.
#[derive(Debug)]
struct Foreign(MemoryRemoteStore);

struct ForeignBackends;

impl Backends for ForeignBackends {
    fn make(&self, _: Profile, clock: Arc<dyn Clock>, timer: Arc<dyn Timer>) -> Arc<dyn Backend> {
        Arc::new(Foreign(
            MemoryRemoteStore::builder().clock(clock).timer(timer).build(),
        ))
    }
}

impl Backend for Foreign {
    fn connect(&self, _: usize) -> Arc<dyn RemoteStore> {
        Arc::new(self.0.another_client())
    }
}

#[test]
fn a_remote_without_any_hook_can_be_simulated() {
    let options = CampaignOptions {
        whole_coverage: false,
        ..options(0, 25)
    };
    let report = Simulator::new(ForeignBackends).campaign(&options, |_| {});
    report.assert_passed();
    assert!(report.operations > 2_000, "{report}");
}
