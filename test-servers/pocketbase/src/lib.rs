//! Starts a private PocketBase.
