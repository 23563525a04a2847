//! The write-ahead log of SQLite: it stays short, and nothing is lost in keeping it so.

use std::fs;

use futures::future::join_all;
use store_sea_orm::{Durability, OpenOptions, SeaOrmLocalStore};
use sync_core::LocalStore;
use tempfile::TempDir;

use crate::fixtures::{contents, enqueue};

/// How many pages the log is to have.
const PAGES: u32 = 200;

/// A page of the log with its header, in bytes.
const PAGE: u64 = 4_096 + 24;

/// What one write may add after the log has reached its greatest length, in pages.
const ONE_WRITE: u64 = 40;

/// With one, a thread makes all writes; with the other, short ones are made in the calling task.
const EACH: [Durability; 2] = [Durability::Full, Durability::Normal];

async fn open(folder: &TempDir, durability: Durability) -> SeaOrmLocalStore {
    let options = OpenOptions::file(folder.path().join("store.db"));
    let options = options.wal_pages(PAGES).durability(durability);
    SeaOrmLocalStore::open(options).await.unwrap()
}

fn length(folder: &TempDir) -> u64 {
    fs::metadata(folder.path().join("store.db-wal")).unwrap().len() / PAGE
}

async fn write(store: &SeaOrmLocalStore, numbers: std::ops::Range<u128>) {
    for number in numbers {
        let change = enqueue(&format!("r{number}"), number, r#"{"title":"some text"}"#);
        store.commit(change).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_short_while_one_write_follows_the_other() {
    for durability in EACH {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, durability).await;
        write(&store, 0..1_000).await;
        let pages = length(&folder);
        assert!(pages <= u64::from(2 * PAGES) + ONE_WRITE, "{pages} pages");
        assert_eq!(contents(&store).await.len(), 1_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_short_while_many_write_at_once() {
    for durability in EACH {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, durability).await;
        let writers = (0..16_u128).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move { write(&store, writer * 100..(writer + 1) * 100).await })
        });
        for outcome in join_all(writers).await {
            outcome.unwrap();
        }
        let pages = length(&folder);
        // A group of writes is one commit.
        assert!(pages <= u64::from(2 * PAGES) + 16 * ONE_WRITE, "{pages} pages");
        assert_eq!(contents(&store).await.len(), 1_600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_grows_for_as_long_as_somebody_reads_an_old_state_and_starts_anew_then() {
    for durability in EACH {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, durability).await;
        write(&store, 0..10).await;
        let reader = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let count = || -> i64 {
            let asked = reader.query_row("SELECT count(*) FROM sync_records", (), |row| row.get(0));
            asked.unwrap()
        };
        assert_eq!(count(), 10);
        write(&store, 10..400).await;
        assert_eq!(count(), 10);
        let long = length(&folder);
        assert!(long > u64::from(2 * PAGES) + ONE_WRITE, "{long} pages");
        reader.execute_batch("COMMIT").unwrap();
        write(&store, 400..1_200).await;
        // The file keeps its length, for its next pages take the place of old ones. Without a new start it would be more
        // than twice as long.
        let later = length(&folder);
        assert!(later < long + long / 2, "{later} pages after {long}");
        assert_eq!(contents(&store).await.len(), 1_200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_closes_while_pages_are_moved_leaves_nothing_behind() {
    for durability in EACH {
        let folder = TempDir::new().unwrap();
        for round in 0..20_u128 {
            let store = open(&folder, durability).await;
            // Some rounds end right after the thread was started.
            write(&store, round * 40..(round + 1) * 40).await;
            store.close().await.unwrap();
            let log = folder.path().join("store.db-wal");
            assert!(!log.exists(), "the last connection to a file removes its log");
            let store = open(&folder, durability).await;
            assert_eq!(contents(&store).await.len() as u128, (round + 1) * 40);
            store.close().await.unwrap();
        }
    }
}
