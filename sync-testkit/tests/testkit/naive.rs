//! Each mistake is caught by the cases that are about it.

use sync_testkit::{
    Report, local_suite,
    naive::{RemoteMistake, StoreMistake},
    query_suite, remote_suite,
};

use crate::fixtures::{Memory, MemoryRemotes};

#[track_caller]
fn assert_caught_by(report: &Report, case: &str) {
    assert!(
        report.failures().any(|failure| failure.name == case),
        "{case:?} did not fail:\n{report}"
    );
}

async fn examine(mistake: StoreMistake) -> Report {
    local_suite::run(&Memory {
        mistake: Some(mistake),
    })
    .await
}

async fn examine_remote(mistake: RemoteMistake) -> Report {
    remote_suite::run(&MemoryRemotes::with_mistake(mistake)).await
}

#[tokio::test]
async fn a_store_that_commits_in_two_halves_is_caught() {
    let report = examine(StoreMistake::CommitsInTwoHalves).await;
    assert_caught_by(&report, "a stale guard writes nothing of any part");
    assert_caught_by(&report, "a stale confirmation writes nothing of any part");
}

#[tokio::test]
async fn a_store_that_ignores_guards_is_caught() {
    let report = examine(StoreMistake::IgnoresGuards).await;
    assert_caught_by(
        &report,
        "a record written since it was read makes the commit stale",
    );
    assert_caught_by(&report, "no guarded increment is lost in a race");
}

#[tokio::test]
async fn a_store_that_forgets_leases_is_caught() {
    let report = examine(StoreMistake::ForgetsLeases).await;
    assert_caught_by(&report, "a held lease is refused with the time of its end");
    assert_caught_by(&report, "commits with a fence taken over are refused");
}

#[tokio::test]
async fn a_store_that_rewrites_payloads_is_caught() {
    assert_caught_by(
        &examine(StoreMistake::RewritesPayloads).await,
        "payloads come back bit exact",
    );
}

#[tokio::test]
async fn a_store_that_sorts_nulls_last_is_caught_by_the_query_suite_with_a_small_example() {
    let report = query_suite::run(
        &Memory {
            mistake: Some(StoreMistake::SortsNullsLast),
        },
        0,
        50,
    )
    .await;
    let failures: Vec<String> = report
        .failures()
        .map(|failure| format!("{:?}", failure.outcome))
        .collect();
    assert!(!failures.is_empty(), "no data set showed the mistake");
    for failure in failures {
        assert!(
            failure.contains("order_by") && failure.contains("seed"),
            "{failure}"
        );
        assert!(
            !failure.contains("filter"),
            "the filter has no part in it: {failure}"
        );
    }
}

#[tokio::test]
async fn a_store_that_tells_no_changes_is_caught() {
    assert_caught_by(
        &examine(StoreMistake::TellsNoChanges).await,
        "an appended operation tells its scope",
    );
}

#[tokio::test]
async fn a_cursor_by_time_is_caught() {
    let report = examine_remote(RemoteMistake::CursorByTime).await;
    assert_caught_by(&report, "a first pass delivers every record in pages of any size");
}

#[tokio::test]
async fn taking_a_short_page_for_the_end_is_caught() {
    let report = examine_remote(RemoteMistake::ShortPageIsTheEnd).await;
    assert_caught_by(&report, "a first pass delivers every record in pages of any size");
}

#[tokio::test]
async fn keeping_deletes_back_is_caught() {
    let report = examine_remote(RemoteMistake::KeepsDeletesToItself).await;
    assert_caught_by(&report, "a delete arrives at a client that holds the record");
}

#[tokio::test]
async fn swallowing_refusals_is_caught() {
    let report = examine_remote(RemoteMistake::SwallowsRefusals).await;
    assert_caught_by(
        &report,
        "an update of an old state is a conflict with the current one",
    );
    assert_caught_by(
        &report,
        "each operation has its outcome in the order of the batch",
    );
}

#[tokio::test]
async fn forgetting_operations_is_caught() {
    let report = examine_remote(RemoteMistake::ForgetsOperations).await;
    assert_caught_by(&report, "a repeated create has no second effect");
    assert_caught_by(&report, "a repeated update does not undo a later write");
}

#[tokio::test]
async fn ignoring_conditions_is_caught() {
    let report = examine_remote(RemoteMistake::IgnoresConditions).await;
    assert_caught_by(
        &report,
        "an update of an old state is a conflict with the current one",
    );
    assert_caught_by(&report, "no increment is lost in a race");
}

#[tokio::test]
async fn ignoring_scopes_is_caught() {
    let report = examine_remote(RemoteMistake::IgnoresScopes).await;
    assert_caught_by(&report, "the same id in two scopes is two records");
    assert_caught_by(&report, "a record of another scope is neither seen nor changed");
}

#[tokio::test]
async fn hiding_an_expired_sign_in_is_caught() {
    let report = examine_remote(RemoteMistake::AnswersEmptyWhenSignedOut).await;
    assert_caught_by(&report, "an expired sign in is unauthenticated in every call");
}
