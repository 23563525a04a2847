//! What a pull and a push cost on their way: the database alone, through the data API, through the gateway of the test
//! stack, and through the adapter.
//!
//! `TEST_POSTGRES_URL=... cargo bench -p adapter-supabase --bench round_trip`; PostgreSQL 17 if `BENCH_POSTGRES=17`. Everything runs
//! on this machine, and each way does the same work in turns. What is printed is the shortest elapsed time of each, since
//! others may use the machine, and what each part adds to the one below it. The gateway is a stand-in for tests,
//! and so is the data API, which is compiled without optimization unless `POSTRUST_BIN` names another build: the
//! figures say where the time goes here, not what a hosted project takes.

#![allow(missing_docs)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adapter_supabase::{
    ApiKey, SupabaseConfig, SupabaseRemoteStore,
    migration::{FeedMigration, FeedTable, ScopeRule},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use supabase_stack::{PostgresVersion, Stack};
use sync_core::{
    ChangedFields, CollectionName, Effects, OpId, OpKind, Payload, PullRequest, PushBatch, PushOp, RecordId,
    RecordKey, RemoteStore, Stamp, SyncScope, Target,
};
use sync_http::{Credentials, FixedToken};
use uuid::Uuid;

const APP: &str = include_str!("../tests/supabase/remote/app.sql");
const POLICIES: &str = include_str!("../tests/supabase/remote/policies.sql");
const ROUNDS: usize = 41;

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

/// What is called, with so many records.
#[derive(Clone, Copy)]
enum Call {
    Pull(u32),
    Push(u32),
}

/// The ways to call it, each with all parts of the ones before.
const WAYS: [&str; 4] = ["database", "data API", "gateway", "adapter"];

struct Project {
    stack: Stack,
    scope: SyncScope,
    user: String,
    token: String,
    remote: SupabaseRemoteStore,
    http: reqwest::Client,
}

impl Project {
    async fn start(version: PostgresVersion) -> Answer<Self> {
        let table = FeedTable::new("todo", ScopeRule::column("scope"))
            .columns(["title", "done"])
            .read_only(["updated_at"]);
        let migration = FeedMigration::new()
            .table(table)
            .table(FeedTable::new("note", ScopeRule::column("scope")).columns(["todo", "text"]))
            .to_sql()?;
        let stack = Stack::start(version, &[APP, &migration, POLICIES]).await?;
        let user = stack.add_user("ada@example.com", "a-long-password").await?;
        let scope = SyncScope::new("app")?.with("team", "s")?;
        stack
            .run_sql(&format!(
                "insert into sync.member values ('{scope}', '{user}', true);
                 insert into public.todo (scope, title) select '{scope}', 'row ' || n from generate_series(1, 5000) n;
                 analyze",
                scope = scope.key()
            ))
            .await?;
        let token = stack.access_token(&user);
        let config = SupabaseConfig::new(
            &stack.url(),
            ApiKey::new(stack.publishable_key()),
            Effects::tokio(),
        )?
        .signed_in(Arc::new(FixedToken::new(Credentials::from_jwt(token.clone()))));
        let remote = SupabaseRemoteStore::connect(config).await?;
        Ok(Self {
            stack,
            scope,
            user,
            token,
            remote,
            http: reqwest::Client::new(),
        })
    }

    fn target(&self) -> Answer<Target> {
        Ok(Target::new(CollectionName::new("todo")?, self.scope.clone()))
    }

    /// New records, as the adapter takes them.
    fn creates(&self, number: u32) -> Answer<Vec<PushOp>> {
        (0..number)
            .map(|_| {
                let id = Uuid::from_u128(rand::random()).to_string();
                let record = json!({"id": id, "title": "made", "done": false});
                Ok(PushOp {
                    op_id: OpId::from_uuid(Uuid::now_v7()),
                    key: RecordKey::new(self.target()?, RecordId::new(id)?),
                    kind: OpKind::Create,
                    payload: Some(Payload::parse(record.to_string())?),
                    changed: ChangedFields::All,
                    base: None,
                    stamp: Stamp::new(1_700_000_000_000, 0, 1),
                    schema_version: 1,
                })
            })
            .collect()
    }

