use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[serde(rename_all(serialize = "camelCase"))]
struct TwoWays {
    #[sync(id)]
    id: String,
    #[sync(index)]
    #[serde(rename(serialize = "isDone", deserialize = "done"))]
    done: bool,
    #[sync(index)]
    due_on: String,
}

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
struct NoPaths {
    #[sync(id)]
    #[serde(rename = "$id")]
    id: String,
    #[sync(index)]
    #[serde(rename = "due.on")]
    due_on: i64,
    #[sync(updated_at)]
    #[serde(rename = "")]
    changed: i64,
    #[sync(parent = "projects")]
    #[serde(rename = "project\n")]
    project: String,
    #[serde(rename = "not.marked")]
    title: String,
}

fn main() {}
