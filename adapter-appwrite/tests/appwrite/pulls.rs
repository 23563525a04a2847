//! What pulls and scans bring: cases 1, 8 to 10, 13 to 16, 24, 25 and 39 of the notes, and a server that caps pages.

use std::time::Duration;

use serde_json::json;
use sync_core::{DeltaKind, PullRequest, RemoteStore, RemoteStoreExt, SyncPoint};
use sync_testkit::effects::TestEffects;

use crate::world::{DATABASE, World, columns, todo};

async fn page(
    remote: &dyn RemoteStore,
    since: Option<SyncPoint>,
    page_size: u32,
) -> (Vec<String>, SyncPoint, bool) {
    let request = PullRequest {
        target: World::target(),
        since,
        page_size,
        holds_nothing: false,
    };
    let delta = remote.pull(request).await.unwrap();
    assert_eq!(delta.kind, DeltaKind::Incremental);
    let ids = delta.changes.iter().map(|change| change.id.to_string()).collect();
    (ids, delta.next, delta.has_more)
}

/// Case 1.
#[tokio::test]
async fn what_one_device_makes_another_pulls() {
    let world = World::start().await;
    let (alice, bob) = (world.device("alice").await, world.device("bob").await);
    let record = crate::world::Todo {
        done: Some(true),
        count: Some(i64::MIN),
        due: Some("2026-01-02T03:04:05.678+00:00".to_owned()),
        ..todo("t1", "tea \u{1F375}")
    };
    alice.create(&record).await;
    alice.sync().await;
    bob.sync().await;
    assert_eq!(bob.get("t1").await, Some(record));
}

/// Case 8.
#[tokio::test]
async fn a_soft_delete_reaches_the_other_device_by_a_plain_pull() {
    let world = World::start().await;
    let (alice, bob) = (world.device("alice").await, world.device("bob").await);
    alice.create(&todo("t1", "tea")).await;
    alice.sync().await;
    bob.sync().await;
    alice.delete("t1").await;
    alice.sync().await;
    let report = bob.sync().await;
    assert_eq!((report.deleted, report.swept), (1, 0), "{report:?}");
    assert_eq!(bob.get("t1").await, None);
    assert_eq!(world.cell("t1", "deleted"), json!(true));
}

/// Case 9.
#[tokio::test]
async fn a_hard_delete_is_found_by_the_scan_and_not_by_a_pull() {
    let world = World::start().await;
    let device = world.device("alice").await;
    for id in ["t1", "t2"] {
        device.create(&todo(id, "tea")).await;
    }
    device.sync().await;
    world.erase("t1");
    device.sync().await;
    assert!(device.get("t1").await.is_some());
    assert_eq!(device.scan().await.swept, 1);
    assert_eq!((device.get("t1").await, device.all().await.len()), (None, 1));
}

/// Case 10.
#[tokio::test]
async fn a_hard_delete_of_a_record_with_pending_writes_is_a_conflict_and_no_silent_loss() {
    let world = World::start().await;
    let device = world.device("alice").await;
    device.create(&todo("t1", "tea")).await;
    device.sync().await;
    world.erase("t1");
    device.update(&todo("t1", "milk")).await;
    let report = device.scan().await;
    assert_eq!(report.conflicts(), 1, "{report:?}");
    let told = device
        .engine
        .conflicts(&sync_core::ConflictQuery::default())
        .await
        .unwrap();
    let local = told[0].local.as_ref().unwrap().to_object().unwrap();
    assert_eq!(
        local["title"],
        json!("milk"),
        "what was written is kept in the record of the conflict"
    );
}

