//! Moving pages from the write-ahead log into the database file while writes go on.
//!
//! SQLite does this within the commit that fills the log, which then takes hundreds of times as long as others. Here a
//! thread of its own moves most pages, and the writer only the last few, between two commits: a log starts anew once
//! all of it has been moved, and only the writer can tell that nothing was added meanwhile.

use std::{
    cell::Cell,
    ffi::c_int,
    io, mem,
    sync::Mutex,
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, hooks::Wal};
use sync_core::Result;

use super::{
    connect::{self, Settings},
    lock,
};
use crate::error::from_rusqlite;

/// How often the thread moves what was written while it moved the pages before. Each time there is less.
const ROUNDS: usize = 4;

thread_local! {
    /// How many pages the log had after the last commit of this thread, until somebody asks for it.
    static PAGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Counts the pages of the log with each commit of a connection, instead of letting SQLite move them.
pub(super) fn count_pages(connection: &Connection) {
    connection.wal_hook(Some(|_: &Wal, pages: c_int| {
        PAGES.set(u32::try_from(pages).ok());
        Ok(())
    }));
}

/// Keeps the log of one database short.
#[derive(Debug)]
pub(super) struct Checkpoints {
    settings: Settings,
    pace: Pace,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            pace: Pace::new(settings.wal_pages),
            settings,
            thread: None,
        }
    }

    /// What is to be done after a commit of the current thread; nothing if it committed nothing.
    pub(super) fn next(&mut self) -> Next {
        let Some(pages) = PAGES.take() else {
            return Next::Nothing;
        };
        let finished = self.thread.as_ref().map(JoinHandle::is_finished);
        self.pace.next(pages, finished)
    }

    /// Does it. May wait for the disk.
    pub(super) fn act(&mut self, next: Next, writer: &Mutex<Connection>) {
        match next {
            Next::Nothing => {}
            Next::Start => {
                if let Err(error) = self.start() {
                    tracing::debug!(%error, "no thread for the write-ahead log");
                    finish(writer);
                }
            }
            Next::Finish => {
                self.join();
                finish(writer);
            }
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let settings = self.settings.clone();
        let thread = thread::Builder::new().name("sync-checkpoint".to_owned());
        self.thread = Some(thread.spawn(move || {
            if let Err(error) = move_pages(&settings) {
                tracing::debug!(%error, "the pages of the write-ahead log could not be moved");
            }
        })?);
        Ok(())
    }

    /// Waits for the thread, if there is one.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("moving the pages of the write-ahead log ended early");
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.join();
    }
}

/// Moves pages on a connection of its own, until few are left or others still read the old ones.
fn move_pages(settings: &Settings) -> Result<()> {
    let connection = connect::checkpointer(settings)?;
    let mut before = Moved::default();
    for _ in 0..ROUNDS {
        let moved = checkpoint(&connection)?;
        let written_meanwhile = moved.pages.saturating_sub(before.pages);
        if moved.done < moved.pages || written_meanwhile < settings.wal_pages / 16 {
            break;
        }
        before = moved;
    }
    Ok(())
}

/// Moves the rest on the writer's connection.
fn finish(writer: &Mutex<Connection>) {
    if let Err(error) = checkpoint(&lock(writer)) {
        // The pages stay in the log, where they are as safe.
        tracing::debug!(%error, "the write-ahead log could not be emptied");
    }
}

/// What a checkpoint tells.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    /// The pages of the log when it began.
    pages: u32,
    /// How many of them are in the database file now.
    done: u32,
}

/// Moves what can be moved without waiting for anybody.
fn checkpoint(connection: &Connection) -> Result<Moved> {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
        Ok(Moved {
            // Both are -1 if another program is at it.
            pages: row.get::<_, i64>(1)?.try_into().unwrap_or(0),
            done: row.get::<_, i64>(2)?.try_into().unwrap_or(0),
        })
    });
    moved.map_err(|error| from_rusqlite(&error))
}

/// When to do what.
#[derive(Debug)]
struct Pace {
    /// From how many pages on they are moved.
    start: u32,
    /// At how many pages writes wait until they have been moved.
    most: u32,
    /// The next number of pages to start at: later than `start` if the log did not start anew.
    due: u32,
    pages: u32,
}

/// What is to be done after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Let a thread move pages.
    Start,
    /// Wait for the thread, and move the rest.
    Finish,
}

impl Pace {
    fn new(pages: u32) -> Self {
        let start = (pages - pages / 4).max(1);
        Self {
            start,
            most: pages.saturating_mul(2),
            due: start,
            pages: 0,
        }
    }

    /// Decides, for a log of so many pages. `finished` is `None` if no thread was started.
    fn next(&mut self, pages: u32, finished: Option<bool>) -> Next {
        let before = mem::replace(&mut self.pages, pages);
        if pages < before {
            // The log started anew.
            self.due = self.start;
        }
        match finished {
            None if pages >= self.due => {
                // Somebody who reads an old state keeps the log from starting anew. It is tried again, but not with
                // every commit.
                self.due = pages.saturating_add(self.start);
                Next::Start
            }
            Some(finished) if finished || pages >= self.most.max(self.due) => Next::Finish,
            _ => Next::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Pace};

    fn pace() -> Pace {
        Pace::new(8_000)
    }

    #[test]
    fn a_short_log_is_left_alone_and_a_long_one_is_moved_by_a_thread() {
        let mut pace = pace();
        assert_eq!(pace.next(5_999, None), Next::Nothing);
        assert_eq!(pace.next(6_000, None), Next::Start);
    }

    #[test]
    fn writes_go_on_while_the_thread_moves_pages_and_the_writer_moves_the_rest() {
        let mut pace = pace();
        assert_eq!(pace.next(6_000, None), Next::Start);
        assert_eq!(pace.next(6_006, Some(false)), Next::Nothing);
        assert_eq!(pace.next(15_999, Some(false)), Next::Nothing);
        assert_eq!(pace.next(15_999, Some(true)), Next::Finish);
    }

    #[test]
    fn writes_wait_for_the_thread_when_the_log_is_twice_as_long_as_wished() {
        let mut pace = pace();
        assert_eq!(pace.next(6_000, None), Next::Start);
        assert_eq!(pace.next(16_000, Some(false)), Next::Finish);
    }

    #[test]
    fn a_log_that_starts_anew_is_moved_at_the_same_length_again() {
        let mut pace = pace();
        assert_eq!(pace.next(6_000, None), Next::Start);
        assert_eq!(pace.next(7_000, Some(true)), Next::Finish);
        assert_eq!(pace.next(6, None), Next::Nothing);
        assert_eq!(pace.next(6_000, None), Next::Start);
    }

    #[test]
    fn a_log_that_somebody_still_reads_is_not_tried_with_every_commit() {
        let mut pace = pace();
        assert_eq!(pace.next(6_000, None), Next::Start);
        assert_eq!(pace.next(7_000, Some(true)), Next::Finish);
        assert_eq!(pace.next(7_006, None), Next::Nothing);
        assert_eq!(pace.next(11_999, None), Next::Nothing);
        assert_eq!(pace.next(12_000, None), Next::Start);
        assert_eq!(
            pace.next(16_000, Some(false)),
            Next::Nothing,
            "that would hold writes up for nothing"
        );
        assert_eq!(pace.next(18_000, Some(false)), Next::Finish);
    }

    #[test]
    fn the_shortest_log_is_moved_with_every_commit() {
        let mut pace = Pace::new(1);
        assert_eq!(pace.next(1, None), Next::Start);
        assert_eq!(pace.next(2, Some(false)), Next::Finish);
    }
}
