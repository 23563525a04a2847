//! The contract and the engine of a pluggable remote-cache sync framework.
//!
//! An app keeps its records in a **local store** and works on that, online or not. A **remote** stays the source
//! of truth. Every write is committed together with a **pending operation**; the **engine** pushes operations,
//! pulls changes, resolves conflicts, and moves a **sync point** forward. Each read chooses a **cache policy**.
//! Stores and remotes are plugged in behind two traits, and tests swap the remote for one in memory.
//!
//! ```
//! use std::sync::Arc;
//!
//! use adapter_memory::{MemoryLocalStore, MemoryRemoteStore};
//! use serde::{Deserialize, Serialize};
//! use sync_core::{CachePolicy, SimpleSyncOrchestrator, SyncRecord, SyncScope};
//!
//! #[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
//! #[sync(collection = "todos")]
//! struct Todo {
//!     #[sync(id)]
//!     id: String,
//!     title: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sync_core::SyncError> {
//! let remote = Arc::new(MemoryRemoteStore::new());
//! let todos: SimpleSyncOrchestrator<Todo> =
//!     SimpleSyncOrchestrator::open(Arc::new(MemoryLocalStore::new()), remote).await?;
//! let scope = SyncScope::new("inbox")?.with("user", "u1")?;
//!
//! todos.enqueue_create(&scope, &Todo { id: "1".into(), title: "tea".into() }).await?;
//! let report = todos.synchronize(&scope).await?;
//! assert_eq!(report.pushed, 1);
//! let answer = todos.read(&scope, CachePolicy::LocalFirst).await?;
//! assert_eq!(answer.items[0].title, "tea");
//! assert!(answer.pending.is_empty() && answer.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! # The way through this crate
//!
//! | you want to | look at |
//! |---|---|
//! | describe your records | [`SyncRecord`], `#[derive(SyncRecord)]` |
//! | say which part of the remote a device keeps | [`SyncScope`] |
//! | read, write, synchronize records of one type | [`SimpleSyncOrchestrator`] |
//! | handle several types, the queue, conflicts, status, limits | [`SyncEngine`] |
//! | choose where a read takes its answer from | [`CachePolicy`], [`ReadOptions`], [`ReadAnswer`] |
//! | filter, order and page | [`query`] |
//! | decide conflicts | [`resolve`] |
//! | plug in a backend | [`RemoteStore`], [`Capabilities`] |
//! | plug in a store | [`LocalStore`], [`ChangeSet`] |
//! | control time, tasks and randomness | [`Effects`] |
//!
//! # Features
//!
//! | feature | default | enables |
//! |---|---|---|
//! | `derive` | yes | `#[derive(SyncRecord)]` |
//! | `tokio-runtime` | yes | [`Effects`] on tokio; without it, any executor that implements them |
//!
//! # What is not here
//!
//! No SQL and no HTTP: those are in stores and adapters. No transport security, no sign-in: remotes bring their
//! own. No merging of text or lists by character (CRDTs): conflicts are decided by record or by field.

// The derive macro names this crate by its outside name, also within.
#[allow(unused_extern_crates)]
extern crate self as sync_core;

mod capability;
mod change_set;
mod conflict_record;
mod delta;
mod effects;
mod engine;
mod error;
mod id;
mod machine;
mod operation;
mod orchestrator;
mod payload;
mod policy;
pub mod query;
mod record;
mod record_state;
mod remote;
pub mod resolve;
mod scope;
mod stamp;
mod store;
mod time;
mod time_field;

pub use capability::{Capabilities, CursorKind, DeleteVisibility, Realtime, SearchSupport};
pub use change_set::{ChangeSet, CommitOutcome, Confirmation, ConfirmedPage, Fence, OpChange, RecordWrite};
pub use conflict_record::{ConflictRecord, Settlement};
pub use delta::{
    Delta, DeltaKind, MalformedRow, RemoteChange, RemoteState, RemoteVersion, SyncPoint, Tombstone, Versioned,
};
pub use effects::{
    AlwaysOnline, Clock, Connectivity, Effects, ManualConnectivity, RandomSource, Spawner, SystemClock,
    SystemRandom, Timer,
};
#[cfg(feature = "tokio-runtime")]
pub use effects::{TokioSpawner, TokioTimer};
pub use engine::{
    Activity, BackgroundOptions, BackgroundSync, CacheLimits, Cleared, EngineOptions, Explanation,
    ExportedOp, Imported, RawAnswer, ScopeStatus, SyncEngine, SyncEngineBuilder, SyncEvent, SyncReport,
    SyncStatus, Write, Written,
};
pub use error::{ErrorKind, Result, RetryClass, SyncError};
pub use id::{IdText, OpId, RecordId, RecordKey};
pub use operation::{
    ChangedFields, OpFailure, OpKind, OpState, OpStateKind, ParkReason, PendingOp, PushOp, PushOutcome,
};
pub use orchestrator::SimpleSyncOrchestrator;
pub use payload::{JsonObject, Payload};
pub use policy::{CachePolicy, Freshness, ReadAnswer, ReadOptions, Undecodable};
pub use record::{CollectionSchema, HasId, HasSoftDelete, HasUpdatedAt, ParentField, SyncRecord};
pub use record_state::{LocalRecord, RecordState, RecordSummary};
pub use remote::{IdPage, Poke, PullRequest, PushBatch, RemoteStore, RemoteStoreExt, SearchPage};
pub use scope::{CollectionName, ScopeKey, SyncScope, Target};
pub use stamp::{HybridClock, Observed, Stamp};
pub use store::{
    ConflictQuery, EvictionCandidate, EvictionQuery, Incomplete, LeaseAnswer, LocalStore, LocalStoreExt,
    OpCounts, OpQuery, Pass, QuarantinedRow, StoreChange, StoreInfo, TargetState, View, ViewChange, WorkOut,
};
#[cfg(feature = "derive")]
pub use sync_derive::SyncRecord;
pub use time::Timestamp;
pub use time_field::TimeField;
