//! The remote in feed mode, through the gateway and the data API, on PostgreSQL 15 and 17.
//!
//! The conformance cases of a remote on Supabase, by their numbers, and where each is proved. "Suite" is the testkit's,
//! run by `suite`; "SQL" is `crate::feed`, on the database without the adapter.
//!
//! | case | what | where |
//! |---|---|---|
//! | 1 | what one client pushes, another pulls | suite, `delivery` |
//! | 2 | a batch sent twice has one effect | suite; SQL `pushes` |
//! | 3 | the answer is lost after the commit | `faults` |
//! | 4, 5 | stale base; two clients with one base | suite; SQL `conflicts` |
//! | 6, 7 | delete; delete of what is not there | suite; SQL `pushes` |
//! | 8 | deleted and made again: a higher version | `delivery` |
//! | 9 | a row moves to another scope | `delivery`; SQL `delivery` |
//! | 10, 11, 12 | overlapping, long and rolled-back transactions | SQL `races`, `loss`; `stress` |
//! | 13 to 17, 19 | pages, sweeps, limits, epochs, the horizon of tombstones | `delivery` |
//! | 18 | a cursor that is ahead | SQL `restores`; suite |
//! | 20, 21 | a first pass across the horizon, and after it | SQL `delivery` |
//! | 22 to 24, 45 | membership, read-only members, hidden rows, nobody | `access` |
//! | 25 to 28 | one bad operation among good ones, foreign keys, unknown fields, extreme values | `writes` |
//! | 29 to 32 | deadlocks, timeouts, rate limits, damaged answers | `faults` |
//! | 33 to 36 | tokens | `sign_in`, `token_files`, `token_processes` |
//! | 42 | no policy is evaluated for each row | SQL `plans` |
//! | 43 | direct writers and pushers at once | `stress`; SQL `races` |
//! | 44 | null arguments are never sent | `writes` |

/// Each function as a test on each server.
macro_rules! on_each_stack {
    ($($name:ident),* $(,)?) => {
        mod on_postgres_15 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let version = supabase_stack::PostgresVersion::V15;
                if let Some(world) = $crate::remote::world::World::on(version).await {
                    super::$name(&world).await;
                    world.stack.stop().await;
                }
            })*
        }
        mod on_postgres_17 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let version = supabase_stack::PostgresVersion::V17;
                if let Some(world) = $crate::remote::world::World::on(version).await {
                    super::$name(&world).await;
                    world.stack.stop().await;
                }
            })*
        }
    };
}

mod access;
mod delivery;
mod faults;
mod probes;
mod sign_in;
mod stress;
mod suite;
mod token_files;
mod token_processes;
pub(crate) mod world;
mod writes;
