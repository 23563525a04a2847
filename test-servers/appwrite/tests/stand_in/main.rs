//! Tests of the stand-in: the recordings of a real server, the official OpenAPI file, and the faults.

#[cfg(feature = "contract")]
mod contract;
mod listeners;
mod normalise;
mod recording;
mod replay;
mod replays;
mod sample;
mod script;
