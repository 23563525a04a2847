//! Pulls: pages, first passes, moves, and sync points that are no longer good.

use std::collections::BTreeMap;

use serde_json::json;
use sync_core::{
    Delta, DeltaKind, ErrorKind, OpKind, RecordId, RemoteState, RemoteStore, RemoteStoreExt, RetryClass,
    SyncPoint,
};

use super::world::{World, apply, create, id, key, op, page, scope, target};

on_each_stack!(
    case_01_what_one_device_pushes_another_pulls,
    case_08_a_record_made_again_has_a_higher_version_and_arrives,
    case_09_a_row_that_moves_leaves_one_scope_and_enters_the_other,
    case_13_rows_of_one_statement_arrive_once_each_in_small_pages,
    case_14_an_update_during_a_first_pass_ends_in_the_right_state,
    case_15_a_pull_without_news_keeps_the_cursor,
    case_16_page_sizes_are_held_to_the_limits,
    case_17_another_epoch_demands_a_resync_that_loses_nothing,
    case_19_a_cursor_behind_forgotten_tombstones_demands_a_resync,
    pages_of_a_first_pass_are_a_snapshot_and_later_ones_are_not,
    tombstones_are_left_out_only_for_a_client_that_holds_nothing,
    a_row_that_no_record_can_be_is_reported_and_stops_nothing,
    ids_are_listed_in_pages_with_their_versions,
);

async fn case_01_what_one_device_pushes_another_pulls(world: &World) {
    let (first, second) = (
        world.device(&world.ada, "s").await,
        world.device(&world.bob, "s").await,
    );
    first.create(1, "tea").await;
    assert_eq!(first.sync().await.pushed, 1);
    second.sync().await;
    assert_eq!(second.titles().await, [(id(1), "tea".to_owned())]);
    assert_eq!(
        second.view(1).await["updated_at"],
        first.view(1).await["updated_at"],
        "read-only columns come back"
    );
}

async fn case_08_a_record_made_again_has_a_higher_version_and_arrives(world: &World) {
    let (first, second) = (
        world.device(&world.ada, "s").await,
        world.device(&world.bob, "s").await,
    );
    first.create(1, "first life").await;
    first.sync().await;
    second.sync().await;
    first.delete(1).await;
    first.sync().await;
    let remote = world.remote(&world.ada).await;
    let RemoteState::Deleted(tombstone) = remote.get_one(&key(1)).await.unwrap() else {
        panic!("it was deleted");
    };
    first.create(1, "second life").await;
    first.sync_until_sent().await;
    second.sync().await;
    assert_eq!(second.titles().await, [(id(1), "second life".to_owned())]);
    let live = remote.get_one(&key(1)).await.unwrap();
    assert!(tombstone.version.unwrap().is_older_than(live.version().unwrap()));
}

async fn case_09_a_row_that_moves_leaves_one_scope_and_enters_the_other(world: &World) {
    world.make(1..=1).await;
    let (from, to) = (
        world.device(&world.ada, "s").await,
        world.device(&world.ada, "t").await,
    );
    from.sync().await;
    to.sync().await;
    assert_eq!((from.titles().await.len(), to.titles().await.len()), (1, 0));
    world
        .run(&format!("update public.todo set scope = '{}'", scope("t").key()))
        .await;
    from.sync().await;
    to.sync().await;
    assert_eq!((from.titles().await.len(), to.titles().await.len()), (0, 1));
}

/// How often each id came.
fn counted(pages: &[Delta]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for change in pages.iter().flat_map(|page| &page.changes) {
        *counts.entry(change.id.to_string()).or_default() += 1;
    }
    counts
}

async fn case_13_rows_of_one_statement_arrive_once_each_in_small_pages(world: &World) {
    world.make(1..=1_000).await;
    let remote = world.remote(&world.ada).await;
    let pages = remote.pull_all(&target("todo", "s"), None, 37).await.unwrap();
    assert_eq!(pages.len(), 28);
    let counts = counted(&pages);
    assert_eq!((counts.len(), counts.values().max()), (1_000, Some(&1)));
    // More than the data API gives in one answer of rows is no limit for a function.
    world.make(1_001..=3_000).await;
    let rest = remote
        .pull_all(&target("todo", "s"), Some(pages[27].next.clone()), 5_000)
        .await
        .unwrap();
    assert_eq!(
        (rest.len(), counted(&rest).len()),
        (2, 2_000),
        "a page has 1,000 unless set otherwise"
    );
}

