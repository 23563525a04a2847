//! Sign-ins that renew themselves.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, channel::oneshot, future::join_all};
use sync_core::{Clock, ErrorKind, Result, SyncError};
use sync_http::{
    CredentialStore, Credentials, FixedToken, MemoryCredentialStore, RefreshOptions, Refresher, ServerClock,
    Session, TokenSource, with_credentials,
};
use sync_testkit::effects::TestEffects;

/// Refreshes when the test lets it.
#[derive(Debug, Default)]
struct Backend {
    waiting: Mutex<VecDeque<oneshot::Sender<Result<Credentials>>>>,
    asked: AtomicUsize,
}

impl Backend {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Answers the oldest refresh, once there is one.
    async fn answer(&self, answer: Result<Credentials>) {
        loop {
            let waiting = self.waiting.lock().unwrap().pop_front();
            match waiting {
                Some(waiting) => {
                    let _ = waiting.send(answer);
                    return;
                }
                None => tokio::task::yield_now().await,
            }
        }
    }
}

#[async_trait]
impl Refresher for Backend {
    async fn refresh(&self, _current: &Credentials) -> Result<Credentials> {
        let (answer, waiting) = oneshot::channel();
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.waiting.lock().unwrap().push_back(answer);
        waiting.await.unwrap()
    }
}

struct Bench {
    test: TestEffects,
    backend: Arc<Backend>,
    store: Arc<MemoryCredentialStore>,
    session: Session,
}

fn bench(options: RefreshOptions) -> Bench {
    let test = TestEffects::tokio(1);
    let backend = Arc::new(Backend::default());
    let store = Arc::new(MemoryCredentialStore::default());
    let clock = Arc::new(ServerClock::new(Arc::new(test.clock.clone())));
    let session = Session::new(backend.clone(), store.clone(), clock, test.effects(), options);
    Bench {
        test,
        backend,
        store,
        session,
    }
}

impl Bench {
    fn token(&self, name: &str, lives: u64) -> Credentials {
        let end = self.test.clock.now().plus(Duration::from_secs(lives));
        Credentials::new(name).with_expiry(end)
    }

    async fn signed_in(lives: u64) -> Self {
        let bench = bench(RefreshOptions::default());
        bench.session.sign_in(bench.token("first", lives)).await.unwrap();
        bench
    }

    async fn access(&self) -> String {
        let credentials = self.session.credentials().await.unwrap().unwrap();
        credentials.access.reveal().to_owned()
    }

