//! Who may see and write what: membership, read-only members, policies, nobody.

use adapter_supabase::{ApiKey, SupabaseConfig, SupabaseRemoteStore};
use serde_json::json;
use sync_core::{
    Effects, ErrorKind, OpState, ParkReason, PushOutcome, RemoteState, RemoteStore, RemoteStoreExt,
};

use super::world::{World, apply, batch, code, create, id, key, page, scope};

on_each_stack!(
    case_22_a_membership_that_ends_keeps_what_the_user_wrote,
    case_23_a_read_only_member_pulls_and_is_refused_to_push,
    case_24_a_row_that_a_policy_hides_arrives_as_deleted,
    case_45_nobody_and_internals_are_refused,
    a_secret_key_alone_has_the_rights_of_the_service_role,
);

async fn case_22_a_membership_that_ends_keeps_what_the_user_wrote(world: &World) {
    world.make(1..=3).await;
    let device = world.device(&world.ada, "s").await;
    device.sync().await;
    device.create(9, "mine").await;
    let membership = format!("scope = '{}' and user_id = '{}'", scope("s").key(), world.ada);
    world
        .run(&format!("delete from sync.member where {membership}"))
        .await;
    assert_eq!(device.refused_sync().await, ErrorKind::ScopeRevoked);
    let remote = world.remote(&world.ada).await;
    assert_eq!(
        remote.pull(page(None, 10)).await.unwrap_err().kind(),
        ErrorKind::ScopeRevoked
    );
    assert_eq!(
        remote.get_one(&key(1)).await.unwrap_err().kind(),
        ErrorKind::ScopeRevoked,
        "not `missing`, which would be an answer"
    );
    // What the user wrote is kept, parked; what was only cached is the server's, and comes again with the membership.
    assert_eq!(device.titles().await, [(id(9), "mine".to_owned())]);
    let ops = device.ops().await;
    assert!(
        matches!(&ops[..], [op] if op.state == OpState::Parked(ParkReason::ScopeRevoked)),
        "{ops:?}"
    );
    let granted = format!(
        "insert into sync.member values ('{}', '{}', true)",
        scope("s").key(),
        world.ada
    );
    world.run(&granted).await;
    device.engine.retry_op(ops[0].op_id).await.unwrap();
    device.sync_until_sent().await;
    device.sync().await;
    assert_eq!(device.titles().await.len(), 4);
    assert_eq!(world.number("select count(*) from public.todo").await, 4);
}

async fn case_23_a_read_only_member_pulls_and_is_refused_to_push(world: &World) {
    world.make(1..=3).await;
    let remote = world.remote(&world.bob).await;
    assert_eq!(remote.pull(page(None, 10)).await.unwrap().changes.len(), 3);
    let outcomes = remote
        .push(batch(vec![create(9, json!({"title": "x"}))]))
        .await
        .unwrap();
    assert_eq!(code(&outcomes[0]), "read_only");
    assert!(matches!(outcomes[0], PushOutcome::Rejected { .. }));
    assert_eq!(world.number("select count(*) from public.todo").await, 3);
}

async fn case_24_a_row_that_a_policy_hides_arrives_as_deleted(world: &World) {
    world.make(1..=2).await;
    let device = world.device(&world.bob, "s").await;
    device.sync().await;
    world
        .run(&format!(
            "update public.todo set secret = true, title = 'hidden' where id = '{}'",
            id(1)
        ))
        .await;
    let remote = world.remote(&world.bob).await;
    let state = remote.get_one(&key(1)).await.unwrap();
    assert!(matches!(state, RemoteState::Deleted(_)), "{state:?}");
    let everything = format!("{:?}", remote.pull(page(None, 10)).await.unwrap());
    assert!(!everything.contains("hidden"), "the content stays hidden");
    device.sync().await;
    assert_eq!(device.titles().await, [(id(2), "made 2".to_owned())]);
    world.run("update public.todo set secret = false").await;
    device.sync().await;
    assert_eq!(device.titles().await.len(), 2);
}

async fn case_45_nobody_and_internals_are_refused(world: &World) {
    let profile = world.remote(&world.ada).await.profile().clone();
    let nobody = SupabaseRemoteStore::open(world.config(), profile).unwrap();
    for error in [
        nobody.pull(page(None, 10)).await.unwrap_err(),
        nobody
            .push(batch(vec![create(1, json!({"title": "x"}))]))
            .await
            .unwrap_err(),
        nobody.get_one(&key(1)).await.unwrap_err(),
        nobody.server_time().await.unwrap_err(),
        SupabaseRemoteStore::connect(world.config()).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Unauthenticated, Some("42501")),
            "{error}"
        );
    }
    // The schema of the feed is not exposed, not even to those who are signed in.
    let client = reqwest::Client::new();
    for function in ["caller", "lock_scope", "settle"] {
        let answer = client
            .post(format!("{}/rest/v1/rpc/{function}", world.stack.url()))
            .header("apikey", world.stack.publishable_key())
            .header("content-profile", "sync")
            .bearer_auth(world.stack.access_token(&world.ada))
            .body("{}")
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_client_error(),
            "{function}: {}",
            answer.status()
        );
    }
    let remote = world.remote(&world.ada).await;
    apply(&remote, create(1, json!({"title": "x"}))).await;
    assert_eq!(
        nobody.pull(page(None, 10)).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
}

async fn a_secret_key_alone_has_the_rights_of_the_service_role(world: &World) {
    world.make(1..=2).await;
    let key = ApiKey::new(world.stack.secret_key());
    let config = SupabaseConfig::new(&world.stack.url(), key, Effects::tokio()).unwrap();
    let server = SupabaseRemoteStore::connect(config).await.unwrap();
    assert_eq!(server.pull(page(None, 10)).await.unwrap().changes.len(), 2);
    apply(&server, create(3, json!({"title": "by the server"}))).await;
    assert!(server.get_one(&super::world::key(3)).await.unwrap().is_live());
    let requests = world.stack.requests();
    let own = requests
        .iter()
        .filter(|request| request.apikey.as_deref() == Some(world.stack.secret_key()));
    let tokens: Vec<_> = own.map(|request| request.authorization.clone()).collect();
    assert!(
        tokens.len() >= 4 && tokens.iter().all(Option::is_none),
        "{tokens:?}"
    );
}
