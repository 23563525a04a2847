//! What the crate `pocketbase-sdk` does against this server.

use std::sync::Arc;

use adapter_pocketbase::{PocketBaseConfig, PocketBaseSdk, Profile};
use sync_core::{ErrorKind, RemoteStoreExt, TokioTimer};
use sync_http::Secret;

use crate::world::{PASSWORD, World, id, reqwest, todos_mapping};

#[tokio::test(flavor = "multi_thread")]
async fn its_login_serves_the_adapter_and_its_health_tells_the_truth() {
    let Some(mut world) = World::start(Profile::Plain).await else {
        return;
    };
    world.foreign_create(&id(1), "theirs").await;
    let sdk = PocketBaseSdk::new(world.server.url(), Arc::new(TokioTimer)).unwrap();
    assert!(sdk.health().await.unwrap().contains("healthy"));
    let password = Secret::new(PASSWORD);
    let credentials = sdk.sign_in("users", &world.ada.email, &password).await.unwrap();
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let remote = world
        .connect(config, reqwest(), credentials.access.reveal())
        .await
        .unwrap();
    let pages = remote
        .pull_all(&world.target(&world.ada), None, 10)
        .await
        .unwrap();
    assert_eq!(pages.iter().map(|page| page.changes.len()).sum::<usize>(), 1);

    let (email, superuser) = world.server.superuser();
    sdk.sign_in("_superusers", email, &Secret::new(superuser))
        .await
        .unwrap();
    let wrong = sdk
        .sign_in("users", &world.ada.email, &Secret::new("wrong"))
        .await
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{wrong}");
    world.server.kill();
    assert_eq!(sdk.health().await.unwrap_err().kind(), ErrorKind::Unreachable);
}
