//! The main paths beside raw SQLite on the same settings, as ratios.
//!
//! `cargo bench -p benches` runs all of them; `cargo bench -p benches -- --quick` with a tenth of the records.
//! Memory is measured in processes of their own, which this program starts.

#![allow(missing_docs)]

use std::{path::Path, sync::Arc};

use benches::{Floor, GeneratedRemote, Note, Samples, Table, note, peak_memory_kib, scope};
use store_sea_orm::{Durability, OpenOptions, SeaOrmLocalStore};
use sync_core::{CachePolicy, EngineOptions, SimpleSyncOrchestrator, SyncEngine, query::QuerySpec};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--pull-memory") {
        return pull_memory(
            arguments
                .get(at + 1)
                .ok_or("--pull-memory needs a number")?
                .parse()?,
        )
        .await;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let scale = if quick { 10 } else { 1 };
    let table = Table::head();
    for durability in [Durability::Normal, Durability::Full] {
        writes(&table, durability, 5_000 / scale).await?;
    }
    queue_length(&table, 100_000 / scale).await?;
    pull(&table, 100_000 / scale).await?;
    one_change(&table, 1_000, 100_000 / scale).await?;
    reads(&table, 100_000 / scale).await?;
    drain(&table, 10_000 / scale).await?;
    opening(&table, 100_000 / scale).await?;
    memory(&table, 100_000 / scale, 400_000 / scale)?;
    Ok(())
}

async fn store(folder: &Path, name: &str, durability: Durability) -> Result<SeaOrmLocalStore, Failure> {
    Ok(SeaOrmLocalStore::open(OpenOptions::file(folder.join(name)).durability(durability)).await?)
}

async fn notes(
    store: &SeaOrmLocalStore,
    remote: Arc<GeneratedRemote>,
) -> Result<SimpleSyncOrchestrator<Note>, Failure> {
    let options = EngineOptions::default()
        .with_page_size(1_000)
        .with_commit_rows(10_000);
    let engine = SyncEngine::builder(Arc::new(store.clone()), remote)
        .register::<Note>()
        .options(options);
    Ok(engine.build().await?.of::<Note>()?)
}

/// Single durable creates, each with its queue entry.
async fn writes(table: &Table, durability: Durability, count: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let notes = notes(
        &store(folder.path(), "ours.db", durability).await?,
        Arc::new(GeneratedRemote::new(0)),
    )
    .await?;
    let mut floor = Floor::open(&folder.path().join("floor.db"), durability)?;
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    // In turns, so that a noisy moment of the machine hits both.
    for n in 0..count {
        let note = note(n);
        ours.time_async(notes.enqueue_create(&scope(), &note)).await?;
        raw.time(|| floor.create(&note))?;
    }
    table.line(
        &format!("create one record, synchronous={durability:?}, median"),
        ours.median_us(),
        raw.median_us(),
    );
    table.line(
        "  the same, 99 of 100 are faster",
        ours.quantile_us(0.99),
        raw.quantile_us(0.99),
    );
    Ok(())
}

/// A write behind a long queue against a write into an empty one.
async fn queue_length(table: &Table, pending: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let remote = Arc::new(GeneratedRemote::new(0));
    let full = notes(
        &store(folder.path(), "full.db", Durability::Normal).await?,
        remote.clone(),
    )
    .await?;
    let empty = notes(
        &store(folder.path(), "empty.db", Durability::Normal).await?,
        remote,
    )
    .await?;
    fill(&full, pending).await?;
    fill(&empty, pending).await?;
    empty.push_only(&scope()).await?;
    let (mut behind, mut alone) = (Samples::default(), Samples::default());
    for n in pending..pending + 2_000 {
        behind.time_async(full.enqueue_create(&scope(), &note(n))).await?;
        alone.time_async(empty.enqueue_create(&scope(), &note(n))).await?;
    }
    let what = format!("create with {pending} pending, against none (same rows)");
    table.line(&what, behind.median_us(), alone.median_us());
    Ok(())
}

async fn fill(notes: &SimpleSyncOrchestrator<Note>, count: u64) -> Result<(), Failure> {
    for from in (0..count).step_by(1_000) {
        let writes: sync_core::Result<Vec<_>> = (from..count.min(from + 1_000))
            .map(|n| sync_core::Write::create(&scope(), &note(n)))
            .collect();
        notes.engine().write_batch(writes?).await?;
    }
    Ok(())
}

/// The first pull of many records.
async fn pull(table: &Table, count: u64) -> Result<(), Failure> {
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    for _ in 0..3 {
        let folder = tempfile::tempdir()?;
        let store = store(folder.path(), "ours.db", Durability::Normal).await?;
        let notes = notes(&store, Arc::new(GeneratedRemote::new(count))).await?;
        ours.time_async(notes.synchronize(&scope())).await?;
        assert_eq!(
            notes.count(&scope(), None, CachePolicy::OfflineOnly).await?,
            count
        );
        let mut floor = Floor::open(&folder.path().join("floor.db"), Durability::Normal)?;
        raw.time(|| -> rusqlite::Result<()> {
            for from in (0..count).step_by(1_000) {
                let page: Vec<Note> = (from..count.min(from + 1_000)).map(note).collect();
                floor.apply_page(&page, &from.to_string())?;
            }
            Ok(())
        })?;
    }
    table.line(
        &format!("first pull of {count} records"),
        ours.median_us(),
        raw.median_us(),
    );
    table.note(&format!("{:.0} records/s", count as f64 / ours.median_us() * 1e6));
    Ok(())
}

