//! Integration tests of sync-core.

#[cfg(feature = "derive")]
mod derive;
#[cfg(feature = "derive")]
mod derive_ui;
#[cfg(feature = "derive")]
mod engine;
mod time_field;
