//! Pushes: what becomes of each operation.

use serde_json::{Value, json};

use super::{
    caller::{Replica, create, delete, id, kinds, note, op_id, update},
    project::Project,
};

on_each_server!(
    what_is_pushed_is_pulled_with_its_version_and_stamp,
    a_repeated_batch_is_answered_duplicate_and_has_no_second_effect,
    a_repetition_is_one_for_its_user_only,
    one_bad_item_keeps_no_other_from_applying,
    an_unknown_collection_field_or_kind_is_rejected_by_name,
    values_come_back_as_they_were_sent,
    fields_that_are_not_named_stay,
    a_record_replaced_as_a_whole_loses_what_it_does_not_name,
    an_atomic_batch_is_applied_as_a_whole_or_not_at_all,
    a_batch_over_collections_is_applied_in_its_order,
    a_deferred_constraint_is_answered_for_the_item_at_fault,
    a_push_has_a_limit,
    an_id_that_is_not_canonical_is_rejected,
    a_second_operation_for_a_record_is_rejected,
    operations_that_one_statement_cannot_write_are_not_taken_together,
    an_operation_that_is_not_applied_does_not_say_which_columns_others_write,
    the_scope_column_is_filled_and_rows_stay_in_their_scope,
    a_collection_with_scopes_by_key_and_number_ids_works,
);

async fn what_is_pushed_is_pulled_with_its_version_and_stamp(project: &Project) {
    let version = project
        .ada()
        .apply("s", create(&id(1), json!({"title": "one"})))
        .await;
    let page = project.bob().pull("s", None, 10).await;
    let change = &page["changes"][0];
    assert_eq!(
        (&change["v"], &change["stamp"]),
        (&json!(version), &json!("made"))
    );
    assert_eq!(
        (&change["row"]["title"], &change["row"]["id"]),
        (&json!("one"), &json!(id(1)))
    );
    project
        .run("update public.todo set title = 'by another way'")
        .await;
    let page = project.bob().pull("s", page["cursor"].as_str(), 10).await;
    assert_eq!(
        page["changes"][0]["stamp"],
        Value::Null,
        "a stamp is not kept for another write"
    );
    assert!(page["changes"][0]["v"].as_str().unwrap().parse::<i64>().unwrap() > version.parse().unwrap());
}

async fn a_repeated_batch_is_answered_duplicate_and_has_no_second_effect(project: &Project) {
    let batch = [
        create(&id(1), json!({"title": "one"})),
        create(&id(2), json!({"title": "two"})),
    ];
    let first = project.ada().push("s", &batch).await;
    project
        .ada()
        .apply("s", update(&id(1), None, json!({"title": "later"})))
        .await;
    let again = project.ada().push("s", &batch).await;
    assert_eq!(kinds(&again), ["duplicate", "duplicate"]);
    assert_eq!(again[0]["v"], first[0]["v"]);
    assert_eq!(
        project
            .value::<String>("select string_agg(title, ',' order by id) from public.todo")
            .await,
        "later,two"
    );
}

async fn a_repetition_is_one_for_its_user_only(project: &Project) {
    project.run("update sync.member set can_write = true").await;
    let op = create(&id(1), json!({"title": "one"}));
    project.ada().apply("s", op.clone()).await;
    let other = project.bob().push("s", &[op]).await;
    assert_eq!(kinds(&other), ["conflict"]);
}

async fn one_bad_item_keeps_no_other_from_applying(project: &Project) {
    let long = "x".repeat(200);
    let mut batch: Vec<_> = (1..=20)
        .map(|n| create(&id(n), json!({"title": n.to_string()})))
        .collect();
    batch[6] = create(&id(7), json!({"title": long}));
    batch[13] = create(&id(14), json!({"title": null}));
    let results = project.ada().push("s", &batch).await;
    for (place, result) in results.iter().enumerate() {
        assert_eq!(result["op"], batch[place]["op"], "the order of the answers");
        let expected = if [6, 13].contains(&place) {
            "rejected"
        } else {
            "applied"
        };
        assert_eq!(result["st"], expected, "{result}");
    }
    assert_eq!(
        (&results[6]["code"], &results[6]["field"]),
        (&json!("23514"), &json!("todo_title_check"))
    );
    assert_eq!(
        (&results[13]["code"], &results[13]["field"]),
        (&json!("23502"), &json!("title"))
    );
    assert_eq!(project.value::<i64>("select count(*) from public.todo").await, 18);
}

