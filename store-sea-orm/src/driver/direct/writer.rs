//! The thread that makes all writes of a database, and commits those that wait together.

use std::{
    any::Any,
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::AtomicBool,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use futures::channel::oneshot;
use rusqlite::Connection;
use sync_core::{ErrorKind, Result, SyncError};

use super::{DirectTransaction, Lent, checkpoint::Checkpoints, finish_now, lock, statement};
use crate::{
    driver::{Step, Transaction, Write},
    error::stopped,
};

/// How many writes are committed together at most.
const GROUP: usize = 128;

/// How long the thread looks for the next write before it sleeps. Waking a thread takes about as long, so a run of
/// single writes is twice as fast, for at most this much work after its end.
const PATIENCE: Duration = Duration::from_micros(50);

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once it is closed.
    orders: Mutex<Option<Sender<Order>>>,
}

/// Work outside of a transaction.
type OutsideWork = Box<dyn FnOnce(&Mutex<Connection>) + Send>;

/// What the thread is asked for.
enum Order {
    Write(Box<dyn Job>),
    Other(OutsideWork),
    /// Says that the thread is done.
    End(oneshot::Sender<()>),
}

/// A [`Write`] with somebody who waits for its answer.
trait Job: Send {
    /// Runs the statements; returns whether they are to be kept.
    fn attempt(&mut self, transaction: &DirectTransaction) -> bool;

    /// Tells the answer, once it is known what became of the statements.
    fn settle(self: Box<Self>, outcome: Result<()>);
}

struct Ordered<W: Write, K> {
    write: W,
    step: Option<Result<Step<W::Draft, W::Answer>>>,
    answer: oneshot::Sender<Result<W::Answer>>,
    keep: K,
}

impl<W: Write, K: Send> Job for Ordered<W, K> {
    fn attempt(&mut self, transaction: &DirectTransaction) -> bool {
        let run = || finish_now(self.write.run(Transaction::Direct(transaction)));
        let step = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(ended_early(&*panic)));
        let keep = matches!(step, Ok(Step::Commit(_)));
        self.step = Some(step);
        keep
    }

    fn settle(self: Box<Self>, outcome: Result<()>) {
        let answer = match (self.step, outcome) {
            (Some(Ok(Step::Commit(draft))), Ok(())) => {
                let committed = || self.write.committed(draft);
                catch_unwind(AssertUnwindSafe(committed)).map_err(|panic| ended_early(&*panic))
            }
            (Some(Ok(Step::Undo(answer))), _) => Ok(answer),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(ended_early(&"it was never run")),
        };
        drop(self.keep);
        // The caller may have gone.
        let _ = self.answer.send(answer);
    }
}

fn ended_early(panic: &(dyn Any + Send)) -> SyncError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    SyncError::new(
        ErrorKind::Internal,
        format!("a write ended early: {}", text.unwrap_or("it panicked")),
    )
}

impl Writer {
    /// Starts the thread. It ends when the writer is closed or dropped.
    pub(super) fn start(connection: Arc<Mutex<Connection>>, checkpoints: Checkpoints) -> Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let worker = Worker {
            connection,
            checkpoints,
            orders: receiver,
        };
        thread::Builder::new()
            .name("sync-store".to_owned())
            .spawn(move || worker.work())
            .map_err(|error| {
                SyncError::new(ErrorKind::Internal, "the store's thread did not start").with_source(error)
            })?;
        Ok(Self {
            orders: Mutex::new(Some(orders)),
        })
    }

    fn order(&self, order: Order) -> Result<()> {
        match &*lock(&self.orders) {
            Some(orders) => orders.send(order).map_err(|_| stopped()),
            None => Err(stopped()),
        }
    }

    pub(super) async fn write<W: Write>(&self, write: W, keep: impl Send + 'static) -> Result<W::Answer> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Write(Box::new(Ordered {
            write,
            step: None,
            answer,
            keep,
        })))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs `work` on the thread, between two transactions.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Mutex<Connection>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Other(Box::new(move |connection| {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(connection)));
            let _ = answer.send(outcome.unwrap_or_else(|panic| Err(ended_early(&*panic))));
        })))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Ends the thread after everything that was ordered before.
    pub(super) async fn close(&self) {
        let Some(orders) = lock(&self.orders).take() else {
            return;
        };
        let (done, ended) = oneshot::channel();
        if orders.send(Order::End(done)).is_ok() {
            let _ = ended.await;
        }
    }
}

struct Worker {
    connection: Arc<Mutex<Connection>>,
    checkpoints: Checkpoints,
    orders: Receiver<Order>,
}

impl Worker {
    fn work(mut self) {
        while let Some(first) = self.next() {
            let mut group = Vec::new();
            let mut order = Some(first);
            while let Some(current) = order.take() {
                match current {
                    Order::Write(job) => {
                        group.push(job);
                        if group.len() < GROUP {
                            order = self.orders.try_recv().ok();
                        }
                    }
                    Order::Other(work) => {
                        self.commit(std::mem::take(&mut group));
                        work(&self.connection);
                    }
                    Order::End(done) => {
                        self.commit(group);
                        drop(self.checkpoints);
                        // Of a file it is the last handle, so that this closes the connection.
                        drop(self.connection);
                        let _ = done.send(());
                        return;
                    }
                }
            }
            self.commit(group);
        }
    }

    /// The next order; `None` if there will be no more.
    fn next(&self) -> Option<Order> {
        let mut since = None;
        loop {
            match self.orders.try_recv() {
                Ok(order) => return Some(order),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return self.orders.recv().ok();
            }
            for _ in 0..32 {
                hint::spin_loop();
            }
        }
    }

    /// Runs these writes, and keeps the write-ahead log short once they are answered.
    fn commit(&mut self, group: Vec<Box<dyn Job>>) {
        if !group.is_empty() {
            self.commit_together(group);
            self.checkpoints.after_commit(&self.connection);
        }
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
            let outcome = self.alone(&mut *job);
            job.settle(outcome);
        }
    }

    fn alone(&self, job: &mut dyn Job) -> Result<()> {
        self.control("BEGIN IMMEDIATE")?;
        let keep = job.attempt(&self.transaction());
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
