//! What the change feed costs in the database: pulls and pushes under row-level security on 63,000 rows.
//!
//! `TEST_POSTGRES_URL=... cargo bench -p adapter-supabase --bench feed`. Every call is a transaction of its own on one
//! connection, with the arguments as a client sends them. What is printed is the median of the time that the server's
//! process was on a processor, where Linux tells it, so that other work on the machine does not count; else the median of
//! the elapsed time. A plain insert into the same table, with the same policies, is measured in the same run, since
//! figures of different machines compare badly.

#![allow(missing_docs)]

use std::time::{Duration, Instant};

use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

const ROLES: &str = include_str!("../tests/supabase/feed/roles.sql");
const PROJECT: &str = include_str!("../tests/supabase/feed/project.sql");
const POLICIES: &str = include_str!("../tests/supabase/feed/policies.sql");
const CALLER: &str = r#"set local role authenticated;
    select set_config('request.jwt.claims', '{"sub":"a0000000-0000-4000-8000-00000000000a","role":"authenticated"}', true)"#;
const ROWS: &str = "
    insert into sync.member select 's' || n, 'a0000000-0000-4000-8000-00000000000a' from generate_series(0, 20) n;
    insert into public.todo (scope, title) select 's' || n % 21, 'title ' || n from generate_series(1, 63000) n;
    vacuum analyze";
/// The records of a scope that rested the longest, with their versions.
const RECORDS: &str = "select c.id, (m.version_base + c.seq)::text from sync.change c cross join sync.meta m
    where c.feed + 0 = (select f.number from sync.feed f where f.scope = $1 and f.collection = 'todo')
      and not c.deleted order by c.seq limit $2";
const ROUNDS: usize = 21;

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

/// What the operations of a push do.
#[derive(Clone, Copy)]
enum Kind {
    Create,
    Update,
    Delete,
}

impl Kind {
    /// The operation on a record, with all that the adapter sends.
    fn operation(self, id: &str, base: &str) -> Value {
        let mut operation =
            json!({"op": Uuid::now_v7(), "collection": "todo", "id": id, "stamp": Uuid::now_v7()});
        match self {
            Self::Create => {
                operation["kind"] = json!("create");
                operation["row"] = json!({"id": id, "title": "t", "done": false});
            }
            Self::Update => {
                operation["kind"] = json!("update");
                operation["base"] = json!(base);
                operation["row"] = json!({"id": id, "title": "changed"});
                operation["fields"] = json!(["title"]);
            }
            Self::Delete => {
                operation["kind"] = json!("delete");
                operation["base"] = json!(base);
            }
        }
        operation
    }
}

struct Bench {
    connection: PgConnection,
    /// The process of the server that serves the connection.
    process: i32,
    /// Another connection, for what is not measured.
    aside: PgConnection,
}

impl Bench {
    async fn run(&mut self, sql: &str) -> Answer<()> {
        self.aside.execute(AssertSqlSafe(sql.to_owned())).await?;
        Ok(())
    }

    /// The time of one statement as the caller, in a transaction of its own.
    async fn time(&mut self, sql: &str, argument: &str) -> Answer<Duration> {
        let mut transaction = self.connection.begin().await?;
        (&mut *transaction).execute(AssertSqlSafe(CALLER)).await?;
        let (begun, before) = (Instant::now(), times_of(self.process));
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .bind(argument)
            .execute(&mut *transaction)
            .await?;
        let on_processor = before
            .zip(times_of(self.process))
            .map(|(before, after)| after - before);
        transaction.commit().await?;
        Ok(on_processor.unwrap_or_else(|| begun.elapsed()))
    }