    /// Lets the spawned tasks run to where they wait.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

fn offline() -> SyncError {
    SyncError::new(ErrorKind::Unreachable, "no network")
}

#[tokio::test]
async fn many_refused_requests_cause_one_refresh() {
    let bench = Bench::signed_in(3_600).await;
    let refused = bench.session.credentials().await.unwrap();
    let renewals = join_all((0..50).map(|_| bench.session.renew(refused.as_ref())));
    let (renewed, ()) = futures::join!(renewals, bench.backend.answer(Ok(bench.token("second", 3_600))));
    for answer in renewed {
        assert_eq!(answer.unwrap().access.reveal(), "second");
    }
    assert_eq!(bench.backend.asked(), 1);
    // A late 401 of a request that carried the old token does not refresh again.
    let late = bench.session.renew(refused.as_ref()).await.unwrap();
    assert_eq!((late.access.reveal(), bench.backend.asked()), ("second", 1));
}

#[tokio::test]
async fn a_refresh_whose_caller_is_dropped_still_completes_and_is_kept() {
    let bench = Bench::signed_in(3_600).await;
    let refused = bench.session.credentials().await.unwrap();
    assert!(bench.session.renew(refused.as_ref()).now_or_never().is_none());
    bench.settle().await;
    bench.backend.answer(Ok(bench.token("second", 3_600))).await;
    bench.settle().await;
    assert_eq!(bench.access().await, "second");
    assert_eq!(
        bench.store.load().await.unwrap().unwrap().access.reveal(),
        "second"
    );
    assert_eq!(bench.backend.asked(), 1);
}

#[tokio::test]
async fn new_credentials_are_saved_before_anyone_uses_them() {
    #[derive(Debug, Default)]
    struct Slow(Mutex<Vec<String>>, tokio::sync::Notify);
    #[async_trait]
    impl CredentialStore for Slow {
        async fn load(&self) -> Result<Option<Credentials>> {
            Ok(None)
        }
        async fn save(&self, credentials: &Credentials) -> Result<()> {
            if credentials.access.reveal() == "second" {
                self.1.notified().await;
            }
            self.0
                .lock()
                .unwrap()
                .push(credentials.access.reveal().to_owned());
            Ok(())
        }
        async fn clear(&self) -> Result<()> {
            Ok(())
        }
    }
    let test = TestEffects::tokio(1);
    let (backend, store) = (Arc::new(Backend::default()), Arc::new(Slow::default()));
    let clock = Arc::new(ServerClock::new(Arc::new(test.clock.clone())));
    let session = Session::new(
        backend.clone(),
        store.clone(),
        clock,
        test.effects(),
        RefreshOptions::default(),
    );
    session.sign_in(Credentials::new("first")).await.unwrap();
    let refresh = session.refresh();
    futures::pin_mut!(refresh);
    assert!(refresh.as_mut().now_or_never().is_none());
    backend.answer(Ok(Credentials::new("second"))).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let current = session.credentials().await.unwrap().unwrap();
    assert_eq!(current.access.reveal(), "first", "the save is still under way");
    store.1.notify_one();
    assert_eq!(refresh.await.unwrap().access.reveal(), "second");
    assert_eq!(*store.0.lock().unwrap(), ["first", "second"]);
}

#[tokio::test]
async fn a_failure_that_may_pass_never_ends_the_sign_in() {
    let bench = Bench::signed_in(10).await;
    bench.test.clock.advance(Duration::from_secs(11));
    for kind in [
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::RateLimited,
        ErrorKind::Server,
        ErrorKind::Malformed,
    ] {
        let failure = SyncError::new(kind, "passing");
        let (answer, ()) = futures::join!(bench.session.credentials(), bench.backend.answer(Err(failure)));
        assert_eq!(answer.unwrap_err().kind(), kind, "the sign-in has not ended");
        assert!(!bench.session.needs_sign_in());
    }
    let (answer, ()) = futures::join!(
        bench.session.credentials(),
        bench.backend.answer(Ok(bench.token("second", 60)))
    );
    assert_eq!(answer.unwrap().unwrap().access.reveal(), "second");
}

#[tokio::test]
async fn a_refusal_ends_the_sign_in_without_asking_again_and_keeps_what_is_stored() {
    let bench = Bench::signed_in(10).await;
    bench.test.clock.advance(Duration::from_secs(11));
    let refusal = SyncError::new(ErrorKind::Unauthenticated, "revoked");
    let (answer, ()) = futures::join!(bench.session.credentials(), bench.backend.answer(Err(refusal)));
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(bench.session.needs_sign_in());
    assert_eq!(
        bench.session.credentials().await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    assert_eq!(bench.backend.asked(), 1);
    assert!(bench.store.load().await.unwrap().is_some());
    bench.session.sign_in(bench.token("again", 60)).await.unwrap();
    assert_eq!(bench.access().await, "again");
}

#[tokio::test]
async fn a_token_that_ends_soon_is_refreshed_while_requests_go_on_with_it() {
    let bench = Bench::signed_in(3_600).await;
    bench.test.clock.advance(Duration::from_secs(3_509));
    assert_eq!(bench.access().await, "first");
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 0, "91 seconds are left");
    bench.test.clock.advance(Duration::from_secs(2));
    for _ in 0..10 {
        assert_eq!(bench.access().await, "first");
    }
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 1);
    bench.backend.answer(Err(offline())).await;
    bench.settle().await;
    assert_eq!(bench.access().await, "first");
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 1, "not again at once after a failure");
    bench.test.clock.advance(Duration::from_secs(61));
    assert_eq!(bench.access().await, "first");
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 2);
}

#[tokio::test]
async fn a_token_is_refreshed_at_half_of_its_life_where_that_is_asked_for() {
    let options = RefreshOptions {
        at_half_life: true,
        ..RefreshOptions::default()
    };
    let bench = bench(options);
    bench
        .session
        .sign_in(bench.token("first", 432_000))
        .await
        .unwrap();
    bench.test.clock.advance(Duration::from_secs(215_999));
    assert_eq!(bench.access().await, "first");
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 0);
    bench.test.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.access().await, "first");
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 1);
}

#[tokio::test]
async fn a_token_that_lives_shorter_than_the_margin_is_not_refreshed_at_every_request() {
    let bench = Bench::signed_in(60).await;
    for _ in 0..5 {
        assert_eq!(bench.access().await, "first");
    }
    bench.settle().await;
    assert_eq!(bench.backend.asked(), 0);
}

#[tokio::test]
async fn expiry_is_judged_by_the_servers_clock() {
    let test = TestEffects::tokio(1);
    let backend = Arc::new(Backend::default());
    let clock = Arc::new(ServerClock::new(Arc::new(test.clock.clone())));
    // The device's clock is two hours behind the server's.
    let server_now = test.clock.now().plus(Duration::from_secs(7_200));
    clock.observe_time(clock.start(), server_now, 1_000);
    let store = Arc::new(MemoryCredentialStore::default());
    let session = Session::new(
        backend.clone(),
        store,
        clock,
        test.effects(),
        RefreshOptions::default(),
    );
    let expired = Credentials::new("old").with_expiry(server_now.plus_micros(-1_000_000));
    session.sign_in(expired).await.unwrap();
    let (answer, ()) = futures::join!(
        session.credentials(),
        backend.answer(Ok(
            Credentials::new("new").with_expiry(server_now.plus(Duration::from_secs(60)))
        ))
    );
    assert_eq!(answer.unwrap().unwrap().access.reveal(), "new");
}

