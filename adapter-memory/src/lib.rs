//! A local store and a remote in memory: the reference implementations of sync-core's contracts.
//!
//! [`MemoryLocalStore`] keeps records, operations and sync points in maps. It is the store of tests, and of apps
//! that may ask the remote again at each start.
//!
//! [`MemoryRemoteStore`] is a complete backend: a log in the order of commits, tombstones, conditional and
//! idempotent pushes, searches, news. Each capability can be switched off, and is then really absent, so that an
//! engine proves itself against weak backends as well. It plays [`faults`] on demand: lost answers, doubled
//! requests, restored backups, late commits.
//!
//! Neither needs an async runtime, and both answer equal histories equally, so a whole fleet of clients can be
//! simulated on one thread.
//!
//! ```
//! use adapter_memory::{MemoryRemoteStore, faults::{Call, Fault}};
//! use sync_core::{
//!     ChangedFields, CollectionName, ErrorKind, OpId, OpKind, Payload, PushOp, PushOutcome, RecordId, RecordKey,
//!     RemoteStoreExt, Stamp, SyncError, SyncScope, Target,
//! };
//! # futures::executor::block_on(async {
//! let remote = MemoryRemoteStore::new();
//! let scope = SyncScope::new("inbox")?.with("user", "u1")?;
//! let key = RecordKey::new(Target::new(CollectionName::new("todos")?, scope.clone()), RecordId::new("t1")?);
//! let create = PushOp {
//!     op_id: OpId::from_uuid(uuid::Uuid::from_u128(1)),
//!     key: key.clone(),
//!     kind: OpKind::Create,
//!     payload: Some(Payload::parse(r#"{"id":"t1","title":"tea"}"#)?),
//!     changed: ChangedFields::All,
//!     base: None,
//!     stamp: Stamp::new(1_000, 0, 7),
//!     schema_version: 1,
//! };
//!
//! // The answer to the first push is lost, so the client cannot know that the create took effect ...
//! let lost = SyncError::new(ErrorKind::Timeout, "no answer");
//! remote.faults().script(Call::Push, Fault::FailAfter(lost));
//! assert!(remote.push_ops(&scope, vec![create.clone()]).await.unwrap_err().outcome_unknown());
//!
//! // ... and sends it again. It has no second effect.
//! let outcomes = remote.push_ops(&scope, vec![create.clone()]).await?;
//! assert!(matches!(outcomes[0], PushOutcome::Duplicate { .. }));
//! assert_eq!(remote.applied_count(create.op_id), 1);
//! assert_eq!(remote.state_of(&key).payload(), create.payload.as_ref());
//! # Ok::<(), SyncError>(()) }).unwrap();
//! ```

pub mod faults;
mod local;
mod random;
mod remote;

pub use local::MemoryLocalStore;
pub use remote::{Backup, LateCommit, MemoryRemoteBuilder, MemoryRemoteStore, Rejection};
