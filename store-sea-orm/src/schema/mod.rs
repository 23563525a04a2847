//! The tables, how they came about, and the indexes that record types declare.

pub(crate) mod indexes;
pub(crate) mod migrations;
pub(crate) mod tables;
