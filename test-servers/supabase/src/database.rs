//! A database of its own on a PostgreSQL server that the environment names.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::error::StackError;

const ROLES: &str = include_str!("roles.sql");
const PROJECT: &str = include_str!("project.sql");

static MADE: AtomicU32 = AtomicU32::new(0);

/// Which PostgreSQL server a stack runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresVersion {
    /// The server of `TEST_POSTGRES_URL`.
    V15,
    /// The server of `TEST_POSTGRES17_URL`.
    V17,
}

impl PostgresVersion {
    /// The environment variable with the URL of a superuser on the server.
    pub fn variable(self) -> &'static str {
        match self {
            Self::V15 => "TEST_POSTGRES_URL",
            Self::V17 => "TEST_POSTGRES17_URL",
        }
    }

    fn server(self) -> Result<String, StackError> {
        let url = std::env::var(self.variable()).ok().filter(|url| !url.is_empty());
        url.ok_or_else(|| StackError::Missing {
            what: self.variable().to_owned(),
            mend: "set it to the URL of a superuser on a PostgreSQL server for tests",
        })
    }
}

/// A database as a new project has it.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn create(version: PostgresVersion) -> Result<Self, StackError> {
        let server = version.server()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("supabase_stack_{}_{number}", std::process::id());
        let admin = connect(&server, 1).await?;
        run(&admin, ROLES, "making the roles").await?;
        run(&admin, &format!("create database {name}"), "making the database").await?;
        admin.close().await;
        let pool = connect(&url_of(&server, None, &name), 12).await?;
        let database = Self { pool, server, name };
        run(&database.pool, PROJECT, "preparing the database").await?;
        Ok(database)
    }

    /// The URL for the role that the data API signs in as.
    pub(crate) fn authenticator_url(&self) -> String {
        url_of(&self.server, Some("authenticator:authenticator"), &self.name)
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), StackError> {
        run(&self.pool, sql, "running statements").await
    }

    /// Drops the database, with whatever connections there are.
    pub(crate) async fn drop(&self) {
        self.pool.close().await;
        if let Ok(admin) = connect(&self.server, 1).await {
            // A database that is left over goes with its server.
            let _ = run(
                &admin,
                &format!("drop database if exists {} with (force)", self.name),
                "dropping",
            )
            .await;
            admin.close().await;
        }
    }
}

async fn connect(url: &str, connections: u32) -> Result<PgPool, StackError> {
    let options = PgPoolOptions::new().max_connections(connections);
    options
        .connect(url)
        .await
        .map_err(StackError::sql("connecting to PostgreSQL"))
}

async fn run(pool: &PgPool, sql: &str, what: &'static str) -> Result<(), StackError> {
    let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    statements
        .execute(pool)
        .await
        .map(|_| ())
        .map_err(StackError::sql(what))
}

/// The URL of a server with another database, and another user if given.
fn url_of(server: &str, user: Option<&str>, database: &str) -> String {
    let (address, options) = match server.split_once('?') {
        Some((address, options)) => (address, format!("?{options}")),
        None => (server, String::new()),
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("postgres", address));
    let authority = rest.split('/').next().unwrap_or_default();
    let (own_user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user = user.unwrap_or(own_user);
    let at = if user.is_empty() { "" } else { "@" };
    format!("{scheme}://{user}{at}{host}/{database}{options}")
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn a_url_is_changed_in_its_user_and_database_only() {
        let server = "postgres://me:secret@127.0.0.1:5433/postgres?sslmode=disable";
        assert_eq!(
            url_of(server, None, "x"),
            "postgres://me:secret@127.0.0.1:5433/x?sslmode=disable"
        );
        assert_eq!(
            url_of(server, Some("a:b"), "x"),
            "postgres://a:b@127.0.0.1:5433/x?sslmode=disable"
        );
        assert_eq!(url_of("postgres://host/db", None, "x"), "postgres://host/x");
    }
}
