//! Writes that are committed together: each is answered for itself.

use futures::future::join_all;
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{CommitOutcome, ErrorKind, LocalStore};
use tempfile::TempDir;

use crate::fixtures::{contents, enqueue, key};

async fn open(folder: &TempDir) -> SeaOrmLocalStore {
    SeaOrmLocalStore::open(OpenOptions::file(folder.path().join("store.db")))
        .await
        .unwrap()
}

/// A second connection, whose lock holds the writer up while writes gather.
fn lock(folder: &TempDir) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_together_are_all_there_and_a_stale_one_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let other = lock(&folder);
    let writes = (0..200_u128).map(|number| {
        let store = store.clone();
        // Every tenth asks for a record that an earlier one of them has made.
        let id = if number % 10 == 9 { number - 1 } else { number };
        tokio::spawn(async move { store.commit(enqueue(&format!("r{id}"), number, "{}")).await })
    });
    let writes: Vec<_> = writes.collect();
    other.execute_batch("ROLLBACK").unwrap();
    let mut committed = 0;
    let mut stale = 0;
    for (number, outcome) in join_all(writes).await.into_iter().enumerate() {
        match outcome.unwrap().unwrap() {
            CommitOutcome::Committed => committed += 1,
            CommitOutcome::Stale(keys) => {
                stale += 1;
                let id = if number % 10 == 9 { number - 1 } else { number };
                assert_eq!(keys, [key(&format!("r{id}"))]);
            }
        }
    }
    assert_eq!((committed, stale), (180, 20));
    assert_eq!(contents(&store).await.len(), 180);
    assert_eq!(store.count_ops(None).await.unwrap().total(), 180);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_write_that_does_not_fit_leaves_the_others_of_its_group_alone() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let other = lock(&folder);
    let writes = (0..50_u128).map(|number| {
        let store = store.clone();
        // An operation id that is taken is refused by the database itself.
        let id = if number == 25 { 24 } else { number };
        tokio::spawn(async move { store.commit(enqueue(&format!("r{number}"), id, "{}")).await })
    });
    let writes: Vec<_> = writes.collect();
    other.execute_batch("ROLLBACK").unwrap();
    let outcomes = join_all(writes).await;
    let refused: Vec<_> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.unwrap().err())
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].kind(), ErrorKind::Invalid, "{}", refused[0]);
    assert_eq!(contents(&store).await.len(), 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_program_is_waited_for_once_by_the_whole_group() {
    let folder = TempDir::new().unwrap();
    let options =
        OpenOptions::file(folder.path().join("store.db")).busy_timeout(std::time::Duration::from_millis(100));
    let store = SeaOrmLocalStore::open(options).await.unwrap();
    let other = lock(&folder);
    let writes = (0..40_u128).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(enqueue(&format!("r{number}"), number, "{}")).await })
    });
    for outcome in join_all(writes.collect::<Vec<_>>()).await {
        assert_eq!(outcome.unwrap().unwrap_err().kind(), ErrorKind::Busy);
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        store.commit(enqueue("r", 99, "{}")).await.unwrap(),
        CommitOutcome::Committed
    );
    assert_eq!(contents(&store).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_has_finished_the_writes_that_were_given_up() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let other = lock(&folder);
    for number in 0..20_u128 {
        let commit = store.commit(enqueue(&format!("r{number}"), number, "{}"));
        // Polled once, then dropped.
        assert!(futures::FutureExt::now_or_never(commit).is_none());
    }
    other.execute_batch("ROLLBACK").unwrap();
    store.close().await.unwrap();
    assert_eq!(contents(&open(&folder).await).await.len(), 20);
}
