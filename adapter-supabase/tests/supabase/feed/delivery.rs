//! Pulls: every change, once it is committed, in every order of events.

use serde_json::{Value, json};

use super::{
    caller::{Replica, create, delete, id, update},
    project::Project,
};

on_each_server!(
    a_pull_without_changes_keeps_its_place,
    limits_are_held_within_their_bounds,
    a_thousand_rows_of_one_statement_arrive_once_each,
    rows_changed_during_a_sweep_end_in_their_last_state,
    hard_deletes_and_truncation_arrive,
    a_row_that_moves_is_deleted_here_and_new_there,
    a_row_whose_id_changes_is_deleted_and_new,
    upserts_copies_and_merges_are_noted,
    a_first_pull_tells_of_tombstones_unless_the_client_holds_nothing,
    a_client_that_held_nothing_hears_of_deletes_during_its_first_pass,
    a_cursor_behind_forgotten_tombstones_is_refused,
    a_first_pass_crosses_forgotten_tombstones,
    a_first_pass_is_refused_if_deletes_since_it_began_are_forgotten,
    a_pull_after_a_sweep_of_old_rows_is_not_refused,
    unreadable_and_future_cursors_are_refused,
    a_scope_can_be_made_to_synchronize_anew,
    ids_are_listed_page_by_page_without_the_deleted,
    states_come_in_the_order_of_the_ids,
    a_poke_is_sent_once_for_each_scope_and_transaction,
);

const MANY: &str = "insert into public.todo (id, scope, title)
    select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 's', n::text from generate_series(1, 1000) n";

fn changes(page: &Value) -> &Vec<Value> {
    page["changes"].as_array().unwrap()
}

async fn refused(project: &Project, cursor: &str) {
    let refusal = project
        .ada()
        .try_pull(("s", "todo"), Some(cursor), 10)
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "PT409", "{cursor}: {refusal:?}");
}

async fn a_pull_without_changes_keeps_its_place(project: &Project) {
    let first = project.ada().pull("s", None, 10).await;
    assert_eq!(
        (&first["more"], changes(&first).len(), &first["first"]),
        (&json!(false), 0, &json!(true))
    );
    let second = project.ada().pull("s", first["cursor"].as_str(), 10).await;
    assert_eq!(
        (&second["cursor"], &second["first"]),
        (&first["cursor"], &json!(false))
    );
}

async fn limits_are_held_within_their_bounds(project: &Project) {
    project.run(MANY).await;
    for (limit, expected) in [(0, 1), (-5, 1), (1000, 1000), (1_000_000_000, 1000)] {
        assert_eq!(
            changes(&project.ada().pull("s", None, limit).await).len(),
            expected,
            "limit {limit}"
        );
    }
    let exact = project.ada().pull("s", None, 1000).await;
    assert_eq!(exact["more"], false, "a full page that is the last one");
}

async fn a_thousand_rows_of_one_statement_arrive_once_each(project: &Project) {
    project.run(MANY).await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    assert_eq!((replica.rows.len(), replica.delivered), (1000, 1000));
}

async fn rows_changed_during_a_sweep_end_in_their_last_state(project: &Project) {
    project.run(MANY).await;
    let mut replica = Replica::default();
    let mut round = 0;
    while replica.page(&project.ada(), ("s", "todo"), 100).await.unwrap() {
        round += 1;
        if round < 5 {
            project
                .run(&format!(
                    "update public.todo set title = 'changed {round}' where title in ('{round}', '{}')",
                    1000 - round
                ))
                .await;
            project
                .run(&format!(
                    "delete from public.todo where title in ('{}', '{}')",
                    round + 20,
                    900 - round
                ))
                .await;
        }
    }
    let expected = project
        .value::<Value>("select json_object_agg(id, title) from public.todo")
        .await;
    let held: serde_json::Map<_, _> = replica
        .rows
        .iter()
        .map(|(id, row)| (id.clone(), row["title"].clone()))
        .collect();
    assert_eq!(Value::Object(held), expected);
}

async fn hard_deletes_and_truncation_arrive(project: &Project) {
    project.run(MANY).await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    project
        .run("delete from public.todo where title::int % 2 = 0")
        .await;
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.rows.len(), 500);
    project.run("truncate public.todo cascade").await;
    replica.sync(&project.ada(), "s").await;
    assert!(replica.rows.is_empty());
}

