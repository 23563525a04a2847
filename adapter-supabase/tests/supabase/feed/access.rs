//! Who sees and does what: membership, policies, and functions that nobody may call.

use serde_json::{Value, json};

use super::{
    caller::{Replica, create, delete, id, kinds, update},
    project::{BOB, Project},
};

on_each_server!(
    whoever_is_no_member_is_told_so_by_its_own_code,
    a_member_who_may_only_read_is_rejected_item_by_item,
    a_hidden_row_is_to_the_caller_a_deleted_one_without_content,
    conflicts_do_not_tell_hidden_rows,
    a_hidden_row_cannot_be_overwritten_or_deleted,
    membership_is_revoked_and_granted_at_once,
    the_service_role_needs_no_membership,
    nobody_else_may_call_anything,
    a_membership_query_of_the_project_replaces_the_table,
);

async fn whoever_is_no_member_is_told_so_by_its_own_code(project: &Project) {
    let (scope, stranger) = ("s", project.user("c0000000-0000-4000-8000-00000000000c"));
    project
        .ada()
        .apply(scope, create(&id(1), json!({"title": "one"})))
        .await;
    let refusals = [
        stranger.try_pull((scope, "todo"), None, 10).await.unwrap_err(),
        stranger
            .try_push(scope, json!([delete(&id(1), None)]), false)
            .await
            .unwrap_err(),
        stranger
            .call("select public.sync_get('s', 'todo', $1)", json!([id(1)]))
            .await
            .unwrap_err(),
        stranger
            .call("select public.sync_list_ids('s', 'todo', $1 ->> 0)", json!([]))
            .await
            .unwrap_err(),
        project.bob().try_pull(("t", "todo"), None, 10).await.unwrap_err(),
        project.bob().try_push("t", json!([]), false).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code, "PT403", "{refusal:?}");
    }
}

async fn a_member_who_may_only_read_is_rejected_item_by_item(project: &Project) {
    let results = project
        .bob()
        .push(
            "s",
            &[create(&id(1), json!({"title": "one"})), delete(&id(2), None)],
        )
        .await;
    assert_eq!(
        (kinds(&results), &results[0]["code"]),
        (vec!["rejected"; 2], &json!("read_only"))
    );
    assert_eq!(project.bob().pull("s", None, 10).await["changes"], json!([]));
}

async fn a_hidden_row_is_to_the_caller_a_deleted_one_without_content(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "for both"})))
        .await;
    project
        .run("insert into public.todo (scope, title, secret) values ('s', 'for ada alone', true)")
        .await;
    let page = project.bob().pull("s", None, 10).await;
    assert!(!page.to_string().contains("for ada alone"), "{page}");
    assert_eq!(page["changes"][1]["deleted"], true);
    let mut bob = Replica::default();
    bob.sync(&project.bob(), "s").await;
    assert_eq!(bob.titles(), ["for both"]);
    project.run("update public.todo set secret = not secret").await;
    bob.sync(&project.bob(), "s").await;
    assert_eq!(
        bob.titles(),
        ["for ada alone"],
        "what becomes hidden goes, what becomes visible comes"
    );
    project.run("delete from public.todo").await;
    let deleted = project.bob().pull("s", None, 10).await;
    assert!(
        !deleted.to_string().contains("for"),
        "a tombstone has no content: {deleted}"
    );
}

async fn conflicts_do_not_tell_hidden_rows(project: &Project) {
    project.run("update sync.member set can_write = true").await;
    project
        .run(&format!(
            "insert into public.todo (id, scope, title, secret) values ('{}', 's', 'hidden', true)",
            id(1)
        ))
        .await;
    let results = project
        .bob()
        .push("s", &[create(&id(1), json!({"title": "x"}))])
        .await;
    assert_eq!(
        (kinds(&results), &results[0]["current"]["deleted"]),
        (vec!["conflict"], &json!(true))
    );
    assert!(!json!(results).to_string().contains("hidden"));
    assert_eq!(project.bob().get("s", &[&id(1)]).await[0]["deleted"], true);
}

