//! Integration tests of sync-core.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, helpers included"
)]

#[cfg(feature = "derive")]
mod derive;
#[cfg(feature = "derive")]
mod derive_ui;
#[cfg(feature = "derive")]
mod engine;
mod time_field;
