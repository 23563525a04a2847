//! Overlapping transactions: what commits late, what is rolled back, and what deadlocks.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    caller::{Caller, Replica, create, delete, id, update},
    project::Project,
};

on_each_server!(
    what_began_first_and_commits_last_is_not_lost,
    a_transaction_that_stays_open_over_pulls_appears_after_its_commit,
    a_rolled_back_transaction_leaves_no_trace,
    a_push_and_a_direct_write_of_one_row_lose_neither,
    deadlocks_fail_as_a_whole_and_are_sent_again,
    pushers_and_direct_writers_end_with_equal_scopes,
);

const INSERT: &str = "insert into public.todo (scope, title) values ('s', $1)";

async fn what_began_first_and_commits_last_is_not_lost(project: &Project) {
    // The first one has a time and an id of the table before the second, and commits after it and after a pull.
    let mut first = project.owner.begin().await.unwrap();
    sqlx::query("select now(), nextval('pg_temp.early')")
        .execute(&mut *first)
        .await
        .unwrap_err();
    first.rollback().await.unwrap();
    let mut first = project.owner.begin().await.unwrap();
    sqlx::query("select now()").execute(&mut *first).await.unwrap();
    let mut second = project.owner.begin().await.unwrap();
    sqlx::query(INSERT)
        .bind("second")
        .execute(&mut *second)
        .await
        .unwrap();
    second.commit().await.unwrap();
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    sqlx::query(INSERT)
        .bind("first")
        .execute(&mut *first)
        .await
        .unwrap();
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.titles(), ["second"]);
    first.commit().await.unwrap();
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.rows.len(), 2);
}

async fn a_transaction_that_stays_open_over_pulls_appears_after_its_commit(project: &Project) {
    let mut open = project.owner.begin().await.unwrap();
    sqlx::query(INSERT)
        .bind("late")
        .execute(&mut *open)
        .await
        .unwrap();
    let mut replica = Replica::default();
    for n in 0..3 {
        // Another scope is not held up, and readers never are.
        project
            .ada()
            .apply("t", create(&id(n), json!({"title": "x"})))
            .await;
        replica.sync(&project.ada(), "s").await;
        assert!(replica.rows.is_empty());
    }
    open.commit().await.unwrap();
    replica.sync(&project.ada(), "s").await;
    assert_eq!(replica.titles(), ["late"]);
}

async fn a_rolled_back_transaction_leaves_no_trace(project: &Project) {
    let mut replica = Replica::default();
    replica.sync(&project.ada(), "s").await;
    let before = replica.cursor.clone();
    let mut doomed = project.owner.begin().await.unwrap();
    sqlx::query(INSERT)
        .bind("doomed")
        .execute(&mut *doomed)
        .await
        .unwrap();
    doomed.rollback().await.unwrap();
    replica.sync(&project.ada(), "s").await;
    assert_eq!((replica.delivered, &replica.cursor), (0, &before));
}

