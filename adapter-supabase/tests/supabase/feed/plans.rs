//! That policies are not evaluated for each row, and that pages and pushes read no more than they deal with.

use serde_json::{Value, json};

use super::{
    caller::{create, id, update},
    project::Project,
};

on_each_server!(
    policies_are_evaluated_once_for_each_statement,
    the_guard_sees_a_policy_that_is_evaluated_for_each_row,
    a_page_reads_its_rows_by_the_index,
);

const MANY: &str = "insert into public.todo (id, scope, title)
    select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 's' || n % 21, n::text from generate_series(1, 63000) n;
    insert into sync.member select 's' || n, 'a0000000-0000-4000-8000-00000000000a' from generate_series(0, 20) n; analyze";

/// How often the functions of access were called by the work of one transaction, and how many rows of the table were
/// read other than by an index.
async fn counted(project: &Project, sql: &'static str, arguments: Value) -> (i64, i64) {
    let mut transaction = project.owner.begin().await.unwrap();
    sqlx::query("select set_config('track_functions', 'all', true)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let claims = json!({"sub": super::project::ADA, "role": "authenticated"}).to_string();
    sqlx::query(
        "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)",
    )
    .bind(claims)
    .execute(&mut *transaction)
    .await
    .unwrap();
    // The numbers go on over transactions of a connection, so only differences say something.
    let counts = "select
        (select coalesce(sum(calls), 0)::bigint from pg_stat_xact_user_functions
         where schemaname = 'sync' and funcname in ('my_scopes', 'may_read', 'may_write')),
        (select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_xact_user_tables where relname = 'todo')";
    let before: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut *transaction).await.unwrap();
    sqlx::query(sql)
        .bind(arguments)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let after: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    (after.0 - before.0, after.1 - before.1)
}

const PULL: &str = "select public.sync_pull('s3', 'todo', null, ($1 ->> 0)::int)";

async fn policies_are_evaluated_once_for_each_statement(project: &Project) {
    project.run(MANY).await;
    let (of_ten, _) = counted(project, PULL, json!([10])).await;
    let (of_all, _) = counted(project, PULL, json!([1000])).await;
    assert_eq!(of_ten, of_all, "calls in a page of 10 and of 1000 rows");
    assert!(of_all <= 4, "{of_all} calls");

    const PUSH: &str = "select public.sync_push('s3', $1)";
    let made = |from: u64, count: u64| -> Value {
        (from..from + count)
            .map(|n| create(&id(1_000_000 + n), json!({"title": "x"})))
            .collect()
    };
    let changed = |from: u64, count: u64| -> Value {
        (from..from + count)
            .map(|n| update(&id(1_000_000 + n), None, json!({"title": "y"})))
            .collect()
    };
    for (few, many) in [(made(0, 5), made(100, 500)), (changed(0, 5), changed(100, 500))] {
        let (of_few, _) = counted(project, PUSH, few).await;
        let (of_many, scanned) = counted(project, PUSH, many).await;
        assert_eq!(of_few, of_many, "calls in a push of 5 and of 500 operations");
        assert_eq!(scanned, 0, "rows read other than by an index");
    }
}

/// The double: a policy as many projects write it.
async fn the_guard_sees_a_policy_that_is_evaluated_for_each_row(project: &Project) {
    project.run(MANY).await;
    project
        .run("alter policy sees on public.todo using (sync.may_read(scope))")
        .await;
    let (of_ten, _) = counted(project, PULL, json!([10])).await;
    let (of_all, scanned) = counted(project, PULL, json!([1000])).await;
    assert!(
        of_all - of_ten >= 900,
        "{of_ten} calls for 10 rows, {of_all} for 1000"
    );
    assert_eq!(
        scanned, 0,
        "even then no row is looked at that is not in the page"
    );
}

async fn a_page_reads_its_rows_by_the_index(project: &Project) {
    project.run(MANY).await;
    for (pull, arguments) in [
        (PULL, json!([100])),
        (
            "select public.sync_get('s3', 'todo', $1)",
            json!([id(3), id(24), id(45)]),
        ),
        (
            "select public.sync_list_ids('s3', 'todo', $1 ->> 0, 100)",
            json!([null]),
        ),
    ] {
        let (_, scanned) = counted(project, pull, arguments).await;
        assert_eq!(scanned, 0, "{pull}");
    }
}
