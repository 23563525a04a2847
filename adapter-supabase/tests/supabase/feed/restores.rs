//! Backups that are put back: noticed by the epoch, and by versions that never go back.

use serde_json::json;

use super::{
    caller::{create, delete, id, kinds, update},
    project::Project,
};

on_each_server!(
    another_database_is_another_epoch,
    a_dump_put_back_over_the_database_is_another_epoch,
    versions_of_a_new_epoch_are_above_all_earlier_ones,
    content_put_back_in_place_is_found_by_a_cursor_ahead,
);

async fn another_database_is_another_epoch(project: &Project) {
    let first = Project::on(project.version).await.unwrap();
    let ada = first.ada();
    let version = ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let page = ada.pull("s", None, 10).await;
    let copy = first.copy().await;
    let refusal = copy
        .ada()
        .try_pull(("s", "todo"), page["cursor"].as_str(), 10)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT409");
    // The refusal began the epoch in a transaction that was rolled back; the next call begins it for good.
    let anew = copy.ada().pull("s", None, 10).await;
    assert_eq!(anew["changes"][0]["row"]["title"], "one");
    assert!(anew["changes"][0]["v"].as_str().unwrap().parse::<i64>().unwrap() > version.parse().unwrap());
    copy.ada().pull("s", anew["cursor"].as_str(), 10).await;
    let results = copy
        .ada()
        .push("s", &[update(&id(1), Some(&version), json!({"title": "two"}))])
        .await;
    assert_eq!(
        kinds(&results),
        ["conflict"],
        "a base of the epoch before is not the present state"
    );
    copy.drop().await;
}

async fn a_dump_put_back_over_the_database_is_another_epoch(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let page = project.ada().pull("s", None, 10).await;
    // What a dump does: it makes the tables anew and fills them.
    project
        .run(
            "create table public.saved as table sync.meta; drop table sync.meta;
             create table sync.meta (single boolean primary key default true check (single), format integer not null,
               epoch uuid not null default gen_random_uuid(), fingerprint text not null, version_base bigint not null);
             insert into sync.meta table public.saved",
        )
        .await;
    let refusal = project
        .ada()
        .try_pull(("s", "todo"), page["cursor"].as_str(), 10)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT409");
    project.ada().pull("s", None, 10).await;
}

async fn versions_of_a_new_epoch_are_above_all_earlier_ones(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    project.run("create table public.backup_change as table sync.change; create table public.backup_scope as table sync.scope").await;
    let mut lost = String::new();
    for n in 0..5 {
        lost = ada
            .apply("s", update(&id(1), None, json!({"title": n.to_string()})))
            .await;
    }
    project
        .run(
            "begin; set local session_replication_role = replica; update public.todo set title = 'one'; commit;
             truncate sync.change, sync.scope; insert into sync.change table public.backup_change;
             insert into sync.scope table public.backup_scope; select sync.renew_epoch(); select sync.renew_epoch()",
        )
        .await;
    let restored = ada.get("s", &[&id(1)]).await[0].clone();
    assert_eq!(restored["row"]["title"], "one");
    assert!(
        restored["v"].as_str().unwrap().parse::<i64>().unwrap() > lost.parse().unwrap(),
        "{restored} after {lost}"
    );
}

async fn content_put_back_in_place_is_found_by_a_cursor_ahead(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    project.run("create table public.backup_change as table sync.change; create table public.backup_scope as table sync.scope").await;
    ada.apply("s", delete(&id(1), None)).await;
    let page = ada.pull("s", None, 10).await;
    project.run("truncate sync.change, sync.scope; insert into sync.change table public.backup_change; insert into sync.scope table public.backup_scope").await;
    let refusal = ada
        .try_pull(("s", "todo"), page["cursor"].as_str(), 10)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT409");
}
