//! Resolvers written against the app's own record type.

use std::{fmt, marker::PhantomData};

use super::{Conflict, ConflictResolver, Resolution};
use crate::{error::Result, payload::Payload, record::SyncRecord};

/// A [`Conflict`] with the records decoded.
#[derive(Clone, Debug)]
pub struct TypedConflict<T> {
    /// The last state both sides had in common, if known.
    pub base: Option<T>,
    /// The local value; `None` = deleted.
    pub local: Option<T>,
    /// The remote value; `None` = deleted.
    pub remote: Option<T>,
    /// The conflict without types, with stamps and times.
    pub raw: Conflict,
}

/// A resolver from a function over the app's own record type.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use sync_core::SyncRecord;
/// use sync_core::resolve::{Resolution, TypedResolver};
/// # #[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
/// # #[sync(collection = "counters")]
/// # struct Counter { #[sync(id)] id: String, value: i64 }
/// let larger_wins = TypedResolver::<Counter>::new("larger_wins", |conflict| {
///     match (&conflict.local, &conflict.remote) {
///         (Some(local), Some(remote)) if local.value > remote.value => Resolution::KeepLocal,
///         _ => Resolution::TakeRemote,
///     }
/// });
/// # let _ = larger_wins;
/// ```
pub struct TypedResolver<T> {
    name: &'static str,
    #[allow(clippy::type_complexity)]
    decide: Box<dyn Fn(&TypedConflict<T>) -> Resolution<T> + Send + Sync>,
    record: PhantomData<fn() -> T>,
}

impl<T: SyncRecord> TypedResolver<T> {
    /// A resolver that decides with `decide`, which must be deterministic.
    pub fn new(
        name: &'static str,
        decide: impl Fn(&TypedConflict<T>) -> Resolution<T> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            decide: Box::new(decide),
            record: PhantomData,
        }
    }
}

impl<T> fmt::Debug for TypedResolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedResolver")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T: SyncRecord> ConflictResolver for TypedResolver<T> {
    fn name(&self) -> &str {
        self.name
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        let decode = |payload: &Option<Payload>| payload.as_ref().map(Payload::decode).transpose();
        let typed = TypedConflict {
            base: decode(&conflict.base)?,
            local: decode(&conflict.local)?,
            remote: decode(&conflict.remote)?,
            raw: conflict.clone(),
        };
        Ok(match (self.decide)(&typed) {
            Resolution::KeepLocal => Resolution::KeepLocal,
            Resolution::TakeRemote => Resolution::TakeRemote,
            Resolution::Merged(record) => Resolution::Merged(Payload::encode(&record)?),
            Resolution::Defer => Resolution::Defer,
        })
    }
}
