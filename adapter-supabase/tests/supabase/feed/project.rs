//! A database as a Supabase project has it, with the feed in it.

use std::sync::atomic::{AtomicU32, Ordering};

use adapter_supabase::migration::{FeedMigration, FeedTable, ScopeRule};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use super::caller::Caller;

/// The roles of a project. They are of the whole server, and tests make them at once.
const ROLES: &str = include_str!("roles.sql");
/// What a project has before the feed comes: roles, realtime, and the tables of an application.
const PROJECT: &str = include_str!("project.sql");
/// The policies of the application.
const POLICIES: &str = include_str!("policies.sql");

pub(crate) const ADA: &str = "a0000000-0000-4000-8000-00000000000a";
pub(crate) const BOB: &str = "b0000000-0000-4000-8000-00000000000b";

static MADE: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Project {
    pub(crate) version: u32,
    /// A pool of the owner, who is not subject to policies.
    pub(crate) owner: PgPool,
    server: String,
    name: String,
}

impl Project {
    /// A project of its own on the server of that version, with the feed, or `None` if there is no such server.
    pub(crate) async fn on(version: u32) -> Option<Self> {
        let project = Self::without_feed(version).await?;
        project.run(&migration().to_sql().unwrap()).await;
        project.run(POLICIES).await;
        // So many that plans for it are kept; those for the others are not.
        project
            .run("update pg_class set reltuples = 20000 where oid = 'public.todo'::regclass")
            .await;
        project
            .run(&format!(
                "insert into sync.member values ('s', '{ADA}', true), ('t', '{ADA}', true), ('s', '{BOB}', false)"
            ))
            .await;
        Some(project)
    }

    pub(crate) async fn without_feed(version: u32) -> Option<Self> {
        let server = server(version)?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_feed_{}_{number}", std::process::id());
        let admin = PgPool::connect(&server).await.unwrap();
        execute(&admin, ROLES).await;
        execute(&admin, &format!("create database {name}")).await;
        admin.close().await;
        let project = Self {
            version,
            owner: connect(&server, &name).await,
            server,
            name,
        };
        project.run(PROJECT).await;
        Some(project)
    }

    /// Runs statements as the owner.
    pub(crate) async fn run(&self, sql: &str) {
        execute(&self.owner, sql).await;
    }

    /// Runs statements as the owner, and gives their error's text.
    pub(crate) async fn refusal(&self, sql: &str) -> String {
        match sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.owner)
            .await
        {
            Ok(_) => panic!("this was accepted: {sql}"),
            Err(error) => error.to_string(),
        }
    }

    /// One value as the owner sees it.
    pub(crate) async fn value<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// A signed-in user.
    pub(crate) fn user(&self, id: &str) -> Caller {
        Caller::new(self.owner.clone(), "authenticated", Some(id))
    }

    pub(crate) fn ada(&self) -> Caller {
        self.user(ADA)
    }

    pub(crate) fn bob(&self) -> Caller {
        self.user(BOB)
    }

    /// Somebody with a role and no user.
    pub(crate) fn role(&self, role: &'static str) -> Caller {
        Caller::new(self.owner.clone(), role, None)
    }

    /// A copy of the database under another name, as a restored dump is.
    pub(crate) async fn copy(self) -> Self {
        self.owner.close().await;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_feed_{}_{number}", std::process::id());
        let admin = PgPool::connect(&self.server).await.unwrap();
        execute(&admin, &format!("create database {name} template {}", self.name)).await;
        execute(&admin, &format!("drop database {}", self.name)).await;
        admin.close().await;
        Self {
            owner: connect(&self.server, &name).await,
            name,
            ..self
        }
    }

    pub(crate) async fn drop(&self) {
        self.owner.close().await;
        let admin = PgPool::connect(&self.server).await.unwrap();
        execute(
            &admin,
            &format!("drop database if exists {} with (force)", self.name),
        )
        .await;
    }
}

/// The feed of the test project: todos and notes in scopes that a text column names, tasks in those of a key.
pub(crate) fn migration() -> FeedMigration {
    FeedMigration::new()
        .table(todos())
        .table(FeedTable::new("note", ScopeRule::column("scope")).columns(["todo", "text"]))
        .table(
            FeedTable::new("task", ScopeRule::key("project", "id", "project_id"))
                .columns(["project_id", "title"]),
        )
}

pub(crate) fn todos() -> FeedTable {
    FeedTable::new("todo", ScopeRule::column("scope"))
        .columns(["title", "done", "amount", "tags", "meta", "due"])
        .read_only(["updated_at"])
}

async fn connect(server: &str, name: &str) -> PgPool {
    let (base, options) = server.split_once('?').unwrap_or((server, ""));
    let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
    PgPoolOptions::new()
        .max_connections(24)
        .connect(&format!("{base}/{name}?{options}"))
        .await
        .unwrap()
}

async fn execute(pool: &PgPool, sql: &str) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await {
        panic!("{error}\nin: {}", sql.chars().take(400).collect::<String>());
    }
}

/// The server of a version, if the environment names one. In CI it must.
fn server(version: u32) -> Option<String> {
    let variable = match version {
        15 => "TEST_POSTGRES_URL",
        _ => "TEST_POSTGRES17_URL",
    };
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "{variable} must be set in CI");
        eprintln!("NOT TESTED: {variable} is not set");
    }
    url
}
