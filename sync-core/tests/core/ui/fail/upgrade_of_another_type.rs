use serde::{Deserialize, Serialize};
use sync_core::SyncRecord;

#[derive(Clone, Serialize, Deserialize, SyncRecord)]
#[sync(schema_version = 2, upgrade = keep)]
struct Todo {
    #[sync(id)]
    id: String,
}

fn keep(fields: sync_core::JsonObject) -> sync_core::JsonObject {
    fields
}

fn main() {}