async fn a_push_and_a_direct_write_of_one_row_lose_neither(project: &Project) {
    let base = project
        .ada()
        .apply("s", create(&id(1), json!({"title": "base"})))
        .await;
    let mut direct = project.owner.begin().await.unwrap();
    sqlx::query("update public.todo set amount = 1")
        .execute(&mut *direct)
        .await
        .unwrap();
    let pushing = tokio::spawn({
        let ada = project.ada();
        async move {
            ada.push("s", &[update(&id(1), Some(&base), json!({"title": "pushed"}))])
                .await
        }
    });
    // The push waits for the scope, which the direct write holds.
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while project.value::<i64>(waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    direct.commit().await.unwrap();
    let results = pushing.await.unwrap();
    assert_eq!(
        (&results[0]["st"], &results[0]["current"]["row"]["amount"]),
        (&json!("conflict"), &json!(1))
    );
}

/// Sends a batch until it is answered; gives the results and how often it had to be repeated.
async fn push_until_answered(caller: &Caller, scope: &str, ops: Vec<Value>) -> (Vec<Value>, u32) {
    let mut repeated = 0;
    loop {
        match caller.try_push(scope, json!(ops), false).await {
            Ok(results) => return (results, repeated),
            Err(refusal) if ["40P01", "40001"].contains(&refusal.code.as_str()) => repeated += 1,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
}

async fn deadlocks_fail_as_a_whole_and_are_sent_again(project: &Project) {
    project
        .ada()
        .apply("s", create(&id(1), json!({"title": "base", "amount": 0})))
        .await;
    project
        .run(
            "alter database CURRENT set deadlock_timeout = '50ms'"
                .replace(
                    "CURRENT",
                    &project.value::<String>("select current_database()::text").await,
                )
                .as_str(),
        )
        .await;
    // The direct writer holds the row and wants the scope; the push holds the scope and wants the row.
    let mut direct = project.owner.begin().await.unwrap();
    sqlx::query("select 1 from public.todo for update")
        .execute(&mut *direct)
        .await
        .unwrap();
    let pushing = tokio::spawn({
        let ada = project.ada();
        async move {
            let batch = vec![
                create(&id(2), json!({"title": "x"})),
                update(&id(1), None, json!({"title": "pushed"})),
            ];
            push_until_answered(&ada, "s", batch).await
        }
    });
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while project.value::<i64>(waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let direct_write = sqlx::query("update public.todo set amount = 1")
        .execute(&mut *direct)
        .await;
    let direct_won = direct_write.is_ok() && direct.commit().await.is_ok();
    let (results, repeated) = pushing.await.unwrap();
    assert!(
        results.iter().all(|result| result["st"] == "applied"),
        "{results:?}"
    );
    // Sent again at once, the push can meet the direct writer a second time, so both may have been victims.
    assert!(!direct_won || repeated > 0, "one of the two was the victim");
    let amount = project
        .value::<i64>(&format!("select amount from public.todo where id = '{}'", id(1)))
        .await;
    assert_eq!(amount, i64::from(direct_won));
    assert_eq!(
        project.value::<i64>("select count(*) from public.todo").await,
        2,
        "nothing twice"
    );
}

/// Writes past the feed: several rows, scopes and statements in a transaction, moves, deletes, rollbacks.
async fn write_directly(project: &Project, seed: u64, rounds: u32) {
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..rounds {
        let mut transaction = project.owner.begin().await.unwrap();
        let mut failed = false;
        for _ in 0..random.random_range(1..4) {
            let (from, count) = (random.random_range(1..60), random.random_range(1..10));
            let range = format!("in (select id from public.todo order by id offset {from} limit {count})");
            let statement = match random.random_range(0..5) {
                0 => format!("delete from public.todo where id {range}"),
                1 => format!(
                    "update public.todo set scope = case scope when 's' then 't' else 's' end where id {range}"
                ),
                2 => format!("update public.todo set amount = coalesce(amount, 0) + 1 where id {range}"),
                _ => format!(
                    "insert into public.todo (scope, title) select 's', 'direct' from generate_series(1, {count})"
                ),
            };
            if sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut *transaction)
                .await
                .is_err()
            {
                failed = true;
                break;
            }
        }
        if failed || random.random_bool(0.2) {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
}

/// Pushes creates, updates and deletes of its own records; gives how often each record was written with success.
async fn push_randomly(caller: Caller, scope: &'static str, seed: u64, rounds: u64) -> BTreeMap<String, u32> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut applied = BTreeMap::new();
    for round in 0..rounds {
        let record = |n: u64| id((seed << 20) | (round << 4) | n);
        let mut ops: Vec<_> = (0..4)
            .map(|n| create(&record(n), json!({"title": "pushed", "amount": 0})))
            .collect();
        if round > 0 {
            let before = id((seed << 20) | ((round - 1) << 4));
            ops.push(if random.random_bool(0.5) {
                delete(&before, None)
            } else {
                update(&before, None, json!({"done": true}))
            });
        }
        let (results, _) = push_until_answered(&caller, scope, ops.clone()).await;
        // The answer is lost every now and then; the repetition has no second effect.
        if random.random_bool(0.3) {
            let (again, _) = push_until_answered(&caller, scope, ops.clone()).await;
            for (first, second) in results.iter().zip(&again) {
                assert!(
                    first["st"] != "applied" || second["st"] == "duplicate",
                    "{first} then {second}"
                );
            }
        }
        for (op, result) in ops.iter().zip(&results) {
            if result["st"] == "applied" {
                *applied.entry(op["id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    applied
}

async fn pushers_and_direct_writers_end_with_equal_scopes(project: &Project) {
    project.run("insert into public.todo (scope, title) select case n % 2 when 0 then 's' else 't' end, 'start' from generate_series(1, 60) n").await;
    let name: String = project.value("select current_database()::text").await;
    project
        .run(&format!("alter database {name} set deadlock_timeout = '20ms'"))
        .await;
    project
        .owner
        .set_connect_options(project.owner.connect_options().as_ref().clone());
    let pushers = (1..=4).map(|n| push_randomly(project.ada(), if n % 2 == 0 { "s" } else { "t" }, n, 25));
    let writers = (1..=4).map(|n| write_directly(project, n, 25));
    let mut here = Replica::default();
    let mut there = Replica::default();
    let reading = async {
        for _ in 0..40 {
            here.sync(&project.ada(), "s").await;
            there.sync(&project.ada(), "t").await;
        }
    };
    let (applied, _, ()) = tokio::join!(
        futures::future::join_all(pushers),
        futures::future::join_all(writers),
        reading
    );
    for (scope, replica) in [("s", &mut here), ("t", &mut there)] {
        replica.sync(&project.ada(), scope).await;
        let sql = format!(
            "select coalesce(json_object_agg(id, to_jsonb(t) - 'scope' - 'secret'), '{{}}') from public.todo t where scope = '{scope}'"
        );
        let expected: Value = project.value(&sql).await;
        assert_eq!(json!(replica.rows), expected, "scope {scope}");
    }
    let operations: u32 = applied.iter().flat_map(BTreeMap::values).sum();
    assert_eq!(
        project.value::<i64>("select count(*) from sync.applied").await,
        i64::from(operations),
        "each once"
    );
    assert!(operations > 200, "{operations}");
}
