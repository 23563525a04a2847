//! The feed: what a prepared PocketBase has more than a plain one, and how it gets it.
//!
//! A plain PocketBase stamps a write before it is its turn to commit, forgets what was deleted, and lets a stale
//! writer put old values back. [`setup`] installs triggers that mend all three, over the API, in the name of a
//! superuser; [`migration`] prints the same as a migration file for `pb_migrations`. From then on, for every writer
//! there is (apps, the dashboard, cascades, raw SQL):
//!
//! - each write takes the next number of a counter while it holds the database's only write lock, so that numbers
//!   are in the order of commits; the number is the record's version, in the field `sync_rev`;
//! - a deleted record leaves a tombstone, and so does one whose scope fields change, in the scope it left;
//! - a write made on an old state is refused, whoever makes it;
//! - the id of an operation is kept with the number it got, so that a repetition is refused;
//! - the counter's history can be checked: a client that was ahead of a restored backup finds out.
//!
//! # What is installed
//!
//! For a collection `todos`, with [`FeedOptions::with_prefix`] left alone:
//!
//! | name | what it is |
//! |---|---|
//! | `sync_rev`, `sync_base`, `sync_op`, `sync_stamp` | fields of `todos`; apps leave them alone |
//! | `sync_todos_gone` | a collection: one row for each record that is gone from a scope |
//! | `sync_todos_ops` | a collection: the ids of operations with the versions they made |
//! | `sync_todos_marks` | a collection: the points of the counter's history |
//! | `sync_todos_meta` | a view with one record: the epoch, the counter, the server's time |
//! | `sync_todos_counter` | a table that the API does not show |
//!
//! The feed does not name the collection by its name, so that it can be renamed and get new fields. Rows written
//! with SQL's `INSERT OR REPLACE` are the one thing triggers do not see as a delete.

mod collections;
mod migration;
mod names;
mod operator;
mod options;
mod setup;
mod triggers;

pub use migration::migration;
pub use names::{FEED_VERSION, FeedNames};
pub(crate) use names::{FIELD_BASE, FIELD_OP, FIELD_REV, FIELD_STAMP};
pub use operator::Operator;
pub use options::FeedOptions;
pub use setup::{FeedReport, prune, setup, uninstall};
