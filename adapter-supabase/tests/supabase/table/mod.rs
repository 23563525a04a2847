//! Table mode: projects without the feed.

mod deviation;
mod losses;
mod project;
mod suite;
mod writes;
