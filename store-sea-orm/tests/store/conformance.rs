//! The suites of the testkit.

use sync_testkit::{local_suite, query_suite};

use crate::fixtures::{Files, Memory, Server};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_memory_conforms() {
    local_suite::run(&Memory).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_a_file_conforms() {
    local_suite::run(&Files::new()).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_answers_queries_as_the_reference_evaluator_does() {
    query_suite::run(&Memory, 1, 200).await.assert_passed();
}

/// The server to test against, if the environment names one.
fn server(variable: &str, required_in_ci: bool) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!(required_in_ci && in_ci), "{variable} must be set in CI");
        eprintln!("NOT TESTED: {variable} is not set");
    }
    url
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let Some(url) = server("TEST_POSTGRES_URL", true) else {
        return;
    };
    let server = Server::connect(&url).await;
    local_suite::run(&server).await.assert_passed();
    query_suite::run(&server, 1, 5).await.assert_passed();
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mysql_conforms() {
    let Some(url) = server("TEST_MYSQL_URL", false) else {
        return;
    };
    let server = Server::connect(&url).await;
    local_suite::run(&server).await.assert_passed();
    query_suite::run(&server, 1, 5).await.assert_passed();
}
