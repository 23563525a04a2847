//! Pushes to tables whose triggers write as well: each row gets its version and stamp, and comes back as stored.

use serde_json::{Value, json};

use super::{
    caller::{create, delete, id, kinds, note, update},
    project::Project,
};

on_each_server!(
    a_row_changed_by_a_trigger_comes_back_as_stored,
    what_triggers_write_beside_a_push_has_no_stamp_of_it,
    what_triggers_did_to_records_of_a_later_run_is_found,
    records_that_are_reached_in_another_order_get_their_own_stamps,
    an_entry_of_another_record_that_is_left_in_the_settings_is_not_written_to,
    a_record_that_a_trigger_deletes_in_the_push_is_noted_as_deleted,
    records_that_exchange_their_ids_in_one_statement_are_both_told,
);

async fn a_row_changed_by_a_trigger_comes_back_as_stored(project: &Project) {
    project
        .run(
            "create function public.shout() returns trigger language plpgsql as $$
             begin update public.todo set title = upper(title) where id = new.id and title <> upper(title); return null; end $$;
             create trigger shout after insert on public.todo for each row execute function public.shout()",
        )
        .await;
    let results = project
        .ada()
        .push("s", &[create(&id(1), json!({"title": "quiet"}))])
        .await;
    assert_eq!(results[0]["row"]["title"], "QUIET");
    let state = &project.ada().get("s", &[&id(1)]).await[0];
    assert_eq!(
        (&state["v"], &state["row"]["title"]),
        (&results[0]["v"], &json!("QUIET"))
    );
    // A trigger that undoes the write leaves a tombstone, not a row that is not there.
    project
        .run(
            "create function public.undo() returns trigger language plpgsql as $$
             begin delete from public.todo where id = new.id and title = 'NEVER'; return null; end $$;
             create trigger undo after insert on public.todo for each row execute function public.undo()",
        )
        .await;
    project
        .ada()
        .push("s", &[create(&id(2), json!({"title": "NEVER"}))])
        .await;
    assert_eq!(project.ada().get("s", &[&id(2)]).await[0]["deleted"], true);
}

async fn what_triggers_write_beside_a_push_has_no_stamp_of_it(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "beside"})))
        .await;
    // Before the row is there, so that the other one is noted first.
    project
        .run(
            "create function public.beside() returns trigger language plpgsql as $$
             begin
               if new.title <> 'beside' then update public.todo set amount = coalesce(amount, 0) + 1 where title = 'beside'; end if;
               return new;
             end $$;
             create trigger beside before insert or update on public.todo for each row execute function public.beside()",
        )
        .await;
    let mut batch: Vec<_> = (2..=4)
        .map(|n| create(&id(n), json!({"title": "made"})))
        .collect();
    for (number, op) in batch.iter_mut().enumerate() {
        op["stamp"] = json!(format!("stamp {number}"));
    }
    assert_eq!(kinds(&project.ada().push("s", &batch).await), ["applied"; 3]);
    let mut changes: Vec<_> = (2..=4)
        .map(|n| update(&id(n), None, json!({"title": "changed"})))
        .collect();
    for (number, op) in changes.iter_mut().enumerate() {
        op["stamp"] = json!(format!("later {number}"));
    }
    assert_eq!(kinds(&project.ada().push("s", &changes).await), ["applied"; 3]);
    let states = project.ada().get("s", &[&id(1), &id(2), &id(3), &id(4)]).await;
    let stamps: Vec<_> = states.iter().map(|state| &state["stamp"]).collect();
    assert_eq!(
        stamps,
        [
            &Value::Null,
            &json!("later 0"),
            &json!("later 1"),
            &json!("later 2")
        ]
    );
    assert_eq!(states[0]["row"]["amount"], 6);
}

async fn what_triggers_did_to_records_of_a_later_run_is_found(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "old"}))).await;
    // After the decision, one record of the batch gets another entry, and one that had none gets a tombstone.
    project
        .run(&format!(
            "create function public.beside() returns trigger language plpgsql as $$
             begin
               if new.title = 'first' then
                 update public.todo set amount = 7 where id = '{0}';
                 insert into public.todo (id, scope, title) values ('{1}', new.scope, 'gone');
                 delete from public.todo where id = '{1}';
               end if;
               return null;
             end $$;
             create trigger beside after insert on public.todo for each row execute function public.beside()",
            id(1),
            id(3)
        ))
        .await;
    let mut batch = [
        create(&id(2), json!({"title": "first"})),
        update(&id(1), None, json!({"title": "new"})),
        create(&id(3), json!({"title": "made", "amount": 3})),
    ];
    for (number, op) in batch.iter_mut().enumerate() {
        op["stamp"] = json!(format!("stamp {number}"));
    }
    let results = ada.push("s", &batch).await;
    assert_eq!(kinds(&results), ["applied"; 3], "{results:?}");
    let states = ada.get("s", &[&id(2), &id(1), &id(3)]).await;
    for (place, (state, result)) in states.iter().zip(&results).enumerate() {
        assert_eq!(
            (&state["v"], &state["at"], &state["stamp"]),
            (&result["v"], &result["at"], &batch[place]["stamp"])
        );
    }
    assert_eq!(
        (&states[1]["row"]["title"], &states[1]["row"]["amount"]),
        (&json!("new"), &json!(7))
    );
    assert_eq!(states[2]["row"]["amount"], 3);
}

