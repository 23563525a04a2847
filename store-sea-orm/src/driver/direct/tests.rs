//! Which connection reads, and what it sees.

use std::sync::{
    Mutex,
    mpsc::{Receiver, Sender, channel},
};

use async_trait::async_trait;
use sync_core::Result;
use tempfile::TempDir;

use super::{DirectDatabase, Place, Readers, lock, open};
use crate::{
    OpenOptions,
    dialect::Dialect,
    driver::{Step, Transaction, Write},
    sql::Sql,
};

/// Inserts a row, says so, and waits before it goes on.
#[derive(Debug)]
struct Insert {
    inserted: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

#[async_trait]
impl Write for Insert {
    type Draft = ();
    type Answer = ();

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<(), ()>> {
        transaction.run(sql("INSERT INTO t VALUES (1)")).await?;
        self.inserted.send(()).unwrap();
        lock(&self.go_on).recv().unwrap();
        Ok(Step::Commit(()))
    }

    fn committed(&self, (): ()) {}
}

fn sql(text: &'static str) -> Sql {
    Sql::new(Dialect::Sqlite, text)
}

async fn database(folder: &TempDir) -> DirectDatabase {
    let path = folder.path().join("store.db");
    let made = rusqlite::Connection::open(&path).unwrap();
    made.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
    drop(made);
    let options = OpenOptions::file(path.clone());
    open(&options, Place::File(path)).await.unwrap()
}

fn rows(database: &DirectDatabase) -> usize {
    database.rows(sql("SELECT n FROM t")).unwrap().len()
}

fn own_connections(database: &DirectDatabase) -> usize {
    match &database.readers {
        Readers::Writer(_) => panic!("a file has readers of its own"),
        Readers::Own(idle, _) => lock(&idle.connections).len(),
    }
}

#[tokio::test]
async fn the_first_reads_need_no_connection_of_their_own() {
    let folder = TempDir::new().unwrap();
    let database = database(&folder).await;
    assert_eq!(rows(&database), 0);
    assert_eq!(own_connections(&database), 0);
    drop(database.begin_read().unwrap());
    assert_eq!(own_connections(&database), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_beside_a_write_does_not_see_what_is_not_committed() {
    let folder = TempDir::new().unwrap();
    let database = database(&folder).await;
    let (inserted, is_inserted) = channel();
    let (goes_on, go_on) = channel();
    let write = Insert {
        inserted,
        go_on: Mutex::new(go_on),
    };
    let reads = async {
        // The write runs on the writer's thread, whatever this task does.
        is_inserted.recv().unwrap();
        let seen = rows(&database);
        goes_on.send(()).unwrap();
        seen
    };
    let (written, seen) = futures::join!(database.write(write, ()), reads);
    written.unwrap();
    assert_eq!(seen, 0);
    assert_eq!(rows(&database), 1);
}
