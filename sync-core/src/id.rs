//! Identities: records, operations, nodes.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::SyncError,
    scope::{SyncScope, Target, check_text},
};

const MAX_ID_CHARS: usize = 512;

/// The identity of a record within its collection, as text.
///
/// Any non-empty text of at most 512 characters without control characters is an id; ids differ if their bytes
/// differ. Remotes that accept fewer (PocketBase: 15 of `[a-z0-9]` by default) refuse others by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RecordId(Arc<str>);

impl RecordId {
    /// A validated record id.
    ///
    /// # Errors
    /// `Invalid` naming the field `id`.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self, SyncError> {
        let id = id.into();
        check_text("id", &id, MAX_ID_CHARS, false)?;
        Ok(Self(id))
    }

    /// The id with a text that was taken from an id.
    pub(crate) fn known(id: &str) -> Self {
        Self(id.into())
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A type that can be the id of a record: it has an exact text form.
///
/// # Contract
/// `from_text(to_text(x)) == x`, and distinct values have distinct texts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the id of a record",
    note = "ids are `String`, `Uuid`, or an integer of 32 or 64 bits; implement `IdText` for a type of your own"
)]
pub trait IdText: Clone + Eq + Ord + std::hash::Hash + fmt::Debug + Send + Sync + 'static {
    /// The text form.
    fn to_text(&self) -> String;

    /// Reads the text form back; `None` if the text is not one.
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! id_text {
    ($($type:ty),*) => {$(
        impl IdText for $type {
            fn to_text(&self) -> String {
                self.to_string()
            }

            fn from_text(text: &str) -> Option<Self> {
                // Only the canonical text: "007" is not the id 7, or two texts would name one record.
                text.parse().ok().filter(|id: &Self| id.to_text() == text)
            }
        }
    )*};
}

id_text!(String, Uuid, i32, i64, u32, u64);

/// The full identity of a record in a store: collection, scope and id. The same id in two scopes is two records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// Collection and scope.
    pub target: Target,
    /// The record's id.
    pub id: RecordId,
}

impl RecordKey {
    /// The record `id` of `target`.
    pub fn new(target: Target, id: RecordId) -> Self {
        Self { target, id }
    }

    /// The scope of the record.
    pub fn scope(&self) -> &SyncScope {
        &self.target.scope
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({self})")
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.id)
    }
}

/// The identity of one pending operation: a UUID version 7, made once and unchanged in every retry.
///
/// Remotes that can, remember it, so that a repeated request has no second effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(Uuid);

impl OpId {
    /// An operation id from a UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl std::str::FromStr for OpId {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|error| SyncError::invalid("op_id", error.to_string()))
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({})", self.0)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