async fn case_14_an_update_during_a_first_pass_ends_in_the_right_state(world: &World) {
    world.make(1..=30).await;
    let remote = world.remote(&world.ada).await;
    let mut request = page(None, 10);
    let mut seen = BTreeMap::new();
    for round in 0.. {
        let delta = remote.pull(request.clone()).await.unwrap();
        for change in delta.changes {
            seen.insert(change.id.to_string(), change.state);
        }
        if round == 0 {
            // One that was delivered, one that was not, and one of each is deleted.
            let ids = |a, b| format!("('{}', '{}')", id(a), id(b));
            world
                .run(&format!(
                    "update public.todo set title = 'new' where id in {}",
                    ids(3, 25)
                ))
                .await;
            world
                .run(&format!("delete from public.todo where id in {}", ids(4, 26)))
                .await;
        }
        request.since = Some(delta.next);
        if !delta.has_more {
            break;
        }
    }
    let title = |number| match &seen[&id(number)] {
        RemoteState::Live(live) => live.record.to_object().unwrap()["title"].clone(),
        _ => json!(null),
    };
    assert_eq!(
        (title(3), title(25), title(5)),
        (json!("new"), json!("new"), json!("made 5"))
    );
    assert!(
        [4, 26]
            .iter()
            .all(|gone| seen.get(&id(*gone)).is_none_or(|state| !state.is_live()))
    );
    assert_eq!(seen.values().filter(|state| state.is_live()).count(), 28);
}

async fn case_15_a_pull_without_news_keeps_the_cursor(world: &World) {
    world.make(1..=3).await;
    let remote = world.remote(&world.ada).await;
    let first = remote.pull(page(None, 10)).await.unwrap();
    let again = remote.pull(page(Some(&first.next), 10)).await.unwrap();
    assert_eq!(
        (again.changes.len(), again.has_more, &again.next),
        (0, false, &first.next)
    );
    let nobody_yet = remote.pull_all(&target("note", "t"), None, 10).await.unwrap();
    assert!(nobody_yet[0].changes.is_empty());
}

async fn case_16_page_sizes_are_held_to_the_limits(world: &World) {
    world.make(1..=3).await;
    let remote = world.remote(&world.ada).await;
    assert_eq!(remote.pull(page(None, 0)).await.unwrap().changes.len(), 1);
    assert_eq!(remote.pull(page(None, u32::MAX)).await.unwrap().changes.len(), 3);
    let ids = remote.list_ids(&target("todo", "s"), None, 0).await.unwrap();
    assert_eq!(ids.ids.len(), 1);
    assert_eq!(
        remote
            .list_ids(&target("todo", "s"), None, u32::MAX)
            .await
            .unwrap()
            .ids
            .len(),
        3
    );
}

async fn case_17_another_epoch_demands_a_resync_that_loses_nothing(world: &World) {
    world.make(1..=5).await;
    let remote = world.remote(&world.ada).await;
    let device = world.device(&world.ada, "s").await;
    device.sync().await;
    let cursor = remote.pull(page(None, 10)).await.unwrap().next;
    device.create(9, "not sent yet").await;
    world.run("select sync.renew_epoch()").await;
    world
        .run(&format!("delete from public.todo where id = '{}'", id(1)))
        .await;
    let error = remote.pull(page(Some(&cursor), 10)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::ResyncRequired, RetryClass::Resync)
    );
    let unreadable = SyncPoint::new("made by another adapter");
    let error = remote.pull(page(Some(&unreadable), 10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResyncRequired);
    device.sync_until_sent().await;
    device.sync().await;
    let titles = device.titles().await;
    assert_eq!(titles.len(), 5, "one deleted, one made here: {titles:?}");
    assert!(titles.contains(&(id(9), "not sent yet".to_owned())));
}

