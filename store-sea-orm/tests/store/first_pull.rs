//! Large commits of records that are taken to be new, beside another process.

use store_sea_orm::{OpenOptions, SeaOrmLocalStore, SqliteDriver};
use sync_core::{ChangeSet, CommitOutcome, LocalStore, LocalStoreExt};

use super::fixtures::{confirm, enqueue, key, todos};

const RECORDS: usize = 3_000;

/// More records than the small page cache holds, not in the order of their ids.
fn page(with: Option<&str>) -> ChangeSet {
    let json = format!(r#"{{"text":"{}"}}"#, "x".repeat(4_000));
    let ids: Vec<String> = (0..RECORDS).map(|n| format!("{:04}", n * 7 % RECORDS)).collect();
    let ids = ids.iter().map(String::as_str).chain(with);
    let mut changes = confirm(ids.map(|id| (id, json.as_str())));
    changes.confirmed[0].only_new = true;
    changes
}

#[tokio::test]
async fn what_another_process_wrote_meanwhile_undoes_a_large_commit_of_new_records_as_a_whole() {
    for driver in [SqliteDriver::Direct, SqliteDriver::Sqlx] {
        let folder = tempfile::tempdir().unwrap();
        let options = || OpenOptions::file(folder.path().join("a.db")).sqlite_driver(driver);
        let store = SeaOrmLocalStore::open(options()).await.unwrap();
        let other = SeaOrmLocalStore::open(options()).await.unwrap();
        assert_eq!(store.count(&todos(), None).await.unwrap(), 0);
        // The last in the order of ids: all others are written before it is met.
        other.commit(enqueue("zzz", 1, "{}")).await.unwrap();
        let before = other.load_record(&key("zzz")).await.unwrap();
        let outcome = store.commit(page(Some("zzz"))).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Stale(vec![key("zzz")]));
        for store in [&store, &other] {
            assert_eq!(store.count(&todos(), None).await.unwrap(), 1);
            assert_eq!(store.load_record(&key("zzz")).await.unwrap(), before);
        }
        assert_eq!(store.commit(page(None)).await.unwrap(), CommitOutcome::Committed);
        for store in [&store, &other] {
            assert_eq!(store.count(&todos(), None).await.unwrap(), RECORDS as u64 + 1);
            let record = store.load_record(&key("2999")).await.unwrap();
            assert!(record.view.is_some() && record.base.is_live());
        }
        let again = store.commit(page(None)).await.unwrap();
        assert!(
            matches!(&again, CommitOutcome::Stale(known) if known.contains(&key("0000"))),
            "{driver:?}: {again:?}"
        );
        store.close().await.unwrap();
        other.close().await.unwrap();
        let file = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        let sound: String = file
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}
