//! A subscription that comes back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt,
    channel::mpsc,
    stream::{BoxStream, StreamExt},
};
use sync_core::{Clock, ErrorKind, Poke, Result, SyncError};
use sync_http::{Backoff, PokeSource, reconnecting};
use sync_testkit::effects::TestEffects;

#[derive(Debug, Default)]
struct Scripted {
    connections: Mutex<VecDeque<Result<mpsc::UnboundedReceiver<Poke>>>>,
    attempts: Mutex<Vec<Duration>>,
    clock: Mutex<Option<Arc<dyn Clock>>>,
}

impl Scripted {
    fn new(test: &TestEffects) -> Arc<Self> {
        let source = Self::default();
        *source.clock.lock().unwrap() = Some(Arc::clone(&test.effects().clock));
        Arc::new(source)
    }

    fn accept(&self) -> mpsc::UnboundedSender<Poke> {
        let (sender, receiver) = mpsc::unbounded();
        self.connections.lock().unwrap().push_back(Ok(receiver));
        sender
    }

    fn refuse(&self, kind: ErrorKind) {
        let error = SyncError::new(kind, "by script");
        self.connections.lock().unwrap().push_back(Err(error));
    }

    fn attempts(&self) -> Vec<Duration> {
        self.attempts.lock().unwrap().clone()
    }
}

#[async_trait]
impl PokeSource for Scripted {
    async fn connect(&self) -> Result<BoxStream<'static, Poke>> {
        let now = self.clock.lock().unwrap().as_ref().unwrap().monotonic();
        self.attempts.lock().unwrap().push(now);
        let connection = self.connections.lock().unwrap().pop_front();
        connection
            .unwrap_or_else(|| Err(SyncError::new(ErrorKind::Unreachable, "down")))
            .map(futures::StreamExt::boxed)
    }
}

/// The stream's next poke, while virtual time goes on whenever nothing else does.
async fn next(stream: &mut BoxStream<'static, Poke>, test: &TestEffects) -> Option<Poke> {
    loop {
        if let Some(poke) = stream.next().now_or_never() {
            return poke;
        }
        let wake = test.clock.next_wake().expect("the stream waits for nothing");
        test.clock.advance(wake);
    }
}

#[tokio::test]
async fn each_connection_begins_with_subscribed_and_the_stream_outlives_them() {
    let test = TestEffects::tokio(3);
    let source = Scripted::new(&test);
    let first = source.accept();
    let mut stream = reconnecting(source.clone(), test.effects(), Backoff::default())
        .await
        .unwrap();
    first.unbounded_send(Poke::Changed(None)).unwrap();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Changed(None)));
    let second = source.accept();
    drop(first);
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    second.unbounded_send(Poke::Changed(None)).unwrap();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Changed(None)));
    assert_eq!(source.attempts().len(), 2);
}

#[tokio::test]
async fn pauses_between_attempts_grow_and_stay_below_the_cap() {
    let test = TestEffects::tokio(3);
    let source = Scripted::new(&test);
    drop(source.accept());
    let backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(20),
    };
    let mut stream = reconnecting(source.clone(), test.effects(), backoff)
        .await
        .unwrap();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    for _ in 0..12 {
        source.refuse(ErrorKind::Unreachable);
    }
    let _last = source.accept();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    let attempts = source.attempts();
    let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 13);
    for (place, pause) in pauses.iter().enumerate() {
        let failures = u32::try_from(place + 1).unwrap();
        let ceiling = (Duration::from_secs(1) * 2_u32.pow(failures - 1)).min(backoff.cap);
        assert!(
            *pause >= Duration::from_millis(100) && *pause <= ceiling,
            "{place}: {pause:?}"
        );
    }
    assert!(
        pauses[6..].iter().any(|pause| *pause > Duration::from_secs(4)),
        "{pauses:?}"
    );
}

#[tokio::test]
async fn a_connection_that_dies_at_once_again_and_again_is_not_a_fresh_start_each_time() {
    let test = TestEffects::tokio(4);
    let source = Scripted::new(&test);
    for _ in 0..12 {
        drop(source.accept());
    }
    let mut stream = reconnecting(source.clone(), test.effects(), Backoff::default())
        .await
        .unwrap();
    for _ in 0..12 {
        assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    }
    let attempts = source.attempts();
    assert!(attempts[11] > Duration::from_secs(20), "a hot loop: {attempts:?}");
}

#[tokio::test]
async fn a_connection_that_lived_long_forgives_the_failures_before_it() {
    let test = TestEffects::tokio(5);
    let source = Scripted::new(&test);
    drop(source.accept());
    let mut stream = reconnecting(source.clone(), test.effects(), Backoff::default())
        .await
        .unwrap();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    for _ in 0..8 {
        source.refuse(ErrorKind::Server);
    }
    let living = source.accept();
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    test.clock.advance(Duration::from_secs(300));
    let _next = source.accept();
    let ended = test.effects().clock.monotonic();
    drop(living);
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    assert!(*source.attempts().last().unwrap() - ended <= Duration::from_secs(1));
}

#[tokio::test]
async fn a_failure_that_waiting_does_not_mend_is_told() {
    let test = TestEffects::tokio(6);
    let source = Scripted::new(&test);
    source.refuse(ErrorKind::Unauthenticated);
    let refused = reconnecting(source.clone(), test.effects(), Backoff::default()).await;
    assert_eq!(refused.err().unwrap().kind(), ErrorKind::Unauthenticated);

    drop(source.accept());
    let mut stream = reconnecting(source.clone(), test.effects(), Backoff::default())
        .await
        .unwrap();
    source.refuse(ErrorKind::Unauthenticated);
    assert_eq!(next(&mut stream, &test).await, Some(Poke::Subscribed));
    assert_eq!(
        next(&mut stream, &test).await,
        None,
        "whoever subscribes again is told"
    );
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let test = TestEffects::tokio(7);
    let source = Scripted::new(&test);
    let first = source.accept();
    let stream = reconnecting(source.clone(), test.effects(), Backoff::default())
        .await
        .unwrap();
    assert!(!first.is_closed());
    drop(stream);
    assert!(first.is_closed());
    assert_eq!(test.clock.sleepers(), 0);
}
