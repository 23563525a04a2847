//! Runs campaigns of simulations.
use sync_testkit::simulator::*;
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (from, to, ops) = (args[0], args[1], args[2]);
    let shrink = std::env::var("SHRINK").is_ok();
    let twice = std::env::var("TWICE").is_ok();
    let options = PlanOptions { operations: ops as usize, ..PlanOptions::default() };
    let mistake = std::env::var("MISTAKE").ok();
    let simulator = match mistake { Some(m) => Simulator::new(MemoryBackends).with_doubles(Mistake::named(&m).unwrap().doubles()), None => Simulator::new(MemoryBackends) };
    let start = std::time::Instant::now();
    let mut coverage = Coverage::default();
    let mut operations = 0; let mut bad = 0;
    for seed in from..to {
        let plan = plan_of(seed, &options);
        let outcome = if to - from == 1 { simulator.run_told(&plan) } else { simulator.run(&plan) };
        if twice && simulator.run(&plan).hash != outcome.hash { println!("seed {seed} TWO WAYS"); }
        coverage.add(&outcome.coverage);
        operations += outcome.operations;
        for l in &outcome.lines { println!("{l}"); }
        if !outcome.violations.is_empty() {
            bad += 1;
            if bad < 400 { println!("seed {seed} {:?} {:?} bg {}: {}", plan.settings.profile, plan.settings.decider, plan.settings.background, outcome.violations[0].chars().take(if to-from==1 {4000} else {std::env::var("W").ok().and_then(|w|w.parse().ok()).unwrap_or(200)}).collect::<String>()); }
            if shrink { println!("{}", simulator.failure(&plan, 2000)); }
        }
    }
    let t = start.elapsed().as_secs_f64();
    if to - from > 1 {
    for k in FaultKind::ALL { print!("{k} {} | ", coverage.of_fault(*k)); }
    println!();
    for k in Branch::ALL { print!("{} {} | ", k.name(), coverage.of_branch(*k)); }
    }
    println!("\nbad {bad} of {}, {operations} operations in {t:.2}s: {:.0}/s", to - from, operations as f64 / t);
}
