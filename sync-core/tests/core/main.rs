//! Integration tests of sync-core.

#[cfg(feature = "derive")]
mod derive;
#[cfg(feature = "derive")]
mod derive_ui;
mod time_field;