/// One remote change, from asking for a sync to its end, in a small and in a large store.
async fn one_change(table: &Table, small: u64, large: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut stores = Vec::new();
    for records in [small, large] {
        let remote = Arc::new(GeneratedRemote::new(records));
        let store = store(folder.path(), &format!("{records}.db"), Durability::Normal).await?;
        let notes = notes(&store, Arc::clone(&remote)).await?;
        notes.synchronize(&scope()).await?;
        stores.push((remote, notes, Samples::default()));
    }
    for _ in 0..300 {
        for (remote, notes, samples) in &mut stores {
            remote.add_one();
            let report = samples.time_async(notes.synchronize(&scope())).await?;
            assert_eq!(report.pulled, 1);
        }
    }
    let what = format!("sync of one change in {large} records, against {small}");
    table.line(&what, stores[1].2.median_us(), stores[0].2.median_us());
    Ok(())
}

/// Reads by id and by an indexed query.
async fn reads(table: &Table, count: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let store = store(folder.path(), "ours.db", Durability::Normal).await?;
    let notes = notes(&store, Arc::new(GeneratedRemote::new(count))).await?;
    notes.synchronize(&scope()).await?;
    let mut floor = Floor::open(&folder.path().join("floor.db"), Durability::Normal)?;
    for from in (0..count).step_by(1_000) {
        let page: Vec<Note> = (from..count.min(from + 1_000)).map(note).collect();
        floor.apply_page(&page, "")?;
    }
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    for n in 0..2_000 {
        let id = note(n * 7_919 % count).id;
        let found = ours
            .time_async(notes.get(&scope(), &id, CachePolicy::OfflineOnly))
            .await?;
        assert_eq!(found, raw.time(|| floor.get(&id))?);
    }
    table.line(
        &format!("get one of {count} records by id"),
        ours.median_us(),
        raw.median_us(),
    );
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    for n in 0..200 {
        let owner = format!("owner-{:02}", n % 100);
        let filter = Note::owner().eq(owner.as_str()).and(Note::done().eq(false));
        let spec = QuerySpec::new().filter(filter).limit(50);
        let found = ours
            .time_async(notes.read_with(&scope(), &spec, CachePolicy::OfflineOnly))
            .await?;
        assert_eq!(found.items, raw.time(|| floor.query(&owner))?);
    }
    table.line(
        "query by an indexed and another field, first 50 of many",
        ours.median_us(),
        raw.median_us(),
    );
    Ok(())
}

/// Pushing a long queue to a remote that takes everything at once.
async fn drain(table: &Table, pending: u64) -> Result<(), Failure> {
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    for _ in 0..3 {
        let folder = tempfile::tempdir()?;
        let store = store(folder.path(), "ours.db", Durability::Normal).await?;
        let notes = notes(&store, Arc::new(GeneratedRemote::new(0))).await?;
        fill(&notes, pending).await?;
        let report = ours.time_async(notes.push_only(&scope())).await?;
        assert_eq!(report.pushed, pending);
        let mut floor = Floor::open(&folder.path().join("floor.db"), Durability::Normal)?;
        for n in 0..pending {
            floor.create(&note(n))?;
        }
        assert_eq!(raw.time(|| floor.drain(100))?, pending);
    }
    table.line(
        &format!("push of {pending} operations in batches of 100"),
        ours.median_us(),
        raw.median_us(),
    );
    Ok(())
}

/// Opening a store with many records and a long queue against an empty one.
async fn opening(table: &Table, count: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    for (name, records) in [("full.db", count), ("empty.db", 0)] {
        let store = store(folder.path(), name, Durability::Normal).await?;
        fill(&notes(&store, Arc::new(GeneratedRemote::new(0))).await?, records).await?;
        sync_core::LocalStore::close(&store).await?;
    }
    let (mut full, mut empty) = (Samples::default(), Samples::default());
    for _ in 0..20 {
        for (name, samples) in [("full.db", &mut full), ("empty.db", &mut empty)] {
            let opened = samples.time_async(async {
                let store = store(folder.path(), name, Durability::Normal).await?;
                let notes = notes(&store, Arc::new(GeneratedRemote::new(0))).await?;
                notes.get(&scope(), &note(1).id, CachePolicy::OfflineOnly).await?;
                Ok::<_, Failure>(store)
            });
            sync_core::LocalStore::close(&opened.await?).await?;
        }
    }
    let what = format!("open with {count} records, all pending, against none");
    table.line(&what, full.median_us(), empty.median_us());
    Ok(())
}

/// The peak memory of a pull of few and of many pages, each in a process of its own.
fn memory(table: &Table, few: u64, many: u64) -> Result<(), Failure> {
    let mut peaks = Vec::new();
    for records in [few, many] {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--pull-memory", &records.to_string()])
            .output()?;
        peaks.push(String::from_utf8(output.stdout)?.trim().parse::<f64>()?);
    }
    let what = format!("peak memory of a pull of {many} records, against {few}");
    println!(
        "{what:<58} {:>8.1} MiB {:>8.1} MiB {:>7.2}x",
        peaks[1] / 1024.0,
        peaks[0] / 1024.0,
        peaks[1] / peaks[0]
    );
    table.note("resident set of the whole process; page caches of 1 MiB for each connection");
    Ok(())
}

async fn pull_memory(records: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    // Small page caches, so that they do not hide what grows.
    let options = OpenOptions::file(folder.path().join("ours.db"))
        .cache_kib(1_024)
        .readers(1);
    let store = SeaOrmLocalStore::open(options.durability(Durability::Normal)).await?;
    notes(&store, Arc::new(GeneratedRemote::new(records)))
        .await?
        .synchronize(&scope())
        .await?;
    println!(
        "{}",
        peak_memory_kib().ok_or("this system does not tell the peak memory")?
    );
    Ok(())
}
