//! Ten workloads through the public API, with every guard on: the ones that other systems are measured by too.
//!
//! `workloads <workload> <path of the store> [--full] [--writers N]` prints a line of JSON for each figure, such as
//! `{"sys":"ours","w":"W1","m":"p50","unit":"us","v":12.3}`. The workloads:
//!
//! | | |
//! |---|---|
//! | `w1` | single creates, each durable by itself; `--full` waits for the disk, `--writers` has several at once |
//! | `w2`, `w2m` | a first pull of 100,000 or 1,000,000 records in pages of 1,000 |
//! | `w3` | one remote change, until it can be read, in a store of 100,000 |
//! | `w4` | 10,000 pending operations pushed in batches of 100, and one by one |
//! | `w5` | newest 50 of one owner that are not done, of 100,000; with a declared index and without |
//! | `w6` | get by id, of 100,000; first and again |
//! | `w7` | a local write until the subscriber of a live query has the new answer, 10,000 records |
//! | `w8prep`, `w8` | process start until the first record is read; 100,000 records, 10,000 pending |
//! | `w9` | a write behind 100,000 pending operations against a write behind none |
//! | `w10` | writes of a batch, each with its queue entry, against pulled records without one |
//!
//! `BENCH_N` sets another number of records or operations. `BENCH_T0`, in nanoseconds since 1970, is when the
//! launcher started this process (`w8`). `BENCH_SETTLE_WITHIN_MS` is the engine's `settle_within`, so that what is stored
//! together does not depend on how fast the machine is.

mod pull;
mod queue;
mod read;
mod records;
mod remote;
mod report;
mod start;
mod write;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use store_sea_orm::{Durability, OpenOptions, SeaOrmLocalStore};
use sync_core::{EngineOptions, LocalStore, SimpleSyncOrchestrator, SyncEngine, SyncRecord, SyncScope};
use tokio::sync::Mutex;

use crate::remote::Pages;

type Failure = Box<dyn std::error::Error>;

/// How many records a page of a pull has.
const PAGE: u32 = 1_000;

/// What the command line asks for.
#[derive(Debug)]
struct Run<'a> {
    path: &'a Path,
    durability: Durability,
    writers: usize,
    /// How the figures name us.
    system: String,
    /// The store that is open at the path.
    opened: Mutex<Option<SeaOrmLocalStore>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workloads: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), Failure> {
    let [workload, path, options @ ..] = arguments else {
        return Err("give a workload and a path, such as: w1 /tmp/w1.db".into());
    };
    let full = options.iter().any(|option| option == "--full");
    let writers = match options.iter().position(|option| option == "--writers") {
        Some(place) => options
            .get(place + 1)
            .ok_or("--writers needs a number")?
            .parse()?,
        None => 1,
    };
    let mut system = "ours".to_owned();
    if full {
        system.push_str(" (sync=FULL)");
    }
    if writers > 1 {
        system.push_str(&format!(" ({writers} writers)"));
    }
    let run = Run {
        path: Path::new(path),
        durability: if full {
            Durability::Full
        } else {
            Durability::Normal
        },
        writers,
        system,
        opened: Mutex::new(None),
    };
    match workload.as_str() {
        "w1" => write::creates(&run).await,
        "w2" => pull::first(&run, number(100_000)).await,
        "w2m" => pull::first(&run, number(1_000_000)).await,
        "w3" => pull::one_change(&run).await,
        "w4" => queue::drain(&run).await,
        "w5" => read::queries(&run).await,
        "w6" => read::gets(&run).await,
        "w7" => read::live(&run).await,
        "w8prep" => start::prepare(&run).await,
        "w8" => start::first_read(&run).await,
        "w9" => queue::append(&run).await,
        "w10" => write::capture(&run).await,
        // One record as JSON, so that the generators of other systems can be compared with this one.
        "rec" => {
            println!("{}", serde_json::to_string(&records::todo(path.parse()?))?);
            Ok(())
        }
        other => Err(format!("there is no workload {other}").into()),
    }
}

/// The number asked for by `BENCH_N`, or the workload's own.
fn number(usual: u32) -> u32 {
    let asked = std::env::var("BENCH_N").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn scope() -> SyncScope {
    SyncScope::new("bench").unwrap_or_else(|_| unreachable!("`bench` is a valid name"))
}

/// Removes what was left at the path. A store that is open there is closed before: SQLite still removes the log by its
/// name when the store ends.
async fn remove_old(run: &Run<'_>) -> Result<(), Failure> {
    if let Some(store) = run.opened.lock().await.take() {
        store.close().await?;
    }
    for end in ["", "-wal", "-shm"] {
        let mut name = run.path.as_os_str().to_owned();
        name.push(end);
        // Usually there is none.
        let _ = std::fs::remove_file(name);
    }
    Ok(())
}

async fn open<T: SyncRecord>(
    run: &Run<'_>,
    remote: Arc<Pages>,
) -> Result<SimpleSyncOrchestrator<T>, Failure> {
    open_on::<T>(open_store(run).await?, remote).await
}

async fn open_store(run: &Run<'_>) -> Result<SeaOrmLocalStore, Failure> {
    let options = OpenOptions::file(run.path)
        .durability(run.durability)
        .cache_kib(50 * 1_024);
    let store = SeaOrmLocalStore::open(options).await?;
    *run.opened.lock().await = Some(store.clone());
    Ok(store)
}

async fn open_on<T: SyncRecord>(
    store: SeaOrmLocalStore,
    remote: Arc<Pages>,
) -> Result<SimpleSyncOrchestrator<T>, Failure> {
    let mut options = EngineOptions::default()
        .with_page_size(PAGE)
        .with_commit_rows(10 * PAGE as usize);
    if let Ok(millis) = std::env::var("BENCH_SETTLE_WITHIN_MS") {
        options = options.with_settle_within(Duration::from_millis(millis.parse()?));
    }
    let engine = SyncEngine::builder(Arc::new(store), remote)
        .register::<T>()
        .options(options);
    Ok(engine.build().await?.of::<T>()?)
}

/// A new store with so many pulled records.
async fn filled<T: SyncRecord>(
    run: &Run<'_>,
    records: u32,
) -> Result<(SimpleSyncOrchestrator<T>, Arc<Pages>), Failure> {
    remove_old(run).await?;
    let remote = Arc::new(Pages::new(records));
    let todos = open::<T>(run, Arc::clone(&remote)).await?;
    todos.pull_only(&scope()).await?;
    Ok((todos, remote))
}
