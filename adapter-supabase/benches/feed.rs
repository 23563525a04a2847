//! What the change feed costs in the database: pulls and pushes under row-level security on 63,000 rows.
//!
//! `TEST_POSTGRES_URL=... cargo bench -p adapter-supabase --bench feed`. Every call is a transaction of its own on one
//! connection. What is printed is the median of the time that the server's process was on a processor, where Linux tells
//! it, so that other work on the machine does not count; else the median of the elapsed time. A plain insert into the
//! same table, with the same policies, is measured in the same run, since figures of different machines compare badly.

#![allow(missing_docs)]

use std::time::{Duration, Instant};

use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const ROLES: &str = include_str!("../tests/supabase/feed/roles.sql");
const PROJECT: &str = include_str!("../tests/supabase/feed/project.sql");
const POLICIES: &str = include_str!("../tests/supabase/feed/policies.sql");
const CALLER: &str = r#"set local role authenticated;
    select set_config('request.jwt.claims', '{"sub":"a0000000-0000-4000-8000-00000000000a","role":"authenticated"}', true)"#;
const ROWS: &str = "
    insert into sync.member select 's' || n, 'a0000000-0000-4000-8000-00000000000a' from generate_series(0, 20) n;
    insert into public.todo (scope, title) select 's' || n % 21, 'title ' || n from generate_series(1, 63000) n;
    vacuum analyze";
/// A batch of new records; the argument is how many.
const CREATES: &str =
    "(select jsonb_agg(jsonb_build_object('op', gen_random_uuid(), 'kind', 'create', 'collection', 'todo',
    'id', u, 'row', jsonb_build_object('id', u, 'title', 't', 'done', false), 'stamp', 's'))
    from (select gen_random_uuid() u from generate_series(1, NUMBER)) x)";
/// A batch of changes of one field of records of the scope.
const UPDATES: &str =
    "(select jsonb_agg(jsonb_build_object('op', gen_random_uuid(), 'kind', 'update', 'collection', 'todo',
    'id', u, 'row', jsonb_build_object('id', u, 'title', 'changed'), 'fields', array['title'], 'stamp', 's'))
    from (select id u from public.todo where scope = 's4' limit NUMBER) x)";

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

struct Bench {
    connection: PgConnection,
    /// The process of the server that serves the connection.
    process: i32,
}

impl Bench {
    async fn run(&mut self, sql: &str) -> Answer<()> {
        self.connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        Ok(())
    }

    /// The median time of a statement as the caller. `prepare` is run before each, outside the measured time.
    async fn median(&mut self, rounds: usize, prepare: &str, sql: &str) -> Answer<Duration> {
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let mut transaction = self.connection.begin().await?;
            (&mut *transaction).execute(AssertSqlSafe(CALLER)).await?;
            if !prepare.is_empty() {
                let prepare = format!("select set_config('bench.batch', {prepare}::text, true)");
                (&mut *transaction).execute(AssertSqlSafe(prepare)).await?;
            }
            let (begun, before) = (Instant::now(), times_of(self.process));
            sqlx::query(AssertSqlSafe(sql.to_owned()))
                .execute(&mut *transaction)
                .await?;
            let on_processor = before
                .zip(times_of(self.process))
                .map(|(before, after)| after - before);
            times.push(on_processor.unwrap_or_else(|| begun.elapsed()));
            transaction.commit().await?;
        }
        times.sort();
        Ok(times[times.len() / 2])
    }
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
    let mut connection = PgConnection::connect(&format!("{base}/{name}")).await?;
    let process = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut connection)
        .await?;
    let mut bench = Bench { connection, process };
    let measured = measure(&mut bench).await;
    bench.connection.close().await?;
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
        let sql = format!("select length(public.sync_pull('s3', 'todo', null, {size})::text)");
        report("pull, rows of a page", size, bench.median(21, "", &sql).await?);
    }
    let cursor = "public.sync_pull('s3', 'todo', null, 5000) ->> 'cursor'";
    let empty = "select public.sync_pull('s3', 'todo', current_setting('bench.batch'))";
    report(
        "pull, nothing new",
        0,
        bench.median(21, &format!("({cursor})"), empty).await?,
    );

    let push = |scope: &str| {
        format!("select length(public.sync_push('{scope}', current_setting('bench.batch')::jsonb)::text)")
    };
    for (what, batch, scope) in [("push, creates", CREATES, "s2"), ("push, updates", UPDATES, "s4")] {
        for number in [1, 10, 100, 500] {
            let batch = batch.replace("NUMBER", &number.to_string());
            report(what, number, bench.median(21, &batch, &push(scope)).await?);
        }
    }
    let plain = "insert into public.todo (id, scope, title, done)
        select (o ->> 'id')::uuid, 's2', o -> 'row' ->> 'title', (o -> 'row' ->> 'done')::boolean
        from jsonb_array_elements(current_setting('bench.batch')::jsonb) o";
    let batch = CREATES.replace("NUMBER", "100");
    report(
        "plain insert, with the feed's triggers",
        100,
        bench.median(21, &batch, plain).await?,
    );
    for trigger in ["sync_inserted", "sync_updated", "sync_deleted", "sync_truncated"] {
        bench
            .run(&format!("alter table public.todo disable trigger {trigger}"))
            .await?;
    }
    report(
        "plain insert, without",
        100,
        bench.median(21, &batch, plain).await?,
    );
    Ok(())
}
