//! An executor that a test moves step by step, and that can stop everything at any of them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use sync_core::Spawner;

/// Runs tasks only when told to. Clones share the tasks.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Steps").field(&self.tasks().len()).finish()
    }
}

impl Spawner for Steps {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tasks().push(task);
    }
}

impl Steps {
    fn tasks(&self) -> MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.0.lock().unwrap()
    }

    /// How many tasks have not ended.
    pub(crate) fn left(&self) -> usize {
        self.tasks().len()
    }

    /// Moves the task at this place by one step.
    pub(crate) fn step(&self, place: usize) {
        // A task may spawn another one, so it is moved outside of the list.
        let mut task = self.tasks().remove(place);
        if poll(&mut task).is_pending() {
            let mut tasks = self.tasks();
            let place = place.min(tasks.len());
            tasks.insert(place, task);
        }
    }

    /// Moves every task by one step.
    pub(crate) fn step_all(&self) {
        for place in (0..self.left()).rev() {
            self.step(place);
        }
    }

    /// The process is killed: no task gets any further.
    pub(crate) fn kill(&self) {
        let killed = std::mem::take(&mut *self.tasks());
        drop(killed);
    }

    /// Runs the future, and all tasks beside it, for so many steps. Returns its output if it came to its end.
    pub(crate) fn run_for<F: Future>(&self, steps: usize, future: F) -> Option<F::Output> {
        let mut future = Box::pin(future);
        for _ in 0..steps {
            if let Poll::Ready(output) = poll_one(future.as_mut()) {
                return Some(output);
            }
            self.step_all();
        }
        None
    }

    /// Runs the future to its end, while the tasks stand still.
    pub(crate) fn run_alone<F: Future>(&self, future: F) -> F::Output {
        let mut future = Box::pin(future);
        for _ in 0..100_000 {
            if let Poll::Ready(output) = poll_one(future.as_mut()) {
                return output;
            }
        }
        panic!("it waits for a task that stands still");
    }

    /// Runs the future to its end.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.run_for(100_000, future).expect("it ends")
    }
}

fn poll(task: &mut BoxFuture<'static, ()>) -> Poll<()> {
    poll_one(task.as_mut())
}

fn poll_one<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