/// Case 13.
#[tokio::test]
async fn rows_of_one_millisecond_are_neither_lost_nor_doubled_at_the_edges_of_pages() {
    let world = World::start().await;
    world.put_hundred();
    let stamps: std::collections::BTreeSet<String> = world
        .server
        .rows(DATABASE, "todos")
        .iter()
        .map(|row| row["$updatedAt"].to_string())
        .collect();
    assert_eq!(stamps.len(), 1);
    let remote = world.remote("alice");
    let (mut since, mut got) = (None, Vec::new());
    loop {
        let (ids, next, more) = page(&remote, since, 7).await;
        got.extend(ids);
        since = Some(next);
        if !more {
            break;
        }
    }
    let expected: Vec<String> = (0..100).map(|number| format!("b{number:02}")).collect();
    assert_eq!(got, expected);
}

/// Case 14.
#[tokio::test]
async fn a_row_changed_between_two_pages_makes_no_other_row_vanish() {
    let world = World::start().await;
    for number in 0..40 {
        world.put(&format!("t{number:02}"), json!({"title": "tea"}));
    }
    let remote = world.remote("alice");
    let (first, next, more) = page(&remote, None, 30).await;
    assert!(more);
    // The last row of the page moves to the end, which a server-side cursor does not survive.
    world.put("t29", json!({"title": "changed between the pages"}));
    let (second, _, _) = page(&remote, Some(next), 30).await;
    let mut got: Vec<_> = first.into_iter().chain(second).collect();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 40);
}

/// Case 15.
#[tokio::test]
async fn a_date_in_the_future_does_not_move_the_watermark_and_its_row_is_found_by_the_scan() {
    let world = World::start().await;
    let device = world.device("alice").await;
    world.put(
        "far",
        json!({"title": "of the future", "$updatedAt": "2099-01-01T00:00:00.000+00:00"}),
    );
    device.sync().await;
    world.put("t1", json!({"title": "of today"}));
    device.sync().await;
    assert_eq!(device.title("t1").await.as_deref(), Some("of today"));
    device.scan().await;
    assert_eq!(device.title("far").await.as_deref(), Some("of the future"));
}

/// Case 16.
#[tokio::test]
async fn a_back_dated_write_is_healed_by_the_scan() {
    let world = World::start().await;
    let device = world.device("alice").await;
    device.create(&todo("t1", "tea")).await;
    device.sync().await;
    world.put(
        "t1",
        json!({"title": "back-dated", "$updatedAt": "2021-01-01T00:00:00.000+00:00"}),
    );
    device.sync().await;
    assert_eq!(device.title("t1").await.as_deref(), Some("tea"));
    device.scan().await;
    assert_eq!(device.title("t1").await.as_deref(), Some("back-dated"));
}

/// Cases 24 and 25.
#[tokio::test]
async fn rows_that_are_unshared_leave_and_rows_shared_by_joining_a_team_arrive_with_the_scan() {
    let world = World::start().await;
    world.server.create_table(
        DATABASE,
        &columns("shared")
            .row_security()
            .permissions(&["create(\"users\")"]),
    );
    let rows = format!("/v1/tablesdb/{DATABASE}/tables/shared/rows");
    for (id, reader) in [("t1", "user:alice"), ("t2", "team:crew")] {
        let row =
            json!({"rowId": id, "data": {"title": "tea"}, "permissions": [format!("read(\"{reader}\")")]});
        assert_eq!(world.server.as_key("POST", &rows, &row).status, 201);
    }
    let device = world
        .device_with("alice", |_| {
            let table = adapter_appwrite::Table::new(DATABASE, "shared");
            world
                .bare(world.session("alice"), &TestEffects::tokio(2))
                .table("inbox", "todos", table)
                .unwrap()
        })
        .await;
    device.sync().await;
    assert!(device.get("t1").await.is_some() && device.get("t2").await.is_none());
    let unshared = json!({"permissions": ["read(\"user:bob\")"]});
    assert_eq!(
        world
            .server
            .as_key("PATCH", &format!("{rows}/t1"), &unshared)
            .status,
        200
    );
    world.server.set_team_member("alice", "crew", true);
    device.scan().await;
    assert!(device.get("t1").await.is_none() && device.get("t2").await.is_some());
}

