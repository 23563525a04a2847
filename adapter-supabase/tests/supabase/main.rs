//! Tests of the adapter: the change feed on real PostgreSQL servers, and the remote on the whole stack.

#![allow(clippy::unwrap_used)]

mod feed;
#[cfg(feature = "live")]
mod live;
mod remote;
mod table;
