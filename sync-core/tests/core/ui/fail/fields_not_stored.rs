use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    id: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct FlattenedId {
    #[sync(id)]
    #[serde(flatten)]
    key: Key,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct Skipped {
    #[sync(id)]
    id: String,
    #[sync(index)]
    #[serde(skip)]
    done: bool,
    #[sync(parent = "projects")]
    #[serde(skip_serializing, default)]
    project: String,
    #[sync(updated_at)]
    #[serde(skip_deserializing)]
    changed: i64,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct SometimesWithoutId {
    #[sync(id)]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
}

fn main() {}