async fn a_hidden_row_cannot_be_overwritten_or_deleted(project: &Project) {
    project.run("update sync.member set can_write = true").await;
    project
        .run(&format!(
            "insert into public.todo (id, scope, title, secret) values ('{}', 's', 'hidden', true)",
            id(1)
        ))
        .await;
    let version = project.bob().get("s", &[&id(1)]).await[0]["v"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut anew = create(&id(1), json!({"title": "x"}));
    anew["base"] = json!(version);
    for op in [
        anew,
        update(&id(1), Some(&version), json!({"title": "x"})),
        delete(&id(1), Some(&version)),
        delete(&id(1), None),
    ] {
        let results = project.bob().push("s", std::slice::from_ref(&op)).await;
        assert!(
            ["rejected", "conflict"].contains(&results[0]["st"].as_str().unwrap()),
            "{op} was {results:?}"
        );
    }
    assert_eq!(
        project.value::<String>("select title from public.todo").await,
        "hidden"
    );
}

async fn membership_is_revoked_and_granted_at_once(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let mut bob = Replica::default();
    bob.sync(&project.bob(), "s").await;
    project
        .run(&format!("delete from sync.member where user_id = '{BOB}'"))
        .await;
    let refusal = bob.page(&project.bob(), ("s", "todo"), 10).await.unwrap_err();
    assert_eq!(refusal.code, "PT403");
    project
        .ada()
        .apply("s", create(&id(2), json!({"title": "two"})))
        .await;
    project.ada().apply("s", delete(&id(1), None)).await;
    project
        .run(&format!("insert into sync.member values ('s', '{BOB}')"))
        .await;
    bob.sync(&project.bob(), "s").await;
    assert_eq!(
        bob.titles(),
        ["two"],
        "the sync point from before is good: nothing was missed"
    );
}

async fn the_service_role_needs_no_membership(project: &Project) {
    let service = project.role("service_role");
    service
        .apply("anything", create(&id(1), json!({"title": "one"})))
        .await;
    let page = service.try_pull(("anything", "todo"), None, 10).await.unwrap();
    assert_eq!(page["changes"][0]["row"]["title"], "one");
}

async fn nobody_else_may_call_anything(project: &Project) {
    let anon = project.role("anon");
    for call in [
        "select public.sync_status() from (select $1::jsonb) x",
        "select public.sync_pull('s', 'todo') from (select $1::jsonb) x",
        "select public.sync_push('s', $1)",
        "select public.sync_get('s', 'todo', $1)",
        "select public.sync_list_ids('s', 'todo') from (select $1::jsonb) x",
        "select to_jsonb(array(select sync.my_scopes())) from (select $1::jsonb) x",
    ] {
        assert_eq!(
            anon.call(call, json!([])).await.unwrap_err().code,
            "42501",
            "{call}"
        );
    }
    // What only the feed itself or the owner calls, and the tables.
    for call in [
        "select to_json(sync.note('todo', '{s}', '{x}', '{f}')) from (select $1::jsonb) x",
        "select to_json(sync.renew_epoch()) from (select $1::jsonb) x",
        "select to_json(sync.prune()) from (select $1::jsonb) x",
        "select to_json(sync.require_resync('s')) from (select $1::jsonb) x",
        "select to_json(sync.unregister('todo')) from (select $1::jsonb) x",
        "select to_json(sync.reconcile('todo')) from (select $1::jsonb) x",
        "select to_json(m) from sync.meta m, (select $1::jsonb) x",
        "select to_json(m) from sync.member m, (select $1::jsonb) x",
        "select to_json(m) from sync.access m, (select $1::jsonb) x",
        "select to_json(sync.note_found(1, 0, now(), '{x}', '{f}', '{s}', '{null}')) from (select $1::jsonb) x",
        "select to_json(m) from sync.change m, (select $1::jsonb) x",
        "select to_json(m) from sync.feed m, (select $1::jsonb) x",
        "select to_json(m) from sync.applied m, (select $1::jsonb) x",
        "select to_json(m) from sync.collection m, (select $1::jsonb) x",
    ] {
        assert_eq!(
            project.ada().call(call, json!([])).await.unwrap_err().code,
            "42501",
            "{call}"
        );
    }
    // Helpers that the caller's own pulls and pushes need give a stranger nothing.
    for call in [
        "select to_json(sync.entries('t', 'todo', '{x}')) from (select $1::jsonb) x",
        "select to_json(sync.lock_scope('t')) from (select $1::jsonb) x",
        "select to_json(sync.settle('t', null, 0, '{}', '{}')) from (select $1::jsonb) x",
        "select to_json(sync.raise_tombstones('t', 'todo', '{x}')) from (select $1::jsonb) x",
    ] {
        assert_eq!(
            project.bob().call(call, json!([])).await.unwrap_err().code,
            "PT403",
            "{call}"
        );
    }
    let granted: Value = project
        .value(
            "select coalesce(json_agg(p.oid::regprocedure), '[]') from pg_proc p
             where p.pronamespace = 'sync'::regnamespace and has_function_privilege('anon', p.oid, 'execute')",
        )
        .await;
    assert_eq!(granted, json!([]));
}

async fn a_membership_query_of_the_project_replaces_the_table(project: &Project) {
    project.run("create table public.crew (boat text, sailor text, rank int); insert into public.crew values ('b', 'ada', 2), ('b', 'bob', 1)").await;
    let query =
        "select 'boat?id=' || boat as scope, sailor as user_id, rank > 1 as can_write from public.crew";
    let migration = super::project::migration().membership(query);
    project.run(&migration.to_sql().unwrap()).await;
    project.run(&migration.to_sql().unwrap()).await;
    let scope = "boat?id=b";
    // Users need not be uuids: some projects sign in elsewhere.
    project
        .user("ada")
        .apply(scope, create(&id(1), json!({"title": "one"})))
        .await;
    let results = project.user("bob").push(scope, &[delete(&id(1), None)]).await;
    assert_eq!(results[0]["code"], "read_only");
    assert_eq!(
        project.user("bob").pull(scope, None, 10).await["changes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        project
            .ada()
            .try_pull(("s", "todo"), None, 10)
            .await
            .unwrap_err()
            .code,
        "PT403"
    );
    // The plain migration leaves the query alone.
    project.run(&super::project::migration().to_sql().unwrap()).await;
    project.user("ada").pull(scope, None, 10).await;
}
