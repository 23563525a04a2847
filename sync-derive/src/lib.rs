//! `#[derive(SyncRecord)]` for `sync-core`, which re-exports it; use it from there.

mod attributes;
mod expand;
mod names;
mod record;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `SyncRecord`, `HasId`, `HasUpdatedAt` and `HasSoftDelete` for a struct, and adds a function per field
/// that names the field in queries.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::{JsonObject, SyncRecord, Timestamp};
///
/// #[derive(Clone, Debug, Serialize, Deserialize, SyncRecord)]
/// #[sync(collection = "todos", schema_version = 2, upgrade = add_priority)]
/// #[serde(rename_all = "camelCase")]
/// struct Todo {
///     #[sync(id)]
///     id: String,
///     #[sync(index)]
///     done: bool,
///     #[sync(index, parent = "projects")]
///     project_id: Option<String>,
///     priority: i64,
///     #[sync(updated_at)]
///     updated_at: Timestamp,
///     #[sync(deleted_at)]
///     deleted_at: Option<Timestamp>,
/// }
///
/// fn add_priority(mut fields: JsonObject, _from_version: u32) -> Result<JsonObject, String> {
///     fields.entry("priority").or_insert(0.into());
///     Ok(fields)
/// }
///
/// let open = Todo::done().eq(false);
/// assert_eq!(Todo::schema().indexes, ["done", "projectId"]);
/// ```
///
/// The struct has named fields and derives `Clone`, `Serialize` and `Deserialize` as well.
///
/// # On the struct
///
/// | Key | Meaning | Without it |
/// |---|---|---|
/// | `collection = "todos"` | The name of the collection (table), locally and remotely: 1 to 128 characters, none of them a control character. | The struct's name in snake case: `TodoItem` is `todo_item`. |
/// | `index(owner, desc(updated_at))` | Stores keep an index over these fields: first those that queries compare by `eq`, then those they order by. May be given several times. | None. |
/// | `schema_version = 2` | `SyncRecord::SCHEMA_VERSION`: a whole number from 1. | 1 |
/// | `upgrade = path::to::function` | The function behind `SyncRecord::upgrade`: `fn(JsonObject, u32) -> Result<JsonObject, String>`. | Older records are used unchanged. |
/// | `no_fields` | No query functions. | One per field. |
/// | `crate = "path"` | Where `sync-core` is found, for crates that re-export it. | `::sync_core` |
///
/// # On fields
///
/// | Key | Meaning | How often |
/// |---|---|---|
/// | `id` | The identity of the record; the type implements `IdText` and `Clone`. | exactly once |
/// | `updated_at` | The app's own time of change; the type implements `TimeField` and is no `bool`. | at most once |
/// | `deleted_at` | Marks the record as deleted; the type implements `TimeField`, a `bool` will do. | at most once |
/// | `index` | Stores keep an index on this field. | any number |
/// | `parent = "collection"` | The field holds the id of a record of that collection. Parents reach the remote first. | any number |
///
/// Keys can share one attribute, `#[sync(index, parent = "projects")]`, or stand in several.
///
/// # Names
///
/// The schema and the query functions use the *serialized* names, as `#[serde(rename = "...")]` and
/// `#[serde(rename_all = "...")]` make them. A field with a `#[sync(...)]` key must be in the serialized record under
/// one name for both directions: `flatten`, `skip`, `skip_serializing`, `skip_deserializing` and renames of one direction are
/// refused on it, and `skip_serializing_if` is refused on the id. Its name must be a `query::FieldPath` of one step (no
/// dot, not `$id`). `#[serde(into = "...")]` and
/// `#[serde(transparent)]` on the struct are refused, because the serialized fields are then not those of the struct.
///
/// # Query functions
///
/// For each field with such a name, marked or not, there is `Todo::field() -> query::Field<V>`, as visible as the
/// struct, where `V` is the field's type. A `Field<Option<T>>` is compared with a plain `T` as well.
///
/// - They take no `self`, so `todo.id()` and `todo.updated_at()` are still the methods of `HasId` and `HasUpdatedAt`.
/// - A field named `schema` or `upgrade` gets none, since it would hide `Todo::schema()` or `Todo::upgrade()`. Write
///   `query::Field::new("schema")` instead.
/// - A method of your own with the name of a field is a "duplicate definitions" error. Rename the method, or give
///   the struct `#[sync(no_fields)]` and name fields with `query::Field::new` or as plain text.
///
/// # Generics
///
/// Type and const parameters are supported; all instances share the collection. A struct with type parameters needs
/// `serde` as a dependency under that name. Lifetimes are refused: a record owns its data.
///
/// # Errors
///
/// Every fault is a compile error at the place to mend, and says what to write instead.
#[proc_macro_derive(SyncRecord, attributes(sync))]
pub fn derive_sync_record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match record::Record::parse(input) {
        Ok(record) => expand::expand(&record).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
