//! Tests on a real PocketBase, one private server for each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod conflicting;
mod deleting;
mod failing;
mod feed_fixture;
mod feed_guards;
mod feed_history;
mod feed_install;
mod feed_order;
mod feed_rules;
mod living;
mod load;
mod naive;
mod pulling;
mod pushing;
#[cfg(feature = "pocketbase-sdk")]
mod sdk;
mod signing_in;
mod suite;
mod values;
mod world;
