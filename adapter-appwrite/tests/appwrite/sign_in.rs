//! Sign-ins, their ends, and limits of writes: cases 23 and 27 of the notes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use adapter_appwrite::{AppwriteRemoteStore, Credential, JwtRefresher, sign_in_with_email};
use appwrite_stand_in::{Fault, RequestMatch, Timestamp};
use async_trait::async_trait;
use sync_core::{Activity, ErrorKind, RemoteStore, Result, RetryClass, SyncError};
use sync_http::{
    BaseUrl, Credentials, MemoryCredentialStore, RefreshOptions, ReqwestTransport, Secret, ServerClock,
    Session, TokenSource, Transport,
};
use sync_testkit::effects::TestEffects;

use crate::world::{Device, World, todo};

/// A session that the test replaces.
#[derive(Debug)]
struct Replaceable(Mutex<Credentials>);

#[async_trait]
impl TokenSource for Replaceable {
    async fn credentials(&self) -> Result<Option<Credentials>> {
        Ok(Some(self.0.lock().unwrap().clone()))
    }

    async fn renew(&self, refused: Option<&Credentials>) -> Result<Credentials> {
        let held = self.0.lock().unwrap().clone();
        if refused == Some(&held) {
            return Err(SyncError::new(ErrorKind::Unauthenticated, "sign in again"));
        }
        Ok(held)
    }
}

/// Case 27.
#[tokio::test]
async fn an_expired_session_asks_for_a_sign_in_and_keeps_queue_and_records() {
    let world = World::start().await;
    let source = Arc::new(Replaceable(Mutex::new(Credentials::new(
        world.server.create_session("alice"),
    ))));
    let token: Arc<dyn TokenSource> = Arc::clone(&source) as _;
    let remote = world.remote_with(Credential::session(token), |config| config);
    let device = Device::open(TestEffects::tokio(3), Arc::new(remote)).await;
    device.create(&todo("t1", "tea")).await;
    device.sync().await;
    world.server.end_sessions("alice");
    device.update(&todo("t1", "milk")).await;
    device.create(&todo("t2", "rum")).await;
    for _ in 0..2 {
        let error = device.try_sync().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unauthenticated, RetryClass::SignIn)
        );
    }
    let error = device.engine.sweep(&World::scope()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let status = device.engine.status().scope(World::scope().key());
    assert!(matches!(status.activity, Activity::NeedsSignIn), "{status:?}");
    assert_eq!(device.pending().await.len(), 2);
    assert!(
        device.pending().await.iter().all(|op| op.attempts == 0),
        "no attempt was burnt"
    );
    assert_eq!(device.all().await.len(), 2, "nothing was taken for deleted");
    *source.0.lock().unwrap() = Credentials::new(world.server.create_session("alice"));
    assert_eq!(device.sync().await.pushed, 2);
}

