//! Traces: scenarios as data, run against the real engine.
//!
//! A trace says what some clients, a third party and the network do, step by step, and what must hold afterwards. It
//! knows nothing of this framework, so that people who know nothing of it either can write traces that it must
//! pass. The words and their exact meaning are in the book, under *Proof: traces*.
//!
//! ```
//! use sync_testkit::traces::{Outcome, StoreKind, parse_traces, run_trace};
//!
//! let file = r#"{"id": "lost-answer", "area": "exactly-once",
//!     "given": "a record that was made offline",
//!     "when": "the answer to its push is lost",
//!     "then": "it is there once, and nothing is pending",
//!     "trace": [
//!         {"c": "A", "op": "create", "id": "t1", "fields": {"title": "tea"}},
//!         {"c": "A", "op": "sync", "fault": "lost_ack"},
//!         {"c": "A", "op": "sync"}
//!     ],
//!     "expect": {"remote": {"t1": {"title": "tea"}}, "pending": 0, "server_applied": 1}}"#;
//!
//! # let file = &file.replace('\n', " ");
//! let traces = parse_traces("example.jsonl", file)?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let report = run_trace(&traces[0], StoreKind::Memory).await;
//! assert_eq!(report.outcome, Outcome::Passed, "{report}");
//! # });
//! # Ok::<(), sync_testkit::traces::TraceError>(())
//! ```
//!
//! The program `traces` does the same for files:
//! `cargo run --release -p sync-testkit --bin traces -- FILE.jsonl`.
//!
//! # How it runs
//!
//! Each client is a [`SyncEngine`](sync_core::SyncEngine) over a store of its own, used through its public calls.
//! The remote is [`MemoryRemoteStore`](adapter_memory::MemoryRemoteStore) with its strongest capabilities, behind a
//! link for each client that plays the faults. Time is virtual. A crash drops the engine, its tasks and its store
//! where they stand, and opens the same store again.

mod act;
mod check;
mod device;
mod expectations;
mod ground;
mod link;
mod parse;
mod patterns;
mod report;
mod resolvers;
mod run;
mod script;
mod server;
mod store;
mod stores;
mod subject;
mod time;
mod vectors;
mod vocabulary;
mod world;

pub use crate::naive::ClientMistake;
pub use parse::{TraceError, parse_traces};
pub use report::{Failure, Outcome, Summary, Tally, TraceReport};
pub use run::{run_trace, run_trace_against};
pub use stores::StoreKind;
pub use subject::Subject;
pub use vocabulary::{
    Access, Action, Actor, Assertions, At, Choice, Config, CountWord, DEFAULT_SCOPE, Expectation, Expected,
    Fault, Fields, Grant, Moment, OnReject, OpPattern, ReadPolicy, Rows, ServerOps, Step, Strategy, Trace,
    Transform, Vector, WantedStamp,
};
