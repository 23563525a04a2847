//! The suites of the testkit.

use sync_testkit::{local_suite, query_suite};

use super::DRIVER;
use crate::fixtures::{Files, Memory};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_memory_conforms() {
    local_suite::run(&Memory(DRIVER)).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_a_file_conforms() {
    local_suite::run(&Files::new(DRIVER)).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_answers_queries_as_the_reference_evaluator_does() {
    query_suite::run(&Memory(DRIVER), 1, 200).await.assert_passed();
}
