//! In construction.

extern crate self as sync_core;

mod error;
mod id;
mod payload;
pub mod query;
mod record;
mod scope;
mod time;

pub use error::{ErrorKind, Result, RetryClass, SyncError};
pub use id::{IdText, OpId, RecordId, RecordKey};
pub use payload::{JsonObject, Payload};
pub use record::{CollectionSchema, HasId, HasSoftDelete, HasUpdatedAt, ParentField, SyncRecord};
pub use scope::{CollectionName, ScopeKey, SyncScope, Target};
pub use time::Timestamp;
