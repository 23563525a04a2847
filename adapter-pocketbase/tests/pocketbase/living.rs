//! Cases 29, 30 and 32: news arrive by themselves, and none is missed over a broken connection.

use std::time::Duration;

use adapter_pocketbase::Profile;
use serde_json::json;
use sync_core::BackgroundOptions;

use crate::{
    pushing::{device_behind, proxy},
    world::{World, id, in_both_profiles},
};

in_both_profiles!(
    case_29_what_another_writes_arrives_by_itself,
    case_30_what_is_written_while_the_connection_is_down_arrives_after_it,
    case_32_a_stream_that_ends_is_opened_again_in_silence,
);

/// Nothing but pokes makes the device synchronize: no interval, and no sync at the start.
fn only_pokes() -> BackgroundOptions {
    BackgroundOptions::default()
        .with_debounce(Duration::from_millis(20))
        .with_interval(Duration::from_secs(3_600))
}

async fn case_29_what_another_writes_arrives_by_itself(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    let _background = device
        .engine
        .start_background(device.scope(), only_pokes())
        .unwrap();
    world
        .foreign_create(&id(0), "before the subscription or after")
        .await;
    device
        .wait_until("the first record", async |device| device.ids().await.len() == 1)
        .await;

    world.foreign_create(&id(1), "new").await;
    device
        .wait_until("a create", async |device| device.ids().await.len() == 2)
        .await;
    for number in 0..200 {
        world
            .foreign_patch(&id(1), json!({"count": number}))
            .await
            .success()
            .unwrap();
    }
    device
        .wait_until("the last of 200 changes", async |device| {
            device.view(&id(1)).await["count"] == 199
        })
        .await;
    if profile == Profile::Feed {
        world.foreign_delete(&id(1)).await;
        device
            .wait_until("a delete", async |device| device.ids().await == [id(0)])
            .await;
    }
}

async fn case_30_what_is_written_while_the_connection_is_down_arrives_after_it(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let proxy = proxy(&world).await;
    let device = device_behind(&world, &proxy).await;
    let _background = device
        .engine
        .start_background(device.scope(), only_pokes())
        .unwrap();
    world.foreign_create(&id(1), "connected").await;
    device
        .wait_until("the first record", async |device| device.ids().await.len() == 1)
        .await;
    proxy.go_offline();
    proxy.cut_connections();
    world.foreign_create(&id(2), "while it was down").await;
    proxy.go_online();
    device
        .wait_until("what was written meanwhile", async |device| {
            device.ids().await.len() == 2
        })
        .await;
}

async fn case_32_a_stream_that_ends_is_opened_again_in_silence(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let proxy = proxy(&world).await;
    let device = device_behind(&world, &proxy).await;
    let _background = device
        .engine
        .start_background(device.scope(), only_pokes())
        .unwrap();
    let streams = || {
        let is_stream = |path: &str| path.starts_with("/api/realtime");
        let requests = proxy.requests();
        requests
            .iter()
            .filter(|request| request.method == "GET" && is_stream(&request.path))
            .count()
    };
    for round in 1..=3 {
        // A stream that is not open yet would outlive the cut, and none would follow it.
        device
            .wait_until("a new stream", async |_| streams() >= round)
            .await;
        let id = id(u64::try_from(round).unwrap());
        world.foreign_create(&id, "poked").await;
        device
            .wait_until("a record after a new connection", async |device| {
                device.ids().await.len() == round
            })
            .await;
        proxy.cut_connections();
    }
    device
        .wait_until("a stream after the last cut", async |_| streams() > 3)
        .await;
}
