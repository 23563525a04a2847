//! The persistent [`LocalStore`](sync_core::LocalStore) of the sync framework, on sea-orm.
//!
//! ```
//! use store_sea_orm::{OpenOptions, SeaOrmLocalStore};
//! use sync_core::{ChangeSet, LocalStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> sync_core::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let path = folder.path().join("app.db");
//! let store = SeaOrmLocalStore::open(OpenOptions::file(&path)).await?;
//! let mut changes = ChangeSet::default();
//! changes.settings.push(("theme".to_owned(), Some("dark".to_owned())));
//! store.commit(changes).await?;
//! store.close().await?;
//!
//! let store = SeaOrmLocalStore::open(OpenOptions::file(&path)).await?;
//! assert_eq!(store.load_setting("theme").await?.as_deref(), Some("dark"));
//! # Ok(())
//! # }
//! ```
//!
//! # Databases
//!
//! | | SQLite (feature `sqlite`, default) | PostgreSQL (`postgres`), MySQL and MariaDB (`mysql`) |
//! |---|---|---|
//! | opened by | path, URL, memory, or an open connection | URL, or an open connection |
//! | called through | rusqlite, for a path and for memory (feature `rusqlite`, default); otherwise sea-orm over sqlx | sea-orm over sqlx |
//! | durable | WAL, `synchronous=FULL`; [`Durability::Normal`] may lose the last commits at a loss of power | as the server is set |
//! | writers | one at a time, over processes (`BEGIN IMMEDIATE`); through rusqlite, those that wait are committed together | one at a time, over processes (a row lock) |
//! | queries | in SQL, with declared indexes | the target's rows are read in pages and evaluated here |
//! | commits of other processes | noticed at each own commit and by [`SeaOrmLocalStore::poll_foreign_changes`] | the same |
//! | schema changes | one transaction | one transaction; on MySQL under a lock, step by step |
//!
//! Encrypted connections to servers need one of sqlx's TLS features in the app's own dependencies.
//!
//! # What the app may rely on
//!
//! - **A commit is whole.** It runs in a task or a thread of its own: dropping the future does not stop it, and the next write
//!   waits for it. When `commit` has returned, every receiver of changes was told.
//! - **Reads see one state.** What one call answers belongs to one moment, also when it takes several statements.
//! - **Queries are exact.** SQLite and the reference evaluator of `sync_core` read some JSON differently: numbers
//!   with more than 17 digits or of extreme size, texts with NUL, doubled keys. A target that has held such a record
//!   is evaluated outside of SQL from then on: slower, never otherwise.
//! - **Nothing is lost to bad luck.** A damaged or foreign file, one of a newer version, a full disk, a read-only
//!   file and a lock each have an error kind of their own and a message that says what to do; the store holds what it
//!   held before, and goes on when the cause is gone.
//! - **Opening is quick.** Neither rows nor operations are read, and tables of an older version are brought up to
//!   date in one transaction.
//!
//! Texts that PostgreSQL cannot hold (with NUL) are refused there as `Invalid`, except in payloads and quarantined
//! rows, where they are kept.
//!
//! # Needs
//!
//! A tokio runtime with time and IO enabled; sqlx runs on it, and longer reads use its threads for blocking work.

mod cache;
mod commit;
mod dialect;
mod driver;
mod error;
mod lease;
mod notify;
mod open;
mod options;
mod query_sql;
mod read;
mod row;
mod rows;
mod schema;
mod sql;
mod store;
mod targets;

#[cfg(feature = "sqlite")]
pub use options::SqliteDriver;
pub use options::{Durability, OpenOptions};
pub use store::SeaOrmLocalStore;
