//! Runs the crash ring and prints what it found; fails if anything was lost, or if a store that is wrong on purpose
//! was not caught.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use crash_ring::{Subject, drops, errors, kills, power};
use indicatif::{ProgressBar, ProgressStyle};
use sync_core::{ErrorKind, Result, SyncError};

/// Crashes of every kind on the real schema and statements of the SQLite store.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    ring: Option<Ring>,
    /// How many threads share the work.
    #[arg(long, default_value_t = 2, global = true)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Ring {
    /// A crash at every write: the end of the process, and the loss of power.
    Power {
        /// One point in so many.
        #[arg(long, default_value_t = 1)]
        every: usize,
        /// Synchronizes after each point, instead of once for each state.
        #[arg(long)]
        converge_each: bool,
        /// The seed of prefixes and torn sectors.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Calls to the file system that fail.
    Errors {
        /// One call in so many.
        #[arg(long, default_value_t = 1)]
        every: u64,
    },
    /// Futures that are dropped at each of their polls.
    Drops,
    /// Processes on a real file that are killed.
    Kills {
        /// How often.
        #[arg(long, default_value_t = 500)]
        rounds: usize,
        /// The seed of the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A process that is to be killed; started by `kills`.
    #[command(hide = true)]
    Victim {
        #[arg(long)]
        store: PathBuf,
        #[arg(long)]
        remote: PathBuf,
        #[arg(long)]
        name: String,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        subject: Subject,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = arguments.threads;
    let whole = || {
        let power = run_power(power::Extent {
            every: 1,
            converge_each: true,
            threads,
            seed: 1,
        })?;
        let errors = run_errors(1, threads)?;
        let drops = run_drops(threads)?;
        let kills = run_kills(500, 1)?;
        Ok(power && errors && drops && kills)
    };
    let good = match arguments.ring {
        None => whole(),
        Some(Ring::Power {
            every,
            converge_each,
            seed,
        }) => run_power(power::Extent {
            every,
            converge_each,
            threads,
            seed,
        }),
        Some(Ring::Errors { every }) => run_errors(every, threads),
        Some(Ring::Drops) => run_drops(threads),
        Some(Ring::Kills { rounds, seed }) => run_kills(rounds, seed),
        Some(Ring::Victim {
            store,
            remote,
            name,
            seed,
            subject,
        }) => kills::victim(&kills::Orders {
            store,
            remote,
            name,
            seed,
            subject,
        })
        .map(|()| true),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash-ring: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

fn tell(good: bool, subject: Subject, what: &str, started: Instant) -> bool {
    let expected = if subject.is_sound() {
        "nothing is lost"
    } else {
        "it is caught"
    };
    let verdict = if good { "holds" } else { "DOES NOT HOLD" };
    println!(
        "{what}, {subject:?}: {verdict} ({expected}); {:.1} s\n",
        started.elapsed().as_secs_f64()
    );
    good
}

fn run_power(extent: power::Extent) -> Result<bool> {
    let mut all_good = true;
    for subject in Subject::ALL {
        let started = Instant::now();
        let bar = bar((power::count_points(subject)? / extent.every) as u64);
        let summary = power::sweep(subject, extent, &|| bar.inc(1))?;
        bar.finish_and_clear();
        print!("{summary}");
        all_good &= tell(
            (summary.violated() == 0) == subject.is_sound(),
            subject,
            "power",
            started,
        );
    }
    Ok(all_good)
}

fn run_errors(every: u64, threads: usize) -> Result<bool> {
    let mut all_good = true;
    for subject in Subject::SOUND.into_iter().chain([Subject::SplitStatements]) {
        let started = Instant::now();
        let bar = ProgressBar::new_spinner();
        let summary = errors::sweep(subject, every, threads, &|| bar.inc(1))?;
        bar.finish_and_clear();
        print!("{summary}");
        all_good &= tell(
            (summary.violated == 0) == subject.is_sound(),
            subject,
            "errors",
            started,
        );
    }
    Ok(all_good)
}

fn run_drops(threads: usize) -> Result<bool> {
    let mut all_good = true;
    for subject in Subject::SOUND {
        let started = Instant::now();
        let summary = drops::sweep(subject, 1, threads, &|| ())?;
        print!("{summary}");
        all_good &= tell(summary.violations.is_empty(), subject, "drops", started);
    }
    Ok(all_good)
}

fn run_kills(rounds: usize, seed: u64) -> Result<bool> {
    let program =
        std::env::current_exe().map_err(|error| SyncError::new(ErrorKind::Internal, error.to_string()))?;
    let mut all_good = true;
    for (subject, processes) in Subject::SOUND
        .into_iter()
        .flat_map(|subject| [(subject, 1), (subject, 2)])
    {
        let bar = bar(rounds as u64);
        let plan = kills::Plan {
            program: &program,
            rounds,
            processes,
            subject,
            seed,
        };
        let started = Instant::now();
        let summary = kills::run(&plan, &|| bar.inc(1))?;
        bar.finish_and_clear();
        let holds = if summary.violations.is_empty() {
            "holds"
        } else {
            "DOES NOT HOLD"
        };
        let seconds = started.elapsed().as_secs_f64();
        println!("{summary}kills, {processes} processes, {subject:?}: {holds}; {seconds:.1} s\n");
        all_good &= summary.violations.is_empty();
    }
    Ok(all_good)
}
