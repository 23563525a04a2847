//! Installing, installing again, upgrading, installing wrongly, and taking it out.

use adapter_supabase::migration::{FeedTable, ScopeRule, UNINSTALL};
use serde_json::{Value, json};

use super::{
    caller::{Replica, create, delete, id, kinds, update},
    project::{Project, migration, todos},
};

on_each_server!(
    installing_again_changes_nothing,
    rows_from_before_the_installation_are_delivered,
    a_newer_format_is_not_overwritten,
    the_migration_of_the_format_before_refuses_to_run_over_this_one,
    an_older_format_is_brought_up,
    what_an_earlier_version_wrote_with_is_replaced,
    an_earlier_settling_is_not_left_beside_the_new_one,
    entries_that_wrote_out_their_scope_keep_their_versions,
    wrong_tables_are_refused_with_the_mend,
    names_with_quotes_and_spaces_work,
    missing_triggers_fail_a_push_loudly_and_reconcile_mends_them,
    uninstalling_leaves_the_tables_as_they_were,
    uninstalling_does_not_open_what_policies_close,
    a_collection_can_leave_and_come_back,
    the_status_tells_what_is_installed,
);

async fn installing_again_changes_nothing(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let page = project.ada().pull("s", None, 10).await;
    let facts = "select json_build_object('meta', (select to_json(m) from sync.meta m), 'change', (select json_agg(c) from sync.change c),
        'triggers', (select json_agg(tgname order by tgname, tgrelid) from pg_trigger where not tgisinternal),
        'functions', (select count(*) from pg_proc where pronamespace = 'sync'::regnamespace),
        'scope', (select json_agg(s) from sync.scope s), 'columns', (select json_agg(c) from sync.collection c))";
    let before: Value = project.value(facts).await;
    for _ in 0..2 {
        project.run(&migration().to_sql().unwrap()).await;
    }
    assert_eq!(project.value::<Value>(facts).await, before);
    let again = project.ada().pull("s", page["cursor"].as_str(), 10).await;
    assert_eq!(again["cursor"], page["cursor"]);
}

async fn rows_from_before_the_installation_are_delivered(project: &Project) {
    project.run("drop policy members on public.task").await;
    project.run("select sync.unregister('task'); insert into public.task select n, 'p', 'old' from generate_series(1, 100) n").await;
    project.run(&migration().to_sql().unwrap()).await;
    let page = project
        .role("service_role")
        .try_pull(("project?id=p", "task"), None, 1000)
        .await
        .unwrap();
    assert_eq!(page["changes"].as_array().unwrap().len(), 100);
}

async fn a_newer_format_is_not_overwritten(project: &Project) {
    project.run("update sync.meta set format = 3").await;
    let refusal = project.refusal(&migration().to_sql().unwrap()).await;
    assert!(refusal.contains("use the newer migration"), "{refusal}");
    assert_eq!(project.value::<i32>("select format from sync.meta").await, 3);
}

async fn the_migration_of_the_format_before_refuses_to_run_over_this_one(project: &Project) {
    // What the migration of format 1 asked before it changed anything.
    let refusal = project
        .refusal(
            "do $$
             declare
               installed integer;
             begin
               select format into installed from sync.meta;
               if installed > 1 then
                 raise exception 'the change feed here has format %, this is format 1: use the newer migration', installed;
               end if;
             end $$",
        )
        .await;
    assert!(refusal.contains("use the newer migration"), "{refusal}");
}

async fn an_older_format_is_brought_up(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    // As an earlier version could have left it: without a function, an index and a trigger that this one has.
    project
        .run(
            "update sync.meta set format = 0; drop function public.sync_list_ids(text, text, text, integer);
             drop index sync.change_tombstones; drop trigger sync_truncated on public.todo;
             create or replace function sync.micros(p_time timestamptz) returns bigint language sql stable return 0::bigint",
        )
        .await;
    project.run(&migration().to_sql().unwrap()).await;
    project
        .ada()
        .apply("s", create(&id(2), json!({"title": "two"})))
        .await;
    project.run("truncate public.todo cascade").await;
    assert_eq!(project.value::<i32>("select format from sync.meta").await, 2);
    replica.sync(&project.ada(), "s").await;
    assert!(
        replica.rows.is_empty(),
        "the sync point from before is still good"
    );
    let sql = "select public.sync_list_ids('s', 'todo', $1 ->> 0)";
    project.ada().call(sql, json!([])).await.unwrap();
}

