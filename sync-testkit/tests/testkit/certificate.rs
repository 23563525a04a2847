//! The certificates in the book are those of the memory implementations as they are, and a failure shows in one.

use std::{path::PathBuf, time::Duration};

use adapter_memory::MemoryRemoteStore;
use sync_testkit::{
    certificate::{self, Verdict},
    naive::{RemoteMistake, StoreMistake},
};

use crate::fixtures::{Memory, MemoryRemotes};

fn page(name: &str) -> PathBuf {
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/proof/certificates");
    PathBuf::from(book).join(name)
}

#[tokio::test]
async fn the_certificate_of_the_memory_store_is_in_the_book() {
    let certificate = certificate::of_local(&Memory::default()).await;
    certificate.assert_written_at(page("memory-store.md"));
}

#[tokio::test]
async fn the_certificates_of_the_memory_remotes_are_in_the_book() {
    let strong = MemoryRemotes::new(MemoryRemoteStore::builder);
    let certificate = certificate::of_remote(&strong).await;
    certificate.assert_written_at(page("memory-remote.md"));
    let timestamps =
        MemoryRemotes::new(|| MemoryRemoteStore::builder().timestamp_profile(Duration::from_secs(5)));
    let certificate = certificate::of_remote(&timestamps).await;
    certificate.assert_written_at(page("memory-remote-timestamps.md"));
    let snapshots = MemoryRemotes::new(|| MemoryRemoteStore::builder().snapshot_profile());
    let certificate = certificate::of_remote(&snapshots).await;
    certificate.assert_written_at(page("memory-remote-snapshots.md"));
}

#[tokio::test]
async fn a_certificate_names_the_promises_that_are_broken_and_no_other() {
    let skips = MemoryRemotes::with_mistake(RemoteMistake::CursorByTime);
    let certificate = certificate::of_remote(&skips).await;
    assert!(!certificate.is_passed());
    let verdict = |name: &str| {
        let mut verdicts = certificate.verdicts().iter();
        verdicts.find(|(of, _)| *of == name).unwrap().1.clone()
    };
    assert!(matches!(verdict("P5"), Verdict::Failed { .. }), "{certificate}");
    assert!(matches!(verdict("P9"), Verdict::Passed { .. }), "{certificate}");
    assert!(
        matches!(verdict("P1"), Verdict::NotExamined { .. }),
        "{certificate}"
    );
    let outcome = std::panic::catch_unwind(|| certificate.assert_passed());
    assert!(outcome.is_err(), "a failure passed");
}

#[tokio::test]
async fn a_store_that_commits_rows_before_operations_loses_its_certificate() {
    let mistake = Some(StoreMistake::CommitsRowsBeforeOperations);
    let certificate = certificate::of_local(&Memory { mistake }).await;
    assert!(!certificate.is_passed(), "{certificate}");
}

#[test]
fn a_page_that_is_not_the_certificate_any_more_is_noticed() {
    if std::env::var_os("UPDATE_CERTIFICATES").is_some() {
        // This run writes pages instead of comparing them.
        return;
    }
    let snapshots = MemoryRemotes::new(|| MemoryRemoteStore::builder().snapshot_profile());
    let certificate = futures::executor::block_on(certificate::of_remote(&snapshots));
    let stale = std::panic::catch_unwind(|| certificate.assert_written_at(page("memory-remote.md")));
    assert!(stale.is_err(), "a page about something else passed");
}
