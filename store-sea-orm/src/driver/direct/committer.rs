//! Running writes in transactions of one connection.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use rusqlite::Connection;
use sync_core::{ErrorKind, Result, SyncError};

use super::{
    DirectTransaction, Lent,
    checkpoint::{Checkpoints, Next},
    finish_now, lock, statement, try_lock,
};
use crate::{
    driver::{Step, Transaction, Write},
    error::from_rusqlite,
};

/// The one that commits. Who has it is the only one to write through this store's connection.
#[derive(Debug)]
pub(super) struct Committer {
    /// Ends before the connection, so that this one is the last to close and takes the log with it.
    checkpoints: Checkpoints,
    pub(super) connection: Arc<Mutex<Connection>>,
    busy_timeout: Duration,
}

/// A write whose statements are run, once or several times.
pub(super) trait Attempt {
    /// Runs the statements; returns whether they are to be kept.
    fn attempt(&mut self, transaction: &DirectTransaction) -> bool;
}

/// An [`Attempt`] with somebody who waits for its answer elsewhere.
pub(super) trait Job: Attempt + Send {
    /// Tells the answer, once it is known what became of the statements.
    fn settle(self: Box<Self>, outcome: Result<()>);
}

/// A [`Write`] and what came of its statements.
pub(super) struct Attempted<W: Write> {
    write: W,
    step: Option<Result<Step<W::Draft, W::Answer>>>,
}

impl<W: Write> Attempted<W> {
    pub(super) fn new(write: W) -> Self {
        Self { write, step: None }
    }

    /// The answer, once it is known what became of the statements.
    pub(super) fn answer(self, outcome: Result<()>) -> Result<W::Answer> {
        match (self.step, outcome) {
            (Some(Ok(Step::Commit(draft))), Ok(())) => {
                let committed = || self.write.committed(draft);
                catch_unwind(AssertUnwindSafe(committed)).map_err(|panic| ended_early(&*panic))
            }
            (Some(Ok(Step::Undo(answer))), _) => Ok(answer),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(ended_early(&"it was never run")),
        }
    }
}

impl<W: Write> Attempt for Attempted<W> {
    fn attempt(&mut self, transaction: &DirectTransaction) -> bool {
        let run = || finish_now(self.write.run(Transaction::Direct(transaction)));
        let step = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(ended_early(&*panic)));
        let keep = matches!(step, Ok(Step::Commit(_)));
        self.step = Some(step);
        keep
    }
}

/// The error of work that panicked.
pub(super) fn ended_early(panic: &(dyn Any + Send)) -> SyncError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    SyncError::new(
        ErrorKind::Internal,
        format!("a write ended early: {}", text.unwrap_or("it panicked")),
    )
}

impl Committer {
    pub(super) fn new(
        connection: Arc<Mutex<Connection>>,
        checkpoints: Checkpoints,
        busy_timeout: Duration,
    ) -> Self {
        Self {
            checkpoints,
            connection,
            busy_timeout,
        }
    }

    /// Runs these writes, answers them, and keeps the write-ahead log short after that.
    pub(super) fn commit(&mut self, group: Vec<Box<dyn Job>>) {
        if !group.is_empty() {
            self.commit_together(group);
            let next = self.checkpoints.next();
            self.keep_log_short(next);
        }
    }

    /// What is to be done with the write-ahead log after a commit of the current thread.
    pub(super) fn after_commit(&mut self) -> Next {
        self.checkpoints.next()
    }

    pub(super) fn keep_log_short(&mut self, next: Next) {
        self.checkpoints.act(next, &self.connection);
    }

    /// Runs a write in a transaction of its own, unless that does not begin at once, as when another program writes, or
    /// somebody reads on this connection.
    pub(super) fn commit_at_once(&self, write: &mut dyn Attempt) -> Option<Result<()>> {
        let begun = {
            let connection = try_lock(&self.connection)?;
            let begun = connection
                .busy_timeout(Duration::ZERO)
                .map_err(|error| from_rusqlite(&error))
                .and_then(|()| statement::control(&connection, "BEGIN IMMEDIATE"));
            if let Err(error) = connection.busy_timeout(self.busy_timeout) {
                tracing::warn!(%error, "the time to wait for locks could not be restored");
            }
            begun
        };
        begun.ok().map(|()| self.end(write))
    }

    /// Runs these writes in one transaction, and each in its own if that fails as a whole.
    fn commit_together(&self, mut group: Vec<Box<dyn Job>>) {
        if group.len() > 1 {
            if let Err(error) = self.control("BEGIN IMMEDIATE") {
                // Whoever holds the lock was waited for; it would not help to do that once for each of them.
                group.into_iter().for_each(|job| job.settle(Err(error.clone())));
                return;
            }
            match self.all(&mut group).and_then(|()| self.control("COMMIT")) {
                Ok(()) => {
                    group.into_iter().for_each(|job| job.settle(Ok(())));
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "a group of writes is taken apart");
                    self.roll_back();
                }
            }
        }
        for mut job in group {
            let outcome = match self.control("BEGIN IMMEDIATE") {
                Ok(()) => self.end(&mut *job),
                Err(error) => Err(error),
            };
            job.settle(outcome);
        }
    }

    /// Runs a write in the transaction that was begun for it, and ends that.
    fn end(&self, write: &mut (impl Attempt + ?Sized)) -> Result<()> {
        let keep = write.attempt(&self.transaction());
        let outcome = if keep { self.control("COMMIT") } else { Ok(()) };
        if !keep || outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// Runs all of them. Undoing one alone would take a savepoint for each, which costs as much as a page; so one that
    /// is to be undone after it wrote something fails the group.
    fn all(&self, group: &mut [Box<dyn Job>]) -> Result<()> {
        for job in group {
            let transaction = self.transaction();
            let keep = job.attempt(&transaction);
            // SQLite gives the whole transaction up after some errors, such as one of reading the file.
            if !keep && (transaction.may_have_written() || lock(&self.connection).is_autocommit()) {
                return Err(SyncError::new(
                    ErrorKind::Internal,
                    "one of the writes is to be undone",
                ));
            }
        }
        Ok(())
    }

    fn transaction(&self) -> DirectTransaction {
        DirectTransaction {
            connection: Lent::Shared(Arc::clone(&self.connection)),
            ends_by_itself: false,
            may_have_written: AtomicBool::new(false),
        }
    }

    fn control(&self, text: &str) -> Result<()> {
        statement::control(&lock(&self.connection), text)
    }

    /// Ends the transaction, unless SQLite did so already.
    fn roll_back(&self) {
        let connection = lock(&self.connection);
        if !connection.is_autocommit()
            && let Err(error) = statement::control(&connection, "ROLLBACK")
        {
            tracing::warn!(%error, "a transaction could not be rolled back");
        }
    }
}
