//! In construction.

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
    OpCounts, OpQuery, Pass, QuarantinedRow, StoreChange, StoreInfo, TargetState,
};
#[cfg(feature = "derive")]
pub use sync_derive::SyncRecord;
pub use time::Timestamp;
pub use time_field::TimeField;
