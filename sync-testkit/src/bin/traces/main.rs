//! Runs trace files: `traces FILE.jsonl ... [--store memory|sqlite] [--id X]`.
//!
//! Prints one line for each trace that fails, and a summary by area. The exit code is 0 if none failed, 1 if any
//! did, and 2 if a file cannot be read or uses a word that is not in the vocabulary.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use sync_testkit::traces::{Outcome, StoreKind, Summary, Trace, parse_traces, run_trace};

/// Runs traces against the engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Files with one trace in each line.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The store of the clients: memory, or sqlite for a real file each.
    #[arg(long, default_value = "memory")]
    store: String,
    /// Only the trace with this id.
    #[arg(long)]
    id: Option<String>,
    /// Also print traces that pass.
    #[arg(long, short)]
    verbose: bool,
}

const CANNOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

/// Whether nothing failed.
fn run(arguments: &Arguments) -> Result<bool, String> {
    let store = StoreKind::by_name(&arguments.store).ok_or_else(|| {
        format!(
            "there is no store `{}` in this build; try `memory`",
            arguments.store
        )
    })?;
    let mut traces = Vec::new();
    for path in &arguments.files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        traces.extend(parse_traces(&name, &text).map_err(|error| error.to_string())?);
    }
    if let Some(id) = &arguments.id {
        traces.retain(|trace| trace.id == *id);
        if traces.is_empty() {
            return Err(format!("no trace has the id {id:?}"));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let summary = runtime.block_on(run_all(&traces, store, arguments.verbose));
    print!("{summary}");
    Ok(summary.total().failed == 0)
}

async fn run_all(traces: &[Trace], store: StoreKind, verbose: bool) -> Summary {
    let mut summary = Summary::default();
    for trace in traces {
        let report = run_trace(trace, store).await;
        if verbose || report.outcome != Outcome::Passed {
            println!("{report}");
        }
        summary.add(&report);
    }
    summary
}
