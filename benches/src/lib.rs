//! What the benchmarks share: records, raw SQLite, a remote that makes its pages on the fly, and measuring.
//!
//! `cargo bench -p benches` runs the main paths through the public API, each beside raw SQLite on the same
//! settings in the same run, and prints ratios. Absolute times depend on the machine; ratios much less so.

mod floor;
mod generated_remote;
mod measure;
mod records;

pub use floor::Floor;
pub use generated_remote::GeneratedRemote;
pub use measure::{Samples, Table, peak_memory_kib};
pub use records::{Note, note, scope};
