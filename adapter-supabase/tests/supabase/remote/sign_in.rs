//! Tokens: who carries them, when they are renewed, and what never ends a sign-in.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use supabase_stack::Fault;
use sync_core::{Effects, ErrorKind, RemoteStore, RemoteStoreExt, RetryClass};
use sync_http::{MemoryCredentialStore, Session};

use super::world::{Device, PASSWORD, World, key, page};

on_each_stack!(
    case_33_an_expired_token_is_renewed_once_by_however_many_calls,
    case_34_a_refresh_without_a_network_ends_nothing,
    case_35_a_refresh_that_is_refused_for_good_asks_for_a_sign_in,
    case_36_a_key_is_never_sent_as_a_token,
    only_wrong_passwords_and_bans_are_refused_sign_ins,
);

const LATER: Duration = Duration::from_secs(2 * 3_600);

/// A session of ada, in memory.
async fn signed_in(world: &World) -> Session {
    let effects = Effects::tokio();
    let auth = world.auth(&effects);
    let session = auth.session(Arc::new(MemoryCredentialStore::default()), effects);
    let credentials = auth.sign_in("ada@example.com", &PASSWORD.into()).await.unwrap();
    session.sign_in(credentials).await.unwrap();
    session
}

async fn device_of(world: &World, session: &Session) -> Device {
    Device::open(world.remote_with(Arc::new(session.clone())).await, "s").await
}

async fn case_33_an_expired_token_is_renewed_once_by_however_many_calls(world: &World) {
    world.make(1..=1).await;
    let session = signed_in(world).await;
    assert_eq!(session.subject().as_deref(), Some(world.ada.as_str()));
    let remote = world.remote_with(Arc::new(session.clone())).await;
    // Only the project's clock goes on, so that the device learns of it by refusals.
    world.stack.auth().advance_clock(LATER);
    world.stack.forget_requests();
    let calls = (0..8).map(|_| {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.get_one(&key(1)).await })
    });
    for call in futures::future::join_all(calls).await {
        assert!(call.unwrap().unwrap().is_live());
    }
    assert_eq!(world.stack.auth().refreshes(), 1);
    let tried = world.stack.requests();
    let tried = tried
        .iter()
        .filter(|request| request.path.contains("sync_get"))
        .count();
    assert!((9..=16).contains(&tried), "each call once more at most: {tried}");
}

async fn case_34_a_refresh_without_a_network_ends_nothing(world: &World) {
    world.make(1..=2).await;
    let session = signed_in(world).await;
    let device = device_of(world, &session).await;
    device.sync().await;
    device.create(9, "mine").await;
    world.stack.auth().advance_clock(LATER);
    for fault in [
        Fault::DropBefore,
        Fault::Status {
            status: 429,
            retry_after: Some(1),
        },
        Fault::Status {
            status: 502,
            retry_after: None,
        },
        Fault::Status {
            status: 525,
            retry_after: None,
        },
        Fault::Answer {
            status: 400,
            body: json!({"code": "unexpected_failure", "message": "x"}).to_string(),
        },
        Fault::TruncateBody,
    ] {
        world.stack.faults().always("/auth/v1/token", Some(fault.clone()));
        let kind = device.refused_sync().await;
        world.stack.faults().always("/auth/v1/token", None);
        assert_ne!(kind, ErrorKind::Unauthenticated, "{fault:?}");
        assert!(!session.needs_sign_in(), "{fault:?}");
    }
    assert_eq!(device.pending().await.total(), 1);
    assert_eq!(device.titles().await.len(), 3);
    // The refresh whose answer was damaged spent the token, and its parent is good once more.
    device.sync_until_sent().await;
    assert_eq!(world.number("select count(*) from public.todo").await, 3);
}

