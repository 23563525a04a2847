//! One thread, virtual time, and a seeded choice of what runs next.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use sync_core::{Spawner, Timer};

use super::dice::Dice;

/// Who a task belongs to; all tasks of an owner can be killed at once.
pub(crate) type Owner = u32;

/// What is not part of any process: the network, the server.
pub(crate) const NOBODY: Owner = 0;

/// Runs tasks one poll at a time, in an order drawn from a seed. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Executor {
    inner: Arc<Mutex<Inner>>,
    ready: Arc<Mutex<Vec<u64>>>,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    made: u64,
    polls: u64,
    tasks: BTreeMap<u64, Task>,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

struct Task {
    owner: Owner,
    /// Taken out while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Puts its task into the list of those to be polled, once.
struct Flag {
    task: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.task);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics between locking and unlocking, so a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.inner);
        f.debug_struct("Executor")
            .field("now", &inner.now)
            .field("tasks", &inner.tasks.len())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// The time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        lock(&self.inner).now
    }

    /// How often any task was polled.
    pub(crate) fn polls(&self) -> u64 {
        lock(&self.inner).polls
    }

    pub(crate) fn spawn(&self, owner: Owner, future: BoxFuture<'static, ()>) {
        let mut inner = lock(&self.inner);
        inner.made += 1;
        let task = inner.made;
        let flag = Arc::new(Flag {
            task,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        let entry = Task {
            owner,
            future: Some(future),
            waker: Waker::from(Arc::clone(&flag)),
            flag,
        };
        inner.tasks.insert(task, entry);
        drop(inner);
        lock(&self.ready).push(task);
    }

    /// No task of this owner gets any further.
    pub(crate) fn kill(&self, owner: Owner) {
        let killed: Vec<Task> = {
            let mut inner = lock(&self.inner);
            let keys: Vec<u64> = inner
                .tasks
                .iter()
                .filter(|(_, task)| task.owner == owner)
                .map(|(key, _)| *key)
                .collect();
            keys.iter().filter_map(|key| inner.tasks.remove(key)).collect()
        };
        // Outside of the lock: what a task drops may use the executor.
        drop(killed);
    }

    /// Polls one of the tasks that can go on. Returns whether there was one.
    pub(crate) fn step(&self, dice: &mut Dice) -> bool {
        let task = {
            let mut ready = lock(&self.ready);
            if ready.is_empty() {
                return false;
            }
            // Who is woken first by one event is up to the channels, and not always the same.
            ready.sort_unstable();
            let at = if ready.len() == 1 {
                0
            } else {
                dice.below(ready.len())
            };
            ready.swap_remove(at)
        };
        let taken = {
            let mut inner = lock(&self.inner);
            inner.polls += 1;
            let entry = inner.tasks.get_mut(&task);
            entry.and_then(|entry| {
                entry.flag.queued.store(false, Ordering::Relaxed);
                Some((entry.future.take()?, entry.waker.clone()))
            })
        };
        // A task that was killed may still stand in the list.
        let Some((mut future, waker)) = taken else {
            return true;
        };
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut inner = lock(&self.inner);
        if ended {
            let gone = inner.tasks.remove(&task);
            drop(inner);
            drop((gone, future));
        } else if let Some(entry) = inner.tasks.get_mut(&task) {
            entry.future = Some(future);
        }
        true
    }

    /// Moves time to the end of the next sleep that ends by `limit`. Returns whether there was one.
    pub(crate) fn next_sleep(&self, limit: Duration) -> bool {
        let woken = {
            let mut inner = lock(&self.inner);
            match inner.sleepers.first_entry() {
                Some(first) if first.key().0 <= limit => {
                    let ((end, _), waker) = first.remove_entry();
                    inner.now = inner.now.max(end);
                    waker
                }
                _ => return false,
            }
        };
        woken.wake();
        true
    }

    /// Lets everything happen until `limit`, or until `enough` says so. Returns whether it did. Gives up after
    /// so many polls.
    pub(crate) fn run_until(
        &self,
        limit: Duration,
        dice: &mut Dice,
        polls: u64,
        mut enough: impl FnMut() -> bool,
    ) -> bool {
        for _ in 0..polls {
            if enough() {
                return true;
            }
            if !self.step(dice) && !self.next_sleep(limit) {
                let mut inner = lock(&self.inner);
                inner.now = inner.now.max(limit);
                return false;
            }
        }
        false
    }

    /// Polls a future that waits for nothing but itself to its end, while all tasks stand still. `None` if it
    /// waits for something else.
    pub(crate) fn alone<F: Future>(&self, future: F) -> Option<F::Output> {
        const MOST_POLLS: u32 = 100_000;
        let mut future = std::pin::pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..MOST_POLLS {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
        }
        None
    }
}

/// Starts the tasks of one owner.
#[derive(Clone, Debug)]
pub(crate) struct OwnedTasks {
    pub(crate) executor: Executor,
    pub(crate) owner: Owner,
}

impl Spawner for OwnedTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.owner, task);
    }
}

/// Sleeps on virtual time.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedTimer(pub(crate) Executor);

#[async_trait]
impl Timer for SimulatedTimer {
    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// A sleep that has not ended.
struct Sleep {
    executor: Executor,
    end: Duration,
    place: Option<(Duration, u64)>,
}

impl Executor {
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        Sleep {
            executor: self.clone(),
            end: self.now() + duration,
            place: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor.clone();
        let mut inner = lock(&executor.inner);
        if inner.now >= self.end {
            return Poll::Ready(());
        }
        let end = self.end;
        let place = *self.place.get_or_insert_with(|| {
            inner.made += 1;
            (end, inner.made)
        });
        inner.sleepers.insert(place, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            lock(&self.executor.inner).sleepers.remove(&place);
        }
    }
}

/// Gives up its turn once.
pub(crate) struct Pause(bool);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(false)
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
