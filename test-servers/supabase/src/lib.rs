//! Starts a private Supabase stack for tests, examples and benchmarks.
//!
//! [`Stack::start`] makes a database on a PostgreSQL server that the environment names, runs a PostgREST-compatible
//! server over it, and puts a gateway in front that speaks what a Supabase project speaks: API keys, the data API,
//! password and refresh grants, and the realtime websocket. What such a project does to its clients now and then can be
//! asked for: lost answers, delays, refusals, expired tokens, killed sockets.
//!
//! ```no_run
//! # async fn example() -> Result<(), supabase_stack::StackError> {
//! use supabase_stack::{PostgresVersion, Stack};
//! let stack = Stack::start(PostgresVersion::V15, &["create table public.todo (id uuid primary key)"]).await?;
//! println!("{} with key {}", stack.url(), stack.publishable_key());
//! stack.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! It is no Supabase: the data API's server, the sign-in and realtime are stand-ins. Where the first is known to
//! differ from PostgREST the gateway mends the answer; [`deviations`] lists each mend, and a test fails when one is no
//! longer needed. Never run here: the hosted platform, PostgREST itself, and realtime's reading of the WAL.

mod auth;
mod database;
pub mod deviations;
mod error;
mod faults;
mod gateway;
mod http;
mod jwt;
mod postrust;
mod realtime;
mod record;
mod stack;

pub use auth::Auth;
pub use database::PostgresVersion;
pub use error::StackError;
pub use faults::{Fault, Faults};
pub use realtime::Realtime;
pub use record::Recorded;
pub use stack::Stack;
