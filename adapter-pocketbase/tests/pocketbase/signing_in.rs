//! Cases 14 and 15: a sign-in that is no longer good never looks like an empty server.

use std::sync::Arc;

use adapter_pocketbase::{PocketBaseAuth, PocketBaseConfig, Profile};
use serde_json::json;
use sync_core::{Effects, ErrorKind, SystemClock, resolve::LastWriteWins};
use sync_http::{
    Credentials, MemoryCredentialStore, RefreshOptions, Secret, ServerClock, Session, TokenSource,
};

use crate::world::{Device, PASSWORD, World, id, in_both_profiles, reqwest, todos_mapping};

in_both_profiles!(
    case_14_a_sign_in_that_expires_removes_nothing_and_parks_the_queue,
    case_15_a_token_that_never_was_good_removes_nothing,
    a_session_renews_its_token_and_goes_on_after_a_new_sign_in,
);

async fn case_14_a_sign_in_that_expires_removes_nothing_and_parks_the_queue(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    for number in 0..20 {
        world.foreign_create(&id(number), "theirs").await;
    }
    let device = world.device(&world.ada).await;
    device.sync().await;
    device.create(&id(100), "mine").await;
    device.update(&id(1), json!({"title": "mine"})).await;
    device.delete(&id(2)).await;
    world.admin().revoke_tokens(&world.ada.id).await.unwrap();

    for attempt in 0..3 {
        let error = match attempt {
            0 => device.engine.synchronize(device.scope()).await.unwrap_err(),
            1 => device.engine.pull_only(device.scope()).await.unwrap_err(),
            _ => device.engine.sweep(device.scope()).await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
    assert_eq!(device.ids().await.len(), 20, "20, one made and one deleted here");
    assert_eq!(device.pending().await.total(), 3);
    assert!(
        device.ops().await.iter().all(|op| op.attempts <= 1),
        "no attempts are burnt"
    );

    // The same store, signed in anew.
    let email = world.ada.email.clone();
    let body = json!({"password": PASSWORD, "passwordConfirm": PASSWORD});
    let path = format!("/api/collections/users/records/{}", world.ada.id);
    world
        .admin()
        .send("PATCH", &path, Some(&body))
        .await
        .unwrap()
        .success()
        .unwrap();
    let token = world.admin().token_of("users", &email, PASSWORD).await.unwrap();
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let remote = world.connect(config, reqwest(), &token).await.unwrap();
    let again = Device::open_on(device.store.clone(), remote, device.target.clone(), LastWriteWins).await;
    again.sync_until_sent().await;
    assert_eq!(again.ids().await.len(), 20);
    assert_eq!(world.record(&id(100)).await["title"], "mine");
    assert_eq!(world.record(&id(1)).await["title"], "mine");
    assert_eq!(world.count().await, 20);
}

async fn case_15_a_token_that_never_was_good_removes_nothing(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    for number in 0..5 {
        world.foreign_create(&id(number), "theirs").await;
    }
    let good = world.device(&world.ada).await;
    good.sync().await;
    let profile_told = world.remote(&world.ada).await.profile();

    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let refused = world
        .connect(config.clone(), reqwest(), "not-a-token")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");

    let tokens = Arc::new(sync_http::FixedToken::new(Credentials::new(Secret::new(
        "not-a-token",
    ))));
    let remote = adapter_pocketbase::PocketBaseRemoteStore::open(
        config,
        reqwest(),
        tokens,
        Effects::tokio(),
        profile_told,
    )
    .unwrap();
    let device = Device::open_on(
        good.store.clone(),
        Arc::new(remote),
        good.target.clone(),
        LastWriteWins,
    )
    .await;
    device.create(&id(9), "mine").await;
    let error = device.engine.synchronize(device.scope()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(device.engine.sweep(device.scope()).await.is_err());
    assert_eq!(device.ids().await.len(), 6);
    assert_eq!(device.pending().await.total(), 1);
}

async fn a_session_renews_its_token_and_goes_on_after_a_new_sign_in(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    world.foreign_create(&id(1), "theirs").await;
    let effects = Effects::tokio();
    let auth = Arc::new(PocketBaseAuth::new(world.server.url(), "users", reqwest()).unwrap());
    let password = Secret::new(PASSWORD);
    let signed_in = auth.sign_in(&world.ada.email, &password).await.unwrap();
    let clock = Arc::new(ServerClock::new(Arc::new(SystemClock::new())));
    let session = Arc::new(Session::new(
        auth.clone(),
        Arc::new(MemoryCredentialStore::default()),
        clock,
        effects,
        RefreshOptions::default(),
    ));
    session.sign_in(signed_in.clone()).await.unwrap();
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let remote = world
        .connect_with(config, reqwest(), session.clone())
        .await
        .unwrap();
    let device = Device::open(remote, world.target(&world.ada), LastWriteWins).await;
    device.sync().await;
    let renewed = session.renew(Some(&signed_in)).await.unwrap();
    assert_ne!(renewed.access.reveal(), "", "the server gave a token");
    device.sync().await;

    world.admin().revoke_tokens(&world.ada.id).await.unwrap();
    device.create(&id(2), "mine").await;
    let error = device.engine.synchronize(device.scope()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let wrong = auth.sign_in(&world.ada.email, &password).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{wrong}");
    let body = json!({"password": PASSWORD, "passwordConfirm": PASSWORD});
    let path = format!("/api/collections/users/records/{}", world.ada.id);
    world
        .admin()
        .send("PATCH", &path, Some(&body))
        .await
        .unwrap()
        .success()
        .unwrap();
    session
        .sign_in(auth.sign_in(&world.ada.email, &password).await.unwrap())
        .await
        .unwrap();
    device.sync_until_sent().await;
    assert_eq!(world.record(&id(2)).await["title"], "mine");
}