async fn case_19_a_cursor_behind_forgotten_tombstones_demands_a_resync(world: &World) {
    world.make(1..=5).await;
    let remote = world.remote(&world.ada).await;
    let device = world.device(&world.ada, "s").await;
    device.sync().await;
    let cursor = remote.pull(page(None, 10)).await.unwrap().next;
    world
        .run(&format!("delete from public.todo where id = '{}'", id(2)))
        .await;
    world.run("select sync.prune('0 seconds')").await;
    let error = remote.pull(page(Some(&cursor), 10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResyncRequired);
    device.sync_until_sent().await;
    device.sync().await;
    assert_eq!(
        device.titles().await.len(),
        4,
        "the deleted one is gone, though its tombstone is too"
    );
}

async fn pages_of_a_first_pass_are_a_snapshot_and_later_ones_are_not(world: &World) {
    world.make(1..=5).await;
    let remote = world.remote(&world.ada).await;
    let first = remote.pull_all(&target("todo", "s"), None, 2).await.unwrap();
    assert!(first.iter().all(|page| page.kind == DeltaKind::Snapshot));
    let since = first.last().unwrap().next.clone();
    world.make(6..=9).await;
    let later = remote
        .pull_all(&target("todo", "s"), Some(since), 2)
        .await
        .unwrap();
    assert!(later.iter().all(|page| page.kind == DeltaKind::Incremental));
    assert_eq!(counted(&later).len(), 4);
    assert!(later.iter().all(|page| page.server_time.is_some()));
}

async fn tombstones_are_left_out_only_for_a_client_that_holds_nothing(world: &World) {
    world.make(1..=2).await;
    let remote = world.remote(&world.ada).await;
    let mut gone = op(OpKind::Delete, key(1), None);
    gone.base = None;
    apply(&remote, gone).await;
    let told = remote.pull(page(None, 10)).await.unwrap();
    assert_eq!(
        told.changes
            .iter()
            .filter(|change| !change.state.is_live())
            .count(),
        1
    );
    let mut request = page(None, 10);
    request.holds_nothing = true;
    let left_out = remote.pull(request).await.unwrap();
    assert_eq!(left_out.changes.len(), 1);
    assert_eq!(left_out.next, told.next);
}

async fn a_row_that_no_record_can_be_is_reported_and_stops_nothing(world: &World) {
    let scope_key = scope("s").key().to_string();
    world
        .run(&format!("insert into public.note (id, scope) values ('a', '{scope_key}'), ('', '{scope_key}'), ('b', '{scope_key}')"))
        .await;
    let remote = world.remote(&world.ada).await;
    let pages = remote.pull_all(&target("note", "s"), None, 2).await.unwrap();
    let malformed: Vec<_> = pages.iter().flat_map(|page| &page.malformed).collect();
    assert_eq!((counted(&pages).len(), malformed.len()), (2, 1));
    assert!(
        malformed[0].raw.contains("\"id\"") && !malformed[0].error.is_empty(),
        "{malformed:?}"
    );
}

async fn ids_are_listed_in_pages_with_their_versions(world: &World) {
    world.make(1..=7).await;
    world
        .run(&format!("delete from public.todo where id = '{}'", id(3)))
        .await;
    let remote = world.remote(&world.ada).await;
    let target = target("todo", "s");
    let mut ids: Vec<RecordId> = Vec::new();
    let mut after = None;
    loop {
        let listed = remote.list_ids(&target, after.as_deref(), 2).await.unwrap();
        for (id, version) in listed.ids {
            let state = remote
                .get(&target, std::slice::from_ref(&id))
                .await
                .unwrap()
                .remove(0);
            assert_eq!(state.version(), version.as_ref());
            ids.push(id);
        }
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = [1, 2, 4, 5, 6, 7]
        .map(|number| RecordId::new(id(number)).unwrap())
        .into();
    assert_eq!(ids, expected);
    assert_eq!(
        apply(&remote, create(8, json!({"title": "x"})))
            .await
            .order()
            .map(|order| order > 0),
        Some(true)
    );
}
