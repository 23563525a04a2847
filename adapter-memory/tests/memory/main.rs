//! Integration tests of adapter-memory. They run on the plain executor of `futures`: neither store needs more.

// The helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

mod common;
mod local_commit;
mod local_handles;
mod local_queue;
mod remote_faults;
mod remote_history;
mod remote_pull;
mod remote_push;
mod remote_reads;
mod remote_weak;
