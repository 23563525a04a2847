//! The way of writes to the database: in the calling task if they are short, else by a thread, which commits those
//! that wait together.

use std::{
    hint, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use futures::channel::oneshot;
use rusqlite::Connection;
use sync_core::{ErrorKind, Result, SyncError};

use super::{
    DirectTransaction,
    checkpoint::Next,
    committer::{Attempt, Attempted, Committer, Job, ended_early},
    lock, try_lock,
};
use crate::{driver::Write, error::stopped};

/// How many writes are committed together at most.
const GROUP: usize = 128;

/// How long the thread looks for the next write before it sleeps. Waking a thread takes about as long, so a run of
/// single writes is twice as fast, for at most this much work after its end.
const PATIENCE: Duration = Duration::from_micros(50);

/// How many rows a write may touch that is made in the calling task.
const SHORT: usize = 8;

/// A write in the calling task that takes longer than this has met a slow disk, or is a large one. Real time, since it is
/// the thread of real tasks that is held up; which way a write goes changes nothing about what comes of it.
const TOO_LONG: Duration = Duration::from_millis(1);

/// How many writes go to the thread after one that took too long: the way there costs them about as much together.
const AFTER_TOO_LONG: u32 = 16;

/// How many writes may follow each other in the calling task until others get a turn: a millisecond or two.
const IN_A_ROW: u32 = 16;

/// The way to the committer.
#[derive(Debug)]
pub(super) struct Writer {
    line: Arc<Line>,
    orders: Mutex<Orders>,
    /// Whether commits do not wait for the disk, so that short ones may be made in the calling task.
    is_quick: bool,
    /// How many writes still go to the thread since one took too long.
    kept_away: AtomicU32,
    /// How many writes were made in calling tasks.
    made_here: AtomicU32,
}

/// What the thread and the callers share.
#[derive(Debug)]
struct Line {
    /// How many orders were given that have not come to their end. As long as there are any, nobody goes past them.
    waiting: AtomicUsize,
    /// `None` once it is closed.
    committer: Mutex<Option<Committer>>,
}

/// Where orders go.
#[derive(Debug)]
enum Orders {
    /// The first one starts the thread: whoever only reads needs none.
    NotYet,
    To(Sender<Order>),
    Closed,
}

/// Work outside of a transaction.
type OutsideWork = Box<dyn FnOnce(&Mutex<Connection>) + Send>;

/// What the thread is asked for.
enum Order {
    Write(Box<dyn Job>),
    Other(OutsideWork),
    /// Keeps the write-ahead log short.
    KeepLogShort(Next),
    /// Says that the thread is done.
    End(oneshot::Sender<()>),
}

struct Ordered<W: Write, K> {
    attempted: Attempted<W>,
    answer: oneshot::Sender<Result<W::Answer>>,
    keep: K,
}

impl<W: Write, K> Attempt for Ordered<W, K> {
    fn attempt(&mut self, transaction: &DirectTransaction) -> bool {
        self.attempted.attempt(transaction)
    }
}

impl<W: Write, K: Send> Job for Ordered<W, K> {
    fn settle(self: Box<Self>, outcome: Result<()>) {
        let answer = self.attempted.answer(outcome);
        drop(self.keep);
        // The caller may have gone.
        let _ = self.answer.send(answer);
    }
}

impl Writer {
    /// `is_quick` says whether commits do not wait for the disk.
    pub(super) fn new(committer: Committer, is_quick: bool) -> Self {
        Self {
            line: Arc::new(Line {
                waiting: AtomicUsize::new(0),
                committer: Mutex::new(Some(committer)),
            }),
            orders: Mutex::new(Orders::NotYet),
            is_quick,
            kept_away: AtomicU32::new(0),
            made_here: AtomicU32::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn has_thread(&self) -> bool {
        !matches!(*lock(&self.orders), Orders::NotYet)
    }

    fn order(&self, order: Order) -> Result<()> {
        self.order_through(&mut lock(&self.orders), order)
    }

    fn order_through(&self, orders: &mut Orders, order: Order) -> Result<()> {
        if matches!(orders, Orders::NotYet) {
            *orders = Orders::To(self.start()?);
        }
        match orders {
            Orders::To(thread) => {
                self.line.waiting.fetch_add(1, Ordering::SeqCst);
                thread.send(order).map_err(|_| stopped())
            }
            Orders::NotYet | Orders::Closed => Err(stopped()),
        }
    }

    /// Starts the thread. It ends when its orders do.
    fn start(&self) -> Result<Sender<Order>> {
        let (orders, receiver) = mpsc::channel();
        let worker = Worker {
            line: Arc::clone(&self.line),
            orders: receiver,
        };
        let thread = thread::Builder::new().name("sync-store".to_owned());
        thread.spawn(move || worker.work()).map_err(|error| {
            SyncError::new(ErrorKind::Internal, "the store's thread did not start").with_source(error)
        })?;
        Ok(orders)
    }

    pub(super) async fn write<W: Write>(&self, write: W, keep: impl Send + 'static) -> Result<W::Answer> {
        let short = write.rows() <= SHORT;
        let mut attempted = Attempted::new(write);
        if short && let Some(outcome) = self.write_here(&mut attempted) {
            let answer = attempted.answer(outcome);
            drop(keep);
            // Who writes in a loop would let no other task of the thread run.
            if self.made_here.fetch_add(1, Ordering::Relaxed) % IN_A_ROW == IN_A_ROW - 1 {
                tokio::task::yield_now().await;
            }
            return answer;
        }
        let (answer, answered) = oneshot::channel();
        self.order(Order::Write(Box::new(Ordered {
            attempted,
            answer,
            keep,
        })))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Makes a write here and now, which spares the waking of two threads; `None` if it has to go to the thread.
    fn write_here(&self, write: &mut dyn Attempt) -> Option<Result<()>> {
        if !self.is_quick || self.line.waiting.load(Ordering::SeqCst) > 0 || self.is_kept_away() {
            return None;
        }
        let mut committer = try_lock(&self.line.committer)?;
        let committer = committer.as_mut()?;
        let began = Instant::now();
        let outcome = committer.commit_at_once(write)?;
        if began.elapsed() > TOO_LONG {
            self.kept_away.store(AFTER_TOO_LONG, Ordering::Relaxed);
        }
        match committer.after_commit() {
            Next::Nothing => {}
            // If the thread is gone, so is the need for a short log.
            next => drop(self.order(Order::KeepLogShort(next))),
        }
        Some(outcome)
    }

    /// Whether a write goes to the thread since one before took too long.
    fn is_kept_away(&self) -> bool {
        self.kept_away.load(Ordering::Relaxed) > 0
            && self
                .kept_away
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
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

    /// Closes the connection, on the thread, after everything that was ordered before.
    pub(super) async fn close(&self) {
        let (done, ended) = oneshot::channel();
        let ordered = {
            let mut orders = lock(&self.orders);
            if matches!(*orders, Orders::Closed) {
                return;
            }
            let ordered = self.order_through(&mut orders, Order::End(done));
            *orders = Orders::Closed;
            ordered
        };
        match ordered {
            Ok(()) => drop(ended.await),
            // No thread could be started.
            Err(_) => self.line.close(),
        }
    }
}

impl Drop for Writer {
    /// Closing the connection may wait for the disk, so that is left to the thread, even if it has done nothing yet.
    fn drop(&mut self) {
        if matches!(*lock(&self.orders), Orders::NotYet)
            && let Err(error) = self.start()
        {
            tracing::debug!(%error, "the connection is closed in the calling task");
        }
    }
}

struct Worker {
    line: Arc<Line>,
    orders: Receiver<Order>,
}

impl Line {
    /// Lets nobody write any more, and ends the committer.
    fn close(&self) {
        let committer = lock(&self.committer).take();
        // Of a file it has the last handle, so that this closes the connection.
        drop(committer);
    }
}

impl Worker {
    fn work(self) {
        while let Some(first) = self.next() {
            if let Some(done) = self.carry_out(first) {
                self.line.close();
                let _ = done.send(());
                return;
            }
        }
        self.line.close();
    }

    /// Carries out an order, with the writes that wait behind it. Returns whom to tell when this was the end.
    fn carry_out(&self, first: Order) -> Option<oneshot::Sender<()>> {
        let mut committer = lock(&self.line.committer);
        let committer = committer.as_mut().expect("only this thread takes it, at its end");
        let mut carried_out = 0;
        let mut group = Vec::new();
        let mut order = Some(first);
        let mut end = None;
        while let Some(current) = order.take() {
            carried_out += 1;
            match current {
                Order::Write(job) => {
                    group.push(job);
                    if group.len() < GROUP {
                        order = self.orders.try_recv().ok();
                    }
                }
                Order::Other(work) => {
                    committer.commit(mem::take(&mut group));
                    work(&committer.connection);
                }
                Order::KeepLogShort(next) => {
                    committer.commit(mem::take(&mut group));
                    committer.keep_log_short(next);
                }
                Order::End(done) => end = Some(done),
            }
        }
        committer.commit(group);
        self.line.waiting.fetch_sub(carried_out, Ordering::SeqCst);
        end
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
}
