//! In construction.

mod local;

pub use local::MemoryLocalStore;