async fn what_an_earlier_version_wrote_with_is_replaced(project: &Project) {
    // Types and functions as they were before a result told its kind beside it.
    project
        .run(
            "drop type sync.outcome, sync.run cascade; drop function sync.lock_scope(text);
             create type sync.step as (
               place integer, op_id uuid, collection text, kind text, id text, columns text[], content jsonb, stamp text);
             create type sync.outcome as (place integer, result jsonb);
             create function sync.lock_scope(p_scope text) returns void language sql as '';
             create function sync.decide(p_scope text, p_ops jsonb) returns table (step sync.step, verdict jsonb)
               language sql as 'select null::sync.step, null::jsonb';
             create function sync.settle(p_scope text, p_collection text, p_steps sync.step[])
               returns table (place integer, version text, changed_at bigint)
               language sql as 'select 0, null::text, 0::bigint';
             create function sync.any_other(p_outcomes sync.outcome[], p_st text) returns boolean
               language sql as 'select true'",
        )
        .await;
    project.run(&migration().to_sql().unwrap()).await;
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let left: i64 = project
        .value("select count(*) from pg_proc where pronamespace = 'sync'::regnamespace and proname in ('decide', 'settle')")
        .await;
    assert_eq!(left, 2, "none of the earlier ones is left beside the new ones");
}

async fn an_earlier_settling_is_not_left_beside_the_new_one(project: &Project) {
    project
        .run(
            "drop type sync.outcome, sync.run cascade;
             create type sync.step as (
               place integer, op_id uuid, collection text, kind text, id text, columns text[], content jsonb, stamp text, entry tid);
             create type sync.outcome as (place integer, st text, result json);
             create function sync.settle(
               p_scope text, p_collection text, p_before bigint, p_steps sync.step[], p_ids text[], p_contents json[]
             ) returns sync.outcome[] language sql as 'select null::sync.outcome[]';
             create function sync.push_answer(p_outcomes sync.outcome[]) returns json language sql as 'select null::json'",
        )
        .await;
    project.run(&migration().to_sql().unwrap()).await;
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let sql = "select count(*) from pg_proc where pronamespace = 'sync'::regnamespace and proname in ('settle', 'push_answer')";
    assert_eq!(project.value::<i64>(sql).await, 2);
}

async fn entries_that_wrote_out_their_scope_keep_their_versions(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let seen = ada.pull("s", None, 10).await;
    ada.apply("s", create(&id(2), json!({"title": "two"}))).await;
    // Another collection of the scope has a record of that name.
    let note =
        json!({"op": id(9), "kind": "create", "collection": "note", "id": id(2), "row": {"text": "n"}});
    assert_eq!(kinds(&ada.push("s", &[note]).await), ["applied"]);
    assert_eq!(ada.get("s", &[&id(2)]).await.len(), 1);
    ada.apply("s", create(&id(3), json!({"title": "three"}))).await;
    ada.apply("s", delete(&id(3), None)).await;
    let new = ada.pull("s", seen["cursor"].as_str(), 10).await;
    assert_eq!(new["changes"].as_array().unwrap().len(), 2);
    let indexes = "select json_agg(indexdef order by indexname) from pg_indexes
        where schemaname = 'sync' and tablename in ('change', 'feed')";
    let fresh: Value = project.value(indexes).await;
    // The index as it was before a number stood for a collection in a scope.
    project
        .run(
            r#"alter table sync.change add column scope text collate "C", add column collection text collate "C";
             update sync.change c set scope = f.scope, collection = f.collection from sync.feed f where f.number = c.feed;
             alter table sync.change drop column feed, alter column scope set not null, alter column collection set not null,
               add primary key (scope, collection, id);
             create unique index change_feed on sync.change ((collection || '@' || scope), seq);
             drop table sync.feed;
             drop type sync.outcome, sync.run cascade;
             create type sync.step as (
               place integer, op_id uuid, collection text, kind text, id text, columns text[], content jsonb, stamp text);
             create type sync.outcome as (place integer, st text, result json)"#,
        )
        .await;
    project.run(&migration().to_sql().unwrap()).await;
    assert_eq!(project.value::<Value>(indexes).await, fresh);
    let again = ada.pull("s", seen["cursor"].as_str(), 10).await;
    assert_eq!(
        (&again["changes"], &again["cursor"]),
        (&new["changes"], &new["cursor"])
    );
    let base = new["changes"][0]["v"].as_str();
    ada.apply("s", update(&id(2), base, json!({"title": "later"})))
        .await;
    ada.apply("t", create(&id(4), json!({"title": "four"}))).await;
    let later = ada.pull("s", again["cursor"].as_str(), 10).await;
    assert_eq!(later["changes"][0]["row"]["title"], "later");
    let columns = "select count(*) from pg_attribute where attrelid = 'sync.change'::regclass
        and attname in ('scope', 'collection') and not attisdropped";
    assert_eq!(project.value::<i64>(columns).await, 0);
}

