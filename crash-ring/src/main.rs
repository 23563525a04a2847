//! Runs the crash ring and prints what it found; fails if anything was lost, or if a store that is wrong on purpose
//! was not caught.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use crash_ring::{Subject, errors, power};
use indicatif::{ProgressBar, ProgressStyle};
use sync_core::Result;

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
        Ok(power && errors)
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
    for subject in [Subject::Full, Subject::SplitStatements] {
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
