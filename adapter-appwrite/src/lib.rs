//! A remote on the tables of an Appwrite project.
//!
//! ```no_run
//! use std::sync::Arc;
//! use adapter_appwrite::{AppwriteConfig, AppwriteRemoteStore, Credential, RowPermissions, Table};
//! use sync_core::Effects;
//! use sync_http::{Credentials, FixedToken};
//!
//! # async fn example() -> sync_core::Result<()> {
//! let session = Credentials::new("the secret that sign_in_with_email gives");
//! let config = AppwriteConfig::new(
//!     "https://cloud.example/v1",
//!     "my-project",
//!     Credential::session(Arc::new(FixedToken::new(session))),
//!     Effects::tokio(),
//! )?
//! .table(
//!     "inbox",
//!     "todos",
//!     Table::new("main", "todos").scope_column("user", "owner").permissions(RowPermissions::Owner),
//! )?;
//! let remote = AppwriteRemoteStore::connect(config).await?;
//! # let _ = remote;
//! # Ok(())
//! # }
//! ```
//!
//! # What it gives
//!
//! Appwrite has no change feed. `$updatedAt` is stamped before a write commits, deletes leave nothing, and an
//! expired session is answered with fewer rows instead of an error. The adapter therefore
//!
//! - pulls by `$updatedAt` and `$sequence` from a watermark less an overlap, never past the server's own clock;
//! - lists all ids at intervals, and asks again for each record that seems to be gone;
//! - marks deleted rows in a column, so that deletes travel like changes;
//! - writes single columns, on the condition that the row is as it was, and never as an upsert;
//! - sends batches as transactions, and looks at the rows between staging and commit;
//! - resolves a lost answer by reading what became of the row or the transaction;
//! - proves its sign-in before and after it believes that something is not there.
//!
//! [`Capabilities`](sync_core::Capabilities) say so as data: a timestamp cursor with repair, the overlap as its
//! bound. The guide in the book has the table's schema, permissions, limits, and what was verified.
//!
//! # What it refuses
//!
//! Ids with capitals or longer than 36 characters, texts that Appwrite would execute as operators, nested values,
//! tables with relationships, and filters that the server cannot answer exactly: each by name.

mod auth;
mod client;
mod config;
mod cursor;
mod error;
mod filter;
mod plan;
mod probe;
mod pull;
mod push;
mod query;
mod read;
mod realtime;
mod remote;
mod row;
mod search;
mod table;
mod transaction;
mod values;

pub use auth::{Credential, JwtRefresher, sign_in_with_email};
pub use config::AppwriteConfig;
pub use remote::AppwriteRemoteStore;
pub use table::{RowPermissions, Table};
