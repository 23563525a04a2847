//! Tests of the adapter: the change feed on real PostgreSQL servers, and the remote on the whole stack.

#![allow(clippy::unwrap_used)]

mod feed;
mod table;