    /// The function of the feed and its arguments, as the adapter sends them.
    fn request(&self, call: Call) -> (&'static str, Value) {
        let scope = self.scope.key().as_str();
        match call {
            Call::Pull(limit) => (
                "sync_pull",
                json!({"p_scope": scope, "p_collection": "todo", "p_limit": limit}),
            ),
            Call::Push(number) => {
                let operations: Vec<Value> = (0..number)
                    .map(|_| {
                        let id = Uuid::from_u128(rand::random());
                        json!({"op": Uuid::now_v7(), "kind": "create", "collection": "todo", "id": id,
                            "row": {"id": id, "title": "made", "done": false}, "stamp": "1700000000000.0.1"})
                    })
                    .collect();
                (
                    "sync_push",
                    json!({"p_scope": scope, "p_ops": operations, "p_atomic": false}),
                )
            }
        }
    }

    /// As the data API does it: a transaction with the caller's role and claims.
    async fn in_database(&self, call: Call) -> Answer<Duration> {
        let claims = json!({"sub": self.user, "role": "authenticated"}).to_string();
        let (_, arguments) = self.request(call);
        let sql = match call {
            Call::Pull(_) => {
                "select public.sync_pull($1 ->> 'p_scope', $1 ->> 'p_collection', null, ($1 ->> 'p_limit')::integer)::text"
            }
            Call::Push(_) => "select public.sync_push($1 ->> 'p_scope', $1 -> 'p_ops')::text",
        };
        let mut connection = self.stack.pool().acquire().await?;
        let begun = Instant::now();
        connection.execute("begin").await?;
        sqlx::query(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)",
        )
        .bind(claims)
        .execute(&mut *connection)
        .await?;
        let answer: String = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .bind(arguments)
            .fetch_one(&mut *connection)
            .await?;
        connection.execute("commit").await?;
        assert!(!answer.is_empty());
        Ok(begun.elapsed())
    }

    async fn over_http(&self, base: String, call: Call) -> Answer<Duration> {
        let (function, arguments) = self.request(call);
        let body = arguments.to_string();
        let begun = Instant::now();
        let answer = self
            .http
            .post(format!("{base}/rpc/{function}"))
            .header("apikey", self.stack.publishable_key())
            .header("content-type", "application/json")
            .bearer_auth(&self.token)
            .body(body)
            .send()
            .await?
            .error_for_status()?;
        assert!(!answer.bytes().await?.is_empty());
        Ok(begun.elapsed())
    }

    async fn through_adapter(&self, call: Call) -> Answer<Duration> {
        match call {
            Call::Pull(page_size) => {
                let request = PullRequest {
                    target: self.target()?,
                    since: None,
                    page_size,
                    holds_nothing: false,
                };
                let begun = Instant::now();
                self.remote.pull(request).await?;
                Ok(begun.elapsed())
            }
            Call::Push(number) => {
                let batch = PushBatch {
                    scope: self.scope.clone(),
                    ops: self.creates(number)?,
                    atomic: false,
                };
                let begun = Instant::now();
                self.remote.push(batch).await?;
                Ok(begun.elapsed())
            }
        }
    }

    /// The shortest time of each way.
    async fn measure(&self, call: Call) -> Answer<[Duration; WAYS.len()]> {
        let mut times: [Vec<Duration>; WAYS.len()] = Default::default();
        for _ in 0..ROUNDS {
            times[0].push(self.in_database(call).await?);
            times[1].push(self.over_http(self.stack.data_api_url(), call).await?);
            let gateway = format!("{}/rest/v1", self.stack.url());
            times[2].push(self.over_http(gateway, call).await?);
            times[3].push(self.through_adapter(call).await?);
            self.stack.forget_requests();
        }
        Ok(times.map(|times| times.into_iter().min().unwrap_or_default()))
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Answer<()> {
    let version = match std::env::var("BENCH_POSTGRES").as_deref() {
        Ok("17") => PostgresVersion::V17,
        _ => PostgresVersion::V15,
    };
    if std::env::var_os(version.variable()).is_none() {
        println!("not measured: {} is not set", version.variable());
        return Ok(());
    }
    let project = Project::start(version).await?;
    for (what, call) in [
        ("a pull of 100 rows", Call::Pull(100)),
        ("a pull of 1,000 rows", Call::Pull(1000)),
        ("a push of one create", Call::Push(1)),
        ("a push of 100 creates", Call::Push(100)),
    ] {
        println!("{what}");
        let mut below = Duration::ZERO;
        for (way, time) in WAYS.into_iter().zip(project.measure(call).await?) {
            let added = time.as_secs_f64() - below.as_secs_f64();
            println!(
                "  {way:<10} {:>8.2} ms, adds {:>6.2} ms",
                time.as_secs_f64() * 1e3,
                added * 1e3
            );
            below = time;
        }
    }
    project.stack.stop().await;
    Ok(())
}