async fn wrong_tables_are_refused_with_the_mend(project: &Project) {
    project
        .run(
            "create table public.open (id uuid primary key, scope text);
             create table public.keyless (id uuid, scope text); alter table public.keyless enable row level security;
             create table public.dated (id date primary key, scope text); alter table public.dated enable row level security;
             create table public.parted (id uuid, scope text) partition by list (scope); alter table public.parted enable row level security;
             create view public.seen as select * from public.todo;
             create table public.forced (id uuid primary key, scope text); alter table public.forced enable row level security",
        )
        .await;
    let table = |name: &str| FeedTable::new(name, ScopeRule::column("scope"));
    let cases = [
        (table("open"), "has no row-level security"),
        (table("keyless"), "is not its primary key"),
        (table("dated"), "use uuid, text, integer or bigint"),
        (table("parted"), "it is a view, a partition"),
        (table("seen"), "it is a view, a partition"),
        (table("nowhere"), "does not exist"),
        (todos().columns(["absent"]), "has no column absent"),
        (FeedTable::new("todo", ScopeRule::column("absent")), "absent"),
        (
            FeedTable::new("todo", ScopeRule::Expression("nosuch(scope)".into())),
            "nosuch",
        ),
        (
            FeedTable::new("todo", ScopeRule::column("title")),
            "has other scopes or ids",
        ),
        (
            FeedTable::new("todo", ScopeRule::column("scope")).table("public", "note"),
            "unregister it first",
        ),
    ];
    for (table, mend) in cases {
        let refusal = project.refusal(&table.to_sql().unwrap()).await;
        assert!(refusal.contains(mend), "{refusal}\nfor {table:?}");
    }
    let made: i64 = project.value("select count(*) from sync.collection").await;
    assert_eq!(made, 3, "a refused table leaves nothing");
}

async fn names_with_quotes_and_spaces_work(project: &Project) {
    project
        .run(
            r#"create schema "My ""App"""; create table "My ""App"""."to 'do'; --" ("the ""id" text primary key, "sco pe" text, "ti'tle" text);
               alter table "My ""App"""."to 'do'; --" enable row level security;
               grant usage on schema "My ""App""" to service_role; grant all on "My ""App"""."to 'do'; --" to service_role"#,
        )
        .await;
    let table = FeedTable::new("odd", ScopeRule::column("sco pe"))
        .table("My \"App\"", "to 'do'; --")
        .id("the \"id")
        .columns(["ti'tle"]);
    project.run(&table.to_sql().unwrap()).await;
    let op = json!({"op": id(1), "kind": "create", "collection": "odd", "id": "a 'b' \"c\"", "row": {"ti'tle": "x"}});
    let service = project.role("service_role");
    assert_eq!(kinds(&service.push("s", &[op]).await), ["applied"]);
    let change = json!({"op": id(2), "kind": "update", "collection": "odd", "id": "a 'b' \"c\"", "row": {"ti'tle": "y"}});
    assert_eq!(kinds(&service.push("s", &[change]).await), ["applied"]);
    let page = service.try_pull(("s", "odd"), None, 10).await.unwrap();
    assert_eq!(
        page["changes"][0]["row"],
        json!({"the \"id": "a 'b' \"c\"", "ti'tle": "y"})
    );
}

