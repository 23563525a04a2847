//! What a user may hear, by the policies of the database.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

/// A transaction under the caller's role, as the data API opens one.
async fn as_caller(pool: &PgPool, claims: &Value) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)")
        .bind(claims["role"].as_str().unwrap_or("anon"))
        .bind(claims.to_string())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// Whether the policies of `realtime.messages` let the caller read the topic.
pub(super) async fn may_join(pool: &PgPool, claims: &Value, topic: &str) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("insert into realtime.messages (topic, extension) values ($1, 'broadcast')")
        .bind(topic)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "select set_config('realtime.topic', $1, true), set_config('role', $2, true),
           set_config('request.jwt.claims', $3, true)",
    )
    .bind(topic)
    .bind(claims["role"].as_str().unwrap_or("anon"))
    .bind(claims.to_string())
    .execute(&mut *transaction)
    .await?;
    let readable = sqlx::query_scalar("select exists (select 1 from realtime.messages where topic = $1)")
        .bind(topic)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(readable)
}

/// Whether the caller may see a row as it is now.
pub(super) async fn may_see(
    pool: &PgPool,
    claims: &Value,
    schema: &str,
    table: &str,
    row: &Value,
) -> Result<bool, sqlx::Error> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut transaction = as_caller(pool, claims).await?;
    let sql = format!(
        "select exists (select 1 from {}.{} t where to_jsonb(t) = $1)",
        quoted(schema),
        quoted(table)
    );
    let seen = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(row)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(seen)
}
