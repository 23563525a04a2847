//! Timers without virtual time.

use std::{sync::mpsc, thread, time::Duration};

use async_trait::async_trait;
use futures::channel::oneshot;
use sync_core::Timer;

/// Panics if anything sleeps: for code that must get along without waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct PanickingTimer;

#[async_trait]
impl Timer for PanickingTimer {
    async fn sleep(&self, duration: Duration) {
        panic!("slept {duration:?} where nothing may sleep");
    }
}

/// Waits in real time with a thread for each sleep, so that it works on every executor. The suites use it for
/// deadlines unless the fixture has a better one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadTimer;

#[async_trait]
impl Timer for ThreadTimer {
    async fn sleep(&self, duration: Duration) {
        let (wake, woken) = oneshot::channel::<()>();
        // Dropped with this future, which ends the thread early.
        let (_dropped_with_sleep, dropped) = mpsc::channel::<()>();
        thread::spawn(move || {
            let _ = dropped.recv_timeout(duration);
            let _ = wake.send(());
        });
        let _ = woken.await;
    }
}
