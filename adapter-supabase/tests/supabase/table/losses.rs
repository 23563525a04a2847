//! The loss experiment: a client that asks for `updated_at > last` loses rows for ever, table mode ends equal.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use sqlx::{Executor, PgPool, Row};
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{Delta, PullRequest, RemoteState, RemoteStore, SyncPoint};
use tokio::time::Instant;

use super::project::{Project, todos};

on_each_postgres!(
    a_cursor_without_repair_loses_rows_and_table_mode_ends_equal,
    a_row_that_commits_later_than_the_overlap_shows_in_the_count_and_is_swept,
    a_page_that_the_project_cuts_short_is_not_taken_for_the_last,
);

/// The client that everybody writes first.
#[derive(Default)]
struct Naive {
    last: Option<String>,
    seen: BTreeSet<String>,
}

impl Naive {
    async fn pull(&mut self, stack: &Stack, token: &str) {
        loop {
            let mut url = sync_http::Url::parse(&format!("{}/rest/v1/todos", stack.url())).unwrap();
            url.query_pairs_mut()
                .append_pair("select", "id,updated_at")
                .append_pair("order", "updated_at.asc");
            if let Some(last) = &self.last {
                url.query_pairs_mut()
                    .append_pair("updated_at", &format!("gt.{last}"));
            }
            let request = reqwest::Client::new()
                .get(url)
                .header("apikey", stack.publishable_key());
            let answer = request
                .bearer_auth(token)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let rows: Vec<Value> = serde_json::from_str(&answer).unwrap();
            for row in &rows {
                self.seen.insert(row["id"].as_str().unwrap().to_owned());
                self.last = Some(row["updated_at"].as_str().unwrap().to_owned());
            }
            if rows.len() < 1_000 {
                return;
            }
        }
    }
}

/// What a replica of table mode holds.
#[derive(Default)]
struct Replica {
    since: Option<SyncPoint>,
    ids: BTreeSet<String>,
}

impl Replica {
    /// Pulls to the end; answers whether the remote asks for a sweep.
    async fn pull(&mut self, remote: &dyn RemoteStore) -> bool {
        loop {
            let request = PullRequest {
                target: todos(),
                since: self.since.take(),
                page_size: 500,
                holds_nothing: false,
            };
            let Delta {
                changes,
                next,
                has_more,
                wants_sweep,
                ..
            } = remote.pull(request).await.unwrap();
            for change in changes {
                match change.state {
                    RemoteState::Live(_) => self.ids.insert(change.id.to_string()),
                    _ => self.ids.remove(change.id.as_str()),
                };
            }
            self.since = Some(next);
            if !has_more {
                return wants_sweep;
            }
        }
    }

    /// Takes the listed ids for what there is.
    async fn sweep(&mut self, remote: &dyn RemoteStore) {
        let (mut ids, mut after) = (BTreeSet::new(), None);
        loop {
            let page = remote.list_ids(&todos(), after.as_deref(), 1_000).await.unwrap();
            ids.extend(page.ids.iter().map(|(id, _)| id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.ids = ids;
    }
}

/// Writes rows in transactions that take their time, rolls some back and deletes some.
async fn write(pool: PgPool, writer: u64, until: Instant) {
    let mut random = SmallRng::seed_from_u64(writer);
    let mut number = 0;
    while Instant::now() < until {
        let mut transaction = pool.begin().await.unwrap();
        for _ in 0..random.random_range(1..6) {
            number += 1;
            sqlx::query("insert into public.todos (owner, id, title) values ('ada', $1, 'x')")
                .bind(format!("w{writer}-{number}"))
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        let kind = random.random_range(0..10);
        if kind < 3 {
            tokio::time::sleep(Duration::from_millis(random.random_range(50..600))).await;
        }
        if kind == 9 {
            transaction.rollback().await.unwrap();
            continue;
        }
        if kind == 8 {
            sqlx::query("delete from public.todos where owner = 'ada' and id = $1")
                .bind(format!("w{writer}-{}", number / 2))
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
    }
}

async fn living(pool: &PgPool) -> BTreeSet<String> {
    let rows = sqlx::query("select id from public.todos")
        .fetch_all(pool)
        .await
        .unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

async fn a_cursor_without_repair_loses_rows_and_table_mode_ends_equal(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let remote = project.connect().await;
    let token = project.stack.access_token(&project.user);
    let (mut naive, mut replica) = (Naive::default(), Replica::default());
    let until = Instant::now() + Duration::from_secs(4);
    let pool = project.stack.pool();
    let writers: Vec<_> = (0..8)
        .map(|writer| tokio::spawn(write(pool.clone(), writer, until)))
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        naive.pull(&project.stack, &token).await;
        replica.pull(&remote).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    naive.pull(&project.stack, &token).await;
    let asked_for_a_sweep = replica.pull(&remote).await;
    let living = living(pool).await;
    let lost = living.difference(&naive.seen).count();
    let missed = living.difference(&replica.ids).count();
    println!(
        "{} rows: `updated_at > last` lost {lost} for ever; the overlap missed {missed} (asked for a sweep: \
         {asked_for_a_sweep})",
        living.len()
    );
    assert!(lost > 0, "the load is no trap: the naive client saw everything");
    assert_eq!(missed, 0, "every transaction was shorter than the overlap");
    replica.sweep(&remote).await;
    assert_eq!(replica.ids, living);
    project.stack.stop().await;
}

async fn a_row_that_commits_later_than_the_overlap_shows_in_the_count_and_is_swept(
    postgres: PostgresVersion,
) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let overlap = Duration::from_secs(1);
    let remote = project
        .connect_with(project.config().with_overlap(overlap), |table| table)
        .await;
    let mut late = project.stack.pool().begin().await.unwrap();
    late.execute("set local session_replication_role = replica")
        .await
        .unwrap();
    // It began two hours ago, by its time.
    late.execute(
        "insert into public.todos (owner, id, updated_at) values ('ada', 'late', now() - interval '2 hours')",
    )
    .await
    .unwrap();
    project
        .sql(
            "begin; set local session_replication_role = replica;
             insert into public.todos (owner, id, updated_at) values ('ada', 'early', now() - interval '1 hour');
             commit",
        )
        .await;
    let mut replica = Replica::default();
    assert!(!replica.pull(&remote).await);
    late.commit().await.unwrap();
    let asked_for_a_sweep = replica.pull(&remote).await;
    assert!(
        !replica.ids.contains("late"),
        "the overlap was long enough: the test shows nothing"
    );
    assert!(asked_for_a_sweep);
    replica.sweep(&remote).await;
    assert!(replica.ids.contains("late"));
    project.stack.stop().await;
}

async fn a_page_that_the_project_cuts_short_is_not_taken_for_the_last(postgres: PostgresVersion) {
    let rows = "insert into public.todos (owner, id) select 'ada', 'r' || n from generate_series(1, 2345) n";
    let Some(project) = Project::on(postgres, &[rows]).await else {
        return;
    };
    let remote = project
        .connect_with(project.config().with_page(2_000), |table| table)
        .await;
    let mut replica = Replica::default();
    assert!(!replica.pull(&remote).await);
    assert_eq!(replica.ids.len(), 2_345);
    project.stack.forget_requests();
    assert!(!replica.pull(&remote).await);
    let mut swept = Replica::default();
    swept.sweep(&remote).await;
    assert_eq!(swept.ids, replica.ids);
    project.stack.stop().await;
}