async fn missing_triggers_fail_a_push_loudly_and_reconcile_mends_them(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    project.run("alter table public.todo disable trigger sync_inserted; alter table public.todo disable trigger sync_deleted").await;
    let refusal = project
        .ada()
        .try_push("s", json!([create(&id(2), json!({"title": "two"}))]), false)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT500", "{refusal:?}");
    project
        .run("delete from public.todo; insert into public.todo (scope, title) values ('s', 'unseen')")
        .await;
    project.run("alter table public.todo enable trigger all").await;
    assert_eq!(project.value::<i64>("select sync.reconcile('todo')").await, 2);
    assert_eq!(project.value::<i64>("select sync.reconcile('todo')").await, 0);
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.titles(), ["unseen"]);
}

async fn uninstalling_leaves_the_tables_as_they_were(project: &Project) {
    let bare = Project::without_feed(project.version).await.unwrap();
    let facts = "select json_build_object(
        'functions', (select json_agg(p.oid::regprocedure::text order by 1) from (select oid from pg_proc where pronamespace in ('public'::regnamespace, 'realtime'::regnamespace) order by oid::regprocedure::text) p),
        'triggers', (select json_agg(tgname order by tgname) from pg_trigger where not tgisinternal),
        'columns', (select json_agg(attname order by attrelid, attnum) from pg_attribute where attrelid in ('public.todo'::regclass, 'public.note'::regclass) and attnum > 0),
        'schemas', (select json_agg(nspname order by nspname) from pg_namespace where nspname !~ '^pg_'))";
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    project.run("drop policy sees on public.todo; drop policy makes on public.todo; drop policy changes on public.todo; drop policy removes on public.todo; drop policy members on public.note; drop policy members on public.task").await;
    project.run(UNINSTALL).await;
    assert_eq!(
        project.value::<Value>(facts).await,
        bare.value::<Value>(facts).await
    );
    assert_eq!(project.value::<i64>("select count(*) from public.todo").await, 1);
    project.run(UNINSTALL).await;
    project.run(&migration().to_sql().unwrap()).await;
    let page = project
        .role("service_role")
        .try_pull(("s", "todo"), None, 10)
        .await
        .unwrap();
    assert_eq!(page["changes"][0]["row"]["title"], "one");
    bare.drop().await;
}

async fn uninstalling_does_not_open_what_policies_close(project: &Project) {
    let refusal = project.refusal(UNINSTALL).await;
    assert!(refusal.contains("depend"), "{refusal}");
}

async fn a_collection_can_leave_and_come_back(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let page = project.ada().pull("s", None, 10).await;
    project.run("select sync.unregister('todo')").await;
    assert_eq!(
        project
            .ada()
            .try_pull(("s", "todo"), None, 10)
            .await
            .unwrap_err()
            .code,
        "PT404"
    );
    let left =
        "select count(*) from pg_proc where pronamespace = 'sync'::regnamespace and proname like '%\\_todo'";
    assert_eq!(project.value::<i64>(left).await, 0, "its functions are gone");
    project.run("delete from public.todo").await;
    project.run(&todos().to_sql().unwrap()).await;
    let refusal = project
        .ada()
        .try_pull(("s", "todo"), page["cursor"].as_str(), 10)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT409", "what happened meanwhile was not noted");
}

async fn the_status_tells_what_is_installed(project: &Project) {
    let status = project
        .ada()
        .call("select public.sync_status() from (select $1::jsonb) x", json!([]))
        .await
        .unwrap();
    assert_eq!(
        (&status["format"], &status["user"]),
        (&json!(1), &json!(super::project::ADA))
    );
    assert_eq!(
        status["collections"]["todo"]["writable"],
        json!(["id", "title", "done", "amount", "tags", "meta", "due"])
    );
    let now = status["now"].as_i64().unwrap();
    assert!(now > 1_700_000_000_000_000, "microseconds: {now}");
}
