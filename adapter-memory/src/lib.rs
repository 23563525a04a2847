//! In construction.

pub mod faults;
mod local;
mod random;
mod remote;

pub use local::MemoryLocalStore;
pub use remote::{Backup, LateCommit, MemoryRemoteBuilder, MemoryRemoteStore, Rejection};
