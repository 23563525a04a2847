//! Answering questions.

pub(crate) mod conflicts;
pub(crate) mod ops;
pub(crate) mod queue;
pub(crate) mod records;
pub(crate) mod space;
pub(crate) mod targets;

/// How many records are read in the calling task at most, where the driver can do that.
pub(crate) const FEW: usize = 8;

/// How many keys one statement asks for.
pub(crate) const CHUNK: usize = 128;
