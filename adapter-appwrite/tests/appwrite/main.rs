//! Integration tests of adapter-appwrite against the stand-in, which is held to recordings of the real server.

// The helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod batches;
mod lost_write;
mod meddling;
mod property;
mod pulls;
mod realtime;
mod sign_in;
mod suite;
mod world;
mod writes;
