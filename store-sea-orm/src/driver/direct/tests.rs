//! Which connection reads, and what it sees; where writes are made.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use sync_core::{ErrorKind, Result};
use tempfile::TempDir;

use super::{DirectDatabase, Place, Readers, VisitedRow, lock, open};
use crate::{
    Durability, OpenOptions,
    dialect::Dialect,
    driver::{Step, Transaction, Write},
    row::ReadRow,
    sql::Sql,
};

/// Inserts a row, says so, and waits before it goes on.
#[derive(Debug)]
struct HeldInsert {
    inserted: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

#[async_trait]
impl Write for HeldInsert {
    type Draft = ();
    type Answer = ();

    fn rows(&self) -> usize {
        1
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<(), ()>> {
        transaction.run(sql("INSERT INTO t VALUES (1)")).await?;
        self.inserted.send(()).unwrap();
        lock(&self.go_on).recv().unwrap();
        Ok(Step::Commit(()))
    }

    fn committed(&self, (): ()) {}
}

/// Inserts a row, takes its time, and tells which thread did it.
#[derive(Clone, Copy, Debug, Default)]
struct TimedInsert {
    value: i64,
    rows: usize,
    takes: Duration,
}

#[async_trait]
impl Write for TimedInsert {
    type Draft = ThreadId;
    type Answer = ThreadId;

    fn rows(&self) -> usize {
        self.rows
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<ThreadId, ThreadId>> {
        let mut insert = sql("INSERT INTO t VALUES (");
        insert.bind(self.value).push(")");
        transaction.run(insert).await?;
        thread::sleep(self.takes);
        Ok(Step::Commit(thread::current().id()))
    }

    fn committed(&self, thread: ThreadId) -> ThreadId {
        thread
    }
}

fn sql(text: &'static str) -> Sql {
    Sql::new(Dialect::Sqlite, text)
}

async fn database(folder: &TempDir) -> DirectDatabase {
    database_with(folder, Durability::Full).await
}

async fn database_with(folder: &TempDir, durability: Durability) -> DirectDatabase {
    let path = folder.path().join("store.db");
    let made = rusqlite::Connection::open(&path).unwrap();
    made.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
    drop(made);
    let options = OpenOptions::file(path.clone()).durability(durability);
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
    let write = HeldInsert {
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

/// Whether a write was made by the thread that asked for it.
async fn is_made_here(database: &DirectDatabase, write: TimedInsert) -> bool {
    database.write(write, ()).await.unwrap() == thread::current().id()
}

#[tokio::test]
async fn a_short_write_that_need_not_wait_for_the_disk_is_made_in_the_calling_task() {
    let cases = [
        (Durability::Normal, 1, true),
        (Durability::Normal, 1_000, false),
        (Durability::Full, 1, false),
    ];
    for (durability, rows, here) in cases {
        let folder = TempDir::new().unwrap();
        let database = database_with(&folder, durability).await;
        let write = TimedInsert {
            rows,
            ..TimedInsert::default()
        };
        assert_eq!(
            is_made_here(&database, write).await,
            here,
            "{durability:?}, {rows} rows"
        );
    }
}

#[tokio::test]
async fn a_thread_is_started_when_it_is_needed_and_the_connection_is_closed_without_one_too() {
    for (durability, needed) in [(Durability::Normal, false), (Durability::Full, true)] {
        let folder = TempDir::new().unwrap();
        let database = database_with(&folder, durability).await;
        assert_eq!(rows(&database), 0);
        assert!(!database.writer.has_thread(), "{durability:?}: only read");
        database.write(TimedInsert::default(), ()).await.unwrap();
        assert_eq!(database.writer.has_thread(), needed, "{durability:?}");
        let log = folder.path().join("store.db-wal");
        assert!(log.exists());
        database.close().await;
        // The last connection takes it along.
        assert!(!log.exists(), "{durability:?}");
        let late = database.write(TimedInsert::default(), ()).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Stopped, "{durability:?}");
    }
}

#[tokio::test]
async fn after_a_write_that_took_long_others_do_not_hold_the_task_up_for_a_while() {
    let folder = TempDir::new().unwrap();
    let database = database_with(&folder, Durability::Normal).await;
    let slow = TimedInsert {
        takes: Duration::from_millis(5),
        ..TimedInsert::default()
    };
    assert!(is_made_here(&database, slow).await);
    let mut elsewhere = 0;
    while !is_made_here(&database, TimedInsert::default()).await {
        elsewhere += 1;
    }
    // More, if one of those that followed took long as well.
    assert!(elsewhere >= 16, "{elsewhere}");
}

#[tokio::test]
async fn a_short_write_does_not_hold_the_task_up_while_another_program_writes() {
    let folder = TempDir::new().unwrap();
    let database = database_with(&folder, Durability::Normal).await;
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (polled, was_polled) = channel();
    let other = thread::spawn(move || {
        // A poll that waits for the lock would never end otherwise.
        let _ = was_polled.recv_timeout(Duration::from_secs(2));
        other.execute_batch("COMMIT").unwrap();
    });
    let mut write = Box::pin(database.write(TimedInsert::default(), ()));
    assert!(futures::poll!(&mut write).is_pending());
    polled.send(()).unwrap();
    assert_ne!(write.await.unwrap(), thread::current().id());
    other.join().unwrap();
}

#[tokio::test]
async fn a_short_write_does_not_hold_the_task_up_while_somebody_reads_on_its_connection() {
    let folder = TempDir::new().unwrap();
    let database = database_with(&folder, Durability::Normal).await;
    database.write(TimedInsert::default(), ()).await.unwrap();
    let mut write = Box::pin(database.write(TimedInsert::default(), ()));
    let mut polls = Vec::new();
    let mut while_reading = |_: &VisitedRow<'_>| {
        polls.push((&mut write).now_or_never().is_none());
        Ok(())
    };
    database
        .visit(sql("SELECT n FROM t"), &mut while_reading)
        .unwrap();
    assert_eq!(polls, [true]);
    assert_ne!(write.await.unwrap(), thread::current().id());
    assert_eq!(own_connections(&database), 0, "it was the writer's connection");
}

#[tokio::test]
async fn a_short_write_does_not_overtake_one_that_waits() {
    let folder = TempDir::new().unwrap();
    let database = database_with(&folder, Durability::Normal).await;
    let long = TimedInsert {
        value: 1,
        rows: 1_000,
        takes: Duration::from_millis(5),
    };
    let short = TimedInsert {
        value: 2,
        ..TimedInsert::default()
    };
    let mut first = Box::pin(database.write(long, ()));
    assert!(futures::poll!(&mut first).is_pending());
    database.write(short, ()).await.unwrap();
    let values = database.rows(sql("SELECT n FROM t ORDER BY rowid")).unwrap();
    let values = values.iter().map(|row| row.int(0).unwrap());
    assert_eq!(values.collect::<Vec<_>>(), [1, 2]);
    first.await.unwrap();
}

#[tokio::test]
async fn a_task_that_writes_in_a_loop_lets_others_run() {
    let folder = TempDir::new().unwrap();
    let database = database_with(&folder, Durability::Normal).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..100 {
        database.write(TimedInsert::default(), ()).await.unwrap();
    }
    let turns = turns.load(Ordering::Relaxed);
    other.abort();
    assert!(turns >= 5, "{turns} turns in 100 writes");
}