/// Case 39.
#[tokio::test]
async fn the_devices_clocks_play_no_part() {
    const DAY_MICROS: i64 = 86_400_000_000;
    let mut endings = Vec::new();
    for (ahead_alice, ahead_bob) in [(0, 0), (DAY_MICROS, -DAY_MICROS), (-DAY_MICROS, DAY_MICROS)] {
        let world = World::start().await;
        let (alice, bob) = (world.device("alice").await, world.device("bob").await);
        alice.effects.clock.jump(ahead_alice);
        bob.effects.clock.jump(ahead_bob);
        alice.create(&todo("t1", "tea")).await;
        alice.create(&todo("t2", "tea")).await;
        alice.sync().await;
        bob.sync().await;
        bob.update(&todo("t1", "bob's, first")).await;
        bob.delete("t2").await;
        world.server.advance_clock(Duration::from_secs(30));
        alice.update(&todo("t1", "alice's, later")).await;
        alice.sync().await;
        bob.sync().await;
        alice.scan().await;
        endings.push((
            world.cell("t1", "title"),
            world.cell("t2", "deleted"),
            alice.all().await,
        ));
        assert_eq!(alice.all().await, bob.all().await);
    }
    assert_eq!(endings[0], endings[1]);
    assert_eq!(endings[0], endings[2]);
    assert_eq!(endings[0].0, json!("alice's, later"));
}

#[tokio::test]
async fn a_server_that_caps_pages_in_silence_loses_nothing() {
    let world = World::start().await;
    for number in 0..130 {
        world.put(&format!("t{number:03}"), json!({"title": "tea"}));
    }
    world.server.cap_pages(Some(30));
    let device = world.device("alice").await;
    device.sync().await;
    device.scan().await;
    assert_eq!(device.all().await.len(), 130);
    let ids: Vec<_> = (0..130)
        .map(|number| World::key(&format!("t{number:03}")).id)
        .collect();
    let states = device.remote.get(&World::target(), &ids).await.unwrap();
    assert!(states.iter().all(sync_core::RemoteState::is_live));
}

#[tokio::test]
async fn after_long_absence_or_as_another_user_a_pull_asks_for_a_scan() {
    let world = World::start().await;
    world.put("t1", json!({"title": "tea"}));
    let (alice, bob) = (world.remote("alice"), world.remote("bob"));
    let pull = |since| PullRequest {
        target: World::target(),
        since,
        page_size: 10,
        holds_nothing: false,
    };
    let first = alice.pull(pull(None)).await.unwrap();
    assert!(
        !alice
            .pull(pull(Some(first.next.clone())))
            .await
            .unwrap()
            .wants_sweep
    );
    assert!(
        bob.pull(pull(Some(first.next.clone())))
            .await
            .unwrap()
            .wants_sweep
    );
    world.server.advance_clock(Duration::from_secs(7 * 3_600));
    let pages = alice
        .pull_all(&World::target(), Some(first.next), 10)
        .await
        .unwrap();
    assert!(pages.last().unwrap().wants_sweep);
}

#[tokio::test]
async fn a_quiet_table_is_not_read_again_and_again() {
    let world = World::start().await;
    world.put_hundred();
    world.put("last", json!({"title": "the newest"}));
    let device = world.device("alice").await;
    device.sync().await;
    let read_again = async || {
        let mut point = None;
        let mut changes = Vec::new();
        for _ in 0..3 {
            let pages = device.remote.pull_all(&World::target(), point, 50).await.unwrap();
            changes.push(pages.iter().map(|page| page.changes.len()).sum::<usize>());
            point = pages.last().map(|page| page.next.clone());
        }
        changes
    };
    assert_eq!(read_again().await, [101, 101, 101], "within the overlap");
    world.server.advance_clock(Duration::from_secs(200));
    assert_eq!(
        read_again().await,
        [101, 1, 1],
        "once nothing can commit behind it any more"
    );
}
