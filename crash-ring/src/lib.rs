//! The crash ring: every kind of crash, on the real schema and the real statements of the SQLite store.
//!
//! A story ([`Subject`] says on which store) is told once on a [`Disk`] that remembers every write. Then:
//!
//! - [`power`]: for each of its writes, and each kind of [`Damage`], the disk is put together as a crash at that moment
//!   leaves it, and the app is started on it;
//! - [`errors`]: the story is told again for each call to the file system, which fails, once or from then on;
//! - [`drops`]: every public future of the engine is dropped at each of its polls;
//! - [`kills`]: processes on a real file, one or two side by side, are killed at random moments, over and over.
//!
//! After each of them: what was acknowledged is there, no transaction is there in part, and the next synchronizations
//! bring both sides to the same records, each operation with one effect.
//!
//! The same is done to stores that are wrong on purpose, to show that the ring bites.

mod check;
mod disk;
pub mod drops;
mod dump;
pub mod errors;
mod faults;
pub mod kills;
pub mod power;
mod recorder;
mod replay;
mod shared_remote;
mod story;
mod vfs;
mod world;

pub use disk::{Disk, Event};
pub use faults::{FaultKind, FaultPlan};
pub use replay::{Damage, Image, Replay};
pub use world::Subject;
