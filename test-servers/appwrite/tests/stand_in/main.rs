//! Tests of the stand-in: the recordings of a real server, the official OpenAPI file, and the faults.

// The helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "contract")]
mod contract;
mod databases;
mod listeners;
mod network;
mod normalise;
mod recording;
mod replay;
mod replays;
mod rights;
mod sample;
mod script;
