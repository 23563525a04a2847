//! A report says what failed and why; a case that misbehaves ends alone.

use std::{sync::Arc, time::Duration};

use adapter_memory::MemoryLocalStore;
use async_trait::async_trait;
use sync_core::LocalStore;
use sync_testkit::{CaseOutcome, local_suite};

struct PanicsWhenReopened;

#[async_trait]
impl local_suite::LocalFixture for PanicsWhenReopened {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        Arc::new(MemoryLocalStore::new())
    }

    async fn reopen(&self, _: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        panic!("the file is gone")
    }
}

#[tokio::test]
async fn a_panic_fails_its_own_case_and_stands_in_the_table() {
    let report = local_suite::run(&PanicsWhenReopened).await;
    let failed: Vec<&str> = report.failures().map(|case| case.name.as_str()).collect();
    assert!(
        failed.contains(&"a restart keeps everything") && failed.len() < 5,
        "{failed:?}"
    );
    let table = report.to_string();
    assert!(table.contains("FAILED | a restart keeps everything"), "{table}");
    assert!(table.contains("panicked: the file is gone"), "{table}");
    let outcome = std::panic::catch_unwind(|| report.assert_passed());
    assert!(outcome.is_err(), "assert_passed let a failure pass");
}

struct NeverReopens;

#[async_trait]
impl local_suite::LocalFixture for NeverReopens {
    async fn fresh(&self) -> Arc<dyn LocalStore> {
        Arc::new(MemoryLocalStore::new())
    }

    async fn reopen(&self, _: Arc<dyn LocalStore>) -> Arc<dyn LocalStore> {
        std::future::pending().await
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[tokio::test]
async fn a_case_that_never_ends_fails_at_its_deadline() {
    let report = local_suite::run(&NeverReopens).await;
    let case = report
        .cases()
        .iter()
        .find(|case| case.name == "a restart keeps everything");
    let expected = CaseOutcome::Failed {
        message: "did not end within 200ms".into(),
    };
    assert_eq!(case.map(|case| &case.outcome), Some(&expected), "{report}");
}
