//! Integration tests of adapter-appwrite against the stand-in, which is held to recordings of the real server.

// The helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod suite;
mod world;