#[tokio::test]
async fn a_sign_in_or_sign_out_during_a_refresh_wins_over_it() {
    let bench = Bench::signed_in(3_600).await;
    let refresh = bench.session.refresh();
    futures::pin_mut!(refresh);
    assert!(refresh.as_mut().now_or_never().is_none());
    bench.settle().await;
    bench
        .session
        .sign_in(bench.token("other user", 60))
        .await
        .unwrap();
    bench.backend.answer(Ok(bench.token("late", 3_600))).await;
    assert_eq!(refresh.await.unwrap().access.reveal(), "other user");
    assert_eq!(bench.access().await, "other user");
    assert_eq!(
        bench.store.load().await.unwrap().unwrap().access.reveal(),
        "other user"
    );

    let refresh = bench.session.refresh();
    futures::pin_mut!(refresh);
    assert!(refresh.as_mut().now_or_never().is_none());
    bench.settle().await;
    bench.session.sign_out().await.unwrap();
    bench.backend.answer(Ok(bench.token("late", 3_600))).await;
    assert_eq!(refresh.await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(bench.session.needs_sign_in());
    assert!(bench.store.load().await.unwrap().is_none());
}

#[tokio::test]
async fn what_another_process_saved_is_taken_instead_of_refreshing() {
    let bench = Bench::signed_in(10).await;
    bench.test.clock.advance(Duration::from_secs(11));
    bench
        .store
        .save(&bench.token("from another process", 600))
        .await
        .unwrap();
    assert_eq!(bench.access().await, "from another process");
    assert_eq!(bench.backend.asked(), 0);
    // Not what is over, and not another user's.
    bench.test.clock.advance(Duration::from_secs(601));
    let mut foreign = bench.token("of another user", 600);
    foreign.subject = Some("someone else".to_owned());
    for unusable in [bench.token("over", 0), foreign] {
        bench.store.save(&unusable).await.unwrap();
        let (answer, ()) = futures::join!(bench.session.credentials(), bench.backend.answer(Err(offline())));
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn a_session_is_taken_up_from_its_store() {
    let bench = bench(RefreshOptions::default());
    assert!(!bench.session.restore().await.unwrap());
    assert!(bench.session.needs_sign_in());
    bench.store.save(&bench.token("kept", 600)).await.unwrap();
    assert!(bench.session.restore().await.unwrap());
    assert_eq!(bench.access().await, "kept");
}

#[tokio::test]
async fn a_refresh_whose_task_is_lost_does_not_block_the_next() {
    #[derive(Debug)]
    struct Losing(AtomicUsize);
    impl sync_core::Spawner for Losing {
        fn spawn(&self, task: futures::future::BoxFuture<'static, ()>) {
            if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
                tokio::spawn(task);
            }
        }
    }
    let test = TestEffects::with_spawner(1, Arc::new(Losing(AtomicUsize::new(0))));
    let backend = Arc::new(Backend::default());
    let clock = Arc::new(ServerClock::new(Arc::new(test.clock.clone())));
    let store = Arc::new(MemoryCredentialStore::with(Credentials::new("first")));
    let session = Session::new(
        backend.clone(),
        store,
        clock,
        test.effects(),
        RefreshOptions::default(),
    );
    session.restore().await.unwrap();
    assert_eq!(session.refresh().await.unwrap_err().kind(), ErrorKind::Stopped);
    let (answer, ()) = futures::join!(session.refresh(), backend.answer(Ok(Credentials::new("second"))));
    assert_eq!(answer.unwrap().access.reveal(), "second");
}

#[tokio::test]
async fn an_attempt_is_repeated_once_with_a_new_token_and_no_more() {
    let bench = Bench::signed_in(3_600).await;
    let attempts = Mutex::new(Vec::new());
    let attempt = |credentials: Option<Credentials>| {
        let access = credentials.unwrap().access.reveal().to_owned();
        attempts.lock().unwrap().push(access.clone());
        async move { Err::<(), _>(SyncError::new(ErrorKind::Unauthenticated, access)) }
    };
    let (answer, ()) = futures::join!(
        with_credentials(&bench.session, attempt),
        bench.backend.answer(Ok(bench.token("second", 3_600)))
    );
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(*attempts.lock().unwrap(), ["first", "second"]);
    assert_eq!(bench.backend.asked(), 1);
}

#[tokio::test]
async fn a_fixed_token_is_never_renewed() {
    let key = FixedToken::new(Credentials::new("key"));
    assert!(key.credentials().await.unwrap().is_some());
    assert_eq!(
        key.renew(None).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    assert!(FixedToken::anonymous().credentials().await.unwrap().is_none());
}
