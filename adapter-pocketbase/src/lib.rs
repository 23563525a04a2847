//! A remote on PocketBase.

pub mod feed;
