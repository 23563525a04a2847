//! Base versions: a push applies only to the state it was made on.

use serde_json::{Value, json};

use super::{
    caller::{create, delete, id, kinds, update},
    project::Project,
};

on_each_server!(
    a_stale_base_is_a_conflict_with_the_current_row,
    of_two_writers_on_one_base_exactly_one_wins,
    a_create_on_a_live_record_is_a_conflict,
    a_create_needs_the_version_of_the_tombstone,
    an_update_of_a_deleted_record_is_a_conflict_with_its_tombstone,
    a_delete_of_what_is_not_there_is_missing_and_of_a_tombstone_raises_it,
    versions_grow_over_deletes_and_purges,
);

async fn a_stale_base_is_a_conflict_with_the_current_row(project: &Project) {
    let ada = project.ada();
    let first = ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let second = ada
        .apply("s", update(&id(1), Some(&first), json!({"title": "two"})))
        .await;
    let results = ada
        .push(
            "s",
            &[
                update(&id(1), Some(&first), json!({"title": "three"})),
                create(&id(2), json!({"title": "x"})),
            ],
        )
        .await;
    assert_eq!(kinds(&results), ["conflict", "applied"]);
    let current = &results[0]["current"];
    assert_eq!(
        (
            &current["v"],
            &current["row"]["title"],
            &current["stamp"],
            &current["id"]
        ),
        (&json!(second), &json!("two"), &json!("changed"), &json!(id(1)))
    );
    assert_eq!(
        kinds(&ada.push("s", &[delete(&id(1), Some(&first))]).await),
        ["conflict"]
    );
}

async fn of_two_writers_on_one_base_exactly_one_wins(project: &Project) {
    let base = project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    for round in 0..10 {
        let base = if round == 0 {
            base.clone()
        } else {
            project.ada().get("s", &[&id(1)]).await[0]["v"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let writers = (0..4).map(|writer| {
            let (ada, base) = (project.ada(), base.clone());
            async move {
                ada.push(
                    "s",
                    &[update(&id(1), Some(&base), json!({"title": writer.to_string()}))],
                )
                .await
            }
        });
        let results: Vec<Value> = futures::future::join_all(writers).await.concat();
        let won = kinds(&results).iter().filter(|kind| **kind == "applied").count();
        assert_eq!(won, 1, "{results:?}");
    }
}

async fn a_create_on_a_live_record_is_a_conflict(project: &Project) {
    let version = project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let mut based = create(&id(1), json!({"title": "two"}));
    based["base"] = json!(version);
    let results = project.ada().push("s", &[based]).await;
    assert_eq!(
        (kinds(&results), &results[0]["current"]["row"]["title"]),
        (vec!["conflict"], &json!("one"))
    );
}

async fn a_create_needs_the_version_of_the_tombstone(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "first life"})))
        .await;
    let gone = ada.apply("s", delete(&id(1), None)).await;
    let results = ada
        .push("s", &[create(&id(1), json!({"title": "second life"}))])
        .await;
    assert_eq!(
        (kinds(&results), &results[0]["current"]["deleted"]),
        (vec!["conflict"], &json!(true))
    );
    assert_eq!(results[0]["current"]["v"], json!(gone));
    let mut anew = create(&id(1), json!({"title": "second life"}));
    anew["base"] = json!(gone);
    let version = ada.apply("s", anew).await;
    assert!(version.parse::<i64>().unwrap() > gone.parse().unwrap());
}

async fn an_update_of_a_deleted_record_is_a_conflict_with_its_tombstone(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    project.run("delete from public.todo").await;
    let results = ada
        .push("s", &[update(&id(1), None, json!({"title": "two"}))])
        .await;
    assert_eq!(
        (kinds(&results), &results[0]["current"]["deleted"]),
        (vec!["conflict"], &json!(true))
    );
}

async fn a_delete_of_what_is_not_there_is_missing_and_of_a_tombstone_raises_it(project: &Project) {
    let ada = project.ada();
    assert_eq!(kinds(&ada.push("s", &[delete(&id(1), None)]).await), ["missing"]);
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let first = ada.apply("s", delete(&id(1), None)).await;
    let mut again = delete(&id(1), None);
    again["stamp"] = json!("raised");
    let second = ada.apply("s", again).await;
    assert!(second.parse::<i64>().unwrap() > first.parse().unwrap());
    let state = &ada.get("s", &[&id(1)]).await[0];
    assert_eq!(
        (&state["v"], &state["stamp"], &state["deleted"]),
        (&json!(second), &json!("raised"), &json!(true))
    );
    assert_eq!(
        kinds(&ada.push("s", &[delete(&id(1), Some(&first))]).await),
        ["conflict"]
    );
}

async fn versions_grow_over_deletes_and_purges(project: &Project) {
    let ada = project.ada();
    let mut last = 0;
    for _ in 0..3 {
        let made = ada
            .apply("s", create(&id(1), json!({"title": "one"})))
            .await
            .parse::<i64>()
            .unwrap();
        let gone = ada.apply("s", delete(&id(1), None)).await.parse::<i64>().unwrap();
        assert!(last < made && made < gone);
        last = gone;
        project.run("select sync.prune('0 seconds')").await;
    }
}