    async fn pull(&mut self, sql: &str, argument: &str) -> Answer<Duration> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(self.time(sql, argument).await?);
        }
        Ok(median(times))
    }

    /// Runs a statement over batches of so many operations.
    async fn push(&mut self, sql: &str, kind: Kind, scope: &str, number: u32) -> Answer<Duration> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let records: Vec<(String, String)> = match kind {
                Kind::Create => (0..number)
                    .map(|_| (Uuid::from_u128(rand::random()).to_string(), String::new()))
                    .collect(),
                Kind::Update | Kind::Delete => {
                    sqlx::query_as(RECORDS)
                        .bind(scope)
                        .bind(i64::from(number))
                        .fetch_all(&mut self.aside)
                        .await?
                }
            };
            let batch: Value = records
                .iter()
                .map(|(id, base)| kind.operation(id, base))
                .collect();
            times.push(self.time(sql, &batch.to_string()).await?);
        }
        Ok(median(times))
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How long a process of this machine was on a processor so far.
fn times_of(process: i32) -> Option<Duration> {
    let times = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    times
        .split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

fn report(what: &str, number: u32, time: Duration) {
    let each = time.as_secs_f64() * 1e6 / f64::from(number.max(1));
    println!(
        "{what:<44} {number:>5}  {:>9.3} ms  {each:>8.1} us each  {:>8.0} a second",
        time.as_secs_f64() * 1e3,
        1e6 / each
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Answer<()> {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        println!("not measured: TEST_POSTGRES_URL is not set");
        return Ok(());
    };
    let name = format!("sync_bench_{}", std::process::id());
    let mut admin = PgConnection::connect(&server).await?;
    admin.execute(AssertSqlSafe(ROLES)).await?;
    admin
        .execute(AssertSqlSafe(format!("create database {name}")))
        .await?;
    let (base, _) = server.rsplit_once('/').ok_or("the URL names no database")?;
    let url = format!("{base}/{name}");
    let mut connection = PgConnection::connect(&url).await?;
    let process = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut connection)
        .await?;
    let aside = PgConnection::connect(&url).await?;
    let mut bench = Bench {
        connection,
        process,
        aside,
    };
    let measured = measure(&mut bench).await;
    bench.connection.close().await?;
    bench.aside.close().await?;
    admin
        .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
        .await?;
    measured
}

async fn measure(bench: &mut Bench) -> Answer<()> {
    let table = FeedTable::new("todo", ScopeRule::column("scope"))
        .columns(["title", "done", "amount", "tags", "meta", "due"])
        .read_only(["updated_at"]);
    bench.run(PROJECT).await?;
    bench.run(&FeedMigration::new().table(table).to_sql()?).await?;
    bench.run(POLICIES).await?;
    for statement in ROWS.split(';') {
        bench.run(statement).await?;
    }
    // A page is one call; the sweep of a whole scope of 3,000 rows says what a row costs.
    for size in [100, 500, 1000, 3000] {
        let sql = "select octet_length(public.sync_pull('s3', 'todo', null, $1::text::integer)::text)";
        report(
            "pull, rows of a page",
            size,
            bench.pull(sql, &size.to_string()).await?,
        );
    }
    let cursor: String =
        sqlx::query_scalar("select epoch || ':' || seq from sync.meta, sync.scope where scope = 's3'")
            .fetch_one(&mut bench.aside)
            .await?;
    let empty = "select octet_length(public.sync_pull('s3', 'todo', $1)::text)";
    report("pull, nothing new", 0, bench.pull(empty, &cursor).await?);

    for (what, kind, scope) in [
        ("push, creates", Kind::Create, "s2"),
        ("push, updates", Kind::Update, "s4"),
        ("push, deletes", Kind::Delete, "s5"),
    ] {
        let push = format!("select octet_length(public.sync_push('{scope}', $1::text::jsonb)::text)");
        for number in [1, 10, 100, 500] {
            // There are not as many records to delete.
            if !(matches!(kind, Kind::Delete) && number > 100) {
                report(what, number, bench.push(&push, kind, scope, number).await?);
            }
        }
    }
    let plain = "insert into public.todo (id, scope, title, done)
        select (o ->> 'id')::uuid, 's2', o -> 'row' ->> 'title', (o -> 'row' ->> 'done')::boolean
        from jsonb_array_elements($1::text::jsonb) o";
    report(
        "plain insert, with the feed's triggers",
        100,
        bench.push(plain, Kind::Create, "s2", 100).await?,
    );
    for trigger in ["sync_inserted", "sync_updated", "sync_deleted", "sync_truncated"] {
        bench
            .run(&format!("alter table public.todo disable trigger {trigger}"))
            .await?;
    }
    report(
        "plain insert, without",
        100,
        bench.push(plain, Kind::Create, "s2", 100).await?,
    );
    Ok(())
}
