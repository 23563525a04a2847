//! Tests on a real PocketBase, one private server for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod feed_fixture;
mod feed_guards;
mod feed_history;
mod feed_install;
mod feed_order;
mod feed_rules;
mod load;
mod naive;
