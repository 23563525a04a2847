//! Processes that are killed.

use std::path::Path;

use crash_ring::{
    Subject,
    kills::{Plan, run},
};

fn killed(processes: usize, subject: Subject) {
    let plan = Plan {
        program: Path::new(env!("CARGO_BIN_EXE_crash-ring")),
        rounds: 12,
        processes,
        subject,
        seed: 1,
    };
    let summary = run(&plan, &|| ()).unwrap();
    println!("{processes} {subject:?}: {summary}");
    assert!(summary.violations.is_empty(), "{summary}");
    assert!(summary.acknowledged > 10 && summary.pushed > 5, "{summary}");
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    for subject in Subject::SOUND {
        killed(1, subject);
    }
}

#[test]
fn two_processes_on_one_file_that_are_killed_lose_nothing_and_repeat_nothing() {
    for subject in Subject::SOUND {
        killed(2, subject);
    }
}
