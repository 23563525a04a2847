//! Batches as transactions: cases 6, 21, 22 and 38 of the notes, and batches that take effect as a whole.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use adapter_appwrite::AppwriteRemoteStore;
use adapter_memory::MemoryLocalStore;
use appwrite_stand_in::{Fault, LoggedRequest, RequestMatch};
use serde_json::{Value, json};
use sync_core::{OpState, Write, resolve::FieldMerge};
use sync_http::{HttpRequest, ReqwestTransport, Transport};
use sync_testkit::effects::TestEffects;
use tokio::sync::Notify;

use crate::{
    meddling::{Meddling, Then, commits, stages},
    world::{Device, World, todo},
};

fn staged(world: &World) -> Vec<Vec<Value>> {
    let stages = |logged: &LoggedRequest| logged.request.path.ends_with("/operations");
    world
        .writes()
        .iter()
        .filter(|logged| stages(logged))
        .map(|logged| {
            let body: Value = serde_json::from_slice(&logged.request.body).unwrap();
            body["operations"].as_array().unwrap().clone()
        })
        .collect()
}

fn single_writes(world: &World) -> usize {
    world
        .writes()
        .iter()
        .filter(|logged| logged.request.path.contains("/rows"))
        .count()
}

fn network(effects: &TestEffects) -> Arc<dyn Transport> {
    Arc::new(ReqwestTransport::new(effects.effects().timer).unwrap())
}

/// A device of `user` whose requests a hook sees first.
async fn meddled(
    world: &World,
    user: &str,
    store: Arc<MemoryLocalStore>,
    hook: impl Fn(&HttpRequest) -> Then + Send + Sync + 'static,
) -> Device {
    let effects = TestEffects::tokio(11);
    let config = world
        .config(world.session(user), &effects)
        .transport(Meddling::new(network(&effects), hook));
    let remote = Arc::new(AppwriteRemoteStore::new(config).unwrap());
    Device::reopen(effects, remote, store, FieldMerge::new()).await
}

async fn create_many(device: &Device, numbers: impl Iterator<Item = usize>) {
    for number in numbers {
        device.create(&todo(&format!("t{number:03}"), "tea")).await;
    }
}

/// Case 21.
#[tokio::test]
async fn a_hundred_operations_are_one_transaction_and_one_more_is_sent_apart() {
    let world = World::start().await;
    let device = world.device("alice").await;
    create_many(&device, 0..101).await;
    assert_eq!(device.sync().await.pushed, 101);
    let staged = staged(&world);
    assert_eq!(staged.iter().map(Vec::len).collect::<Vec<_>>(), [100]);
    for operation in &staged[0] {
        assert_eq!(operation["action"], json!("create"));
        assert_eq!(operation["data"]["$id"], operation["rowId"]);
        assert!(operation["data"]["$permissions"].is_array(), "{operation}");
    }
    assert_eq!(single_writes(&world), 1);
    let made: Vec<_> = (0..101).map(|number| format!("t{number:03}")).collect();
    assert_eq!(world.ids(), made);
}

#[tokio::test]
async fn rows_made_in_a_transaction_are_the_authors_own() {
    let world = World::start().await;
    world.server.create_table(
        "main",
        &crate::world::columns("own")
            .row_security()
            .permissions(&["create(\"users\")"]),
    );
    let device = world
        .device_with("alice", |_| {
            let table = adapter_appwrite::Table::new("main", "own")
                .permissions(adapter_appwrite::RowPermissions::Owner);
            world
                .bare(world.session("alice"), &TestEffects::tokio(2))
                .table("inbox", "todos", table)
                .unwrap()
        })
        .await;
    create_many(&device, 0..6).await;
    device.sync().await;
    assert_eq!(staged(&world).len(), 1);
    device.scan().await;
    assert_eq!(device.all().await.len(), 6, "the author sees what he made");
}

/// Case 6.
#[tokio::test]
async fn a_lost_answer_to_a_commit_is_resolved_by_the_transaction_or_by_the_rows() {
    for forgotten in [false, true] {
        let world = World::start().await;
        let device = world.device("alice").await;
        create_many(&device, 0..6).await;
        world.server.fault(
            RequestMatch::method("PATCH").path("/transactions/"),
            Fault::DropAnswer,
        );
        if forgotten {
            let kind = "transaction_not_found";
            world.server.fault(
                RequestMatch::method("GET").path("/transactions/"),
                Fault::Refuse { status: 404, kind },
            );
        }
        let report = device.sync().await;
        assert_eq!(
            (report.pushed, report.conflicts(), report.retried),
            (6, 0, 0),
            "{report:?}"
        );
        assert_eq!((staged(&world).len(), single_writes(&world)), (1, 0));
    }
}

#[tokio::test]
async fn a_commit_that_did_not_arrive_is_rolled_back_and_its_operations_go_another_way() {
    let world = World::start().await;
    let device = world.device("alice").await;
    create_many(&device, 0..6).await;
    world.server.fault(
        RequestMatch::method("PATCH").path("/transactions/"),
        Fault::DropRequest,
    );
    let report = device.sync().await;
    assert_eq!(report.pushed, 6, "{report:?}");
    let rolled_back = world
        .writes()
        .iter()
        .any(|logged| String::from_utf8_lossy(&logged.request.body).contains("rollback"));
    assert!(rolled_back);
    assert_eq!(world.server.rows("main", "todos").len(), 6);
}

