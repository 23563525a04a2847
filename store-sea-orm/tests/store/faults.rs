//! Bad files, full disks and locks: a clear error, nothing lost, and the store works again afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
use sync_core::{CommitOutcome, ErrorKind, LocalStore};
use tempfile::TempDir;

use super::DRIVER;
use crate::fixtures::{confirm, contents, enqueue};

const SOME: [(&str, &str); 2] = [("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#)];

fn file(path: impl Into<PathBuf>) -> OpenOptions {
    OpenOptions::file(path).sqlite_driver(DRIVER)
}

async fn connect(path: &Path) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite:{}?mode=rwc", path.display()));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// A file with the records [`SOME`], closed.
async fn filled_file(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("store.db");
    let store = SeaOrmLocalStore::open(file(&path)).await.unwrap();
    assert_eq!(
        store.commit(confirm(SOME)).await.unwrap(),
        CommitOutcome::Committed
    );
    store.close().await.unwrap();
    path
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("letter.txt");
    let text = "Dear Ada, this is not a database. ".repeat(200);
    fs::write(&path, &text).unwrap();
    let error = SeaOrmLocalStore::open(file(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("choose another path"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.db");
    let other = connect(&path).await;
    other
        .execute_unprepared("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
        .await
        .unwrap();
    other.close().await.unwrap();
    let error = SeaOrmLocalStore::open(file(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("recipes"), "{error}");

    let other = connect(&path).await;
    let tables = other.query_all_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Sqlite,
        "SELECT name FROM sqlite_schema",
    ));
    assert_eq!(tables.await.unwrap().len(), 1);
    // An app that wants both in one file shares its connection.
    let store = SeaOrmLocalStore::with_connection(other).await.unwrap();
    store.commit(confirm(SOME)).await.unwrap();
    assert_eq!(contents(&store).await.len(), 2);
}

#[tokio::test]
async fn a_damaged_page_is_corrupt_and_not_an_answer() {
    let folder = TempDir::new().unwrap();
    let path = filled_file(&folder).await;
    let mut bytes = fs::read(&path).unwrap();
    for byte in &mut bytes[4_096..] {
        *byte = 0x5a;
    }
    fs::write(&path, &bytes).unwrap();
    let error = match SeaOrmLocalStore::open(file(&path)).await {
        Ok(store) => store
            .query(&crate::fixtures::todos(), &Default::default())
            .await
            .unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = filled_file(&folder).await;
    let newer = connect(&path).await;
    newer
        .execute_unprepared("INSERT INTO sync_migrations VALUES (999, 'from the future', 0)")
        .await
        .unwrap();
    let error = SeaOrmLocalStore::open(file(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerSchema, "{error}");
    assert!(error.to_string().contains("update the program"), "{error}");

    newer
        .execute_unprepared("DELETE FROM sync_migrations WHERE version = 999")
        .await
        .unwrap();
    let store = SeaOrmLocalStore::open(file(&path)).await.unwrap();
    assert_eq!(contents(&store).await.len(), 2);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_store_works_again_with_space() {
    let folder = TempDir::new().unwrap();
    let connection = connect(&folder.path().join("store.db")).await;
    connection
        .execute_unprepared("PRAGMA journal_mode = WAL")
        .await
        .unwrap();
    let store = SeaOrmLocalStore::with_connection(connection.clone())
        .await
        .unwrap();
    store.commit(confirm(SOME)).await.unwrap();
    let before = contents(&store).await;

    connection
        .execute_unprepared("PRAGMA max_page_count = 1")
        .await
        .unwrap();
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(300_000));
    for number in 1..=3 {
        let error = store.commit(enqueue("large", number, &large)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(contents(&store).await, before);
        assert_eq!(store.count_ops(None).await.unwrap().total(), 0);
    }

    connection
        .execute_unprepared("PRAGMA max_page_count = 100000")
        .await
        .unwrap();
    assert_eq!(
        store.commit(enqueue("large", 9, &large)).await.unwrap(),
        CommitOutcome::Committed
    );
    assert_eq!(contents(&store).await.len(), 3);
    // A transaction that was not ended properly would show as a lock that stays.
    let other = SeaOrmLocalStore::open(file(folder.path().join("store.db")))
        .await
        .unwrap();
    assert_eq!(
        other.commit(enqueue("small", 10, "{}")).await.unwrap(),
        CommitOutcome::Committed
    );
    assert_eq!(contents(&store).await.len(), 4);
}

#[tokio::test]
async fn a_read_only_store_answers_and_refuses_writes() {
    let folder = TempDir::new().unwrap();
    let path = filled_file(&folder).await;
    for parameter in ["mode=ro", "immutable=1"] {
        let url = format!("sqlite:{}?{parameter}", path.display());
        let store = SeaOrmLocalStore::open(OpenOptions::url(url)).await.unwrap();
        assert_eq!(contents(&store).await.len(), 2);
        let error = store.commit(enqueue("c", 1, "{}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{parameter}: {error}");
        assert!(error.to_string().contains("writable"), "{error}");
        assert_eq!(contents(&store).await.len(), 2);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_file_that_cannot_be_written_is_read_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("empty.db");
    fs::write(&path, "").unwrap();
    let url = format!("sqlite:{}?mode=ro", path.display());
    let error = SeaOrmLocalStore::open(OpenOptions::url(url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(fs::read(&path).unwrap().len(), 0);
}

#[tokio::test]
async fn a_missing_folder_is_named_as_the_mistake() {
    let folder = TempDir::new().unwrap();
    let error = SeaOrmLocalStore::open(file(folder.path().join("no/such/store.db")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("folder"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_is_busy_and_works_when_the_lock_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = filled_file(&folder).await;
    let options = file(&path).busy_timeout(Duration::from_millis(50));
    let store = SeaOrmLocalStore::open(options.clone()).await.unwrap();
    let locker = connect(&path).await;
    locker.execute_unprepared("BEGIN EXCLUSIVE").await.unwrap();

    for number in 1..=3 {
        let error = store.commit(enqueue("c", number, "{}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(error.to_string().contains("try again"), "{error}");
    }
    assert_eq!(contents(&store).await.len(), 2, "reads go on");

    locker.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(
        store.commit(enqueue("c", 4, "{}")).await.unwrap(),
        CommitOutcome::Committed
    );
    assert_eq!(contents(&store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_that_is_locked_is_busy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let locker = connect(&path).await;
    locker.execute_unprepared("BEGIN EXCLUSIVE").await.unwrap();
    let options = file(&path).busy_timeout(Duration::from_millis(50));
    let error = SeaOrmLocalStore::open(options.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    locker.execute_unprepared("ROLLBACK").await.unwrap();
    SeaOrmLocalStore::open(options).await.unwrap();
}
