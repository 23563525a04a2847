//! Finding out what a project offers, and saying what is wrong with it.

use std::time::Duration;

use adapter_supabase::{ApiKey, Mode, ProjectProfile, SupabaseConfig, SupabaseRemoteStore, SupabaseTable};
use serde_json::json;
use supabase_stack::Fault;
use sync_core::{CursorKind, Effects, ErrorKind, RemoteStore, SyncError};

use super::world::{World, page};

on_each_stack!(
    a_project_with_the_feed_is_used_by_it,
    a_migration_that_the_data_api_does_not_know_yet_is_waited_for,
    a_project_without_the_feed_is_told_from_one_that_fails,
    what_does_not_fit_the_configuration_is_refused_by_name,
    a_wrong_key_is_no_sign_in_problem,
);

fn unknown_function() -> Fault {
    let body =
        json!({"code": "PGRST202", "message": "Could not find the function", "details": null, "hint": null});
    Fault::Answer {
        status: 404,
        body: body.to_string(),
    }
}

async fn refusal(config: SupabaseConfig) -> SyncError {
    SupabaseRemoteStore::connect(config).await.unwrap_err()
}

async fn a_project_with_the_feed_is_used_by_it(world: &World) {
    let remote = world.remote(&world.ada).await;
    assert_eq!(remote.mode(), Mode::Feed);
    let capabilities = remote.capabilities();
    assert_eq!(
        (capabilities.cursor, capabilities.max_page),
        (CursorKind::CommitOrdered, 1_000)
    );
    assert_eq!(capabilities.max_push_batch, 100);
    // What was found is kept by the app, and is enough for a start without a network.
    let kept = serde_json::to_string(remote.profile()).unwrap();
    let known: ProjectProfile = serde_json::from_str(&kept).unwrap();
    world.stack.forget_requests();
    let again = SupabaseRemoteStore::open(world.config().signed_in(world.token(&world.ada)), known).unwrap();
    assert_eq!(
        (again.capabilities(), world.stack.requests().len()),
        (capabilities, 0)
    );
    again.pull(page(None, 10)).await.unwrap();
    let off = again
        .server_time()
        .await
        .unwrap()
        .since(again.server_clock().now());
    assert!(off < Duration::from_secs(1), "{off:?}");
}

async fn a_migration_that_the_data_api_does_not_know_yet_is_waited_for(world: &World) {
    world.make(1..=1).await;
    let remote = world.remote(&world.ada).await;
    for _ in 0..2 {
        world.stack.faults().next("rpc/sync_pull", unknown_function());
    }
    assert_eq!(remote.pull(page(None, 10)).await.unwrap().changes.len(), 1);
    let config = world
        .config()
        .signed_in(world.token(&world.ada))
        .with_schema_patience(Duration::from_millis(300));
    let hasty = SupabaseRemoteStore::open(config, remote.profile().clone()).unwrap();
    world
        .stack
        .faults()
        .always("rpc/sync_pull", Some(unknown_function()));
    let error = hasty.pull(page(None, 10)).await.unwrap_err();
    world.stack.faults().always("rpc/sync_pull", None);
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Configuration, Some("migration")),
        "{error}"
    );
}

async fn a_project_without_the_feed_is_told_from_one_that_fails(world: &World) {
    let config = || {
        world
            .config()
            .signed_in(world.token(&world.ada))
            .require(Mode::Feed)
    };
    world.stack.faults().next(
        "rpc/sync_status",
        Fault::Status {
            status: 503,
            retry_after: None,
        },
    );
    assert_eq!(refusal(config()).await.kind(), ErrorKind::Server);
    world.stack.faults().next("rpc/sync_status", Fault::DropBefore);
    assert!(refusal(config()).await.is_offline());
    world
        .stack
        .faults()
        .always("rpc/sync_status", Some(unknown_function()));
    let error = refusal(config().with_schema_patience(Duration::ZERO)).await;
    world.stack.faults().always("rpc/sync_status", None);
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Configuration, Some("migration")),
        "{error}"
    );
}

async fn what_does_not_fit_the_configuration_is_refused_by_name(world: &World) {
    let config = || world.config().signed_in(world.token(&world.ada));
    let with = |table: SupabaseTable| {
        config()
            .with_collection(table.with_scope_column("scope"))
            .unwrap()
    };
    SupabaseRemoteStore::connect(with(SupabaseTable::new("todo")))
        .await
        .unwrap();
    let error = refusal(with(SupabaseTable::new("todos"))).await;
    assert!(
        error.message().contains("`todos`") && error.kind() == ErrorKind::Configuration,
        "{error}"
    );
    let error = refusal(with(SupabaseTable::new("todo").with_id("uuid"))).await;
    assert!(error.message().contains("`uuid`"), "{error}");
    let twice = with(SupabaseTable::new("todo")).with_collection(SupabaseTable::new("todo"));
    assert_eq!(twice.unwrap_err().field(), Some("collection"));

    let newer = json!({"format": 2, "epoch": "x", "now": 1, "max_page": 1, "max_push": 1, "collections": {}});
    world.stack.faults().next(
        "rpc/sync_status",
        Fault::Answer {
            status: 200,
            body: newer.to_string(),
        },
    );
    let error = refusal(config()).await;
    assert!(
        error.message().contains("format 2") && error.field() == Some("migration"),
        "{error}"
    );

    // A collection that is not in the feed holds nothing there, which would be a lie.
    let remote = world.remote(&world.ada).await;
    let mut request = page(None, 10);
    request.target = super::world::target("nowhere", "s");
    let error = remote.pull(request.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(
        remote.get(&request.target, &[]).await.unwrap_err().kind(),
        ErrorKind::Configuration
    );
}

async fn a_wrong_key_is_no_sign_in_problem(world: &World) {
    let config = SupabaseConfig::new(
        &world.stack.url(),
        ApiKey::new("sb_publishable_wrong"),
        Effects::tokio(),
    );
    let error = refusal(config.unwrap().signed_in(world.token(&world.ada))).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.message().contains("API key") && !error.to_string().contains("sb_"),
        "{error}"
    );
    let empty = SupabaseConfig::new(&world.stack.url(), ApiKey::new(""), Effects::tokio());
    assert_eq!(empty.unwrap_err().field(), Some("key"));
}