async fn case_35_a_refresh_that_is_refused_for_good_asks_for_a_sign_in(world: &World) {
    for code in [
        "refresh_token_already_used",
        "refresh_token_not_found",
        "session_not_found",
        "session_expired",
        "user_banned",
    ] {
        let session = signed_in(world).await;
        let device = device_of(world, &session).await;
        device.sync().await;
        device.create(9, "mine").await;
        world.stack.auth().advance_clock(LATER);
        let refused = Fault::Answer {
            status: 400,
            body: json!({"code": code, "message": "told by the test"}).to_string(),
        };
        world.stack.faults().next("/auth/v1/token", refused);
        let error = device.engine.synchronize(device.scope()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unauthenticated, RetryClass::SignIn),
            "{code}"
        );
        assert!(session.needs_sign_in());
        assert_eq!(device.pending().await.total(), 1, "{code}");
        assert!(
            device.ops().await.iter().all(|op| op.attempts == 0),
            "no attempt is burnt: {code}"
        );
        let auth = world.auth(&Effects::tokio());
        let credentials = auth.sign_in("ada@example.com", &PASSWORD.into()).await.unwrap();
        session.sign_in(credentials).await.unwrap();
        device.sync_until_sent().await;
        world
            .run("delete from public.todo; delete from sync.change; delete from sync.applied")
            .await;
    }
    // The real thing: a project that ends all sessions.
    let session = signed_in(world).await;
    let device = device_of(world, &session).await;
    world.stack.auth().end_sessions(&world.ada);
    world.stack.auth().advance_clock(LATER);
    assert_eq!(device.refused_sync().await, ErrorKind::Unauthenticated);
    assert!(session.needs_sign_in());
}

async fn case_36_a_key_is_never_sent_as_a_token(world: &World) {
    world.make(1..=1).await;
    world.stack.forget_requests();
    let session = signed_in(world).await;
    let remote = world.remote_with(Arc::new(session.clone())).await;
    remote.pull(page(None, 10)).await.unwrap();
    session.refresh().await.unwrap();
    remote.pull(page(None, 10)).await.unwrap();
    let nobody =
        adapter_supabase::SupabaseRemoteStore::open(world.config(), remote.profile().clone()).unwrap();
    nobody.pull(page(None, 10)).await.unwrap_err();
    let requests = world.stack.requests();
    assert!(requests.len() >= 6);
    for request in &requests {
        assert_eq!(
            request.apikey.as_deref(),
            Some(world.stack.publishable_key()),
            "{}",
            request.path
        );
        let token = request.authorization.as_deref().unwrap_or_default();
        assert!(!token.contains("sb_"), "{}", request.path);
        assert!(!request.path.contains("sb_"), "{}", request.path);
    }
    assert_eq!(
        requests.last().unwrap().authorization,
        None,
        "nobody is signed in"
    );

    // Nothing that can be printed has a key or a token in it.
    let token = world.stack.access_token(&world.ada);
    let device = device_of(world, &session).await;
    device.create(5, "x").await;
    let error = nobody.pull(page(None, 10)).await.unwrap_err();
    let printed = format!(
        "{remote:?} {session:?} {:?} {:?} {error:?} {error}",
        world.config(),
        device.ops().await
    );
    assert!(
        !printed.contains("sb_publishable") && !printed.contains(&token[..20]),
        "{printed}"
    );
}

async fn only_wrong_passwords_and_bans_are_refused_sign_ins(world: &World) {
    let auth = world.auth(&Effects::tokio());
    let error = auth
        .sign_in("ada@example.com", &"wrong".into())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unauthenticated, Some("invalid_credentials"))
    );
    assert!(!format!("{error:?}").contains("wrong"));
    world.stack.faults().next("/auth/v1/token", Fault::DropBefore);
    let error = auth
        .sign_in("ada@example.com", &PASSWORD.into())
        .await
        .unwrap_err();
    assert!(error.is_offline(), "{error}");
    world.stack.auth().ban(&world.ada);
    let error = auth
        .sign_in("ada@example.com", &PASSWORD.into())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unauthenticated, Some("user_banned"))
    );
    let sent = world.stack.requests();
    assert!(sent.iter().all(|request| request.authorization.is_none()));
}
