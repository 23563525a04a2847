//! Cases 17 to 20, 25, 28 and 34: deletes, cascades, scope exits and truncation arrive, edits are not lost.

use adapter_pocketbase::Profile;
use serde_json::{Value, json};
use sync_core::resolve::{ClientWins, ServerWins};

use crate::{
    feed_fixture::{create_in_batch, send_batch},
    world::{Device, World, id, in_both_profiles, owned_todos},
};

in_both_profiles!(
    case_17_a_record_deleted_by_another_goes_away,
    case_18_a_delete_behind_an_equal_count_is_found,
    case_19_an_edit_of_a_record_deleted_meanwhile_is_a_conflict_and_not_lost,
    case_20_a_delete_of_a_record_edited_meanwhile_follows_the_resolver,
    case_25_cascades_arrive_on_the_device,
    case_28_a_record_that_left_the_scope_leaves_the_device,
    case_34_a_truncated_collection_empties_the_device,
);

async fn world_with_three(profile: Profile) -> Option<(World, Device)> {
    let world = World::start(profile).await?;
    for number in 1..=3 {
        world.foreign_create(&id(number), "theirs").await;
    }
    let device = world.device(&world.ada).await;
    device.sync().await;
    assert_eq!(device.ids().await.len(), 3);
    Some((world, device))
}

async fn case_17_a_record_deleted_by_another_goes_away(profile: Profile) {
    let Some((world, device)) = world_with_three(profile).await else {
        return;
    };
    world.foreign_delete(&id(2)).await;
    // In both profiles by a plain sync: the feed tells it, and on a plain server the count does.
    device.sync().await;
    assert_eq!(device.ids().await, [id(1), id(3)]);
}

async fn case_18_a_delete_behind_an_equal_count_is_found(profile: Profile) {
    let Some((world, device)) = world_with_three(profile).await else {
        return;
    };
    world.foreign_delete(&id(2)).await;
    world.foreign_create(&id(4), "new").await;
    // A plain server's count says nothing here; the next sweep finds it.
    device.settle(profile).await;
    assert_eq!(device.ids().await, [id(1), id(3), id(4)]);
}

async fn case_19_an_edit_of_a_record_deleted_meanwhile_is_a_conflict_and_not_lost(profile: Profile) {
    let Some((world, _)) = world_with_three(profile).await else {
        return;
    };
    let device = world.device_with(&world.ada, ClientWins).await;
    device.sync().await;
    device.update(&id(2), json!({"title": "mine"})).await;
    world.foreign_delete(&id(2)).await;
    device.sync_until_sent().await;
    device.settle(profile).await;
    let conflicts = device.engine.conflicts(&Default::default()).await.unwrap();
    assert_eq!(conflicts.len(), 1, "the edit met the delete as a conflict");
    assert_eq!(device.view(&id(2)).await["title"], "mine");
    assert_eq!(
        world.record(&id(2)).await["title"],
        "mine",
        "the client's edit won"
    );
}

async fn case_20_a_delete_of_a_record_edited_meanwhile_follows_the_resolver(profile: Profile) {
    let Some((world, _)) = world_with_three(profile).await else {
        return;
    };
    let device = world.device_with(&world.ada, ServerWins).await;
    device.sync().await;
    device.delete(&id(2)).await;
    world
        .foreign_patch(&id(2), json!({"title": "edited"}))
        .await
        .success()
        .unwrap();
    device.sync_until_sent().await;
    device.settle(profile).await;
    let conflicts = device.engine.conflicts(&Default::default()).await.unwrap();
    assert_eq!(conflicts.len(), 1, "the delete met the edit as a conflict");
    assert_eq!(world.record(&id(2)).await["title"], "edited");
    assert_eq!(device.view(&id(2)).await["title"], "edited", "the record is back");
}

async fn case_25_cascades_arrive_on_the_device(profile: Profile) {
    let mut child = owned_todos();
    child["fields"].as_array_mut().unwrap().extend([
        json!({"name": "list", "type": "relation", "collectionId": "pbc_lists000000", "cascadeDelete": true, "maxSelect": 1}),
        json!({"name": "label", "type": "relation", "collectionId": "pbc_lists000000", "maxSelect": 1}),
    ]);
    let lists = json!({"name": "lists", "id": "pbc_lists000000", "type": "base", "fields": [{"name": "title", "type": "text"}]});
    let Some(world) = World::start_with(profile, json!([lists, child])).await else {
        return;
    };
    world
        .admin()
        .create("lists", &json!({"id": "listaaaaaaaaaaa"}))
        .await
        .unwrap();
    for (number, field) in [(1, "list"), (2, "label")] {
        let record =
            json!({"id": id(number), "title": "a child", "owner": world.ada.id, field: "listaaaaaaaaaaa"});
        world.admin().create("todos", &record).await.unwrap();
    }
    let device = world.device(&world.ada).await;
    device.sync().await;
    let before = device.store_version(&id(2)).await;
    let path = "/api/collections/lists/records/listaaaaaaaaaaa";
    world
        .admin()
        .send("DELETE", path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    device.sync().await;
    assert_eq!(device.ids().await, [id(2)], "the child went with its parent");
    assert_ne!(
        device.store_version(&id(2)).await,
        before,
        "the other child was changed, and that arrived"
    );
}

async fn case_28_a_record_that_left_the_scope_leaves_the_device(profile: Profile) {
    let Some((world, device)) = world_with_three(profile).await else {
        return;
    };
    let bobs = world.device(&world.bob).await;
    bobs.sync().await;
    world
        .foreign_patch(&id(2), json!({"owner": world.bob.id}))
        .await
        .success()
        .unwrap();
    device.sync().await;
    bobs.sync().await;
    assert_eq!(device.ids().await, [id(1), id(3)]);
    assert_eq!(bobs.ids().await, [id(2)]);
    world
        .foreign_patch(&id(2), json!({"owner": world.ada.id}))
        .await
        .success()
        .unwrap();
    device.sync().await;
    bobs.sync().await;
    assert_eq!(device.ids().await, [id(1), id(2), id(3)], "and it comes back");
    assert_eq!(bobs.ids().await, Vec::<String>::new());
}

async fn case_34_a_truncated_collection_empties_the_device(profile: Profile) {
    let Some(world) = World::start(profile).await else {
        return;
    };
    let requests =
        (0..200).map(|number| create_in_batch("todos", json!({"id": id(number), "owner": world.ada.id})));
    send_batch(world.admin(), requests.collect::<Vec<Value>>())
        .await
        .success()
        .unwrap();
    let device = world.device(&world.ada).await;
    device.sync().await;
    assert_eq!(device.ids().await.len(), 200);
    device.update(&id(7), json!({"title": "mine"})).await;
    let path = "/api/collections/todos/truncate";
    world
        .admin()
        .send("DELETE", path, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    device.engine.pull_only(device.scope()).await.unwrap();
    assert_eq!(device.ids().await.iter().filter(|one| **one != id(7)).count(), 0);
    let kept = device.ops().await.len() + device.engine.conflicts(&Default::default()).await.unwrap().len();
    assert!(
        kept > 0,
        "the edit of a record that is gone is not dropped in silence"
    );
}
