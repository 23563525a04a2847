//! Table mode: projects without the feed, on PostgreSQL 15 and 17.

mod losses;
pub(crate) mod project;
mod suite;
mod writes;
