//! Two devices, each with its own SQLite file, edit the same records offline, come back over a bad network, and agree.
//!
//! `cargo run --release -p examples --bin two_devices -- --help` lists the options. The exit code is 0 if both
//! devices and the remote are equal at the end, 1 if not, and 2 if the command cannot be followed.

mod arguments;
mod backend;
mod compare;
mod deliveries;
mod device;
mod edits;
mod failure;
mod load;
mod report;
mod story;
mod synchronize;
mod tally;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use sync_core::{CachePolicy, Freshness, ReadOptions, query::QuerySpec};

use crate::{
    arguments::Arguments,
    device::Device,
    edits::Plan,
    failure::Failure,
    load::Input,
    report::{Column, Totals, seconds},
    story::{Story, grouped},
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("two_devices: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Plays the story; whether all are equal at its end.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let started = Instant::now();
    let story = Story::begin();
    let mut input = Input::open(arguments)?;
    // The folder is removed when it is dropped, so it lives to the end.
    let temporary =
        tempfile::tempdir().map_err(|error| Failure::Usage(format!("no temporary folder: {error}")))?;
    let folder = match &arguments.keep {
        Some(folder) => kept_folder(folder)?,
        None => temporary.path().to_owned(),
    };
    let backend = backend::open(arguments).await?;
    if let Some(introduction) = backend.introduction() {
        story.tell(&introduction);
    }
    let open = async |name| {
        let connection = backend.connect().await?;
        Device::open(name, &folder, connection, backend.target(), arguments).await
    };
    let mut devices = [open("A").await?, open("B").await?];

    story.chapter("1. Device A loads the records, as an app that imports a file");
    let since = Instant::now();
    let ids = input.load(&devices[0], &story).await?;
    let rows = ids.len() as u64;
    story.tell(&format!("{} records from {}", grouped(rows), input.name));
    let bad_lines = grouped(input.bad_lines);
    story.tell(&format!(
        "{bad_lines} lines left out; {}",
        seconds(since.elapsed())
    ));

    story.chapter("2. Both devices synchronize over a good network");
    synchronize::once(&mut devices[0], "A pushes", rows, &story).await?;
    synchronize::once(&mut devices[1], "B pulls", rows, &story).await?;
    let [a, b] = &devices;
    story.tell(&format!(
        "A pushed {} records in {}",
        grouped(a.tally.pushed),
        seconds(a.tally.time)
    ));
    story.tell(&format!(
        "B pulled {} records in {}",
        grouped(b.tally.pulled),
        seconds(b.tally.time)
    ));

    story.chapter("3. Both go offline, and their users go on working");
    let since = Instant::now();
    let plan = Plan {
        edits: arguments.edits,
        conflicts: arguments.conflicts,
        seed: arguments.seed,
    };
    let mut line = story.progress("editing", Some((2 * (plan.edits + plan.conflicts)) as u64));
    let done = edits::edit(&devices, ids, &arguments.id, plan, &mut line).await?;
    line.end();
    for (device, done) in devices.iter().zip(done) {
        story.tell(&format!(
            "{}: {} edits, {} deletes, {} new records; {} writes wait for the network",
            device.name,
            grouped(done.edited),
            grouped(done.deleted),
            grouped(done.created),
            grouped(device.pending().await?),
        ));
    }
    story.tell(&format!(
        "each of them was durable when it returned; {} in all",
        seconds(since.elapsed())
    ));
    read_offline(&devices[0], &story).await?;

    story.chapter("4. They come back, but requests and answers are lost, and some arrive twice");
    for (device, seed) in devices.iter().zip(arguments.seed..) {
        device.network.disturb(seed);
    }
    let since = Instant::now();
    synchronize::until_quiet(&mut devices, &story).await?;
    for device in &mut devices {
        device.network.calm();
        device.count_conflicts().await?;
        story.tell(&format!(
            "{}: {} synchronizations failed half way and were repeated",
            device.name,
            grouped(device.tally.failed),
        ));
    }
    story.tell(&format!(
        "neither has anything left to send or to hear, after {}",
        seconds(since.elapsed())
    ));

    story.chapter("5. What came of it");
    let totals = Totals {
        compared: compare::compare(&devices, &*backend.observer()).await?,
        deliveries: backend.deliveries().await?,
        bad_lines: input.bad_lines,
        time: started.elapsed(),
    };
    let [a, b] = &devices;
    let columns = [
        Column {
            device: a,
            rows: a.count().await?,
            done: done[0],
        },
        Column {
            device: b,
            rows: b.count().await?,
            done: done[1],
        },
    ];
    report::print(&columns, &totals);
    for device in devices {
        device.close().await?;
    }
    if arguments.keep.is_some() {
        println!("   the files are in {}", folder.display());
    }
    Ok(totals.compared.is_equal() && totals.deliveries.repeated_effects == 0)
}

/// Shows that reads go on without a network, and say what they are worth.
async fn read_offline(device: &Device, story: &Story) -> Result<(), Failure> {
    device.network.cut();
    let options = ReadOptions::from(CachePolicy::RemoteFirst);
    let answer = device
        .engine
        .query(&device.target, &QuerySpec::new().limit(3), &options)
        .await?;
    device.network.calm();
    if let Freshness::Stale(reason) = &answer.freshness {
        story.tell(&format!(
            "{} still answers when asked to try the remote first: {} of {} records, marked stale ({})",
            device.name,
            answer.records.len(),
            grouped(device.count().await?),
            reason.message(),
        ));
    }
    Ok(())
}

/// The folder of `--keep`, made if it is missing, without files of an earlier run.
fn kept_folder(folder: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Usage(format!("cannot make {}: {error}", folder.display())))?;
    for name in ["A", "B"] {
        let file = device::file_of(folder, name);
        if file.exists() {
            return Err(Failure::Usage(format!(
                "{} is there from an earlier run; remove it, or give --keep another folder",
                file.display()
            )));
        }
    }
    Ok(folder.to_owned())
}
