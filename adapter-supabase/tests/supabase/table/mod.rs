//! Table mode: projects without the feed, on PostgreSQL 15 and 17.

/// Each function as a test on each version.
macro_rules! on_each_postgres {
    ($($name:ident),* $(,)?) => {
        mod on_postgres_15 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(supabase_stack::PostgresVersion::V15).await;
            })*
        }
        mod on_postgres_17 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(supabase_stack::PostgresVersion::V17).await;
            })*
        }
    };
}

mod losses;
pub(crate) mod project;
mod suite;
mod writes;
