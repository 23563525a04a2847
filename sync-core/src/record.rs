//! Record types: what the app's own structs implement, and their description without the type.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Result, SyncError},
    id::{IdText, RecordId},
    payload::{JsonObject, Payload},
    query::OrderBy,
    scope::CollectionName,
    time::Timestamp,
};

/// A record with an identity.
pub trait HasId<Id> {
    /// The id. It never changes during the life of a record.
    fn id(&self) -> Id;
}

/// A record that knows when it last changed.
pub trait HasUpdatedAt {
    /// When the record last changed, by the app's own reckoning. Shown and sorted by, never compared with a
    /// server time.
    fn updated_at(&self) -> Option<Timestamp>;
}

/// A record that can be marked as deleted and still exist.
pub trait HasSoftDelete {
    /// When the record was marked as deleted; `None` for a live one.
    fn deleted_at(&self) -> Option<Timestamp>;

    /// Whether the record is marked as deleted.
    fn is_deleted(&self) -> bool {
        self.deleted_at().is_some()
    }
}

/// A record type that can be synchronized. Usually derived:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::SyncRecord;
///
/// #[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
/// #[sync(collection = "todos", schema_version = 1)]
/// struct Todo {
///     #[sync(id)]
///     id: String,
///     #[sync(index)]
///     done: bool,
///     title: String,
///     #[sync(updated_at)]
///     updated_at: i64,
/// }
///
/// let open = Todo::done().eq(false);
/// assert_eq!(Todo::schema().indexes, ["done"]);
/// # let _ = open;
/// ```
pub trait SyncRecord:
    HasId<Self::Id> + HasUpdatedAt + HasSoftDelete + Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// The type of the id.
    type Id: IdText;

    /// The name of the collection (table) this type is kept in, locally and remotely.
    const COLLECTION: &'static str;

    /// The version of this type's shape. Raise it when fields change meaning, and implement [`Self::upgrade`].
    const SCHEMA_VERSION: u32 = 1;

    /// The description of this type, without the type.
    fn schema() -> CollectionSchema;

    /// Brings a record of an older schema version up to the current one.
    ///
    /// The default returns it unchanged, which is right when fields were only added with serde defaults.
    ///
    /// # Errors
    /// A text that says why the old record cannot be used; it is then kept and reported, never dropped.
    fn upgrade(fields: JsonObject, from_version: u32) -> std::result::Result<JsonObject, String> {
        let _ = from_version;
        Ok(fields)
    }
}

/// A field that names a record of another (or the same) collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentField {
    /// The field that holds the parent's id.
    pub field: String,
    /// The parent's collection.
    pub collection: CollectionName,
}

/// The description of a record type that stores and the engine work with.
#[derive(Clone)]
#[non_exhaustive]
pub struct CollectionSchema {
    /// The collection's name.
    pub name: CollectionName,
    /// The version of the record type's shape.
    pub schema_version: u32,
    /// The field with the record's id.
    pub id_field: String,
    /// The field with the app's own time of change, if any.
    pub updated_at_field: Option<String>,
    /// The field that marks a record as deleted, if any. A record where it is neither missing, null, `false` nor
    /// `""` is hidden from queries.
    pub deleted_at_field: Option<String>,
    /// Fields that stores keep an index on, in the order declared.
    pub indexes: Vec<String>,
    /// Indexes over several fields, each for queries that compare its first fields by `eq` and order by the others,
    /// in their directions.
    pub composite_indexes: Vec<Vec<OrderBy>>,
    /// Fields that name parents. Parents reach the remote before their children.
    pub parents: Vec<ParentField>,
    /// Checks a payload of the current schema version: it decodes as the record type and has the id `id`.
    pub check: fn(&Payload, &RecordId) -> Result<()>,
    /// A payload with only what the record type knows of it. An update changes what differs from this, so that
    /// fields which only a newer version of the app knows survive it.
    pub known_part: fn(&Payload) -> Result<Payload>,
    /// Brings fields of an older schema version up to the current one.
    pub upgrade: fn(JsonObject, u32) -> std::result::Result<JsonObject, String>,
}

impl CollectionSchema {
    /// The description of a record type with the given id field and nothing else declared.
    pub fn of<T: SyncRecord>(id_field: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: CollectionName::new(T::COLLECTION)?,
            schema_version: T::SCHEMA_VERSION,
            id_field: id_field.into(),
            updated_at_field: None,
            deleted_at_field: None,
            indexes: Vec::new(),
            composite_indexes: Vec::new(),
            parents: Vec::new(),
            check: check_record::<T>,
            known_part: |payload| Payload::encode(&payload.decode::<T>()?),
            upgrade: T::upgrade,
        })
    }

    /// The description of records without a Rust type: any JSON object whose `id_field` is a text or a number.
    ///
    /// # Errors
    /// `Invalid` if `name` cannot be a collection name.
    pub fn untyped(name: impl Into<String>, id_field: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: CollectionName::new(name)?,
            schema_version: 1,
            id_field: id_field.into(),
            updated_at_field: None,
            deleted_at_field: None,
            indexes: Vec::new(),
            composite_indexes: Vec::new(),
            parents: Vec::new(),
            check: |payload, _| payload.to_object().map(drop),
            known_part: |payload| Ok(payload.clone()),
            upgrade: |fields, _| Ok(fields),
        })
    }

    /// Declares the field with the app's own time of change.
    pub fn with_updated_at(mut self, field: impl Into<String>) -> Self {
        self.updated_at_field = Some(field.into());
        self
    }

    /// Declares the field that marks a record as deleted.
    pub fn with_deleted_at(mut self, field: impl Into<String>) -> Self {
        self.deleted_at_field = Some(field.into());
        self
    }

    /// Declares an indexed field.
    pub fn with_index(mut self, field: impl Into<String>) -> Self {
        self.indexes.push(field.into());
        self
    }

    /// Declares an index over several fields: first those that queries compare by `eq`, then those they order by.
    pub fn with_composite_index(mut self, fields: impl IntoIterator<Item = OrderBy>) -> Self {
        self.composite_indexes.push(fields.into_iter().collect());
        self
    }

    /// Declares a field that holds the id of a record of `collection`.
    ///
    /// # Errors
    /// `Invalid` if `collection` cannot be a collection name.
    pub fn with_parent(mut self, field: impl Into<String>, collection: impl Into<String>) -> Result<Self> {
        self.parents.push(ParentField {
            field: field.into(),
            collection: CollectionName::new(collection)?,
        });
        Ok(self)
    }
}

impl fmt::Debug for CollectionSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectionSchema")
            .field("name", &self.name)
            .field("schema_version", &self.schema_version)
            .field("id_field", &self.id_field)
            .field("indexes", &self.indexes)
            .field("composite_indexes", &self.composite_indexes)
            .field("parents", &self.parents)
            .finish_non_exhaustive()
    }
}

fn check_record<T: SyncRecord>(payload: &Payload, id: &RecordId) -> Result<()> {
    let record: T = payload.decode()?;
    let own = record.id().to_text();
    if own == id.as_str() {
        Ok(())
    } else {
        Err(SyncError::invalid(
            "id",
            format!("the record says {own:?}, it was filed under {:?}", id.as_str()),
        ))
    }
}