async fn an_unknown_collection_field_or_kind_is_rejected_by_name(project: &Project) {
    let mut elsewhere = create(&id(1), json!({"title": "x"}));
    elsewhere["collection"] = json!("pg_class");
    let mut unknown = create(&id(2), json!({"title": "x"}));
    unknown["kind"] = json!("upsert");
    let mut empty = create(&id(5), json!({}));
    empty["row"] = json!("a text");
    let batch = [
        elsewhere,
        unknown,
        create(&id(3), json!({"titel": "x"})),
        empty,
        update(&id(4), None, json!({})),
    ];
    let results = project.ada().push("s", &batch).await;
    let codes: Vec<_> = results
        .iter()
        .map(|result| result["code"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        codes,
        [
            "unknown_collection",
            "unknown_kind",
            "unknown_field",
            "no_row",
            ""
        ]
    );
    assert_eq!(
        (&results[2]["field"], &results[4]["st"]),
        (&json!("titel"), &json!("missing"))
    );
}

async fn values_come_back_as_they_were_sent(project: &Project) {
    let row = json!({
        "id": id(1), "title": "snowman \u{2603} \"quoted\" \\ \u{1f600}", "done": true, "amount": 9_223_372_036_854_775_807_i64,
        "tags": ["a,b", "{c}", "", "null"], "meta": {"deep": [1, {"x": null}], "n": 1.5}, "due": "2026-01-02T03:04:05.678901+02:00"
    });
    project.ada().apply("s", create(&id(1), row.clone())).await;
    let state = &project.ada().get("s", &[&id(1)]).await[0]["row"];
    for field in ["id", "title", "done", "amount", "tags", "meta"] {
        assert_eq!(state[field], row[field], "{field}");
    }
    assert_eq!(state["due"], "2026-01-02T01:04:05.678901+00:00");
    project
        .ada()
        .apply(
            "s",
            create(
                &id(2),
                json!({"title": "x", "amount": null, "tags": [], "meta": null}),
            ),
        )
        .await;
    let state = &project.ada().get("s", &[&id(2)]).await[0]["row"];
    assert_eq!(
        (&state["amount"], &state["tags"], &state["due"]),
        (&Value::Null, &json!([]), &Value::Null)
    );
}

async fn fields_that_are_not_named_stay(project: &Project) {
    project
        .ada()
        .apply(
            "s",
            create(&id(1), json!({"title": "one", "amount": 7, "tags": ["x"]})),
        )
        .await;
    let mut op = update(&id(1), None, json!({"title": "two"}));
    op["fields"] = json!(["title", "tags"]);
    project.ada().apply("s", op).await;
    let state = &project.ada().get("s", &[&id(1)]).await[0]["row"];
    assert_eq!(
        (&state["title"], &state["amount"], &state["tags"]),
        (&json!("two"), &json!(7), &Value::Null)
    );
}

async fn a_record_replaced_as_a_whole_loses_what_it_does_not_name(project: &Project) {
    project
        .ada()
        .apply(
            "s",
            create(&id(1), json!({"title": "one", "amount": 7, "done": true})),
        )
        .await;
    let mut op = update(
        &id(1),
        None,
        json!({"title": "two", "updated_at": "1970-01-01T00:00:00Z"}),
    );
    op.as_object_mut().unwrap().remove("fields");
    project.ada().apply("s", op).await;
    let state = &project.ada().get("s", &[&id(1)]).await[0]["row"];
    assert_eq!(
        (&state["title"], &state["amount"], &state["done"]),
        (&json!("two"), &Value::Null, &json!(false))
    );
    assert!(
        state["updated_at"].as_str().unwrap() > "2000",
        "a read-only field is the server's"
    );
}

async fn an_atomic_batch_is_applied_as_a_whole_or_not_at_all(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let decided = [
        create(&id(2), json!({"title": "two"})),
        update(&id(9), None, json!({"title": "x"})),
    ];
    assert_eq!(
        kinds(&ada.try_push("s", json!(decided), true).await.unwrap()),
        ["retry", "missing"]
    );
    let failing = [
        create(&id(3), json!({"title": "three"})),
        update(&id(1), None, json!({"title": "x".repeat(300)})),
    ];
    let results = ada.try_push("s", json!(failing), true).await.unwrap();
    assert_eq!(
        (kinds(&results), &results[1]["code"]),
        (vec!["retry", "rejected"], &json!("23514"))
    );
    assert_eq!(
        project
            .value::<String>("select string_agg(title, ',') from public.todo")
            .await,
        "one"
    );
    let sound = [create(&id(4), json!({"title": "four"})), delete(&id(1), None)];
    assert_eq!(
        kinds(&ada.try_push("s", json!(sound), true).await.unwrap()),
        ["applied", "applied"]
    );
    assert_eq!(
        kinds(&ada.try_push("s", json!(sound), true).await.unwrap()),
        ["duplicate", "duplicate"]
    );
    // What was rolled back is not remembered as applied.
    assert_eq!(
        kinds(&ada.try_push("s", json!([failing[0]]), true).await.unwrap()),
        ["applied"]
    );
}

async fn a_batch_over_collections_is_applied_in_its_order(project: &Project) {
    let batch = [
        create(&id(1), json!({"title": "one"})),
        note("a", Some(&id(1))),
        create(&id(2), json!({"title": "two", "done": true})),
        note("b", Some(&id(2))),
        note("c", None),
    ];
    assert_eq!(kinds(&project.ada().push("s", &batch).await), ["applied"; 5]);
    let pulled = project.bob().try_pull(("s", "note"), None, 10).await.unwrap();
    assert_eq!(
        pulled["changes"].as_array().unwrap().len(),
        3,
        "a pull is of one collection: {pulled}"
    );
    // A cascade is noted too.
    project.ada().apply("s", delete(&id(1), None)).await;
    let pulled = project
        .bob()
        .try_pull(("s", "note"), pulled["cursor"].as_str(), 10)
        .await
        .unwrap();
    assert_eq!(
        (&pulled["changes"][0]["id"], &pulled["changes"][0]["deleted"]),
        (&json!("a"), &json!(true))
    );
}

async fn a_deferred_constraint_is_answered_for_the_item_at_fault(project: &Project) {
    let batch = [note("a", None), note("b", Some(&id(404))), note("c", None)];
    let results = project.ada().push("s", &batch).await;
    assert_eq!(
        (kinds(&results), &results[1]["code"]),
        (vec!["applied", "rejected", "applied"], &json!("23503"))
    );
    // A child before its parent is what the deferring is for.
    let batch = [note("d", Some(&id(1))), create(&id(1), json!({"title": "one"}))];
    assert_eq!(
        kinds(&project.ada().push("s", &batch).await),
        ["applied", "applied"]
    );
}

async fn a_push_has_a_limit(project: &Project) {
    let batch: Vec<_> = (1..=501).map(|n| delete(&id(n), None)).collect();
    let refused = project
        .ada()
        .try_push("s", json!(batch), false)
        .await
        .unwrap_err();
    assert_eq!(refused.code, "PT413");
    assert_eq!(project.ada().push("s", &batch[..500]).await.len(), 500);
    assert!(project.ada().push("s", &[]).await.is_empty());
}

async fn an_id_that_is_not_canonical_is_rejected(project: &Project) {
    let batch = [
        create(&id(0xabc).to_uppercase(), json!({"title": "x"})),
        create("not a uuid", json!({"title": "x"})),
        create(&id(1), json!({"title": "x"})),
    ];
    let results = project.ada().push("s", &batch).await;
    assert_eq!(kinds(&results), ["rejected", "rejected", "applied"]);
    assert_eq!(
        project.ada().get("s", &["not a uuid", &id(1)]).await[0],
        Value::Null
    );
}

async fn a_second_operation_for_a_record_is_rejected(project: &Project) {
    let ada = project.ada();
    let version = ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let change = |title: &str| update(&id(1), Some(&version), json!({"title": title}));
    let results = ada
        .push("s", &[change("two"), note(&id(1), None), change("three")])
        .await;
    assert_eq!(kinds(&results), ["applied", "applied", "rejected"]);
    assert_eq!(results[2]["code"], "repeated_record");
}

// Found by the eight devices of `case_43`: what a delete does not name was taken for the columns of all.
async fn an_operation_that_is_not_applied_does_not_say_which_columns_others_write(project: &Project) {
    let ada = project.ada();
    for number in 1..=3 {
        ada.apply("s", create(&id(number), json!({"title": "old"}))).await;
    }
    let first = delete(&id(1), None);
    ada.apply("s", first.clone()).await;
    let change = |number| update(&id(number), None, json!({"title": "new"}));
    let batches = [
        [first.clone(), change(2), change(3)],
        [
            first,
            create(&id(4), json!({"title": "new"})),
            create(&id(5), json!({"title": "new"})),
        ],
    ];
    for batch in batches {
        let results = ada.push("s", &batch).await;
        assert_eq!(
            kinds(&results),
            ["duplicate", "applied", "applied"],
            "{results:?}"
        );
    }
    for state in ada.get("s", &[&id(2), &id(3), &id(4), &id(5)]).await {
        assert_eq!(state["row"]["title"], "new", "{state}");
    }
}

async fn operations_that_one_statement_cannot_write_are_not_taken_together(project: &Project) {
    let ada = project.ada();
    for number in 1..=3 {
        ada.apply("s", create(&id(number), json!({"title": "old"}))).await;
    }
    assert_eq!(kinds(&ada.push("s", &[note("n", None)]).await), ["applied"]);
    let change = |number, base, field: &str, value: Value| {
        let mut change = update(&id(number), base, json!({field: value}));
        change["fields"] = json!([field]);
        change
    };
    let batch = [
        change(1, None, "title", json!("new")),
        change(2, Some("0"), "title", json!("new")),
        change(3, None, "title", json!("new")),
    ];
    let results = ada.push("s", &batch).await;
    assert_eq!(kinds(&results), ["applied", "conflict", "applied"]);
    let batch = [
        change(1, None, "title", json!("newer")),
        change(3, None, "done", json!(true)),
    ];
    assert_eq!(kinds(&ada.push("s", &batch).await), ["applied", "applied"]);
    assert_eq!(ada.get("s", &[&id(3)]).await[0]["row"]["done"], true);
    let mut of_a_note = delete("n", None);
    of_a_note["collection"] = json!("note");
    let results = ada.push("s", &[delete(&id(1), None), of_a_note]).await;
    assert_eq!(kinds(&results), ["applied", "applied"]);
    assert_eq!(project.value::<i64>("select count(*) from public.note").await, 0);
}

async fn the_scope_column_is_filled_and_rows_stay_in_their_scope(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    assert_eq!(
        project.value::<String>("select scope from public.todo").await,
        "s"
    );
    // The same id in another scope is another record to the feed, and a taken one to the table.
    let results = ada
        .push(
            "t",
            &[
                create(&id(1), json!({"title": "two"})),
                update(&id(1), None, json!({"title": "two"})),
            ],
        )
        .await;
    assert_eq!(
        (&results[0]["st"], &results[0]["code"]),
        (&json!("rejected"), &json!("23505"))
    );
    assert_eq!(
        kinds(
            &ada.push("t", &[update(&id(1), None, json!({"title": "two"}))])
                .await
        ),
        ["missing"]
    );
    assert_eq!(kinds(&ada.push("t", &[delete(&id(1), None)]).await), ["missing"]);
    assert_eq!(ada.get("t", &[&id(1)]).await, [Value::Null]);
    assert_eq!(
        project.value::<String>("select title from public.todo").await,
        "one"
    );
}

async fn a_collection_with_scopes_by_key_and_number_ids_works(project: &Project) {
    let (scope, other) = ("project?id=a%26b", "project?id=c");
    project
        .run(&format!(
            "insert into sync.member values ('{scope}', '{0}'), ('{other}', '{0}')",
            super::project::ADA
        ))
        .await;
    let task = |id: &str, project: &str| json!({"op": op_id(), "kind": "create", "collection": "task", "id": id, "row": {"project_id": project, "title": "t"}});
    let results = project
        .ada()
        .push(scope, &[task("1", "a&b"), task("2", "c"), task("03", "a&b")])
        .await;
    assert_eq!(
        kinds(&results),
        ["applied", "rejected", "rejected"],
        "{results:?}"
    );
    let moved = json!([{"op": op_id(), "kind": "update", "collection": "task", "id": "1", "row": {"project_id": "c"}, "fields": ["project_id"]}]);
    let results = project.ada().try_push(scope, moved, false).await.unwrap();
    assert_eq!(
        kinds(&results),
        ["rejected"],
        "a push does not carry a row out of its scope"
    );
    project.run("update public.task set project_id = 'c'").await;
    for (scope, live) in [(scope, false), (other, true)] {
        let page = project.ada().try_pull((scope, "task"), None, 10).await.unwrap();
        assert_eq!(page["changes"][0].get("row").is_some(), live, "{page}");
    }
    let mut replica = Replica::default();
    replica.page(&project.ada(), (other, "task"), 10).await.unwrap();
    assert_eq!(replica.titles(), ["t"]);
}