async fn a_row_that_moves_is_deleted_here_and_new_there(project: &Project) {
    let ada = project.ada();
    let first = ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let (mut here, mut there) = (Replica::default(), Replica::default());
    here.sync(&ada, "s").await;
    there.sync(&ada, "t").await;
    project.run("update public.todo set scope = 't'").await;
    here.sync(&ada, "s").await;
    there.sync(&ada, "t").await;
    assert_eq!((here.rows.len(), there.titles()), (0, vec!["one"]));
    let state = &ada.get("s", &[&id(1)]).await[0];
    assert_eq!(state["deleted"], true);
    assert!(state["v"].as_str().unwrap().parse::<i64>().unwrap() > first.parse().unwrap());
    project.run("update public.todo set scope = 's'").await;
    here.sync(&ada, "s").await;
    there.sync(&ada, "t").await;
    assert_eq!((here.titles(), there.rows.len()), (vec!["one"], 0));
}

async fn a_row_whose_id_changes_is_deleted_and_new(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let mut replica = Replica::default();
    replica.sync(&ada, "s").await;
    project
        .run(&format!("update public.todo set id = '{}'", id(2)))
        .await;
    replica.sync(&ada, "s").await;
    assert_eq!(replica.rows.keys().collect::<Vec<_>>(), [&id(2)]);
}

async fn upserts_copies_and_merges_are_noted(project: &Project) {
    project.run(MANY).await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    let upsert = MANY
        .replace("'s', n::text", "'s', 'upsert'")
        .replace("(1, 1000)", "(999, 1001)");
    project
        .run(&format!(
            "{upsert} on conflict (id) do update set title = excluded.title"
        ))
        .await;
    project
        .run(
            "merge into public.todo t using (values ('1', 'merged'), ('2', null)) v(was, now) on t.title = v.was
             when matched and v.now is null then delete when matched then update set title = v.now",
        )
        .await;
    replica.sync(&project.ada(), "s").await;
    let titles = replica.titles();
    assert_eq!(titles.iter().filter(|title| **title == "upsert").count(), 3);
    assert!(titles.contains(&"merged") && !titles.contains(&"2"));
    assert_eq!(replica.rows.len(), 1000);
}

async fn a_first_pull_tells_of_tombstones_unless_the_client_holds_nothing(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    ada.apply("s", create(&id(2), json!({"title": "two"}))).await;
    ada.apply("s", delete(&id(1), None)).await;
    let page = ada.pull("s", None, 10).await;
    assert_eq!(changes(&page).len(), 2);
    assert_eq!(
        (&changes(&page)[1]["deleted"], &changes(&page)[1]["stamp"]),
        (&json!(true), &json!("gone"))
    );
    let page = ada.pull_with(("s", "todo"), None, 10, true).await.unwrap();
    assert_eq!(changes(&page).len(), 1);
}

async fn a_client_that_held_nothing_hears_of_deletes_during_its_first_pass(project: &Project) {
    let ada = project.ada();
    for n in 1..=3 {
        ada.apply("s", create(&id(n), json!({"title": n.to_string()})))
            .await;
    }
    let page = ada.pull_with(("s", "todo"), None, 1, true).await.unwrap();
    assert_eq!(changes(&page)[0]["id"], json!(id(1)));
    ada.apply("s", delete(&id(1), None)).await;
    let rest = ada.pull("s", page["cursor"].as_str(), 10).await;
    assert_eq!(changes(&rest).last().unwrap()["deleted"], true, "{rest}");
}

async fn a_cursor_behind_forgotten_tombstones_is_refused(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let before = ada.pull("s", None, 10).await;
    ada.apply("s", delete(&id(1), None)).await;
    assert_eq!(project.value::<i64>("select sync.prune('1 hour')").await, 0);
    assert_eq!(
        changes(&ada.pull("s", before["cursor"].as_str(), 10).await).len(),
        1
    );
    assert_eq!(project.value::<i64>("select sync.prune('0 seconds')").await, 1);
    refused(project, before["cursor"].as_str().unwrap()).await;
    assert_eq!(ada.get("s", &[&id(1)]).await, [Value::Null]);
}

async fn a_first_pass_crosses_forgotten_tombstones(project: &Project) {
    project.run(MANY).await;
    project
        .run("delete from public.todo where title::int > 900")
        .await;
    project.run("select sync.prune('0 seconds')").await;
    project
        .run("insert into public.todo (scope, title) values ('s', 'last')")
        .await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.rows.len(), 901);
    replica.sync(&project.ada(), "s").await;
}

async fn a_first_pass_is_refused_if_deletes_since_it_began_are_forgotten(project: &Project) {
    project.run(MANY).await;
    let page = project.ada().pull("s", None, 10).await;
    project.run("delete from public.todo where title = '1'").await;
    project.run("select sync.prune('0 seconds')").await;
    refused(project, page["cursor"].as_str().unwrap()).await;
}

