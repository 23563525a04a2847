//! Stores and remotes that are wrong on purpose.
//!
//! Each makes one mistake that real sync code makes, around a right implementation. They show that the suites
//! bite, and what a mistake looks like in a report; engines use them to show which faults they survive.

pub(crate) mod client;
mod cursors;
mod remote;
mod store;

pub use client::ClientMistake;
pub use remote::{RemoteMistake, WrongRemote};
pub use store::{StoreMistake, WrongStore};