async fn records_that_are_reached_in_another_order_get_their_own_stamps(project: &Project) {
    let ada = project.ada();
    let made: Vec<_> = (1..=9)
        .map(|n| create(&id(n), json!({"title": n.to_string()})))
        .collect();
    assert_eq!(kinds(&ada.push("s", &made).await), ["applied"; 9]);
    // One statement deletes them in the order of its index.
    let order = [5, 1, 9, 3];
    let mut batch: Vec<_> = order.iter().map(|n| delete(&id(*n), None)).collect();
    for (number, op) in batch.iter_mut().enumerate() {
        op["stamp"] = json!(format!("stamp {number}"));
    }
    let results = ada.push("s", &batch).await;
    for (place, n) in order.iter().enumerate() {
        let state = &ada.get("s", &[&id(*n)]).await[0];
        assert_eq!(state["deleted"], true);
        assert_eq!(
            (&state["v"], &state["stamp"]),
            (&results[place]["v"], &batch[place]["stamp"])
        );
    }
}

async fn an_entry_of_another_record_that_is_left_in_the_settings_is_not_written_to(project: &Project) {
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    ada.apply("s", create(&id(2), json!({"title": "two"}))).await;
    assert_eq!(kinds(&ada.push("s", &[note(&id(1), None)]).await), ["applied"]);
    for (collection, number) in [("todo", 2), ("note", 1)] {
        let seen = ada.pull("s", None, 10).await;
        project
            .run(&format!(
                "select set_config('sync.pushed', 'todo', true), set_config('sync.pushed_ids', '{{{one}}}', true),
                   set_config('sync.pushed_stamps', '{{left}}', true), set_config('sync.pushed_entries', (
                     select array[c.ctid]::text from sync.change c join sync.feed f on f.number = c.feed
                     where f.collection = '{collection}' and c.id = '{other}'), true);
                 update public.todo set title = 'after {collection}' where id = '{one}'",
                one = id(1),
                other = id(number),
            ))
            .await;
        let new = ada.pull("s", seen["cursor"].as_str(), 10).await;
        assert_eq!(new["changes"].as_array().unwrap().len(), 1, "{new}");
        assert_eq!(new["changes"][0]["row"]["title"], format!("after {collection}"));
    }
}

async fn a_record_that_a_trigger_deletes_in_the_push_is_noted_as_deleted(project: &Project) {
    project
        .run(
            "create function public.removes() returns trigger language plpgsql security definer as
             $$ begin delete from public.todo where id = new.id; return null; end $$;
             create trigger removes after update on public.todo for each row execute function public.removes()",
        )
        .await;
    let ada = project.ada();
    ada.apply("s", create(&id(1), json!({"title": "one"}))).await;
    let results = ada
        .push("s", &[update(&id(1), None, json!({"title": "two"}))])
        .await;
    assert_eq!(kinds(&results), ["applied"]);
    let deleted = "select deleted from sync.change where id = '{}'".replace("{}", &id(1));
    assert!(project.value::<bool>(&deleted).await);
}

async fn records_that_exchange_their_ids_in_one_statement_are_both_told(project: &Project) {
    project
        .run("insert into public.task values (1, 'p', 'one'), (2, 'p', 'two'), (3, 'q', 'three')")
        .await;
    let service = project.role("service_role");
    let page = service
        .try_pull(("project?id=p", "task"), None, 10)
        .await
        .unwrap();
    // One takes the place of one that goes, the other goes to a new one.
    project
        .run("alter table public.task drop constraint task_pkey; alter table public.task add unique (id) deferrable initially immediate;
              update public.task set id = 3 - id where id < 3")
        .await;
    let later = service
        .try_pull(("project?id=p", "task"), page["cursor"].as_str(), 10)
        .await
        .unwrap();
    let mut told: Vec<_> = later["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["id"].clone(), change["row"]["title"].clone()))
        .collect();
    told.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(told, [(json!("1"), json!("two")), (json!("2"), json!("one"))]);
}