async fn a_pull_after_a_sweep_of_old_rows_is_not_refused(project: &Project) {
    project.run(MANY).await;
    project.run("delete from public.todo where title::int > 10").await;
    project.run("select sync.prune('0 seconds')").await;
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.rows.len(), 10);
    // All that is live is below the floor; the sync point is not.
    replica.sync(&project.ada(), "s").await;
}

async fn unreadable_and_future_cursors_are_refused(project: &Project) {
    project.run(MANY).await;
    let cursor = project.ada().pull("s", None, 1000).await["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let (epoch, head) = cursor.split_once(':').unwrap();
    let strange = [
        String::new(),
        "x".into(),
        format!("{epoch}:"),
        format!("{epoch}:-1"),
        format!("{epoch}:1:2"),
        format!("{epoch}:99999999999999999999999"),
        format!("{epoch}:{}", head.parse::<i64>().unwrap() + 1),
        format!("{epoch}:0:{}:0", head.parse::<i64>().unwrap() + 1),
        format!("00000000-0000-0000-0000-000000000000:{head}"),
        format!("{epoch}:1'; drop table public.todo; --"),
    ];
    for cursor in &strange {
        refused(project, cursor).await;
    }
    let unknown = project
        .ada()
        .try_pull(("s", "nothing"), None, 10)
        .await
        .unwrap_err();
    assert_eq!(unknown.code, "PT404");
}

async fn a_scope_can_be_made_to_synchronize_anew(project: &Project) {
    let (here, there) = (
        project.ada().pull("s", None, 10).await,
        project.ada().pull("t", None, 10).await,
    );
    project.run("select sync.require_resync('s')").await;
    refused(project, here["cursor"].as_str().unwrap()).await;
    project.ada().pull("t", there["cursor"].as_str(), 10).await;
    let anew = project.ada().pull("s", None, 10).await;
    project.ada().pull("s", anew["cursor"].as_str(), 10).await;
}

async fn ids_are_listed_page_by_page_without_the_deleted(project: &Project) {
    project.run(MANY).await;
    project.run("delete from public.todo where title::int <= 10; update public.todo set secret = true where title::int <= 20").await;
    let (mut ids, mut after) = (Vec::new(), Value::Null);
    loop {
        let sql = "select public.sync_list_ids('s', 'todo', $1 ->> 'after', 300)";
        let page = project.bob().call(sql, json!({"after": after})).await.unwrap();
        ids.extend(
            page["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| pair[0].as_str().unwrap().to_owned()),
        );
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(ids.len(), 980, "neither deleted nor hidden ones");
    assert!(ids.is_sorted());
}

async fn states_come_in_the_order_of_the_ids(project: &Project) {
    let ada = project.ada();
    for n in 1..=3 {
        ada.apply("s", create(&id(n), json!({"title": n.to_string()})))
            .await;
    }
    ada.apply("s", delete(&id(2), None)).await;
    ada.apply("s", update(&id(1), None, json!({"title": "1b"}))).await;
    let states = ada.get("s", &[&id(3), &id(9), &id(2), &id(1)]).await;
    assert_eq!(states[0]["row"]["title"], "3");
    assert_eq!((&states[1], &states[2]["deleted"]), (&Value::Null, &json!(true)));
    assert_eq!(states[3]["row"]["title"], "1b");
    assert!(ada.get("s", &[]).await.is_empty());
}

async fn a_poke_is_sent_once_for_each_scope_and_transaction(project: &Project) {
    project.run("delete from realtime.messages").await;
    project
        .run(
            "begin; insert into public.todo (scope, title) values ('s', 'a'), ('t', 'b'); update public.todo set title = 'c';
             update public.todo set title = 'd'; commit",
        )
        .await;
    let topics: String = project.value("select string_agg(topic || ' ' || event || ' ' || private, ',' order by topic) from realtime.messages").await;
    assert_eq!(topics, "sync:s poke true,sync:t poke true");
    let heard = |topic: &'static str| async move {
        let mut transaction = project.bob().begin().await;
        sqlx::query("select set_config('realtime.topic', $1, true)")
            .bind(topic)
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query_scalar::<_, i64>("select count(*) from realtime.messages")
            .fetch_one(&mut *transaction)
            .await
            .unwrap()
    };
    assert_eq!(
        (heard("sync:s").await, heard("sync:t").await),
        (2, 0),
        "who may read a scope may join its channel"
    );
}
