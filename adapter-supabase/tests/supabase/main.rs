//! Tests of the adapter: the change feed on real PostgreSQL servers, and the remote on the whole stack.

#![allow(clippy::unwrap_used)]

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

mod feed;
#[cfg(feature = "live")]
mod live;
mod realtime;
mod remote;
#[cfg(feature = "supabase_rs")]
mod sdk;
mod search;
mod table;