/// Case 22: before the look at the rows it is found by the look, after it by the server.
#[tokio::test]
async fn what_others_write_while_a_batch_is_staged_is_not_overwritten() {
    for moment in [stages as fn(&HttpRequest) -> bool, commits] {
        let world = Arc::new(World::start().await);
        let meddles = Arc::new(AtomicBool::new(false));
        let (their_world, armed) = (Arc::clone(&world), Arc::clone(&meddles));
        let device = meddled(
            &world,
            "alice",
            Arc::new(MemoryLocalStore::new()),
            move |request| {
                if moment(request) && armed.swap(false, Ordering::SeqCst) {
                    their_world.put("t003", json!({"title": "theirs", "count": 1}));
                }
                Then::Go
            },
        )
        .await;
        create_many(&device, 0..6).await;
        device.sync().await;
        for number in 0..6 {
            device.update(&todo(&format!("t{number:03}"), "ours")).await;
        }
        meddles.store(true, Ordering::SeqCst);
        let report = device.sync().await;
        assert_eq!((report.conflicts(), report.pushed >= 5), (1, true), "{report:?}");
        assert_eq!(
            world.cell("t003", "count"),
            json!(1),
            "their other column survives"
        );
        device.sync().await;
        for number in 0..6 {
            let id = format!("t{number:03}");
            assert_eq!(json!(device.title(&id).await), world.cell(&id, "title"));
        }
    }
}

/// Case 38.
#[tokio::test]
async fn a_process_that_dies_between_staging_and_commit_or_after_it_applies_nothing_twice() {
    for after_commit in [false, true] {
        let world = Arc::new(World::start().await);
        let store = Arc::new(MemoryLocalStore::new());
        let died = Arc::new(Notify::new());
        let (dying, committed) = (Arc::clone(&died), Arc::new(Mutex::new(false)));
        let device = meddled(&world, "alice", Arc::clone(&store), move |request| {
            let mut committed = committed.lock().unwrap();
            let dies = if after_commit {
                *committed
            } else {
                commits(request)
            };
            *committed |= commits(request);
            if dies {
                dying.notify_one();
                return Then::Never;
            }
            Then::Go
        })
        .await;
        create_many(&device, 0..6).await;
        let scope = World::scope();
        tokio::select! {
            report = device.engine.synchronize(&scope) => panic!("it did not die: {report:?}"),
            () = died.notified() => {}
        }
        assert_eq!(
            world.server.rows("main", "todos").len(),
            if after_commit { 6 } else { 0 }
        );
        drop(device);

        let effects = TestEffects::tokio(12);
        let remote = Arc::new(world.remote("alice"));
        let reborn = Device::reopen(effects, remote, store, FieldMerge::new()).await;
        // The lease of the dead runs out first.
        reborn.effects.clock.advance(std::time::Duration::from_secs(600));
        let report = reborn.sync().await;
        assert_eq!((report.pushed, report.conflicts()), (6, 0), "{report:?}");
        assert!(reborn.pending().await.is_empty());
        let rows = world.server.rows("main", "todos");
        assert_eq!(rows.len(), 6);
        let op_ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row["op_id"].to_string()).collect();
        assert_eq!(op_ids.len(), 6);
    }
}

#[tokio::test]
async fn a_write_batch_with_one_refused_member_has_no_effect_and_names_the_member() {
    let world = World::start().await;
    let device = world.device("alice").await;
    let long = crate::world::Todo {
        note: Some("x".repeat(1_001)),
        ..todo("t2", "too long")
    };
    let scope = World::scope();
    let writes = vec![
        Write::create(&scope, &todo("t1", "tea")).unwrap(),
        Write::create(&scope, &long).unwrap(),
        Write::create(&scope, &todo("t3", "milk")).unwrap(),
    ];
    device.engine.write_batch(writes).await.unwrap();
    device.sync().await;
    assert!(world.server.rows("main", "todos").is_empty());
    let states: Vec<_> = device
        .pending()
        .await
        .into_iter()
        .map(|op| (op.key.id.to_string(), op.state))
        .collect();
    let parked = states
        .iter()
        .filter(|(_, state)| matches!(state, OpState::Parked(_)))
        .collect::<Vec<_>>();
    assert!(matches!(&parked[..], [(id, _)] if id == "t2"), "{states:?}");
    let op = device
        .pending()
        .await
        .into_iter()
        .find(|op| op.key.id.as_str() == "t2")
        .unwrap();
    let mended = sync_core::Payload::encode(&todo("t2", "short")).unwrap();
    device.engine.edit_op(op.op_id, mended).await.unwrap();
    device.sync().await;
    assert_eq!(world.server.rows("main", "todos").len(), 3);
}

#[tokio::test]
async fn one_operation_that_is_refused_does_not_hold_up_the_rest_of_a_batch() {
    let world = World::start().await;
    let device = world.device("alice").await;
    create_many(&device, 0..5).await;
    device
        .create(&crate::world::Todo {
            note: Some("x".repeat(1_001)),
            ..todo("t009", "too long")
        })
        .await;
    let report = device.sync().await;
    assert_eq!((report.pushed, report.parked), (5, 1), "{report:?}");
    assert_eq!(world.server.rows("main", "todos").len(), 5);
}
