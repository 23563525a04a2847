//! Processes that are killed.

use std::path::Path;

use crash_ring::kills::{Plan, run};
use store_sea_orm::SqliteDriver;

fn killed(processes: usize, driver: SqliteDriver) {
    let plan = Plan {
        program: Path::new(env!("CARGO_BIN_EXE_crash-ring")),
        rounds: 12,
        processes,
        driver,
        seed: 1,
    };
    let summary = run(&plan, &|| ()).unwrap();
    println!("{processes} {driver:?}: {summary}");
    assert!(summary.violations.is_empty(), "{summary}");
    assert!(summary.acknowledged > 10 && summary.pushed > 5, "{summary}");
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    killed(1, SqliteDriver::Direct);
    killed(1, SqliteDriver::Sqlx);
}

#[test]
fn two_processes_on_one_file_that_are_killed_lose_nothing_and_repeat_nothing() {
    killed(2, SqliteDriver::Direct);
    killed(2, SqliteDriver::Sqlx);
}
