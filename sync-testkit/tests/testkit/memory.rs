//! The memory implementations pass every suite.

use std::time::Duration;

use adapter_memory::MemoryRemoteStore;
use sync_testkit::{CaseOutcome, local_suite, query_suite, remote_suite};

use crate::fixtures::{Memory, MemoryRemotes};

#[tokio::test]
async fn the_memory_store_passes_the_local_suite() {
    let report = local_suite::run(&Memory::default()).await;
    report.assert_passed();
    assert_eq!(
        report.passed(),
        report.cases().len(),
        "every case applies to every store:\n{report}"
    );
}

#[tokio::test]
async fn the_memory_store_passes_the_query_suite() {
    query_suite::run(&Memory::default(), 0, 300).await.assert_passed();
}

#[tokio::test]
async fn the_strong_memory_remote_passes_every_case_of_the_remote_suite() {
    let report = remote_suite::run(&MemoryRemotes::new(MemoryRemoteStore::builder)).await;
    report.assert_passed();
    assert_eq!(
        report.passed(),
        report.cases().len(),
        "every case applies to a remote that can all:\n{report}"
    );
}

#[tokio::test]
async fn the_timestamp_memory_remote_passes_the_remote_suite() {
    let profile = || MemoryRemoteStore::builder().timestamp_profile(Duration::from_secs(5));
    let report = remote_suite::run(&MemoryRemotes::new(profile)).await;
    report.assert_passed();
    assert_not_applicable_only_for(&report, &["atomic_batch"]);
}

#[tokio::test]
async fn the_snapshot_memory_remote_passes_the_remote_suite() {
    let profile = || MemoryRemoteStore::builder().snapshot_profile();
    let report = remote_suite::run(&MemoryRemotes::new(profile)).await;
    report.assert_passed();
    assert_not_applicable_only_for(&report, &["atomic_batch"]);
}

#[tokio::test]
async fn a_memory_remote_with_small_limits_passes_the_remote_suite() {
    let profile = || {
        MemoryRemoteStore::builder().adjust(|can| {
            can.max_page = 3;
            can.max_push_batch = 2;
        })
    };
    let report = remote_suite::run(&MemoryRemotes::new(profile)).await;
    report.assert_passed();
    assert_not_applicable_only_for(&report, &["max_push_batch"]);
}

fn assert_not_applicable_only_for(report: &sync_testkit::Report, capabilities: &[&str]) {
    for case in report.cases() {
        if let CaseOutcome::NotApplicable { capability } = case.outcome {
            assert!(
                capabilities.contains(&capability),
                "{} needs {capability}\n{report}",
                case.name
            );
        }
    }
}

/// The suites need no runtime of their own.
#[test]
fn the_suites_run_on_any_executor() {
    futures::executor::block_on(async {
        local_suite::run(&Memory::default()).await.assert_passed();
        remote_suite::run(&MemoryRemotes::new(MemoryRemoteStore::builder))
            .await
            .assert_passed();
    });
}