#[tokio::test]
async fn a_blocked_user_and_a_withdrawn_key_are_sign_in_problems_and_not_answers() {
    let world = World::start().await;
    world.put("t1", serde_json::json!({"title": "tea"}));
    let user = world.remote("alice");
    world.server.block_user("alice", true);
    let ids = [World::key("t1").id];
    assert_eq!(
        user.get(&World::target(), &ids).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    let secret = world.server.create_key();
    let server = world.remote_with(Credential::api_key(secret.as_str()), |config| config);
    assert!(server.get(&World::target(), &ids).await.unwrap()[0].is_live());
    world.server.end_key(&secret);
    assert_eq!(
        server.get(&World::target(), &ids).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
}

#[tokio::test]
async fn a_user_signs_in_by_email_and_tokens_made_of_the_session_are_renewed() {
    let world = World::start().await;
    let effects = TestEffects::tokio(3).effects();
    let transport: Arc<dyn Transport> = Arc::new(ReqwestTransport::new(Arc::clone(&effects.timer)).unwrap());
    let endpoint = BaseUrl::parse(&world.server.endpoint()).unwrap();
    let project = world.server.project();
    let wrong = Secret::new("wrong");
    let refused = sign_in_with_email(&*transport, &endpoint, &project, "alice@example.com", &wrong).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let password = Secret::new("password");
    let session = sign_in_with_email(&*transport, &endpoint, &project, "alice@example.com", &password)
        .await
        .unwrap();
    assert_eq!(session.subject.as_deref(), Some("alice"));

    let refresher = Arc::new(JwtRefresher::new(Arc::clone(&transport), endpoint, project));
    let first = refresher.first(&session).await.unwrap();
    let tokens = Session::new(
        refresher,
        Arc::new(MemoryCredentialStore::default()),
        Arc::new(ServerClock::new(Arc::clone(&effects.clock))),
        effects,
        RefreshOptions::default(),
    );
    // A token that the server refuses, though the device believes it to be good.
    let mut stale = Credentials::new(world.server.create_token("alice", 0));
    stale.refresh = first.refresh.clone();
    tokens.sign_in(stale).await.unwrap();
    let remote = world.remote_with(Credential::jwt(Arc::new(tokens)), |config| config);
    let device = Device::open(TestEffects::tokio(3), Arc::new(remote)).await;
    device.create(&todo("t1", "tea")).await;
    assert_eq!(device.sync().await.pushed, 1);
    world.server.end_sessions("alice");
    let mut error = device.try_sync().await;
    // A token outlives its session at the server only as a guest's.
    if error.is_ok() {
        error = device.try_sync().await;
    }
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

fn limited(world: &World) -> impl Fn(adapter_appwrite::AppwriteConfig) -> adapter_appwrite::AppwriteConfig {
    let start = Timestamp::parse("2026-11-21T12:00:05Z").unwrap();
    world.server.freeze_clock(start);
    world.server.enforce_rate_limits(true);
    adapter_appwrite::AppwriteConfig::without_transactions
}

/// Case 23.
#[tokio::test]
async fn a_rate_limit_is_waited_out_until_its_reset_and_the_order_is_kept() {
    let world = World::start().await;
    let device = world.device_with("alice", limited(&world)).await;
    for number in 0..6 {
        device.create(&todo(&format!("t{number}"), "tea")).await;
    }
    let third = RequestMatch::method("POST").body("\"t2\"");
    world.server.fault(third, Fault::RateLimit { seconds: 40 });
    let report = device.sync().await;
    assert_eq!((report.pushed, report.retried), (2, 4), "{report:?}");
    assert_eq!(device.sync().await.pushed, 0, "not before the reset");
    device.effects.clock.advance(Duration::from_secs(41));
    world.server.advance_clock(Duration::from_secs(41));
    assert_eq!(device.sync().await.pushed, 4);
    assert_eq!(world.ids(), ["t0", "t1", "t2", "t3", "t4", "t5"]);
}

#[tokio::test]
async fn the_device_stays_below_the_limit_by_itself() {
    let world = World::start().await;
    let device = world.device_with("alice", limited(&world)).await;
    for number in 0..130 {
        device.create(&todo(&format!("t{number:03}"), "tea")).await;
    }
    let mut pushed = 0;
    for _ in 0..8 {
        if let Ok(report) = device.try_sync().await {
            pushed += report.pushed;
        }
        device.effects.clock.advance(Duration::from_secs(30));
        world.server.advance_clock(Duration::from_secs(30));
    }
    assert_eq!(pushed, 130);
    assert!(!world.has_been_limited());
}

#[tokio::test]
async fn where_single_writes_are_used_up_transactions_go_on() {
    let world = World::start().await;
    world
        .server
        .freeze_clock(Timestamp::parse("2026-11-21T12:00:05Z").unwrap());
    world.server.enforce_rate_limits(true);
    let device = world
        .device_with("alice", |config| config.transactions_from(1_000))
        .await;
    for number in 0..130 {
        device.create(&todo(&format!("t{number:03}"), "tea")).await;
    }
    assert_eq!(device.sync().await.pushed, 130);
    assert!(!world.has_been_limited());
}

#[tokio::test]
async fn what_is_missing_at_the_server_is_told_by_name_before_the_first_sync() {
    use adapter_appwrite::Table;
    use appwrite_stand_in::{Column, ColumnKind, TableSpec};
    let world = World::start().await;
    world.server.create_table(
        "main",
        &TableSpec::new("bare").column(Column::optional("title", ColumnKind::Text { size: 9 })),
    );
    let closed = crate::world::columns("closed").permissions(&["read(\"user:bob\")"]);
    world.server.create_table("main", &closed);
    let check = async |table: Table| {
        let config = world
            .bare(world.session("alice"), &TestEffects::tokio(2))
            .table("inbox", "todos", table)
            .unwrap();
        AppwriteRemoteStore::connect(config).await.map(drop)
    };
    check(Table::new("main", "todos").scope_column("user", "owner"))
        .await
        .unwrap();
    for (table, kind, field) in [
        (Table::new("main", "bare"), ErrorKind::Configuration, "deleted"),
        (
            Table::new("main", "bare").deleted_column("title"),
            ErrorKind::Configuration,
            "title",
        ),
        (
            Table::new("main", "todos").op_column("last_op"),
            ErrorKind::Configuration,
            "last_op",
        ),
        (
            Table::new("main", "todos").scope_column("user", "team"),
            ErrorKind::Configuration,
            "team",
        ),
        (Table::new("main", "nothing"), ErrorKind::Configuration, "table"),
        (Table::new("nowhere", "todos"), ErrorKind::Configuration, "table"),
        (Table::new("main", "closed"), ErrorKind::Forbidden, "table"),
    ] {
        let error = check(table.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (kind, Some(field)), "{error}");
    }
    let unknown = adapter_appwrite::AppwriteConfig::new(
        &world.server.endpoint(),
        "no-such-project",
        world.session("alice"),
        TestEffects::tokio(2).effects(),
    );
    let error = AppwriteRemoteStore::connect(unknown.unwrap()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Configuration, Some("project"))
    );
}
