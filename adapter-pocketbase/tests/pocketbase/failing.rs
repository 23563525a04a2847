//! Cases 31, 33 and 37: servers that die, go back in time, or are not prepared.

use adapter_pocketbase::{PocketBaseConfig, Profile};
use serde_json::json;
use sync_core::{CursorKind, DeleteVisibility, ErrorKind, RemoteStore, Write};

use crate::world::{World, id, in_both_profiles, owned_todos, payload, reqwest, todos_mapping};

in_both_profiles!(
    case_31_a_server_killed_during_a_push_gets_everything_once,
    case_33_a_restored_backup_is_found_out_and_nothing_is_lost,
    case_37_a_missing_index_is_no_obstacle,
);

async fn case_31_a_server_killed_during_a_push_gets_everything_once(profile: Profile) {
    let Some(mut world) = World::start(profile).await else {
        return;
    };
    let device = world.device(&world.ada).await;
    for number in 0..1_000 {
        let id = id(number);
        let write = Write::create_raw(device.key(&id), payload(&id, "made", 1));
        device.engine.write(write).await.unwrap();
    }
    for round in 0..3 {
        let engine = device.engine.clone();
        let scope = device.scope().clone();
        let push = tokio::spawn(async move { engine.synchronize(&scope).await });
        let wanted = 100 + round * 250;
        for _ in 0..2_000 {
            if push.is_finished() || world.count().await >= wanted {
                break;
            }
        }
        world.server.kill();
        // It failed on the way, or had just come to its end.
        let _ = push.await.unwrap();
        world.server.restart().await.unwrap();
    }
    device.sync_until_sent().await;
    assert_eq!(world.count().await, 1_000);
    assert_eq!(device.ids().await.len(), 1_000);
    let conflicts = device.engine.conflicts(&Default::default()).await.unwrap();
    assert_eq!(conflicts.len(), 0, "no own write was taken for another's");
}

async fn case_33_a_restored_backup_is_found_out_and_nothing_is_lost(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    for number in 0..5 {
        world.foreign_create(&id(number), "kept").await;
    }
    world.server.back_up("before.zip").await.unwrap();
    let device = world.device(&world.ada).await;
    for number in 5..10 {
        world.foreign_create(&id(number), "lost by the restore").await;
    }
    world
        .foreign_patch(&id(1), json!({"title": "changed"}))
        .await
        .success()
        .unwrap();
    device.sync().await;
    assert_eq!(device.ids().await.len(), 10);
    device.create(&id(100), "not sent yet").await;

    world.server.restore("before.zip").await.unwrap();
    for number in 20..40 {
        world.foreign_create(&id(number), "after the restore").await;
    }
    device.sync_until_sent().await;
    device.settle(profile).await;
    let mut expected: Vec<_> = (0..5).chain(20..40).chain([100]).map(id).collect();
    expected.sort();
    assert_eq!(device.ids().await, expected);
    assert_eq!(
        device.view(&id(1)).await["title"],
        "kept",
        "what the backup has is the truth"
    );
    assert_eq!(world.record(&id(100)).await["title"], "not sent yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_37_a_collection_without_times_is_refused_and_said() {
    let mut collection = owned_todos();
    collection["fields"]
        .as_array_mut()
        .unwrap()
        .retain(|field| field["name"] != "updated");
    collection["indexes"] = json!([]);
    let Some(world) = World::start_with(Profile::Plain, json!([collection])).await else {
        return;
    };
    let config = PocketBaseConfig::new(world.server.url())
        .unwrap()
        .with_collection(todos_mapping());
    let error = world
        .connect(config, reqwest(), &world.ada.token)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("updated"), "{error}");
}

async fn case_37_a_missing_index_is_no_obstacle(profile: Profile) {
    let mut collection = owned_todos();
    collection["indexes"] = json!([]);
    let Some(world) = World::start_with(profile, json!([collection])).await else {
        return;
    };
    world.foreign_create(&id(1), "theirs").await;
    let device = world.device(&world.ada).await;
    device.sync().await;
    assert_eq!(device.ids().await, [id(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_capabilities_say_what_each_profile_guarantees() {
    for profile in [Profile::Plain, Profile::Feed] {
        let Some(world) = World::start(profile).await else {
            return;
        };
        let capabilities = world.remote(&world.ada).await.capabilities();
        let feed = profile == Profile::Feed;
        assert_eq!(capabilities.cursor == CursorKind::CommitOrdered, feed);
        assert_eq!(capabilities.deletes == DeleteVisibility::Tombstones, feed);
        for told in [
            capabilities.conditional_write,
            capabilities.idempotent_push,
            capabilities.epoch,
            capabilities.stamps,
        ] {
            assert_eq!(told, feed, "{capabilities:?}");
        }
        assert!(capabilities.atomic_batch && capabilities.id_list && capabilities.server_time);

        let config = PocketBaseConfig::new(world.server.url())
            .unwrap()
            .with_collection(todos_mapping())
            .require_feed();
        let strict = world.connect(config, reqwest(), &world.ada.token).await;
        assert_eq!(
            strict.is_ok(),
            feed,
            "a weaker profile is never taken for a stronger one"
        );
    }
}
