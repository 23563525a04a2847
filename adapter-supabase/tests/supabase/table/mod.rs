//! Table mode: projects without the feed.

mod deviation;
mod losses;
pub(crate) mod project;
mod suite;
mod writes;
