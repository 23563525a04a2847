//! Runs campaigns of simulations, and replays single ones.
//!
//! `simulate --seeds 10000 --ops 100` runs ten thousand simulations of a hundred operations each, every one twice,
//! shows how far it is, and ends with a summary by fault kind. It fails with exit code 1 if anything did not hold, if
//! two runs of one seed differed, or if a fault or a branch of the engine never came to pass.

mod arguments;
mod progress;
mod summary;

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use sync_testkit::simulator::{
    CampaignOptions, MemoryBackends, Mistake, Plan, PlanOptions, Simulator, plan_of,
};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether everything held.
fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut simulator = Simulator::new(MemoryBackends);
    let mut plans = PlanOptions::default();
    if let Some(name) = &arguments.mistake {
        let mistake = Mistake::named(name).ok_or_else(|| format!("there is no mistake {name:?}"))?;
        simulator = simulator.with_doubles(mistake.doubles());
        plans = mistake.plans();
    }
    let plans = arguments.plans(plans);
    if let Some(path) = &arguments.replay {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let plan = Plan::from_json(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(tell(&simulator, &plan));
    }
    if let Some(seed) = arguments.tell {
        return Ok(tell(&simulator, &plan_of(seed, &plans)));
    }
    let options = CampaignOptions {
        first_seed: arguments.first_seed(),
        seeds: arguments.seeds,
        plans,
        twice: !arguments.once,
        most_failures: arguments.failures,
        shrink_runs: arguments.shrink_runs,
        whole_coverage: arguments.only.is_empty() && arguments.mistake.is_none(),
    };
    let started = Instant::now();
    let bar = progress::Bar::new(options.seeds);
    let report = simulator.campaign(&options, |progress| bar.show(progress));
    bar.end();
    print!(
        "{}",
        summary::Summary {
            report: &report,
            options: &options,
            took: started.elapsed()
        }
    );
    Ok(report.passed())
}

/// Carries out one plan, and tells what happens. Returns whether everything held.
fn tell(simulator: &Simulator, plan: &Plan) -> bool {
    let outcome = simulator.run_told(plan);
    println!("{}", serde_json::to_string(&plan.settings).unwrap_or_default());
    for line in &outcome.lines {
        println!("{line}");
    }
    for violation in &outcome.violations {
        println!("does not hold: {violation}");
    }
    println!(
        "hash {:016x}, {} violations",
        outcome.hash,
        outcome.violations.len()
    );
    outcome.violations.is_empty()
}
