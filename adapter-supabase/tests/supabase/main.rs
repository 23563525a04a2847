//! Tests of the adapter: the change feed on real PostgreSQL servers, and the remote on the whole stack.

#![allow(clippy::unwrap_used)]

mod feed;
#[cfg(feature = "live")]
mod live;
mod realtime;
mod remote;
#[cfg(feature = "supabase_rs")]
mod sdk;
mod search;
mod table;
